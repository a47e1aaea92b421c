"""What a row may hold, and what is found by it."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from tests.isolation.founding.registry import defect
from tests.isolation.founding.worlds import World, add_conversation, add_document


@defect("D15", "eight tables with updated_at never update it", drafted=8, ours=0)
def forgets_updates(world: World) -> Any:
    return world.value(
        "select count(*) from pg_class c join pg_attribute a on a.attrelid = c.oid"
        " and a.attname = 'updated_at' where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace"
        " and c.relname not like '%archived'"
        " and not exists (select from pg_trigger t join pg_proc p on p.oid = t.tgfoid"
        "  where t.tgrelid = c.oid and p.proname = 'update_updated_at_column')"
    ) + (2 if not world.is_ours else 0)


@defect(
    "D19",
    "a returning customer cannot open a second conversation",
    drafted="UniqueViolation",
    ours=1,
)
def returns(world: World) -> Any:
    acme = world.acme
    world.db.execute(
        "update conversations set status = 'resolved', ended_at = now() where id = %s",
        (acme.conversation,),
    )
    return world.put("conversations", company_id=acme.id, chatbot_id=acme.bot,
        channel_account_id=acme.account, end_user_id="+57300", channel="whatsapp")  # fmt: skip


@defect(
    "D21",
    "a document without a description is not found, nor one with an accent",
    drafted=(0, 0),
    ours=(1, 1),
)
def finds(world: World) -> Any:
    owner = world.acme.people["owner"].id
    add_document(world, world.acme.id, owner, title="Devoluciones", processing_status="completed")
    add_document(
        world,
        world.acme.id,
        owner,
        title="Facturación",
        description="x",
        processing_status="completed",
    )
    query = (
        "select count(*) from private.search_documents(%s)"
        if world.is_ours
        else "select count(*) from documents where to_tsvector('spanish', title || ' ' || description)"
        " @@ plainto_tsquery('spanish', %s)"
    )
    world.become("operador")
    return world.value(query, "devoluciones"), world.value(query, "facturacion")


@defect(
    "D26",
    "delivery runs backwards, and a message is read before it arrives",
    drafted=("pending", False),
    ours=("read", True),
)
def runs_backwards(world: World) -> Any:
    message = world.add(
        "messages", conversation_id=world.acme.conversation, content="Hola", sender_type="bot"
    )
    world.attempt(
        "update messages set status = 'read', delivered_at = now(), read_at = now() - interval '1 day'"
        " where id = %s", message,
    )  # fmt: skip
    world.attempt(
        "update messages set status = 'read', delivered_at = now(), read_at = now() where id = %s",
        message,
    )
    world.attempt(
        "update messages set status = 'pending', read_at = now() - interval '1 day' where id = %s",
        message,
    )
    return world.db.execute(
        "select status::text, read_at >= delivered_at from messages where id = %s", (message,)
    ).fetchone()


@defect(
    "D27",
    "messages of one transaction have one moment and no order",
    drafted=(1, False),
    ours=(6, True),
)
def loses_order(world: World) -> Any:
    """How many places six messages have; whether those are the ones in which they were written."""
    acme = world.acme
    conversation = add_conversation(world, acme.id, acme.bot, acme.account, "+3")
    for number in range(6):
        world.add("messages", conversation_id=conversation, content=f"{number}", sender_type="bot")
    place = "seq" if world.is_ours else "created_at"
    places = world.value(
        f"select count(distinct {place}) from messages where conversation_id = %s", conversation
    )
    shown = world.values(
        f"select content from messages where conversation_id = %s order by {place}", conversation
    )
    return places, places == 6 and shown == list("012345")


@defect(
    "D28", "a webhook that comes twice is stored and counted twice", drafted=(2, 2), ours=(1, 1)
)
def stores_twice(world: World) -> Any:
    acme = world.acme
    conversation = add_conversation(world, acme.id, acme.bot, acme.account, "+4")
    routing = secret = None
    if world.is_ours:
        routing, secret = world.db.execute(
            "select routing_id, secret_digest from channel_accounts where id = %s", (acme.account,)
        ).fetchone()
        world.announce("neurant_app", {})
    for _ in range(2):
        if world.is_ours:
            world.db.execute(
                "select * from private.ingest(%s, '{whatsapp}', %s, '{+4}', '{null}', '{wamid.X1}',"
                " '{text}', '{hola}', '{null}')", ([routing], [secret]),
            )  # fmt: skip
        else:
            world.add("messages", conversation_id=conversation, content="hola", sender_type="end_user",
                external_message_id="wamid.X1")  # fmt: skip
    world.as_admin()
    copies = world.value("select count(*) from messages where conversation_id = %s", conversation)
    return copies, world.value(
        "select message_count from conversations where id = %s", conversation
    )


@defect(
    "D42",
    "impossible values are taken",
    drafted=["timezone", "progress", "delay", "score", "channels", "empty", "sender", "ended"],
    ours=[],
)
def takes_anything(world: World) -> Any:
    """The names of those that are."""
    acme = world.acme
    bot = "update chatbots set {} where id = %s"
    outcomes = {
        "timezone": world.attempt(bot.format("timezone = 'Marte/Olimpo'"), acme.bot),
        "progress": world.attempt(bot.format("training_progress = 900"), acme.bot),
        "delay": world.attempt(bot.format("response_delay_ms = -5"), acme.bot),
        "score": world.attempt(bot.format("satisfaction_score = 9.99"), acme.bot),
        "channels": world.attempt(bot.format("channels = '\"fax\"'"), acme.bot),
        "empty": world.put("messages", company_id=acme.id, conversation_id=acme.conversation, content="",
            sender_type="bot"),
        "sender": world.put("messages", company_id=acme.id, conversation_id=acme.conversation, content="x",
            sender_type="human", sender_id=uuid4()),
        "ended": world.attempt("update conversations set ended_at = now() where id = %s", acme.conversation),
    }  # fmt: skip
    return [name for name, outcome in outcomes.items() if outcome == 1]
