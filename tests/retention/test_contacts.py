"""Contacts follow conversations; a person who asks for it is forgotten, and everything still counts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from neurant.installation.embedded import Urls
from tests.companies import ROLES, Company, make_company, open_visitor
from tests.retention.old_conversations import (
    LIVE,
    ConversationShape,
    archive_all,
    become,
    make_conversation,
    stored_rows,
)

PERSONAL = ("Ana", "calle", "precio", "end_user 0", "bot 1", "human 3")


@pytest.fixture
def two(urls: Urls) -> tuple[Company, Company]:
    return make_company(urls.admin, "acme"), make_company(urls.admin, "rival")


@pytest.fixture
def db(urls: Urls) -> Iterator[psycopg.Connection]:
    with psycopg.connect(urls.admin, autocommit=True) as connection:
        yield connection


def contact(db: psycopg.Connection, company: Company, user: str) -> tuple[Any, ...]:
    return db.execute(
        "select id, name, first_seen_at, last_seen_at, erased_at from contacts"
        " where company_id = %s and end_user_id = %s",
        (company.id, user),
    ).fetchone()


def call(urls: Urls, company: Company, role: str, function: str, subject: UUID) -> str:
    with psycopg.connect(urls.app) as who:
        become(who, company, role)
        return who.execute(f"select private.{function}(%s)", (subject,)).fetchone()[0]


def test_a_contact_follows_the_conversations_of_one_person(
    db: psycopg.Connection, two: tuple[Company, Company]
) -> None:
    acme, rival = two
    user = str(uuid4())
    make_conversation(
        db, acme, ConversationShape(end_user=user, days_ago=30, name="Ana", speakers=[])
    )
    make_conversation(
        db, acme, ConversationShape(end_user=user, days_ago=400, name="Anita", speakers=[])
    )
    make_conversation(
        db,
        acme,
        ConversationShape(end_user=user, days_ago=3, name=None, speakers=[], status="active"),
    )
    make_conversation(
        db, rival, ConversationShape(end_user=user, days_ago=9, name="Otra", speakers=[])
    )
    _, name, first, last, erased = contact(db, acme, user)
    assert (name, erased) == ("Ana", None)
    assert 396 < (last - first).days <= 400
    assert contact(db, rival, user)[1] == "Otra"


def test_a_message_into_an_open_conversation_does_not_touch_contacts(
    db: psycopg.Connection, two: tuple[Company, Company]
) -> None:
    user = str(uuid4())
    conversation = make_conversation(
        db, two[0], ConversationShape(end_user=user, status="active", days_ago=0)
    )
    version = "select xmin::text, ctid::text from contacts where end_user_id = %s"
    before = db.execute(version, (user,)).fetchone()
    db.execute(
        "insert into messages (company_id, conversation_id, chatbot_id, channel_account_id,"
        " sender_type, content) select company_id, id, chatbot_id, channel_account_id, 'bot', 'x'"
        " from conversations where id = %s",
        (conversation,),
    )
    assert db.execute(version, (user,)).fetchone() == before


def test_contacts_are_read_in_the_scope_of_their_conversations(
    urls: Urls, db: psycopg.Connection, two: tuple[Company, Company]
) -> None:
    acme, rival = two
    user = str(uuid4())
    conversation = make_conversation(
        db, acme, ConversationShape(end_user=user, status="active", days_ago=0, takeover=False)
    )

    def seen(company: Company, role: str) -> int:
        with psycopg.connect(urls.app) as who:
            become(who, company, role)
            return who.execute(
                "select count(*) from contacts where end_user_id = %s", (user,)
            ).fetchone()[0]

    assert [seen(acme, role) for role in ROLES] == [1] * 4
    assert [seen(rival, role) for role in ROLES] == [0] * 4
    db.execute("update chatbot_operators set is_active = false where company_id = %s", (acme.id,))
    assert [seen(acme, role) for role in ROLES] == [1, 1, 1, 0]
    db.execute(
        "insert into hitl_sessions (company_id, conversation_id, chatbot_id, status, reason, operator_id)"
        " values (%s, %s, %s, 'active', 'manual', %s)",
        (acme.id, conversation, acme.bot_id, acme.people["operador"].id),
    )
    assert seen(acme, "operador") == 1


def test_a_person_is_forgotten_in_live_and_archived_rows_and_all_still_counts(
    urls: Urls, db: psycopg.Connection, two: tuple[Company, Company]
) -> None:
    acme, rival = two
    user = "5730012345678"
    archived = make_conversation(db, acme, ConversationShape(end_user=user))
    archive_all(urls.jobs)
    live = make_conversation(db, acme, ConversationShape(end_user=user, days_ago=2))
    open_ = make_conversation(
        db, acme, ConversationShape(end_user=user, days_ago=0, status="active")
    )
    bystanders = [
        make_conversation(db, acme, ConversationShape(days_ago=1)),
        make_conversation(db, rival, ConversationShape(end_user=user, days_ago=1)),
    ]
    counted = (
        "select sum(message_count), sum(bot_message_count) from conversations where company_id = %s"
    )
    before = db.execute(counted, (acme.id,)).fetchone()
    for payload, company in ((user, acme), (user + "9", acme), (user, rival)):
        db.execute(
            "insert into inbound_events (company_id, channel_account_id, external_id, payload, reason)"
            " select company_id, id, %s, convert_to(%s, 'UTF8'), 'unsupported' from channel_accounts where routing_id = %s",
            (str(uuid4()), f'{{"from": {{"id": {payload}}}}}', company.telegram),
        )
    for table in ("outbox", "outbox_archived"):
        db.execute(f"update {table} set last_error = 'chat ' || %s || ' not found'", (user,))
    with psycopg.connect(urls.jobs, autocommit=True) as worker:
        while worker.execute("select private.drain_message_changes(1000)").fetchone()[0]:
            pass
    searched = "select count(*) from conversation_search where company_id = %s and person like %s"
    indexed = [(company.id, f"%{user}%") for company in two]
    assert [db.execute(searched, one).fetchone()[0] for one in indexed] == [2, 1]
    others = stored_rows(db, bystanders)
    found = contact(db, acme, user)[0]
    assert call(urls, rival, "owner", "erase_contact", found) == "not_found"
    assert call(urls, acme, "owner", "erase_contact", found) == "erased"
    assert [db.execute(searched, one).fetchone()[0] for one in indexed] == [0, 1]

    rows = [
        *stored_rows(db, [live, open_]).items(),
        *stored_rows(db, [archived], "_archived").items(),
    ]
    assert {table for table, texts in rows if texts} == set(LIVE)
    for table, texts in rows:
        for text in texts:
            assert user not in text, table
            assert not [word for word in PERSONAL if word in text], (table, text)
    after = db.execute(counted, (acme.id,)).fetchone()
    assert after[1] == before[1]
    assert after[0] >= before[0]  # the open one was told that it ended
    assert stored_rows(db, bystanders) == others
    left = db.execute(
        "select count(*) from inbound_events where company_id = any (%s)", ([acme.id, rival.id],)
    )
    assert left.fetchone() == (2,)
    name, erased = db.execute(
        "select name, erased_at from contacts where id = %s", (found,)
    ).fetchone()
    assert name is None
    assert erased is not None
    assert contact(db, rival, user)[1] == "Ana"
    assert call(urls, acme, "owner", "erase_contact", found) == "erased_before"
    owed = "select count(*) from outbox where conversation_id = %s and status in ('pending', 'sending')"
    assert db.execute(owed, (open_,)).fetchone() == (0,)

    # Whoever writes again is somebody new.
    make_conversation(db, acme, ConversationShape(end_user=user, days_ago=0, speakers=[]))
    assert contact(db, acme, user)[0] != found


def test_a_visitor_who_is_forgotten_has_no_session_any_more(
    urls: Urls, db: psycopg.Connection, two: tuple[Company, Company]
) -> None:
    acme = two[0]
    sessions = []
    for _ in range(2):
        _, digest = open_visitor(urls.admin, acme)
        sessions.append(
            db.execute(
                "select id::text from visitor_sessions where token_digest = %s", (digest,)
            ).fetchone()[0]
        )
        make_conversation(
            db, acme, ConversationShape(end_user=sessions[-1], channel="web", days_ago=0)
        )
    assert (
        call(urls, acme, "administrador", "erase_contact", contact(db, acme, sessions[0])[0])
        == "erased"
    )
    left = db.execute("select id::text from visitor_sessions where company_id = %s", (acme.id,))
    assert left.fetchall() == [(sessions[1],)]


@pytest.mark.parametrize(
    ("role", "outcome"),
    [("owner", "erased"), ("administrador", "erased"), ("supervisor", "not_found"), ("operador", "not_found")],
)  # fmt: skip
def test_who_may_have_a_person_forgotten(
    urls: Urls, db: psycopg.Connection, two: tuple[Company, Company], role: str, outcome: str
) -> None:
    user = str(uuid4())
    conversation = make_conversation(db, two[0], ConversationShape(end_user=user, days_ago=1))
    before = stored_rows(db, [conversation])
    found = contact(db, two[0], user)[0]
    assert call(urls, two[1], role, "erase_contact", found) == "not_found"
    assert call(urls, two[0], role, "erase_contact", uuid4()) == "not_found"
    assert stored_rows(db, [conversation]) == before
    assert call(urls, two[0], role, "erase_contact", found) == outcome
    assert (stored_rows(db, [conversation]) != before) == (outcome == "erased")
