"""People change and go: only below oneself, never the owner, and what they attended goes on."""

from __future__ import annotations

import json
import secrets
import threading
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from neurant.installation.embedded import Urls
from tests.companies import ROLES, Company, make_company
from tests.plans.sql_as_role import (
    add_conversation,
    call_as,
    counters,
    limit,
    query_as_admin,
    recount,
    staff,
)

SET_ROLE = "select private.set_user_role(%s, %s)"
SET_ACTIVE = "select private.set_user_active(%s, %s)"
TRANSFER = "select private.transfer_ownership(%s)"
TAKE = "select private.take_conversation(%s)"
LEVEL = {"owner": 4, "administrador": 3, "supervisor": 2, "operador": 1}


@pytest.fixture
def acme(urls: Urls) -> Company:
    return make_company(urls.admin, "acme")


@pytest.fixture
def rival(urls: Urls) -> Company:
    return make_company(urls.admin, "rival")


def roles(urls: Urls, company: Company) -> dict[str, tuple[str, bool]]:
    """Role and activity of each person, by the role that they began with."""
    rows = {
        row[0]: (row[1], row[2])
        for row in query_as_admin(
            urls, "select id, role::text, is_active from users where company_id = %s", company.id
        )
    }
    return {role: rows[person.id] for role, person in company.people.items()}


UNCHANGED = {role: (role, True) for role in ROLES}


def above(actor: str, other: str) -> bool:
    return actor in ("owner", "administrador") and LEVEL[actor] > LEVEL[other]


@pytest.mark.parametrize("actor", ROLES)
def test_a_role_is_given_only_below_oneself_and_only_to_people_below(
    urls: Urls, acme: Company, actor: str
) -> None:
    """D04, D05, D06."""
    for target in ROLES:
        for role in ROLES:
            with staff(urls, acme, actor) as db:
                person = acme.people[target].id
                outcome = db.execute(SET_ROLE, (person, role)).fetchone()[0]
                db.rollback()
            if not (above(actor, target) and above(actor, role)):
                assert outcome == "forbidden", (target, role)
            else:
                assert outcome == ("unchanged" if target == role else "changed"), (target, role)


@pytest.mark.parametrize("actor", ROLES)
def test_people_are_let_in_and_out_only_by_those_above_them(
    urls: Urls, acme: Company, actor: str
) -> None:
    for target in ROLES:
        with staff(urls, acme, actor) as db:
            outcome = db.execute(SET_ACTIVE, (acme.people[target].id, False)).fetchone()[0]
            db.rollback()
        assert outcome == ("deactivated" if above(actor, target) else "forbidden"), target
    assert roles(urls, acme) == UNCHANGED


def test_another_companys_person_is_an_unknown_one(
    urls: Urls, acme: Company, rival: Company
) -> None:
    for actor in ("owner", "administrador"):
        for person in (rival.people["operador"].id, uuid4()):
            assert call_as(urls, acme, actor, SET_ROLE, person, "supervisor") == "not_found"
            assert call_as(urls, acme, actor, SET_ACTIVE, person, False) == "not_found"
    for person in (rival.people["administrador"].id, uuid4()):
        assert call_as(urls, acme, "owner", TRANSFER, person) == "not_found"
    assert roles(urls, rival) == UNCHANGED
    assert roles(urls, acme) == UNCHANGED


def test_nobody_writes_role_activity_or_permissions_by_hand(urls: Urls, acme: Company) -> None:
    statements = (
        "update users set role = 'administrador'",
        "update users set is_owner = true",
        "update users set is_active = true",
        "update users set permissions = '{}'",
        "insert into users (company_id, email, first_name, last_name) values (null, 'a@b.co', 'a', 'b')",
    )
    for role in ROLES:
        for statement in statements:
            with (
                pytest.raises(psycopg.errors.InsufficientPrivilege),
                staff(urls, acme, role) as db,
            ):
                db.execute(statement)
        with staff(urls, acme, role) as db:  # the pair: one's own name, and nobody else's
            assert db.execute("update users set first_name = 'Ana'").rowcount == 1


def test_who_is_deactivated_is_out_and_what_they_attended_waits_in_the_queue(
    urls: Urls, acme: Company
) -> None:
    conversations = [add_conversation(urls, acme) for _ in range(3)]
    for one in conversations:
        call_as(urls, acme, "operador", TAKE, one)
    person = acme.people["operador"]
    with psycopg.connect(urls.app) as db:
        db.execute(
            "select private.open_login_session(%s, %s, null, null, '1 day')",
            (person.auth_user_id, secrets.token_bytes(32)),
        )
    transfer = "select private.request_transfer(%s, %s, 'escalation', 'ayuda')"
    supervisor = acme.people["supervisor"].id
    assert call_as(urls, acme, "operador", transfer, conversations[0], supervisor) == "requested"
    assert call_as(urls, acme, "administrador", SET_ACTIVE, person.id, False) == "deactivated"
    assert query_as_admin(
        urls,
        "select distinct s.status, s.operator_id, c.is_hitl_active, c.assigned_operator_id"
        " from hitl_sessions s join conversations c on c.company_id = s.company_id"
        " and c.id = s.conversation_id where s.company_id = %s",
        acme.id,
    ) == [("pending", None, True, None)]
    assert query_as_admin(
        urls, "select status from hitl_transfers where company_id = %s", acme.id
    ) == [("cancelled",)]
    assert query_as_admin(urls, "select * from login_sessions where company_id = %s", acme.id) == []
    assert (
        query_as_admin(
            urls,
            "select distinct on (m.conversation_id) m.content, m.sender_id from messages m"
            " where m.company_id = %s and m.sender_type = 'system' order by m.conversation_id, m.seq desc",
            acme.id,
        )
        == [("hitl_released", person.id)] * 3
    )
    assert counters(urls, acme) == recount(urls, acme)
    assert counters(urls, acme)[1] == 3
    assert counters(urls, acme)[5] == 0
    assert call_as(urls, acme, "operador", "select count(*) from companies") == 0
    assert call_as(urls, acme, "operador", TAKE, conversations[0]) == "not_found"
    assert call_as(urls, acme, "supervisor", TAKE, conversations[0]) == "taken"


def test_takeovers_go_back_to_the_queue_even_where_the_plan_has_no_people_left(
    urls: Urls, acme: Company
) -> None:
    call_as(urls, acme, "operador", TAKE, add_conversation(urls, acme))
    limit(urls, acme, max_hitl_concurrent=0)
    person = acme.people["operador"].id
    assert call_as(urls, acme, "owner", SET_ACTIVE, person, False) == "deactivated"
    assert counters(urls, acme)[5] == 0


def test_nobody_reactivates_themselves_and_coming_back_needs_a_seat(
    urls: Urls, acme: Company
) -> None:
    """D14."""
    person = acme.people["administrador"].id
    call_as(urls, acme, "owner", SET_ACTIVE, person, False)
    assert call_as(urls, acme, "administrador", SET_ACTIVE, person, True) == "forbidden"
    limit(urls, acme, max_users=3)
    with pytest.raises(psycopg.Error) as error:
        call_as(urls, acme, "owner", SET_ACTIVE, person, True)
    assert error.value.sqlstate == "NA002"
    limit(urls, acme, max_users=4)
    assert call_as(urls, acme, "owner", SET_ACTIVE, person, True) == "activated"
    assert call_as(urls, acme, "owner", SET_ACTIVE, person, True) == "unchanged"


def test_a_role_that_cannot_hold_an_assignment_ends_it(urls: Urls, acme: Company) -> None:
    operator, supervisor = acme.people["operador"].id, acme.people["supervisor"].id
    with staff(urls, acme, "owner") as db:
        db.execute(
            "insert into chatbot_supervisors (company_id, chatbot_id, supervisor_id, assigned_by)"
            " values (%s, %s, %s, (select private.user_id()))",
            (acme.id, acme.bot_id, supervisor),
        )
    assert call_as(urls, acme, "owner", SET_ROLE, operator, "supervisor") == "changed"
    assert call_as(urls, acme, "owner", SET_ROLE, supervisor, "operador") == "changed"
    assert query_as_admin(
        urls, "select is_active from chatbot_operators where company_id = %s", acme.id
    ) == [(False,)]
    assert (
        query_as_admin(urls, "select * from chatbot_supervisors where company_id = %s", acme.id)
        == []
    )


def test_ownership_passes_to_a_colleague_and_only_the_owner_passes_it(
    urls: Urls, acme: Company
) -> None:
    for role in ROLES[1:]:
        for target in ROLES:
            assert call_as(urls, acme, role, TRANSFER, acme.people[target].id) == "forbidden"
    assert call_as(urls, acme, "owner", TRANSFER, acme.people["owner"].id) == "unchanged"
    assert call_as(urls, acme, "owner", TRANSFER, acme.people["operador"].id) == "transferred"
    assert roles(urls, acme) == UNCHANGED | {
        "owner": ("administrador", True),
        "operador": ("owner", True),
    }
    assert call_as(urls, acme, "owner", TRANSFER, acme.people["owner"].id) == "forbidden"
    assert call_as(urls, acme, "operador", TRANSFER, acme.people["owner"].id) == "transferred"


def test_ownership_does_not_pass_to_somebody_who_cannot_enter(urls: Urls, acme: Company) -> None:
    person = acme.people["supervisor"].id
    call_as(urls, acme, "owner", SET_ACTIVE, person, False)
    assert call_as(urls, acme, "owner", TRANSFER, person) == "not_found"
    query_as_admin(
        urls, "update users set auth_user_id = null where id = %s", acme.people["operador"].id
    )
    assert call_as(urls, acme, "owner", TRANSFER, acme.people["operador"].id) == "not_found"


def owners(urls: Urls, company: Company) -> int:
    return query_as_admin(
        urls, "select count(*) from users where company_id = %s and is_owner", company.id
    )[0][0]


def test_there_is_one_owner_whoever_writes(urls: Urls, acme: Company) -> None:
    """D06, for those whom no policy holds."""
    for statement in (
        "update users set role = 'administrador', is_owner = false where id = %s",
        "update users set is_active = false where id = %s",
        "update users set is_owner = false where id = %s",
    ):
        with pytest.raises(psycopg.errors.CheckViolation):
            query_as_admin(urls, statement, acme.people["owner"].id)
    second = "update users set role = 'owner', is_owner = true where id = %s"
    with pytest.raises(psycopg.errors.UniqueViolation):
        query_as_admin(urls, second, acme.people["administrador"].id)
    assert owners(urls, acme) == 1


def test_two_transfers_at_once_leave_one_owner(urls: Urls) -> None:
    for _ in range(5):
        acme = make_company(urls.admin, "acme")
        gate = threading.Barrier(2)
        outcomes: list[Any] = []

        def pass_on(
            to: UUID,
            company: Company = acme,
            gate: threading.Barrier = gate,
            outcomes: list[str] = outcomes,
        ) -> None:
            with staff(urls, company, "owner") as db:
                gate.wait(10)
                outcomes.append(db.execute(TRANSFER, (to,)).fetchone()[0])

        threads = [
            threading.Thread(target=pass_on, args=(acme.people[role].id,))
            for role in ("administrador", "supervisor")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(outcomes) == ["forbidden", "transferred"]
        assert owners(urls, acme) == 1


def test_somebody_who_is_deactivated_while_taking_keeps_nothing(urls: Urls) -> None:
    """Taking and deactivating at once: no conversation stays with somebody who is gone."""
    for _ in range(5):
        acme = make_company(urls.admin, "acme")
        conversations = [add_conversation(urls, acme) for _ in range(8)]
        gate = threading.Barrier(5)
        errors: list[str | None] = []

        def take(
            mine: list[UUID],
            company: Company = acme,
            gate: threading.Barrier = gate,
            errors: list[str | None] = errors,
        ) -> None:
            gate.wait(10)
            for one in mine:
                try:
                    call_as(urls, company, "operador", TAKE, one)
                except psycopg.Error as error:
                    errors.append(error.sqlstate)

        def deactivate(company: Company = acme, gate: threading.Barrier = gate) -> None:
            gate.wait(10)
            person = company.people["operador"].id
            assert call_as(urls, company, "owner", SET_ACTIVE, person, False) == "deactivated"

        threads = [threading.Thread(target=take, args=(conversations[n::4],)) for n in range(4)]
        threads.append(threading.Thread(target=deactivate))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert query_as_admin(
            urls,
            "select count(*) from hitl_sessions where company_id = %s and operator_id is not null",
            acme.id,
        ) == [(0,)]
        assert set(errors) <= {"42501"}  # refused, and never a deadlock
        assert counters(urls, acme) == recount(urls, acme)


def test_an_api_key_changes_people_only_below_its_own_level(urls: Urls, acme: Company) -> None:
    key = query_as_admin(
        urls,
        "insert into api_keys (company_id, name, prefix, key_digest, role, created_by, scopes)"
        " values (%s, 'k', 'na_', %s, 'administrador', %s, '{users.read,users.manage}') returning id",
        acme.id,
        secrets.token_bytes(32),
        acme.people["owner"].id,
    )[0][0]
    with psycopg.connect(urls.app) as db:
        claims = json.dumps({"key_id": str(key), "company_id": str(acme.id)})
        db.execute("select set_config('role', 'authenticated', true)")
        db.execute("select set_config('request.jwt.claims', %s, true)", (claims,))

        def outcome(query: str, *params: object) -> str:
            return db.execute(query, params).fetchone()[0]

        for role in ("owner", "administrador"):
            assert outcome(SET_ACTIVE, acme.people[role].id, False) == "forbidden"
        assert outcome(SET_ROLE, acme.people["operador"].id, "supervisor") == "changed"
        assert outcome(TRANSFER, acme.people["operador"].id) == "forbidden"
        assert outcome("select private.close_company()") == "forbidden"
