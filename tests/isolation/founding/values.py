"""What a row may hold, and what is found by it."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from tests.isolation.founding.fixtures import FoundingFixture, add_conversation, add_document
from tests.isolation.founding.registry import defect


@defect("D15", "eight tables with updated_at never update it", drafted=8, ours=0)
def forgets_updates(fixture: FoundingFixture) -> Any:
    return fixture.value(
        "select count(*) from pg_class c join pg_attribute a on a.attrelid = c.oid"
        " and a.attname = 'updated_at' where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace"
        " and c.relname not like '%archived'"
        " and not exists (select from pg_trigger t join pg_proc p on p.oid = t.tgfoid"
        "  where t.tgrelid = c.oid and p.proname = 'update_updated_at_column')"
    ) + (2 if not fixture.is_ours else 0)


@defect(
    "D19",
    "a returning customer cannot open a second conversation",
    drafted="UniqueViolation",
    ours=1,
)
def returns(fixture: FoundingFixture) -> Any:
    acme = fixture.acme
    fixture.db.execute(
        "update conversations set status = 'resolved', ended_at = now() where id = %s",
        (acme.conversation,),
    )
    return fixture.put("conversations", company_id=acme.id, chatbot_id=acme.bot,
        channel_account_id=acme.account, end_user_id="+57300", channel="whatsapp")  # fmt: skip


@defect(
    "D21",
    "a document without a description is not found, nor one with an accent",
    drafted=(0, 0),
    ours=(1, 1),
)
def finds(fixture: FoundingFixture) -> Any:
    owner = fixture.acme.people["owner"].id
    add_document(
        fixture, fixture.acme.id, owner, title="Devoluciones", processing_status="completed"
    )
    add_document(
        fixture,
        fixture.acme.id,
        owner,
        title="Facturación",
        description="x",
        processing_status="completed",
    )
    query = (
        "select count(*) from private.search_documents(%s)"
        if fixture.is_ours
        else "select count(*) from documents where to_tsvector('spanish', title || ' ' || description)"
        " @@ plainto_tsquery('spanish', %s)"
    )
    fixture.become("operador")
    return fixture.value(query, "devoluciones"), fixture.value(query, "facturacion")


@defect(
    "D26",
    "delivery runs backwards, and a message is read before it arrives",
    drafted=("pending", False),
    ours=("read", True),
)
def runs_backwards(fixture: FoundingFixture) -> Any:
    message = fixture.add(
        "messages", conversation_id=fixture.acme.conversation, content="Hola", sender_type="bot"
    )
    fixture.attempt(
        "update messages set status = 'read', delivered_at = now(), read_at = now() - interval '1 day'"
        " where id = %s", message,
    )  # fmt: skip
    fixture.attempt(
        "update messages set status = 'read', delivered_at = now(), read_at = now() where id = %s",
        message,
    )
    fixture.attempt(
        "update messages set status = 'pending', read_at = now() - interval '1 day' where id = %s",
        message,
    )
    return fixture.db.execute(
        "select status::text, read_at >= delivered_at from messages where id = %s", (message,)
    ).fetchone()


@defect(
    "D27",
    "messages of one transaction have one moment and no order",
    drafted=(1, False),
    ours=(6, True),
)
def loses_order(fixture: FoundingFixture) -> Any:
    """How many places six messages have; whether those are the ones in which they were written."""
    acme = fixture.acme
    conversation = add_conversation(fixture, acme.id, acme.bot, acme.account, "+3")
    for number in range(6):
        fixture.add(
            "messages", conversation_id=conversation, content=f"{number}", sender_type="bot"
        )
    place = "seq" if fixture.is_ours else "created_at"
    places = fixture.value(
        f"select count(distinct {place}) from messages where conversation_id = %s", conversation
    )
    shown = fixture.values(
        f"select content from messages where conversation_id = %s order by {place}", conversation
    )
    return places, places == 6 and shown == list("012345")


@defect(
    "D28", "a webhook that comes twice is stored and counted twice", drafted=(2, 2), ours=(1, 1)
)
def stores_twice(fixture: FoundingFixture) -> Any:
    acme = fixture.acme
    conversation = add_conversation(fixture, acme.id, acme.bot, acme.account, "+4")
    routing = secret = None
    if fixture.is_ours:
        routing, secret = fixture.db.execute(
            "select routing_id, secret_digest from channel_accounts where id = %s", (acme.account,)
        ).fetchone()
        fixture.announce("neurant_app", {})
    for _ in range(2):
        if fixture.is_ours:
            fixture.db.execute(
                "select * from private.ingest(%s, '{whatsapp}', %s, '{+4}', '{null}', '{wamid.X1}',"
                " '{text}', '{hola}', '{null}')", ([routing], [secret]),
            )  # fmt: skip
        else:
            fixture.add("messages", conversation_id=conversation, content="hola", sender_type="end_user",
                external_message_id="wamid.X1")  # fmt: skip
    fixture.as_admin()
    copies = fixture.value("select count(*) from messages where conversation_id = %s", conversation)
    return copies, fixture.value(
        "select message_count from conversations where id = %s", conversation
    )


@defect(
    "D42",
    "impossible values are taken",
    drafted=["timezone", "progress", "delay", "score", "channels", "empty", "sender", "ended"],
    ours=[],
)
def takes_anything(fixture: FoundingFixture) -> Any:
    """The names of those that are."""
    acme = fixture.acme
    bot = "update chatbots set {} where id = %s"
    outcomes = {
        "timezone": fixture.attempt(bot.format("timezone = 'Marte/Olimpo'"), acme.bot),
        "progress": fixture.attempt(bot.format("training_progress = 900"), acme.bot),
        "delay": fixture.attempt(bot.format("response_delay_ms = -5"), acme.bot),
        "score": fixture.attempt(bot.format("satisfaction_score = 9.99"), acme.bot),
        "channels": fixture.attempt(bot.format("channels = '\"fax\"'"), acme.bot),
        "empty": fixture.put("messages", company_id=acme.id, conversation_id=acme.conversation, content="",
            sender_type="bot"),
        "sender": fixture.put("messages", company_id=acme.id, conversation_id=acme.conversation, content="x",
            sender_type="human", sender_id=uuid4()),
        "ended": fixture.attempt("update conversations set ended_at = now() where id = %s", acme.conversation),
    }  # fmt: skip
    return [name for name, outcome in outcomes.items() if outcome == 1]
