"""What a plan allows is held by the database: refused at the limit, and told to every role."""

from __future__ import annotations

import json
import secrets

import psycopg
import pytest

from neurant.installation.embedded import Urls
from tests.companies import ROLES, Company, make_company
from tests.plans.sql_as_role import (
    COUNTERS,
    FREE,
    add_bot,
    add_conversation,
    add_document,
    add_integration,
    call_as,
    counters,
    invite,
    limit,
    query_as_admin,
    recount,
    staff,
    used,
    worker,
)

TAKE = "select private.take_conversation(%s)"


@pytest.fixture
def acme(urls: Urls) -> Company:
    return make_company(urls.admin, "acme")


@pytest.fixture
def rival(urls: Urls) -> Company:
    return make_company(urls.admin, "rival")


def refused(error: pytest.ExceptionInfo[psycopg.Error]) -> dict[str, object]:
    assert error.value.sqlstate == "NA002"
    told = json.loads(error.value.diag.message_detail)
    assert error.value.diag.message_primary == f"limit reached: {told['limit']}"
    return told


def test_one_bot_more_than_the_plan_allows_is_refused_and_reported(
    urls: Urls, acme: Company, rival: Company
) -> None:
    limit(urls, acme, max_chatbots=2)
    limit(urls, rival, max_chatbots=1)
    with staff(urls, acme, "supervisor") as db:
        db.execute(
            "insert into chatbots (company_id, name, system_prompt, created_by) values (%s, 'b', 'x',"
            " (select private.user_id()))",
            (acme.id,),
        )
    with pytest.raises(psycopg.Error) as error, staff(urls, acme, "owner") as db:
        add_bot(db, acme)
    assert refused(error) == {"limit": "max_chatbots", "used": 2, "allowed": 2}
    assert counters(urls, acme)[0] == 2
    assert counters(urls, rival)[0] == 1


def test_a_retired_bot_makes_room(urls: Urls, acme: Company) -> None:
    limit(urls, acme, max_chatbots=1)
    assert (
        call_as(urls, acme, "owner", "select private.retire_chatbot(%s)", acme.bot_id) == "retired"
    )
    with staff(urls, acme, "owner") as db:
        add_bot(db, acme)
    assert counters(urls, acme)[0] == 1


def test_a_pending_invitation_holds_a_seat_until_it_ends(urls: Urls, acme: Company) -> None:
    limit(urls, acme, max_users=5)
    with staff(urls, acme, "owner") as db:
        _, invitation = invite(db, "a@acme.example")
    with pytest.raises(psycopg.Error) as error, staff(urls, acme, "owner") as db:
        invite(db, "b@acme.example")
    assert refused(error) == {"limit": "max_users", "used": 5, "allowed": 5}
    call_as(urls, acme, "owner", "select private.cancel_invitation(%s)", invitation)
    with staff(urls, acme, "owner") as db:
        assert invite(db, "b@acme.example")[0] == "invited"
    assert used(urls, acme, "max_users")[:2] == (5, 5)


def test_an_invitation_that_ran_out_never_stands_in_the_way(urls: Urls, acme: Company) -> None:
    limit(urls, acme, max_users=5)
    with staff(urls, acme, "owner") as db:
        invite(db, "late@acme.example")
    query_as_admin(
        urls,
        "update user_invitations set sent_at = now() - interval '8 days',"
        " expires_at = now() - interval '1 day' where company_id = %s",
        acme.id,
    )
    assert used(urls, acme, "max_users")[0] == 4  # exact, though nobody marked it yet
    with staff(urls, acme, "owner") as db:
        assert invite(db, "new@acme.example")[0] == "invited"
    assert query_as_admin(
        urls,
        "select email, status::text from user_invitations where company_id = %s order by 1",
        acme.id,
    ) == [("late@acme.example", "expired"), ("new@acme.example", "pending")]
    assert counters(urls, acme) == recount(urls, acme)


def test_an_integration_counts_while_it_is_active(urls: Urls, acme: Company) -> None:
    limit(urls, acme, max_integrations=1)
    switch = "update integrations set is_active = %s where id = %s"
    with staff(urls, acme, "owner") as db:
        first = add_integration(db, acme)
    with staff(urls, acme, "owner") as db:
        db.execute(switch, (False, first))
        second = add_integration(db, acme)
    assert counters(urls, acme)[2] == 1
    with pytest.raises(psycopg.Error) as error, staff(urls, acme, "administrador") as db:
        db.execute(switch, (True, first))
    assert refused(error)["limit"] == "max_integrations"
    with staff(urls, acme, "administrador") as db:
        db.execute(switch, (False, second))
        db.execute(switch, (True, first))
    assert counters(urls, acme)[2] == 1


def test_files_and_characters_count_until_the_document_is_retired(
    urls: Urls, acme: Company
) -> None:
    megabyte = 1024 * 1024
    limit(urls, acme, max_storage_mb=2, max_document_characters=1000)
    with staff(urls, acme, "owner") as db:
        document = add_document(db, acme, 2 * megabyte)
    with pytest.raises(psycopg.Error) as error, staff(urls, acme, "owner") as db:
        add_document(db, acme, 1)
    assert refused(error) == {
        "limit": "max_storage_mb",
        "used": 2 * megabyte,
        "allowed": 2 * megabyte,
    }
    read = "update documents set character_count = %s where id = %s"
    with worker(urls, acme) as db:
        db.execute(read, (1000, document))
    with pytest.raises(psycopg.Error) as error, worker(urls, acme) as db:
        db.execute(read, (1001, document))
    assert refused(error)["limit"] == "max_document_characters"
    retire = "update documents set retired_at = %s where id = %s"
    with staff(urls, acme, "supervisor") as db:
        db.execute(retire, ("now", document))
    assert counters(urls, acme)[3:5] == (0, 0)
    with staff(urls, acme, "owner") as db:
        add_document(db, acme, megabyte)
    with pytest.raises(psycopg.Error) as error, staff(urls, acme, "supervisor") as db:
        db.execute(retire, (None, document))  # brought back, it would not fit
    assert refused(error)["limit"] == "max_storage_mb"


def test_a_person_attends_no_more_conversations_at_a_time_than_the_plan_allows(
    urls: Urls, acme: Company
) -> None:
    limit(urls, acme, max_hitl_concurrent=1)
    first, second = add_conversation(urls, acme), add_conversation(urls, acme)
    assert call_as(urls, acme, "operador", TAKE, first) == "taken"
    with pytest.raises(psycopg.Error) as error:
        call_as(urls, acme, "operador", TAKE, second)
    assert refused(error) == {"limit": "max_hitl_concurrent", "used": 1, "allowed": 1}
    over = "select private.take_conversation(%s, true)"
    assert call_as(urls, acme, "supervisor", over, first) == "taken"  # the same one, another person
    assert call_as(urls, acme, "supervisor", "select private.resolve_conversation(%s)", first)
    assert call_as(urls, acme, "operador", TAKE, second) == "taken"
    assert counters(urls, acme)[5] == 1


QUEUE = (
    "insert into hitl_sessions (company_id, conversation_id, chatbot_id, reason)"
    " values (%s, %s, %s, 'user_request')"
)


def test_conversations_may_wait_in_the_queue_unless_the_plan_has_no_people(
    urls: Urls, acme: Company
) -> None:
    limit(urls, acme, max_hitl_concurrent=1)
    taken, waits, late = (add_conversation(urls, acme) for _ in range(3))
    call_as(urls, acme, "operador", TAKE, taken)
    query_as_admin(urls, QUEUE, acme.id, waits, acme.bot_id)
    assert counters(urls, acme)[5] == 1
    limit(urls, acme, max_hitl_concurrent=0)
    with pytest.raises(psycopg.Error) as error:
        query_as_admin(urls, QUEUE, acme.id, late, acme.bot_id)
    assert refused(error) == {"limit": "max_hitl_concurrent", "used": 1, "allowed": 0}


def test_a_raised_limit_helps_at_once_and_a_lowered_one_takes_nothing_away(
    urls: Urls, acme: Company
) -> None:
    limit(urls, acme, max_chatbots=1)
    with pytest.raises(psycopg.Error), staff(urls, acme, "owner") as db:
        add_bot(db, acme)
    limit(urls, acme, max_chatbots=3)
    with staff(urls, acme, "owner") as db:
        add_bot(db, acme)
        add_bot(db, acme)
    limit(urls, acme, max_chatbots=1)
    assert used(urls, acme, "max_chatbots")[:2] == (3, 1)
    with pytest.raises(psycopg.Error) as error, staff(urls, acme, "owner") as db:
        add_bot(db, acme)
    assert refused(error) == {"limit": "max_chatbots", "used": 3, "allowed": 1}
    assert (
        call_as(urls, acme, "owner", "select private.retire_chatbot(%s)", acme.bot_id) == "retired"
    )
    limit(urls, acme, max_chatbots=-1)
    with staff(urls, acme, "owner") as db:
        for _ in range(5):
            add_bot(db, acme)
    assert counters(urls, acme) == recount(urls, acme)


def test_every_role_reads_the_companys_own_use_and_the_plan_that_allows_more(
    urls: Urls, acme: Company, rival: Company
) -> None:
    limit(urls, acme, **{name: value for name, value in FREE.items() if "max_users" not in name})
    limit(urls, acme, max_users=4)
    for role in ROLES:
        with staff(urls, acme, role) as db:
            told = db.execute(
                "select limit_name, used, allowed, next_plan::text from private.usage()"
            ).fetchall()
        assert told == [
            ("monthly_message_limit", 0, 500, "starter"),
            ("max_chatbots", 1, 1, "starter"),
            ("max_users", 4, 4, "professional"),
            ("max_integrations", 0, 0, "starter"),
            ("max_document_characters", 0, 0, "starter"),
            ("max_storage_mb", 0, 0, "starter"),
            ("max_hitl_concurrent", 0, 0, "starter"),
        ]
    assert used(urls, rival, "max_chatbots") == (1, -1, None)
    with worker(urls, acme) as db:
        assert len(db.execute("select * from private.usage()").fetchall()) == 7
    crossed = {"sub": str(acme.people["owner"].auth_user_id), "company_id": str(rival.id)}
    with psycopg.connect(urls.app) as db:
        db.execute("select set_config('role', 'authenticated', true)")
        db.execute("select set_config('request.jwt.claims', %s, true)", (json.dumps(crossed),))
        assert db.execute("select * from private.usage()").fetchall() == []


def test_messages_of_the_month_are_reported_as_they_are_counted(urls: Urls, acme: Company) -> None:
    conversation = add_conversation(urls, acme)
    with psycopg.connect(urls.admin) as db:
        for _ in range(3):
            db.execute(
                "insert into messages (company_id, conversation_id, chatbot_id, channel_account_id,"
                " sender_type, content) select company_id, id, chatbot_id, channel_account_id, 'bot', 'x'"
                " from conversations where id = %s",
                (conversation,),
            )
    assert used(urls, acme, "monthly_message_limit")[0] == 3


@pytest.mark.parametrize("column", [*COUNTERS, *FREE, "subscription_plan", "next_plan"])
def test_nobody_writes_plan_limits_or_counters_by_hand(
    urls: Urls, acme: Company, column: str
) -> None:
    statement = psycopg.sql.SQL("update companies set {0} = {0}").format(
        psycopg.sql.Identifier(column)
    )
    for role in ROLES:
        with pytest.raises(psycopg.errors.InsufficientPrivilege), staff(urls, acme, role) as db:
            db.execute(statement)
    with pytest.raises(psycopg.errors.InsufficientPrivilege), worker(urls, acme) as db:
        db.execute(statement)
    with staff(urls, acme, "owner") as db:  # the pair: what an owner may write
        assert db.execute("update companies set phone = '1'").rowcount == 1


def test_nobody_calls_what_counts_or_applies_plans(urls: Urls, acme: Company) -> None:
    calls = (
        "select private.use_plan(%s, 'max_chatbots', -100)",
        "select private.apply_plan(%s, 'enterprise')",
        "select private.plan_use(%s, now())",
    )
    for query in calls:
        for role in ROLES:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                call_as(urls, acme, role, query, acme.id)
    for query in (
        "select private.apply_due_plan_changes()",
        "select private.raise_usage_alerts()",
        "select private.expire_invitations()",
        "select private.remind_next('x')",
        "select private.create_login('a@b.example', 'x')",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            call_as(urls, acme, "owner", query)


def test_every_counter_says_whether_it_is_exact_at_commit(urls: Urls) -> None:
    for column in COUNTERS:
        [[comment]] = query_as_admin(
            urls,
            "select col_description('companies'::regclass, attnum) from pg_attribute"
            " where attrelid = 'companies'::regclass and attname = %s",
            column,
        )
        assert "Exact at commit" in comment, column


def test_a_takeover_that_only_moves_on_does_not_lock_the_company(urls: Urls, acme: Company) -> None:
    """A hot path must not wait for another writer of the company's row."""
    conversation = add_conversation(urls, acme)
    call_as(urls, acme, "operador", TAKE, conversation)
    with psycopg.connect(urls.admin) as holder:
        holder.execute("select from companies where id = %s for no key update", (acme.id,))
        with staff(urls, acme, "operador") as db:
            db.execute("set local lock_timeout = '2s'")
            for _ in range(2):
                db.execute(
                    "insert into messages (company_id, conversation_id, content) values (%s, %s, 'Hola')",
                    (acme.id, conversation),
                )
        with staff(urls, acme, "owner") as db:
            db.execute("set local lock_timeout = '2s'")
            db.execute("update chatbots set description = %s", (secrets.token_hex(4),))
