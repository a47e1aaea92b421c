"""Replies that a language model writes: grounded, cited, counted, and replaced where it fails."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from neurant.core.logs import configure_logging
from neurant.core.settings import Settings
from neurant.installation.embedded import Urls
from neurant.replies import service
from neurant.replies.service import GENERATOR
from tests.support.asking_models import Asking, asking, set_model, teach
from tests.support.model_server import (
    Behaviour,
    ModelServer,
    Raw,
    Refuse,
    Say,
    Stall,
    chunk,
    model_server,
)

pytest_plugins = ("tests.support.fixtures",)
pytestmark = pytest.mark.anyio

PRICES = (
    "Limpieza dental: $130.000, dura 45 minutos\nBlanqueamiento dental: $480.000, dura 90 minutos"
)
QUESTION = "¿Cuánto cuesta la limpieza dental?"
GOOD = Say("La limpieza dental cuesta $130.000 y dura 45 minutos [1].", usage=(1_000_000, 100_000))


@pytest.fixture
def scripted() -> Iterator[ModelServer]:
    with model_server() as running:
        running.usual = GOOD
        yield running


@pytest.fixture
async def desk(own: Urls) -> AsyncIterator[Asking]:
    async with asking(own) as made:
        for company in (made.acme, made.rival):
            teach(own.admin, company, "Tarifas.txt", PRICES)
        yield made


async def test_the_model_s_answer_is_written_with_its_source_its_name_and_its_tokens(
    desk: Asking, scripted: ModelServer
) -> None:
    set_model(desk.urls.admin, desk.acme, scripted)
    told = await desk.ask(desk.acme, QUESTION)
    assert told["content"] == "La limpieza dental cuesta $130.000 y dura 45 minutos."
    assert (told["model_used"], told["tokens_used"]) == ("modelo-1", 1_100_000)
    assert told["used_knowledge_base"]
    [source] = told["knowledge_sources"]
    assert source["document"] == "Tarifas"
    assert "Limpieza dental: $130.000" in source["quote"]
    assert source["quote"] in PRICES
    [chunk_row] = desk.rows(
        "select document_id, content from document_chunks where id = %s", source["chunk_id"]
    )
    assert str(chunk_row["document_id"]) == source["document_id"]
    assert 0.5 < told["confidence_score"] <= 1


async def test_the_use_of_a_reply_is_counted_once_and_for_its_company(
    desk: Asking, scripted: ModelServer
) -> None:
    set_model(desk.urls.admin, desk.acme, scripted)
    await desk.ask(desk.acme, QUESTION)
    once = {"calls": 1, "fallbacks": 0, "read": 1_000_000, "written": 100_000, "cost": Decimal(3)}
    assert desk.use(desk.acme) == once
    await desk.work()
    assert desk.use(desk.acme) == once, "nothing was due, so nothing is counted"
    assert desk.use(desk.rival)["calls"] == 0
    await desk.ask(desk.acme, "¿Y cuánto dura el blanqueamiento dental?")
    assert desk.use(desk.acme)["calls"] == 2


async def test_a_reply_that_is_dropped_is_counted_although_it_is_not_written(
    desk: Asking, scripted: ModelServer
) -> None:
    """The customer writes on while the model works: the answer is dropped, the tokens are spent."""
    set_model(desk.urls.admin, desk.acme, scripted)
    conversation = await desk.say(desk.acme, QUESTION)

    def interrupted(body: dict[str, Any]) -> str:
        desk.execute(
            "update reply_requests set wanted_seq = wanted_seq + 1 where conversation_id = %s",
            conversation,
        )
        return GOOD.text

    scripted.follow(Say(interrupted))
    assert await desk.work() == ["superseded"]
    assert desk.rows("select 1 from messages where sender_type = 'bot'") == []
    assert desk.use(desk.acme)["calls"] == 1


async def test_a_company_without_a_model_gets_the_quote_and_asks_nobody(
    desk: Asking, scripted: ModelServer
) -> None:
    set_model(desk.urls.admin, desk.acme, scripted)
    told = await desk.ask(desk.rival, QUESTION)
    assert (told["model_used"], told["tokens_used"]) == (GENERATOR, None)
    assert "$130.000" in told["content"]
    assert scripted.requests == []


async def test_a_model_that_is_not_active_is_not_asked(desk: Asking, scripted: ModelServer) -> None:
    set_model(desk.urls.admin, desk.acme, scripted, is_active=False)
    assert (await desk.ask(desk.acme, QUESTION))["model_used"] == GENERATOR
    assert scripted.requests == []


async def test_the_platform_s_model_serves_companies_without_settings(
    own: Urls, scripted: ModelServer
) -> None:
    platform = {"language_model_url": scripted.url, "language_model_name": "de-la-casa"}
    async with asking(own, language_model_monthly_tokens=2_000_000, **platform) as desk:
        teach(own.admin, desk.acme, "Tarifas.txt", PRICES)
        assert (await desk.ask(desk.acme, QUESTION))["model_used"] == "de-la-casa"
        [use] = desk.rows("select is_platform, model from language_model_usage")
        assert use == {"is_platform": True, "model": "de-la-casa"}
        await desk.ask(desk.acme, QUESTION)
        third = await desk.ask(desk.acme, QUESTION)
        assert third["model_used"] == GENERATOR, "the host's budget of the company is used up"
        set_model(own.admin, desk.acme, scripted, is_active=False)
        desk.execute("delete from language_model_usage")
        assert (await desk.ask(desk.acme, QUESTION))["model_used"] == GENERATOR, "it chose none"


@pytest.mark.parametrize(
    ("bad", "charged"),
    [
        (Refuse(401), False),
        (Refuse(500), False),
        (Refuse(429, retry_after="60"), False),
        (Stall(chunk({"content": "La limpieza"})), True),
        (Raw(b"nonsense"), True),
        (Raw(chunk({"content": "La limpieza cuesta"}), "text/event-stream", cut=True), True),
        (Say(""), True),
        (Say("La limpieza dental cuesta $99.000 y dura 45 minutos [1]."), True),
        (Say("La limpieza dental cuesta $130.000."), True),
        (Say("", tools=(("reservar", "{}"),)), True),
    ],
    ids=["key", "fails", "busy", "stalls", "malformed", "cut off", "empty", "wrong figure",
         "no citation", "a tool that it was not given"],
)  # fmt: skip
async def test_where_the_model_fails_the_quote_answers_and_that_is_counted(
    desk: Asking, scripted: ModelServer, bad: Behaviour, charged: bool
) -> None:
    set_model(desk.urls.admin, desk.acme, scripted)
    scripted.usual = bad
    told = await desk.ask(desk.acme, QUESTION)
    assert told["model_used"] == GENERATOR
    assert "Limpieza dental: $130.000" in told["content"]
    use = desk.use(desk.acme)
    assert (use["calls"], use["fallbacks"]) == (1, 1)
    assert (use["read"] > 0) is charged
    assert told["tokens_used"] == use["read"] + use["written"]


@pytest.mark.parametrize(
    "budget", [{"monthly_tokens": 1_100_000}, {"monthly_cost": 3}], ids=["tokens", "money"]
)
async def test_a_budget_that_is_used_up_ends_the_calls_of_its_company_only(
    desk: Asking, scripted: ModelServer, budget: dict[str, int]
) -> None:
    set_model(desk.urls.admin, desk.acme, scripted, **budget)
    set_model(desk.urls.admin, desk.rival, scripted, **budget)
    assert (await desk.ask(desk.acme, QUESTION))["model_used"] == "modelo-1"
    spent = await desk.ask(desk.acme, QUESTION)
    assert (spent["model_used"], spent["tokens_used"]) == (GENERATOR, 0)
    assert len(scripted.requests) == 1
    use = desk.use(desk.acme)
    assert (use["calls"], use["fallbacks"]) == (1, 1)
    assert (await desk.ask(desk.rival, QUESTION))["model_used"] == "modelo-1"
    desk.execute("update language_model_usage set month = month - interval '1 month'")
    assert (await desk.ask(desk.acme, QUESTION))["model_used"] == "modelo-1", "a new month"


async def test_after_three_outages_the_endpoint_is_left_alone_for_a_while(
    desk: Asking, scripted: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_model(desk.urls.admin, desk.acme, scripted)
    set_model(desk.urls.admin, desk.rival, scripted)
    scripted.usual = Refuse(500)
    for _ in range(3):
        await desk.ask(desk.acme, QUESTION)
    scripted.requests.clear()
    scripted.usual = GOOD
    assert (await desk.ask(desk.acme, QUESTION))["model_used"] == GENERATOR
    assert scripted.requests == [], "it would only have waited"
    assert (await desk.ask(desk.rival, QUESTION))["model_used"] == "modelo-1", "another company"
    later = time.monotonic() + 31
    monkeypatch.setattr("neurant.language_models.service.monotonic", lambda: later)
    assert (await desk.ask(desk.acme, QUESTION))["model_used"] == "modelo-1"


async def test_a_question_that_the_model_declines_is_not_answered(
    desk: Asking, scripted: ModelServer
) -> None:
    """The model finds no answer in the passages, so nothing is quoted either."""
    set_model(desk.urls.admin, desk.acme, scripted)
    scripted.usual = Say("SIN_RESPUESTA")
    told = await desk.ask(desk.acme, "¿La limpieza dental sirve para la caries?")
    assert "130.000" not in told["content"]
    assert told["knowledge_sources"] == []
    assert desk.rows("select reason from hitl_sessions") == [{"reason": "no_answer"}]


async def test_without_a_passage_no_model_is_asked(own: Urls, scripted: ModelServer) -> None:
    async with asking(own) as desk:
        set_model(own.admin, desk.acme, scripted)
        await desk.ask(desk.acme, "¿Cuál es la capital de Francia?")
        assert scripted.requests == []


async def test_the_prompt_holds_the_bot_s_instructions_and_the_last_messages(
    desk: Asking, scripted: ModelServer
) -> None:
    set_model(desk.urls.admin, desk.acme, scripted)
    desk.execute(
        "update chatbots set system_prompt = 'Atiendes con mucha paciencia.',"
        ' max_context_messages = 2, personality_traits = \'{"persona": "Luz"}\' where id = %s',
        desk.acme.bot_id,
    )
    await desk.ask(desk.acme, "Hola, ¿qué tal?")
    await desk.ask(desk.acme, QUESTION)
    await desk.ask(desk.acme, "¿Y el blanqueamiento dental?")
    body = scripted.requests[-1]
    system, *earlier, last = body["messages"]
    assert system["content"].startswith("Atiendes con mucha paciencia.\n")
    assert "Te llamas Luz" in system["content"]
    assert [(one["role"], one["content"]) for one in earlier] == [
        ("user", QUESTION),
        ("assistant", "La limpieza dental cuesta $130.000 y dura 45 minutos."),
    ]
    assert "¿Y el blanqueamiento dental?" in last["content"]
    assert body["stream"] is True


async def test_two_companies_with_one_endpoint_send_their_own_passages_and_keys(
    desk: Asking, scripted: ModelServer
) -> None:
    for company, price in ((desk.acme, "111.000"), (desk.rival, "222.000")):
        teach(desk.urls.admin, company, "Sedes.txt", f"Radiografía panorámica: ${price}")
        set_model(desk.urls.admin, company, scripted)
    scripted.usual = Say(lambda body: _panoramic(body["messages"][-1]["content"]))
    question = "¿Cuánto cuesta la radiografía panorámica?"
    assert "111.000" in (await desk.ask(desk.acme, question))["content"]
    assert "222.000" in (await desk.ask(desk.rival, question))["content"]
    mine, theirs = scripted.prompts
    assert ("222.000" in mine, "111.000" in theirs) == (False, False)


def _panoramic(prompt: str) -> str:
    """What an honest model would answer to the question about the X-ray."""
    number, price = re.search(r"<<PASAJE (\d) [^>]*>>[^<]*panorámica: (\$\S+)", prompt).groups()
    return f"La radiografía panorámica cuesta {price} [{number}]."


async def test_no_log_line_repeats_the_key_the_prompt_or_the_answer(
    desk: Asking,
    scripted: ModelServer,
    capfd: pytest.CaptureFixture[str],
    folder: Path,
) -> None:
    configure_logging(Settings(data_dir=folder), "worker")  # an earlier test may have changed it
    set_model(desk.urls.admin, desk.acme, scripted)
    for bad in (Refuse(401), Raw(b"nonsense"), Say("La limpieza secreta cuesta $99.000 [1].")):
        scripted.usual = bad
        await desk.ask(desk.acme, QUESTION)
    told = "".join(capfd.readouterr())
    assert "language_model_fell_back" in told
    for secret in ("130.000", "limpieza", "PASAJE", "Responde."):
        assert secret not in told


async def test_a_reply_is_written_within_its_lease_however_long_the_search_took(
    desk: Asking, scripted: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model gets the rest of the lease, and is not asked where hardly any is left."""
    set_model(desk.urls.admin, desk.acme, scripted, timeout_seconds=15)
    monkeypatch.setattr(service, "_LEASE", service._TO_WRITE + timedelta(seconds=1.6))
    scripted.usual = Stall()
    started = time.monotonic()
    assert (await desk.ask(desk.acme, QUESTION))["model_used"] == GENERATOR
    assert time.monotonic() - started < 10
    assert len(scripted.requests) <= 1
    scripted.requests.clear()
    monkeypatch.setattr(service, "_LEASE", service._TO_WRITE)
    assert (await desk.ask(desk.acme, QUESTION))["model_used"] == GENERATOR
    assert scripted.requests == []
