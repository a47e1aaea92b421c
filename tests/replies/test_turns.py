"""Turns that are understood, through the queue and the database, for one of two companies."""

from __future__ import annotations

from datetime import timedelta

import pytest
from aiogram.types import Location

from neurant.core.db.pool import make_pool
from neurant.core.realtime import Hub
from neurant.replies import queries
from neurant.replies.service import reply
from tests.companies import Company
from tests.support.phrases import spoken
from tests.support.platform import taught, teach, working
from tests.support.stage import Stage

pytest_plugins = ("tests.support.fixtures",)
pytestmark = pytest.mark.anyio

PLACE = """Horario
Lunes a viernes: 9:00 a. m. a 6:00 p. m.
Sábados: 9:00 a. m. a 1:00 p. m.
Domingos: cerrado

Servicios
Lavado de edredones: $35.000, dos días
Lavado de cortinas: $28.000, un día

Sede norte
Dirección: Calle 120 # 15-20. Parqueadero gratuito para clientes.

Sede sur
Dirección: Carrera 30 # 8-11 sur. No tiene parqueadero.
"""


@pytest.fixture
async def laundry(stage: Stage) -> Stage:
    await teach(stage.web, stage.acme, "Lavanderia.txt", PLACE)
    async with working(stage.web.settings):
        await taught(stage.web, stage.acme)
    await stage.rows("update chatbots set response_delay_ms = 0, hitl_enabled = true returning id")
    return stage


async def answered(stage: Stage) -> list[str]:
    """Make the replies that are owed; a reply that listens first is made once more."""
    url = stage.web.settings.jobs_database_url.get_secret_value()
    outcomes: list[str] = []
    async with make_pool(url, size=2, pooled=False) as pool, Hub(url).running() as hub:
        for _ in range(2):
            await stage.rows("update reply_requests set due_at = now() returning conversation_id")
            for claim in await queries.claim_replies(pool, 10, timedelta(seconds=20)):
                outcomes.append(await reply(pool, hub, claim))
    return outcomes


async def bot_texts(stage: Stage, company: Company) -> list[str]:
    rows = await stage.rows(
        "select content from messages where company_id = %s and sender_type = 'bot' order by seq",
        company.id,
    )
    return [content for (content,) in rows]


async def ask(stage: Stage, message: str, user: int = 5) -> str:
    await stage.asks(stage.acme_token, user, message)
    before = len(await bot_texts(stage, stage.acme))
    await answered(stage)
    after = await bot_texts(stage, stage.acme)
    return after[-1] if len(after) > before else ""


async def takeovers(stage: Stage) -> list[tuple[str, str | None]]:
    return await stage.rows("select reason, reason_detail from hitl_sessions order by id")


async def test_two_questions_get_both_answers_in_one_reply_with_both_sources(
    laundry: Stage,
) -> None:
    said = await ask(laundry, "@acme_bot ¿Abren los sábados? ¿Cuánto cuesta el lavado de cortinas?")
    assert "9:00 a. m. a 1:00 p. m." in said
    assert "$28.000" in said
    [(sources,)] = await laundry.rows(
        "select jsonb_array_length(knowledge_sources) from messages where sender_type = 'bot'"
    )
    assert sources == 2
    asked = await laundry.rows("select query_text from knowledge_queries order by query_text")
    assert len(asked) == 2
    assert await takeovers(laundry) == []


async def test_a_follow_up_is_answered_with_the_question_before_it(laundry: Stage) -> None:
    assert "$35.000" in await ask(laundry, "¿Cuánto cuesta el lavado de edredones?")
    assert "$28.000" in await ask(laundry, "¿y el de cortinas?")
    assert await takeovers(laundry) == []


async def test_courtesies_after_an_answer_call_nobody(laundry: Stage) -> None:
    await ask(laundry, "¿Abren los sábados?")
    assert await ask(laundry, "listo pues") == spoken("courtesy")
    assert await ask(laundry, "jajaja") == ""
    assert await ask(laundry, "👍") == ""
    assert await laundry.rows("select count(*) from reply_requests") == [(0,)]
    assert await takeovers(laundry) == []


async def test_a_request_is_handed_over_once_with_all_its_details(laundry: Stage) -> None:
    assert await ask(laundry, "quiero reservar un turno") == spoken("ask_service")
    assert await ask(laundry, "lavado de cortinas") == spoken("ask_when")
    assert await ask(laundry, "el viernes a las 10") == spoken("ask_name")
    assert await ask(laundry, "Ana Ruiz") == spoken("ask_contact")
    assert await takeovers(laundry) == []
    await ask(laundry, "300 555 0123")
    [(reason, detail)] = await takeovers(laundry)
    assert reason == "request"
    for said in ("cortinas", "viernes", "Ana Ruiz", "300 555 0123"):
        assert said in (detail or "")


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("me dañaron una camisa y nadie me responde", "complaint"),
        ("es una emergencia, huele a gas en el local", "emergency"),
    ],
)
async def test_a_complaint_and_an_emergency_call_a_person_who_sees_which(
    laundry: Stage, message: str, reason: str
) -> None:
    said = await ask(laundry, message)
    assert said.startswith(spoken(reason))
    assert await takeovers(laundry) == [(reason, message)]


async def test_a_location_gets_a_short_answer_and_is_no_question(laundry: Stage) -> None:
    update = laundry.peer.update("", 5)
    assert update.message is not None
    place = update.message.model_copy(
        update={"text": None, "location": Location(latitude=4.6, longitude=-74.1)}
    )
    await laundry.peer.push(laundry.acme_token, update.model_copy(update={"message": place}))
    await answered(laundry)
    assert await bot_texts(laundry, laundry.acme) == [spoken("location")]
    assert await takeovers(laundry) == []


async def test_a_follow_up_never_sees_the_question_of_another_company(laundry: Stage) -> None:
    await laundry.asks(laundry.rival_token, 5, "¿Cuánto cuesta el lavado de cortinas?")
    await answered(laundry)
    await laundry.rows("update hitl_sessions set status = status returning id")
    said = await ask(laundry, "¿y cuánto cuesta?", user=5)
    assert "$28.000" not in said
