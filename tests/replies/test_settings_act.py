"""The settings of a bot act on its real replies, and each reply says why it was given."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from neurant.core.db.pool import fetch_value, make_pool
from neurant.core.db.tenancy import Visitor, Worker, tenant
from neurant.core.realtime import Hub
from neurant.replies import queries
from neurant.replies.queries import Reply
from neurant.replies.service import reply
from neurant.texts import in_tone
from neurant.texts.address import Manner
from tests.companies import Company
from tests.support.platform import taught, teach, working
from tests.support.stage import Stage

pytest_plugins = ("tests.support.fixtures",)
pytestmark = pytest.mark.anyio

DOCUMENT = """Biblioteca de la Universidad de Acme

Sede Laureles
La sala de lectura de la sede Laureles abre de lunes a viernes de 7:00 a 21:00.

Multas
Cada día de retraso en la devolución de un libro cuesta 1500 pesos.
"""
FINE = "¿Cuánto cuesta cada día de retraso en la devolución de un libro?"
UNKNOWN = "¿Prestan bicicletas eléctricas a los egresados?"


async def configure(stage: Stage, company: Company, **settings: object) -> None:
    for name, value in ({"response_delay_ms": 0} | settings).items():
        await stage.rows(
            f"update chatbots set {name} = %s where company_id = %s returning id",
            value, company.id,
        )  # fmt: skip


async def replies(stage: Stage) -> list[str]:
    """What became of the replies that were owed, made in this process until none is left."""
    url = stage.web.settings.jobs_database_url.get_secret_value()
    outcomes = []
    async with make_pool(url, size=2, pooled=False) as pool, Hub(url).running() as hub:
        while await stage.rows("select 1 from reply_requests"):
            await stage.rows("update reply_requests set due_at = now() returning 1")
            for claim in await queries.claim_replies(pool, 10, timedelta(seconds=20)):
                outcomes.append(await reply(pool, hub, claim))
    return outcomes


async def ask(stage: Stage, question: str, user: int = 5, token: str = "") -> dict[str, Any]:
    """Ask and return the bot's newest message in the asker's company."""
    await stage.asks(token or stage.acme_token, user, question)
    await replies(stage)
    company = stage.rival if token == stage.rival_token else stage.acme
    [[found]] = await stage.rows(
        "select to_jsonb(m) from messages m where m.company_id = %s and m.sender_type = 'bot'"
        " order by m.created_at desc limit 1",
        company.id,
    )
    return dict(found)


async def teach_acme(stage: Stage) -> None:
    async with working(stage.web.settings):
        await teach(stage.web, stage.acme, "Biblioteca.txt", DOCUMENT)
        await taught(stage.web, stage.acme)


async def test_an_answer_and_a_refusal_carry_their_confidence_and_their_explanation(
    stage: Stage,
) -> None:
    await configure(stage, stage.acme)
    await configure(stage, stage.rival)
    await teach_acme(stage)
    answer = await ask(stage, FINE)
    assert "1500" in answer["content"]
    assert (answer["used_knowledge_base"], answer["model_used"]) == (True, "extractive")
    why = answer["explanation"]
    assert (why["decision"], why["reason"], why["turn"]) == ("answer", "documents", "question")
    assert why["confidence"] >= why["threshold"] > 0
    quoted = [one for one in why["passages"] if one["is_quoted"]]
    assert [one["document"] for one in quoted] == ["Biblioteca"]
    assert 0 <= quoted[0]["score"] <= 1
    refusal = await ask(stage, UNKNOWN)
    assert (refusal["used_knowledge_base"], refusal["model_used"]) == (False, "phrase")
    why = refusal["explanation"]
    assert (why["decision"], why["reason"]) == ("escalate", "below_threshold")
    assert refusal["confidence_score"] == pytest.approx(why["confidence"], abs=0.006)
    assert why["confidence"] < why["threshold"]
    assert not any(one["is_quoted"] for one in why["passages"])
    looked_up = await stage.rows(
        "select query_text, confidence::float from knowledge_queries where company_id = %s"
        " order by created_at",
        stage.acme.id,
    )
    assert [one[0] for one in looked_up] == [FINE, UNKNOWN]
    assert looked_up[1][1] == pytest.approx(why["confidence"], abs=0.001)
    # The other company has no documents: nothing was compared, and nothing of acme is named.
    foreign = await ask(stage, FINE, token=stage.rival_token)
    assert foreign["explanation"]["reason"] == "nothing_found"
    assert foreign["confidence_score"] is None
    assert foreign["explanation"]["passages"] == []


async def test_an_explanation_is_small_belongs_to_the_bot_and_is_hidden_from_the_end_user(
    stage: Stage,
) -> None:
    await configure(stage, stage.acme)
    said = await ask(stage, "hola")
    assert said["explanation"]["reason"] == "courtesy"
    for statement in (
        "update messages set explanation = jsonb_build_object('a', repeat('x', 9000)) where id = %s",
        "update messages set explanation = '[]' where id = %s",
        "update messages set sender_type = 'end_user' where id = %s",
    ):
        with (
            psycopg.connect(stage.urls.admin) as db,
            pytest.raises(psycopg.errors.CheckViolation, match="messages_explanation_check"),
        ):
            db.execute(statement, (said["id"],))
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with tenant(stage.web.pool, Visitor(b"x" * 32)) as connection:
            await fetch_value(connection, "select m.explanation from public.messages m")
    read = "select m.explanation ->> 'reason' from public.messages m where m.id = %s"
    assert await stage.staff(read, said["id"]) == "courtesy"
    assert await stage.staff(read, said["id"], company=stage.rival) is None


async def test_the_fallback_message_is_said_with_handover_and_without(stage: Stage) -> None:
    words = "Eso no lo sé todavía."
    for hitl in (True, False):
        await configure(stage, stage.acme, fallback_message=words, hitl_enabled=hitl)
        said = await ask(stage, UNKNOWN, user=5 + hitl)
        assert said["content"] == words
    handed = await stage.rows(
        "select reason from hitl_sessions where company_id = %s", stage.acme.id
    )
    assert handed == [("no_answer",)]


async def test_a_new_bot_says_the_default_of_the_database_in_its_form_of_address(
    stage: Stage,
) -> None:
    [[default]] = await stage.rows(
        "select fallback_message from chatbots where company_id = %s", stage.acme.id
    )
    assert default == in_tone("replies.fallback", Manner(), "es")
    await configure(stage, stage.acme, personality_traits=Jsonb({"address": "usted"}))
    assert "ayudarle" in (await ask(stage, UNKNOWN))["content"]


async def test_a_wish_without_its_trigger_is_declined_and_nobody_is_called(stage: Stage) -> None:
    await configure(
        stage, stage.acme, hitl_triggers=Jsonb(["no_answer"]), fallback_message="Llama al 601 555."
    )
    said = await ask(stage, "quiero hablar con una persona")
    assert said["content"].endswith("Llama al 601 555.")
    assert said["explanation"]["reason"] == "no_people"
    assert await stage.rows("select count(*) from hitl_sessions") == [(0,)]


@pytest.mark.parametrize(
    ("traits", "timezone", "words"),
    [
        ({}, "America/Bogota", "¿En qué te ayudo?"),
        ({"address": "usted"}, "America/Bogota", "¿En qué le ayudo?"),
        ({"tone": "helpful"}, "America/Argentina/Buenos_Aires", "Contame qué necesitás"),
        ({"tone": "helpful", "address": "usted"}, "America/Lima", "Cuénteme qué necesita"),
        ({"style": "detailed"}, "America/Bogota", "con tus palabras"),
    ],
)
async def test_the_traits_and_the_country_act_on_the_words(
    stage: Stage, traits: dict[str, str], timezone: str, words: str
) -> None:
    await configure(stage, stage.acme, personality_traits=Jsonb(traits), timezone=timezone)
    assert words in (await ask(stage, "hola"))["content"]


async def test_a_reply_reads_as_many_messages_as_the_bot_looks_back_on(stage: Stage) -> None:
    await configure(stage, stage.acme)
    for number in range(4):
        await ask(stage, f"hola {'!' * number}")
    for said in ("una pregunta", "otra pregunta"):
        await stage.asks(stage.acme_token, 5, said)
    [[conversation]] = await stage.rows(
        "select id from conversations where company_id = %s", stage.acme.id
    )
    url = stage.web.settings.jobs_database_url.get_secret_value()
    async with make_pool(url, size=1, pooled=False) as pool:
        for most, before in ((1, 1), (3, 3), (50, 8)):
            await configure(stage, stage.acme, max_context_messages=most)
            async with tenant(pool, Worker(stage.acme.id)) as connection:
                found = await queries.read_conversation(connection, conversation)
            assert found is not None
            read = [one.content for one in found[1]]
            assert read[:2] == ["otra pregunta", "una pregunta"], "all that is open is read"
            assert len(read) == 2 + before
    with (
        psycopg.connect(stage.urls.admin) as db,
        pytest.raises(psycopg.errors.CheckViolation, match="max_context_messages"),
    ):
        db.execute("update chatbots set max_context_messages = 51")


async def test_what_was_established_is_kept_and_used_by_the_next_turn(stage: Stage) -> None:
    await configure(stage, stage.acme)
    await configure(stage, stage.rival)
    await teach_acme(stage)
    context = "select context_data from conversations where company_id = %s"
    said = await ask(stage, "Hola, soy Ana María")
    assert re.match(r"¡Hola, Ana!", said["content"])
    assert await stage.rows(context, stage.acme.id) == [({"name": "Ana María"},)]
    await ask(stage, "¿A qué hora abre la sala de lectura de Laureles?")
    [[known]] = await stage.rows(context, stage.acme.id)
    assert known == {"name": "Ana María", "branch": "Sede Laureles"}
    assert (await ask(stage, "buenas"))["content"].startswith("¡Hola, Ana!")
    pointing = await ask(stage, "¿y ahí hasta qué hora está la sala de lectura?")
    assert pointing["explanation"]["question"].endswith("(Sede Laureles)")
    # Neither another person nor another company is greeted so.
    assert "Ana" not in (await ask(stage, "hola", user=77))["content"]
    assert "Ana" not in (await ask(stage, "hola", token=stage.rival_token))["content"]
    assert await stage.rows(context, stage.rival.id) == [({},)]


async def test_a_reply_can_add_and_remove_facts_and_count_its_tokens(stage: Stage) -> None:
    await configure(stage, stage.acme)
    await stage.asks(stage.acme_token, 5, "hola")
    await stage.rows('update conversations set context_data = \'{"a": 1, "b": 2}\' returning id')
    url = stage.web.settings.jobs_database_url.get_secret_value()
    written = Reply(
        "answer", content="Hola", model="some-model", tokens=12, context={"a": None, "name": "Eva"}
    )
    async with make_pool(url, size=1, pooled=False) as pool:
        [claim] = await queries.claim_replies(pool, 10, timedelta(seconds=20))
        async with tenant(pool, Worker(claim.company_id)) as connection:
            finished = await queries.finish_reply(connection, claim, 0, 1, written)
    assert finished.outcome == "done"
    assert await stage.rows("select context_data from conversations") == [
        ({"b": 2, "name": "Eva"},)
    ]
    assert await stage.rows(
        "select model_used, tokens_used from messages where sender_type = 'bot'"
    ) == [("some-model", 12)]
