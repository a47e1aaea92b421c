"""Archiving conserves every row, for every company, and brings a conversation back exactly."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neurant.installation.embedded import Urls
from tests.companies import ROLES, Company, make_company
from tests.retention.old_conversations import (
    LIVE,
    ConversationShape,
    archive_all,
    become,
    make_conversation,
    restore,
    stored_rows,
)


@pytest.fixture(scope="module")
def two(urls: Urls) -> tuple[Company, Company]:
    return make_company(urls.admin, "acme"), make_company(urls.admin, "rival")


@pytest.fixture
def db(urls: Urls) -> Iterator[psycopg.Connection]:
    with psycopg.connect(urls.admin, autocommit=True) as connection:
        yield connection


def nothing(found: dict[str, list[str]]) -> bool:
    return not any(found.values())


shapes = st.builds(
    ConversationShape,
    speakers=st.lists(st.sampled_from(["end_user", "bot", "human", "system"]), max_size=6),
    channel=st.sampled_from(["telegram", "web"]),
    status=st.sampled_from(["resolved", "abandoned", "active"]),
    days_ago=st.sampled_from([0, 300, 364, 367, 4000]),
    takeover=st.booleans(),
    notes=st.integers(0, 2),
    reactions=st.booleans(),
    queries=st.integers(0, 2),
)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(talks=st.lists(st.tuples(st.integers(0, 1), shapes), min_size=1, max_size=5))
def test_every_row_is_conserved_whatever_the_conversations_were(
    urls: Urls, db: psycopg.Connection, two: tuple[Company, Company], talks: list[Any]
) -> None:
    old: list[UUID] = []
    recent: list[UUID] = []
    for whose, shape in talks:
        conversation = make_conversation(db, two[whose], shape)
        finished = shape.status != "active" and shape.days_ago > 365
        (old if finished else recent).append(conversation)
    before, untouched = stored_rows(db, old), stored_rows(db, recent)
    ours = {company.id for company in two}
    batches = [batch for batch in archive_all(urls.jobs, limit=2) if batch[0] in ours]
    assert stored_rows(db, old, "_archived") == before
    assert nothing(stored_rows(db, old))
    assert stored_rows(db, recent) == untouched
    assert nothing(stored_rows(db, recent, "_archived"))
    assert sum(batch[2] for batch in batches) == len(old)
    for company, batch, _ in batches:
        counts, checksums, moved = db.execute(
            "select counts, checksums, conversation_ids from archive_batches"
            " where company_id = %s and id = %s",
            (company, batch),
        ).fetchone()
        kept = stored_rows(db, moved, "_archived")
        assert counts == {table: len(rows) for table, rows in kept.items()}
        assert set(checksums) == set(LIVE)
    for conversation in old:
        assert sorted(restore(urls.app, company, conversation) for company in two) == [
            "not_found",
            "restored",
        ]
    assert stored_rows(db, old) == before
    assert nothing(stored_rows(db, old, "_archived"))


def test_a_batch_says_whether_its_rows_went_or_came_back(
    urls: Urls, db: psycopg.Connection, two: tuple[Company, Company]
) -> None:
    acme, rival = two
    conversation = make_conversation(db, acme, ConversationShape())
    batches = [batch for company, batch, _ in archive_all(urls.jobs) if company == acme.id]
    assert restore(urls.app, acme, conversation) == "restored"
    kinds = "select array_agg(kind order by started_at) from archive_batches where %s = any (conversation_ids)"
    assert db.execute(kinds, (conversation,)).fetchone() == (["archive", "restore"],)
    assert len(batches) == 1
    seen = (
        "select count(*) from archive_batches where company_id = %s and %s = any (conversation_ids)"
    )
    assert db.execute(seen, (rival.id, conversation)).fetchone() == (0,)


def test_the_checksum_is_what_its_comment_says(
    urls: Urls, db: psycopg.Connection, two: tuple[Company, Company]
) -> None:
    conversation = make_conversation(db, two[0], ConversationShape())
    archive_all(urls.jobs)
    checksums = db.execute(
        "select checksums from archive_batches where %s = any (conversation_ids)", (conversation,)
    ).fetchone()[0]
    expression = db.execute("select private.row_text('notes'::regclass)").fetchone()[0]
    rows = db.execute(
        f"select {expression} from notes_archived where conversation_id = %s order by id",
        (conversation,),
    ).fetchall()
    digests = b"".join(hashlib.sha256(text.encode()).digest() for (text,) in rows)
    assert checksums["notes"] == hashlib.sha256(digests).hexdigest()
    db.execute(
        "update notes_archived set content = 'x' where conversation_id = %s", (conversation,)
    )
    changed = db.execute(
        "select private.count_archived(%s, %s, '_archived')", (two[0].id, [conversation])
    ).fetchone()[0]
    assert changed["notes"]["sha256"] != checksums["notes"]
    assert changed["messages"]["sha256"] == checksums["messages"]


def test_a_checksum_does_not_depend_on_the_settings_of_the_session(
    urls: Urls, db: psycopg.Connection, two: tuple[Company, Company]
) -> None:
    conversation = make_conversation(db, two[0], ConversationShape())
    call = "select private.count_archived(%s, %s, '')"
    plain = db.execute(call, (two[0].id, [conversation])).fetchone()
    for setting in ("timezone = 'Asia/Tokyo'", "datestyle = 'German'", "bytea_output = 'escape'"):
        db.execute(f"set {setting}")
    assert db.execute(call, (two[0].id, [conversation])).fetchone() == plain


# D30-D33 -----------------------------------------------------------------------------------------
def test_d30_the_messages_are_archived_not_destroyed(
    urls: Urls, db: psycopg.Connection, two: tuple[Company, Company]
) -> None:
    conversation = make_conversation(db, two[0], ConversationShape())
    before = stored_rows(db, [conversation])
    assert len(before["messages"]) > 4
    archive_all(urls.jobs)
    assert stored_rows(db, [conversation], "_archived") == before


def test_d31_knowledge_queries_go_along_and_stop_nobody(
    urls: Urls, db: psycopg.Connection, two: tuple[Company, Company]
) -> None:
    acme, rival = two
    asked, other = (
        make_conversation(db, acme, ConversationShape(queries=3)),
        make_conversation(db, rival, ConversationShape()),
    )
    message = db.execute(
        "select id from messages where conversation_id = %s limit 1", (asked,)
    ).fetchone()[0]
    # One that names the message only, and one that names another conversation.
    db.execute(
        "insert into knowledge_queries (company_id, message_id, query_text) values (%s, %s, 'x')",
        (acme.id, message),
    )
    elsewhere = make_conversation(db, acme, ConversationShape(days_ago=1))
    db.execute(
        "insert into knowledge_queries (company_id, conversation_id, message_id, query_text)"
        " values (%s, %s, %s, 'x')",
        (acme.id, elsewhere, message),
    )
    archive_all(urls.jobs)
    assert len(stored_rows(db, [asked], "_archived")["knowledge_queries"]) == 3 * 2 + 2
    assert stored_rows(db, [other], "_archived")["conversations"]


def test_d32_the_same_end_user_is_archived_twice(
    urls: Urls, db: psycopg.Connection, two: tuple[Company, Company]
) -> None:
    user = str(uuid4())
    first = make_conversation(db, two[0], ConversationShape(end_user=user))
    archive_all(urls.jobs)
    second = make_conversation(db, two[0], ConversationShape(end_user=user))
    archive_all(urls.jobs)
    assert len(stored_rows(db, [first, second], "_archived")["conversations"]) == 2


@pytest.mark.parametrize(
    "change",
    [
        "alter table messages add column extra text default 'x'",
        "alter table notes_archived add column extra text",
        "alter table conversations alter column end_user_name type varchar(300)",
    ],
)
def test_d33_a_changed_column_stops_the_archiving_and_loses_nothing(
    urls: Urls, db: psycopg.Connection, two: tuple[Company, Company], change: str
) -> None:
    conversation = make_conversation(db, two[0], ConversationShape())
    before = stored_rows(db, [conversation])
    with db.transaction(force_rollback=True):
        db.execute(change)
        with pytest.raises(psycopg.Error) as refused, db.transaction():
            db.execute("select * from private.archive_old_data()")
        assert refused.value.sqlstate == "NA003"
        assert ".end_user_name" in str(refused.value) or ".extra" in str(refused.value)
    assert stored_rows(db, [conversation]) == before


def test_d33_a_column_on_both_sides_is_kept_without_a_change_of_code(
    urls: Urls, db: psycopg.Connection, two: tuple[Company, Company]
) -> None:
    conversation = make_conversation(db, two[0], ConversationShape())
    with db.transaction(force_rollback=True):
        for table in ("messages", "messages_archived"):
            db.execute(f"alter table {table} add column extra text")
        db.execute(
            "update messages set extra = id::text where conversation_id = %s", (conversation,)
        )
        db.execute("select private.archive_old_data()")
        assert db.execute(
            "select count(*) > 0 and bool_and(extra = id::text) from messages_archived"
            " where conversation_id = %s",
            (conversation,),
        ).fetchone()[0]


# What is moved, and when -------------------------------------------------------------------------
@pytest.mark.parametrize(
    "work",
    [
        "insert into reply_requests (company_id, conversation_id, wanted_seq, due_at)"
        " values (%(company)s, %(conversation)s, 1, now())",
        "update outbox set status = 'pending' where id = (select id from outbox"
        " where conversation_id = %(conversation)s limit 1)",
        "update hitl_transfers set status = 'pending', decided_at = null"
        " where conversation_id = %(conversation)s",
    ],
)
def test_a_conversation_with_open_work_stays(
    urls: Urls, db: psycopg.Connection, two: tuple[Company, Company], work: str
) -> None:
    waits, done = (
        make_conversation(db, two[0], ConversationShape()),
        make_conversation(db, two[0], ConversationShape()),
    )
    db.execute(work, {"company": two[0].id, "conversation": waits})
    archive_all(urls.jobs)
    assert nothing(stored_rows(db, [waits], "_archived"))
    assert stored_rows(db, [done], "_archived")["conversations"]
    db.execute("delete from reply_requests where conversation_id = %s", (waits,))
    db.execute("update outbox set status = 'sent' where conversation_id = %s", (waits,))
    db.execute(
        "update hitl_transfers set status = 'expired', decided_at = now() where conversation_id = %s",
        (waits,),
    )
    archive_all(urls.jobs)
    assert stored_rows(db, [waits], "_archived")["conversations"]


def test_a_locked_conversation_is_passed_over(
    urls: Urls, db: psycopg.Connection, two: tuple[Company, Company]
) -> None:
    locked, free = (
        make_conversation(db, two[0], ConversationShape()),
        make_conversation(db, two[0], ConversationShape()),
    )
    with psycopg.connect(urls.admin) as other:
        other.execute("select from conversations where id = %s for update", (locked,))
        archive_all(urls.jobs)
        assert nothing(stored_rows(db, [locked], "_archived"))
        assert stored_rows(db, [free], "_archived")["conversations"]
    archive_all(urls.jobs)
    assert stored_rows(db, [locked], "_archived")["conversations"]


def test_the_companies_take_turns(
    urls: Urls, db: psycopg.Connection, two: tuple[Company, Company]
) -> None:
    archive_all(urls.jobs)
    for company in two:
        for _ in range(3):
            make_conversation(db, company, ConversationShape(speakers=[]))
    order = [batch[0] for batch in archive_all(urls.jobs, limit=1)]
    assert len(order) == 6
    assert {frozenset(order[i : i + 2]) for i in (0, 2, 4)} == {frozenset((two[0].id, two[1].id))}


def test_everything_that_points_at_a_conversation_moves_with_it_or_must_be_gone(
    db: psycopg.Connection,
) -> None:
    pointing = db.execute(
        "with recursive hangs as (select 'public.conversations'::regclass::oid as t union"
        "  select k.conrelid from pg_constraint k join hangs on hangs.t = k.confrelid"
        "  where k.contype = 'f' and k.confdeltype <> 'c')"
        " select t::regclass::text from hangs"
    ).fetchall()
    named = {row[0] for row in pointing}
    assert named - set(LIVE) == {"reply_requests"}
    registered = db.execute("select live::text from private.archived_tables() order by place")
    assert tuple(row[0] for row in registered) == LIVE


def test_each_archive_has_exactly_the_columns_and_types_of_its_live_table(
    db: psycopg.Connection,
) -> None:
    columns = (
        "select attname, format_type(atttypid, atttypmod) from pg_attribute"
        " where attrelid = %s::regclass and attnum > 0 and not attisdropped order by attname"
    )
    for table in LIVE:
        live = db.execute(columns, (table,)).fetchall()
        assert len(live) > 5
        assert db.execute(columns, (f"{table}_archived",)).fetchall() == live, table
    assert db.execute("select private.check_archives()").fetchone() == ("",)


# Bringing back -----------------------------------------------------------------------------------
def test_a_conversation_comes_back_exactly_and_nothing_is_said_again(
    urls: Urls, db: psycopg.Connection, two: tuple[Company, Company]
) -> None:
    acme, rival = two
    user = str(uuid4())
    conversation = make_conversation(db, acme, ConversationShape(end_user=user))
    before = stored_rows(db, [conversation])
    archive_all(urls.jobs)
    current = make_conversation(
        db, acme, ConversationShape(end_user=user, status="active", days_ago=0)
    )
    present = stored_rows(db, [current])
    assert restore(urls.app, rival, conversation) == "not_found"
    assert restore(urls.app, acme, conversation) == "restored"
    assert stored_rows(db, [conversation]) == before
    assert nothing(stored_rows(db, [conversation], "_archived"))
    assert stored_rows(db, [current]) == present
    waiting = "select count(*) from outbox where conversation_id = %s and status <> 'sent'"
    assert db.execute(waiting, (conversation,)).fetchone() == (0,)
    assert restore(urls.app, acme, conversation) == "not_found"


def test_what_was_brought_back_is_not_archived_again_the_same_night(
    urls: Urls, db: psycopg.Connection, two: tuple[Company, Company]
) -> None:
    conversation = make_conversation(db, two[0], ConversationShape())
    archive_all(urls.jobs)
    restore(urls.app, two[0], conversation)
    archive_all(urls.jobs)
    assert stored_rows(db, [conversation])["conversations"]
    later = "select private.archive_old_data(p_now => now() + interval '31 days')"
    while db.execute(later).fetchone():
        pass
    assert stored_rows(db, [conversation], "_archived")["conversations"]


@pytest.mark.parametrize(
    ("role", "outcome"),
    [("owner", "restored"), ("administrador", "restored"), ("supervisor", "not_found"),
     ("operador", "not_found")],
)  # fmt: skip
def test_who_may_bring_back(
    urls: Urls, db: psycopg.Connection, two: tuple[Company, Company], role: str, outcome: str
) -> None:
    conversation = make_conversation(db, two[0], ConversationShape())
    archive_all(urls.jobs)
    assert restore(urls.app, two[1], conversation, role) == "not_found"
    assert restore(urls.app, two[0], uuid4(), role) == "not_found"
    assert restore(urls.app, two[0], conversation, role) == outcome


def test_a_message_that_the_channel_sent_anew_keeps_the_old_one_in_the_archive(
    urls: Urls, db: psycopg.Connection, two: tuple[Company, Company]
) -> None:
    conversation = make_conversation(db, two[0], ConversationShape())
    archive_all(urls.jobs)
    again = make_conversation(db, two[0], ConversationShape(days_ago=1))
    db.execute(
        "update messages set external_message_id = (select external_message_id from messages_archived"
        " where conversation_id = %s and external_message_id is not null limit 1)"
        " where conversation_id = %s and seq = (select min(seq) from messages where conversation_id = %s)",
        (conversation, again, again),
    )
    before = stored_rows(db, [conversation], "_archived")
    assert restore(urls.app, two[0], conversation) == "in_conflict"
    assert stored_rows(db, [conversation], "_archived") == before


# Who reads ---------------------------------------------------------------------------------------
def archived_rows(urls: Urls, company: Company, role: str, conversation: UUID) -> dict[str, int]:
    with psycopg.connect(urls.app) as db:
        become(db, company, role)
        return {
            table: len(rows) for table, rows in stored_rows(db, [conversation], "_archived").items()
        }


def test_the_archive_is_read_by_whom_the_conversation_was_and_by_nobody_of_another_company(
    urls: Urls, db: psycopg.Connection
) -> None:
    acme, rival = make_company(urls.admin, "acme"), make_company(urls.admin, "rival")
    conversation = make_conversation(db, acme, ConversationShape())
    with psycopg.connect(urls.app) as live:
        become(live, acme, "operador")
        before = {table: len(rows) for table, rows in stored_rows(live, [conversation]).items()}
    assert all(before.values())
    archive_all(urls.jobs)
    for role in ROLES:
        assert archived_rows(urls, acme, role, conversation) == before
        assert not any(archived_rows(urls, rival, role, conversation).values())
    db.execute("update chatbot_operators set is_active = false where company_id = %s", (acme.id,))
    scoped = archived_rows(urls, acme, "operador", conversation)
    # Documents' questions are everybody's, and whoever asked for help sees what became of it.
    assert {t for t, n in scoped.items() if n} == {"knowledge_queries", "hitl_transfers"}
    db.execute(
        "update conversations_archived set assigned_operator_id = %s where id = %s",
        (acme.people["operador"].id, conversation),
    )
    scoped = archived_rows(urls, acme, "operador", conversation)
    assert all(scoped.values())


def test_the_manifest_is_for_owner_and_administradores(urls: Urls, db: psycopg.Connection) -> None:
    acme, rival = make_company(urls.admin, "acme"), make_company(urls.admin, "rival")
    make_conversation(db, acme, ConversationShape())
    archive_all(urls.jobs)
    for company, role, seen in [
        (acme, "owner", 1), (acme, "administrador", 1), (acme, "supervisor", 0),
        (acme, "operador", 0), (rival, "owner", 0),
    ]:  # fmt: skip
        with psycopg.connect(urls.app) as who:
            become(who, company, role)
            count = who.execute("select count(*) from archive_batches").fetchone()
            assert count == (seen,), role


@pytest.mark.parametrize("table", [f"{table}_archived" for table in LIVE] + ["archive_batches"])
def test_nobody_who_serves_traffic_writes_the_archive(
    urls: Urls, two: tuple[Company, Company], table: str
) -> None:
    statements = (
        f"insert into {table} (company_id) values ('{two[0].id}')",
        f"update {table} set company_id = company_id",
        f"delete from {table}",
    )
    for url, role, claims in (
        (urls.app, "authenticated", {"sub": str(two[0].people["owner"].auth_user_id)}),
        (urls.jobs, "neurant_worker", {}),
        (urls.app, "visitor", {}),
    ):
        for statement in statements:
            with psycopg.connect(url) as who:
                who.execute("select set_config('role', %s, true)", (role,))
                who.execute(
                    "select set_config('request.jwt.claims', %s, true)",
                    (json.dumps({**claims, "company_id": str(two[0].id)}),),
                )
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    who.execute(statement)


def test_a_guard_of_a_trigger_cannot_be_reached_by_a_caller(
    urls: Urls, db: psycopg.Connection, two: tuple[Company, Company]
) -> None:
    """Who brings its own author, conversation or number is refused before any trigger asks."""
    acme = two[0]
    conversation = make_conversation(db, acme, ConversationShape(days_ago=0, status="active"))
    message = db.execute(
        "select id from messages where conversation_id = %s and sender_type = 'bot'",
        (conversation,),
    ).fetchone()[0]
    owner = acme.people["owner"].id
    for statement in (
        f"insert into notes (company_id, conversation_id, content, author_id) values ('{acme.id}', '{conversation}', 'x', '{owner}')",
        f"insert into message_reactions (company_id, message_id, conversation_id, reaction_type) values ('{acme.id}', '{message}', '{conversation}', 'helpful')",
        f"insert into messages (company_id, conversation_id, content, seq) values ('{acme.id}', '{conversation}', 'x', 99)",
        f"insert into hitl_sessions (company_id, conversation_id, chatbot_id, reason, ended_at) values ('{acme.id}', '{conversation}', '{acme.bot_id}', 'manual', now())",
    ):
        with psycopg.connect(urls.app) as who:
            become(who, acme, "owner")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                who.execute(statement)
    with psycopg.connect(urls.app) as who:
        become(who, acme, "owner")
        who.execute(
            "insert into notes (company_id, conversation_id, content) values (%s, %s, 'x')",
            (acme.id, conversation),
        )
        who.execute(
            "insert into message_reactions (company_id, message_id, reaction_type)"
            " values (%s, %s, 'not_helpful')",
            (acme.id, message),
        )
