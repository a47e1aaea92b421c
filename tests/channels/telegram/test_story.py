"""The main job, end to end: a question on Telegram, a cited answer, a person at hand, one each."""

from __future__ import annotations

import asyncio
import base64
import json
import random
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from neurant.channels.telegram.inbound import parse
from neurant.cli.telegram import connect
from neurant.core.db.pool import fetch_value
from neurant.core.db.tenancy import tenant
from neurant.core.errors import ConflictError, UnavailableError
from neurant.core.settings import Settings
from neurant.texts import text
from tests.support.platform import eventually, free_port, settled, taught, teach, working
from tests.support.stage import Stage
from tests.support.telegram_peer import Drop, Refuse

pytest_plugins = ("tests.support.fixtures",)
pytestmark = pytest.mark.anyio

SAMPLES = Path(__file__).parents[3].parent / "shared/data/channel-samples/telegram"
ACME_DOCUMENT = """Preguntas frecuentes de Acme

Domicilios
Los domicilios de Acme cuestan 7300 pesos dentro de la ciudad.

Garantía
La garantía de los productos dura catorce meses desde la compra.
"""
RIVAL_DOCUMENT = """Preguntas frecuentes de Rival

Domicilios
Los domicilios de Rival cuestan 9900 pesos dentro de la ciudad.

Garantía
La garantía de los productos dura veinte meses desde la compra.
"""
PRICE = "¿Cuánto cuestan los domicilios?"
WARRANTY = "¿Cuánto dura la garantía de los productos?"


async def test_connecting_registers_a_webhook_with_a_secret_of_its_own(stage: Stage) -> None:
    webhooks = [stage.peer.bots[token].webhook for token in (stage.acme_token, stage.rival_token)]
    assert len({webhook.url for webhook in webhooks}) == 2
    assert len({webhook.secret_token for webhook in webhooks}) == 2
    for webhook in webhooks:
        assert webhook.url.startswith(f"{stage.web.url}/webhooks/telegram/")
        assert webhook.allowed_updates == ["message", "edited_message"]
    stored = await stage.rows(
        "select secrets_encrypted from channel_accounts where display_name like '@acme%%'"
    )
    assert stage.acme_token.encode() not in bytes(stored[0][0]), "the token is sealed"


async def test_connecting_again_keeps_the_account_and_changes_the_secret(stage: Stage) -> None:
    before = stage.peer.bots[stage.acme_token].webhook
    await connect(stage.web.settings, stage.acme.bot_name, stage.acme_token, stage.acme.slug)
    after = stage.peer.bots[stage.acme_token].webhook
    assert (before.url, before.secret_token) != (after.url, after.secret_token)
    assert before.url == after.url
    await stage.asks(stage.acme_token, 5, "hola")
    assert await stage.rows("select content from messages") == [("hola",)]


async def test_a_token_that_telegram_does_not_know_connects_nothing(stage: Stage) -> None:
    counted = "select count(*) from channel_accounts"
    before = await stage.rows(counted)
    with pytest.raises(ConflictError, match="Unauthorized"):
        await connect(stage.web.settings, stage.acme.bot_name, "1:none", stage.acme.slug)
    away = stage.web.settings.model_copy(
        update={"telegram_api_url": f"http://127.0.0.1:{free_port()}"}
    )
    with pytest.raises(UnavailableError):
        await connect(away, stage.acme.bot_name, stage.acme_token, stage.acme.slug)
    assert await stage.rows(counted) == before


async def test_two_companies_ask_the_same_and_each_is_answered_from_its_own_documents(
    stage: Stage,
) -> None:
    peer = stage.peer
    async with working(stage.web.settings):
        await teach(stage.web, stage.acme, "acme.txt", ACME_DOCUMENT)
        await teach(stage.web, stage.rival, "rival.txt", RIVAL_DOCUMENT)
        await taught(stage.web, stage.acme)
        await taught(stage.web, stage.rival)
        for user in (501, 502):
            for question in (PRICE, WARRANTY):
                await asyncio.gather(
                    stage.asks(stage.acme_token, user, question),
                    stage.asks(stage.rival_token, user, question),
                )
                await settled(stage.urls.admin)
    acme, rival = (peer.texts(token=token) for token in (stage.acme_token, stage.rival_token))
    assert len(acme) == len(rival) == 4
    assert sum("7300" in one for one in acme) == 2
    assert sum("catorce meses" in one for one in acme) == 2
    assert sum("9900" in one for one in rival) == 2
    assert sum("veinte meses" in one for one in rival) == 2
    for mine, others in ((acme, ("9900", "veinte", "Rival")), (rival, ("7300", "catorce", "Acme"))):
        assert not any(word in one for one in mine for word in others)
    cited = await stage.rows(
        "select m.company_id, d.company_id, m.knowledge_sources -> 0 ->> 'document'"
        " from messages m join documents d on d.id = (m.knowledge_sources -> 0 ->> 'document_id')::uuid"
        " where m.sender_type = 'bot'"
    )
    assert len(cited) == 8, "every answer is cited"
    assert all(one == other for one, other, _ in cited)
    await nothing_is_shared(stage)


async def nothing_is_shared(stage: Stage) -> None:
    """Through the policies, as each role of each company: only its own rows."""
    for company, other in ((stage.acme, stage.rival), (stage.rival, stage.acme)):
        for role in ("owner", "administrador", "supervisor", "operador"):
            async with tenant(stage.web.pool, company.staff(role)) as connection:
                for table in ("messages", "conversations", "outbox", "hitl_sessions",
                              "documents", "document_chunks", "reply_requests"):  # fmt: skip
                    own = await fetch_value(
                        connection,
                        f"select count(*) from {table} where company_id <> %s",
                        (company.id,),
                    )
                    assert own == 0, (table, role)
                seen = await fetch_value(connection, "select count(*) from messages")
                assert seen
        theirs = await stage.rows("select id from conversations where company_id = %s", other.id)
        for (conversation,) in theirs:
            taken = await stage.staff(
                "select private.take_conversation(%s)", conversation, company=company
            )
            assert taken == "not_found"


async def test_a_visitor_asks_for_a_person_who_answers_and_hands_back_to_the_bot(
    stage: Stage,
) -> None:
    peer, user = stage.peer, 700
    async with working(stage.web.settings):
        await teach(stage.web, stage.acme, "acme.txt", ACME_DOCUMENT)
        await taught(stage.web, stage.acme)
        await stage.asks(stage.acme_token, user, PRICE)
        await asyncio.to_thread(peer.wait_for_texts, 1, user)
        assert "7300" in peer.texts(user)[0]
        await stage.asks(stage.acme_token, user, "Quiero hablar con una persona, por favor")
        await asyncio.to_thread(peer.wait_for_texts, 2, user)
        assert peer.texts(user)[1] == text("system.hitl_queued", "es")
        [[conversation, status, reason]] = await stage.rows(
            "select conversation_id, status, reason from hitl_sessions"
        )
        assert (status, reason) == ("pending", "user_request")
        await stage.asks(stage.acme_token, user, WARRANTY)  # the bot is silent now
        await settled(stage.urls.admin)
        assert len(peer.texts(user)) == 2

        await stage.operator_says(conversation, "Hola, soy Marce. ¿En qué te ayudo?")
        await asyncio.to_thread(peer.wait_for_texts, 4, user)
        assert peer.texts(user)[2:] == [
            text("system.hitl_taken", "es", name="Operador"),
            "Hola, soy Marce. ¿En qué te ayudo?",
        ]
        assert (
            await stage.staff("select private.resolve_conversation(%s, 'ok')", conversation)
            == "resolved"
        )
        await asyncio.to_thread(peer.wait_for_texts, 5, user)
        assert peer.texts(user)[4] == text("system.hitl_resolved", "es")
        await stage.asks(stage.acme_token, user, WARRANTY)
        await asyncio.to_thread(peer.wait_for_texts, 6, user)
        assert "catorce meses" in peer.texts(user)[5]
        await settled(stage.urls.admin)
    assert len(peer.texts(user)) == 6
    states = await stage.rows("select distinct status from outbox")
    assert states == [("sent",)]
    [session] = await stage.rows("select status, first_response_at is not null from hitl_sessions")
    assert session == ("resolved", True)
    await nothing_is_shared_with_rival(stage)


async def nothing_is_shared_with_rival(stage: Stage) -> None:
    async with tenant(stage.web.pool, stage.rival.staff("owner")) as connection:
        for table in ("messages", "conversations", "outbox", "hitl_sessions", "documents"):
            assert await fetch_value(connection, f"select count(*) from {table}") == 0
    assert stage.peer.texts(token=stage.rival_token) == []


async def test_redelivered_and_reordered_updates_are_one_message_and_one_reply(
    stage: Stage,
) -> None:
    """Telegram sends again what was not answered in time, and then not always in order."""
    peer, users = stage.peer, [801, 802, 803]
    updates = [peer.update(f"hola {number}", user) for user in users for number in range(4)]
    bodies = [
        update.model_dump_json(by_alias=True, exclude_none=True).encode() for update in updates
    ]
    if SAMPLES.is_dir():
        bodies += [json.dumps(json.loads(p.read_text("utf-8"))["body"]).encode()
                   for p in sorted(SAMPLES.glob("*.json"))]  # fmt: skip
    copies = bodies * 3
    random.Random(7).shuffle(copies)
    await asyncio.gather(*(peer.push_bytes(stage.acme_token, body) for body in copies))
    stored = await stage.rows("select count(*), count(distinct external_message_id) from messages")
    expected = {parse(body, "x", b"").external_id for body in bodies}
    aside = {one for one in expected if one.startswith("update:")}
    assert stored == [(len(expected - aside),) * 2]
    assert await stage.rows("select count(*) from inbound_events") == [(len(aside),)]
    conversations = await stage.rows("select id from conversations")
    async with working(stage.web.settings):
        await settled(stage.urls.admin)
        again = await asyncio.gather(*(peer.push_bytes(stage.acme_token, body) for body in bodies))
        assert set(again) == {1}
        await settled(stage.urls.admin)
    for (conversation,) in conversations:
        told = await stage.rows(
            "select count(*) from messages where conversation_id = %s and (sender_type = 'bot'"
            " or content = 'text_only')",
            conversation,
        )
        assert told == [(1,)], "one reply a burst"
    [[lines]] = await stage.rows("select count(*) from outbox")
    assert len(peer.texts()) == lines, "one delivery each"
    assert await stage.rows("select distinct status from outbox") == [("sent",)]


async def test_an_order_of_messages_is_kept_while_telegram_limits_us(stage: Stage) -> None:
    peer = stage.peer
    await stage.asks(stage.acme_token, 900, "hola")
    [[conversation]] = await stage.rows("select id from conversations")
    await stage.staff("select private.take_conversation(%s)", conversation)
    lines = [f"línea {number}" for number in range(8)]
    for line in lines:
        await stage.operator_says(conversation, line)
    peer.next.extend([Refuse(429, "Too Many Requests", retry_after=1), Refuse(502, "Bad Gateway")])
    async with working(stage.web.settings):
        await settled(stage.urls.admin)
    assert peer.texts(900)[1:] == lines
    assert peer.requests == len(lines) + 3


async def test_an_answer_that_never_came_is_shown_as_unknown_and_not_sent_again(
    stage: Stage,
) -> None:
    peer = stage.peer
    peer.next.append(Drop())
    async with working(stage.web.settings):
        await stage.asks(stage.acme_token, 901, "hola")
        await settled(stage.urls.admin)
        assert await stage.rows("select status, attempts from outbox") == [("unknown", 1)]
        [[message]] = await stage.rows(
            "select id from messages where sender_type = 'bot' and status = 'unknown'"
        )
        assert len(peer.texts(901)) == 1
        assert await stage.staff("select private.resend_message(%s)", message) == "resent"

        async def resent() -> bool:
            return await stage.rows("select status from outbox") == [("sent",)]

        await eventually(resent)
    assert len(peer.texts(901)) == 2, "a person decided to say it again"


async def test_a_bot_whose_token_cannot_be_opened_fails_at_once_and_visibly(stage: Stage) -> None:
    with_none = "update channel_accounts set secrets_encrypted = null where company_id = %s"
    await stage.asks(stage.rival_token, 5, "hola")
    await stage.asks(stage.acme_token, 5, "hola")
    async with working(replace_key(stage.web.settings)):
        await settled(stage.urls.admin)
    failed = await stage.rows("select distinct status, last_error from outbox")
    assert failed == [("failed", "wrong_master_key")]
    with psycopg.connect(stage.urls.admin) as db:
        db.execute(with_none, (stage.acme.id,))
    await stage.asks(stage.acme_token, 6, "hola")
    async with working(stage.web.settings):
        await settled(stage.urls.admin)
    assert ("failed", "company_key_missing") in await stage.rows(
        "select status, last_error from outbox"
    )
    assert stage.peer.texts() == []


def replace_key(settings: Settings) -> Settings:
    other = SecretStr(base64.b64encode(b"z" * 32).decode())
    return settings.model_copy(update={"master_key": other})
