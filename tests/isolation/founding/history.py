"""What was said and done, and what is left of it later."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tests.isolation.founding.fixtures import FoundingFixture, add_conversation
from tests.isolation.founding.isolation import REFUSED
from tests.isolation.founding.registry import defect


def old_conversation(fixture: FoundingFixture, end_user: str = "+57309") -> UUID:
    """Resolved, with three messages, all older than a year."""
    acme = fixture.acme
    then = fixture.value("select now() - interval '400 days'")
    with fixture.without_triggers():
        conversation = add_conversation(fixture, acme.id, acme.bot, acme.account, end_user,
            status="resolved", started_at=then, created_at=then, last_message_at=then, ended_at=then,
            last_seq=3, message_count=3,
            **({"last_message_slot": then} if fixture.is_ours else {}))  # fmt: skip
        for seq in (1, 2, 3):
            fixture.add("messages", conversation_id=conversation, chatbot_id=acme.bot,
                channel_account_id=acme.account, seq=seq, content=f"viejo {seq}",
                sender_type="end_user", created_at=then)  # fmt: skip
    return conversation


def archive_all(fixture: FoundingFixture) -> int | str:
    """Runs the archiving job to its end: 1, or the error's name."""
    if not fixture.is_ours:
        return fixture.attempt("select archive_old_data()")
    while done := fixture.attempt("select * from private.archive_old_data()"):
        if isinstance(done, str):
            return done
    return 1


def count(fixture: FoundingFixture, table: str, conversation: UUID) -> int:
    column = "id" if table.startswith("conversations") else "conversation_id"
    return fixture.value(f"select count(*) from {table} where {column} = %s", conversation)


@defect("D30", "archiving loses every message", drafted=(1, 1, 0, 0), ours=(1, 1, 3, 0))
def archives(fixture: FoundingFixture) -> Any:
    """The job's outcome; then the conversation and messages in the archive, and messages left."""
    old = old_conversation(fixture)
    done = archive_all(fixture)
    tables = ("conversations_archived", "messages_archived", "messages")
    return done, *(count(fixture, table, old) for table in tables)


@defect(
    "D31",
    "one knowledge query stops the archiving of all",
    drafted=("ForeignKeyViolation", 0),
    ours=(1, 1),
)
def archives_queries(fixture: FoundingFixture) -> Any:
    old = old_conversation(fixture)
    fixture.add("knowledge_queries", conversation_id=old, query_text="¿precio?")
    return archive_all(fixture), count(fixture, "conversations_archived", old)


@defect(
    "D32", "a second archive of one end user fails", drafted=(1, "UniqueViolation"), ours=(1, 1)
)
def archives_twice(fixture: FoundingFixture) -> Any:
    outcomes = []
    for _ in range(2):
        old_conversation(fixture)
        outcomes.append(archive_all(fixture))
    return tuple(outcomes)


@defect(
    "D33",
    "archiving goes by the columns' places: a new one breaks it, or lands in another's",
    drafted=("SyntaxError", 2),
    ours=("NA003", 1),
)
def archives_new_columns(fixture: FoundingFixture) -> Any:
    """With a column that the archive lacks: nothing is moved, and we say so. Then with two in other order."""
    old = old_conversation(fixture)
    fixture.db.execute("alter table conversations add column priority integer default 1")
    lacking = archive_all(fixture)
    fixture.db.execute("alter table conversations add column weight integer default 2")
    fixture.db.execute("alter table conversations_archived add column weight integer")
    fixture.db.execute("alter table conversations_archived add column priority integer")
    assert archive_all(fixture) == 1
    return lacking, fixture.value("select priority from conversations_archived where id = %s", old)


@defect("D36", "deleting a bot deletes its history", drafted=(1, 0), ours=(REFUSED, 3))
def deletes_bot(fixture: FoundingFixture) -> Any:
    fixture.become("supervisor")
    deleted = fixture.attempt("delete from chatbots where id = %s", fixture.acme.bot)
    fixture.as_admin()
    return deleted, count(fixture, "messages", fixture.acme.conversation)


@defect(
    "D22",
    "nothing writes the audit, who serves traffic rewrites it, and it goes with the company",
    drafted=(0, 1, 0),
    ours=(1, REFUSED, 1),
)
def audits(fixture: FoundingFixture) -> Any:
    """Rows after a change of role; an attempt to rewrite them; rows after an attempt to delete the company."""
    changed = fixture.acme.people["supervisor"].id
    of = "from audit_logs where company_id = %s and resource_id = %s"
    fixture.db.execute("update users set role = 'administrador' where id = %s", (changed,))
    written = fixture.value(f"select count(*) {of}", fixture.acme.id, changed)
    if not fixture.is_ours:
        fixture.add("audit_logs", action="update", resource_type="users", resource_id=changed)
        fixture.announce("service_role", {})
    else:
        fixture.as_worker()
    rewritten = fixture.attempt(
        "update audit_logs set action = 'read' where resource_id = %s", changed
    )
    fixture.as_admin()
    fixture.attempt("delete from companies where id = %s", fixture.acme.id)
    left = fixture.value(f"select count(*) {of}", fixture.acme.id, changed)
    return min(written, 1), rewritten, min(left, 1)
