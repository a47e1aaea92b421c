"""Giving a conversation to a colleague: by supervisors and above, to whoever may serve its bot."""

from __future__ import annotations

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

ASSIGN = "select private.assign_conversation(%s, %s)"
TAKE = "select private.take_conversation(%s)"
ASSIGNERS = ("owner", "administrador", "supervisor")


@pytest.fixture
def acme(urls: Urls) -> Company:
    return make_company(urls.admin, "acme")


@pytest.fixture
def rival(urls: Urls) -> Company:
    return make_company(urls.admin, "rival")


@pytest.fixture
def conversation(urls: Urls, acme: Company) -> UUID:
    return add_conversation(urls, acme)


def assign(urls: Urls, company: Company, by: str, conversation: UUID, to: str) -> str:
    return call_as(urls, company, by, ASSIGN, conversation, company.people[to].id)


def takeovers(urls: Urls, conversation: UUID) -> list[tuple[str, str, UUID | None]]:
    """Status, reason and holder of each takeover of the conversation, and its own holder agrees."""
    query = (
        "select s.status::text, s.reason, s.operator_id, c.assigned_operator_id"
        " from hitl_sessions s join conversations c on c.id = s.conversation_id"
        " where c.id = %s order by s.opened_at"
    )
    rows = query_as_admin(urls, query, conversation)
    assert all(row[2] == row[3] for row in rows)
    return [row[:3] for row in rows]


@pytest.mark.parametrize("by", ASSIGNERS)
def test_from_supervisor_up_a_conversation_is_given_to_anybody_who_serves_the_bot(
    urls: Urls, acme: Company, by: str
) -> None:
    for to in ROLES:
        conversation = add_conversation(urls, acme)
        assert assign(urls, acme, by, conversation, to) == "assigned"
        assert takeovers(urls, conversation) == [("active", "manual", acme.people[to].id)]


def test_an_operador_gives_nobody_anything(urls: Urls, acme: Company, conversation: UUID) -> None:
    for to in ROLES:
        assert assign(urls, acme, "operador", conversation, to) == "not_found"
    assert call_as(urls, acme, "operador", TAKE, conversation) == "taken"
    assert assign(urls, acme, "operador", conversation, "supervisor") == "not_found"
    [(_, _, holder)] = takeovers(urls, conversation)
    assert holder == acme.people["operador"].id


def test_what_somebody_has_moves_down_and_up_in_the_same_takeover(
    urls: Urls, acme: Company, conversation: UUID
) -> None:
    call_as(urls, acme, "owner", TAKE, conversation)
    assert assign(urls, acme, "supervisor", conversation, "operador") == "assigned"
    assert assign(urls, acme, "supervisor", conversation, "operador") == "same"
    [(status, _, holder)] = takeovers(urls, conversation)
    assert (status, holder) == ("active", acme.people["operador"].id)
    assert assign(urls, acme, "administrador", conversation, "owner") == "assigned"
    [(_, _, holder)] = takeovers(urls, conversation)
    assert holder == acme.people["owner"].id


def test_who_waits_in_the_queue_is_given_to_somebody(
    urls: Urls, acme: Company, conversation: UUID
) -> None:
    query_as_admin(
        urls,
        "insert into hitl_sessions (company_id, conversation_id, chatbot_id, reason)"
        " values (%s, %s, %s, 'keywords')",
        acme.id,
        conversation,
        acme.bot_id,
    )
    assert assign(urls, acme, "supervisor", conversation, "operador") == "assigned"
    assert takeovers(urls, conversation) == [("active", "keywords", acme.people["operador"].id)]
    assert counters(urls, acme) == recount(urls, acme)


def test_what_the_bot_was_thinking_meanwhile_is_not_said(
    urls: Urls, acme: Company, conversation: UUID
) -> None:
    fence = "select fence from conversations where id = %s"
    [(before,)] = query_as_admin(urls, fence, conversation)
    assign(urls, acme, "supervisor", conversation, "operador")
    assert query_as_admin(urls, fence, conversation) == [(before + 1,)]


def test_who_cannot_serve_it_is_not_given_it(
    urls: Urls, acme: Company, rival: Company, conversation: UUID
) -> None:
    supervisor, operador = acme.people["supervisor"].id, acme.people["operador"].id
    query_as_admin(urls, "update users set is_active = false where id = %s", supervisor)
    query_as_admin(
        urls, "update chatbot_operators set is_active = false where operator_id = %s", operador
    )
    for nobody in (supervisor, operador, rival.people["supervisor"].id, uuid4()):
        assert call_as(urls, acme, "owner", ASSIGN, conversation, nobody) == "invalid_target"
    assert takeovers(urls, conversation) == []


def test_a_conversation_of_the_other_company_is_like_none(
    urls: Urls, acme: Company, rival: Company, conversation: UUID
) -> None:
    for unknown in (conversation, uuid4()):
        for person in (rival.people["owner"].id, acme.people["owner"].id):
            assert call_as(urls, rival, "owner", ASSIGN, unknown, person) == "not_found"
    assert takeovers(urls, conversation) == []


def test_a_conversation_that_is_over_is_given_to_nobody(
    urls: Urls, acme: Company, conversation: UUID
) -> None:
    over = "update conversations set status = 'resolved', ended_at = now() where id = %s"
    query_as_admin(urls, over, conversation)
    assert assign(urls, acme, "owner", conversation, "operador") == "closed"


def test_a_request_to_pass_it_on_ends(urls: Urls, acme: Company, conversation: UUID) -> None:
    call_as(urls, acme, "operador", TAKE, conversation)
    ask = "select private.request_transfer(%s, %s, 'escalation', 'caja')"
    call_as(urls, acme, "operador", ask, conversation, acme.people["supervisor"].id)
    assert assign(urls, acme, "administrador", conversation, "owner") == "assigned"
    [(transfer, status)] = query_as_admin(
        urls, "select id, status from hitl_transfers where conversation_id = %s", conversation
    )
    assert status == "cancelled"
    decide = "select private.decide_transfer(%s, true)"
    assert call_as(urls, acme, "supervisor", decide, transfer) == "closed"
    [(_, _, holder)] = takeovers(urls, conversation)
    assert holder == acme.people["owner"].id


def test_only_who_is_given_it_is_notified(
    urls: Urls, acme: Company, rival: Company, conversation: UUID
) -> None:
    assign(urls, acme, "supervisor", conversation, "operador")
    kinds = "select string_agg(kind, ',') from notifications"
    assert call_as(urls, acme, "operador", kinds) == "conversation_assigned"
    assert [call_as(urls, acme, role, kinds) for role in ASSIGNERS] == [None] * 3
    assert [call_as(urls, rival, role, kinds) for role in ROLES] == [None] * 4


def test_no_more_are_given_than_the_plan_allows(
    urls: Urls, acme: Company, conversation: UUID
) -> None:
    limit(urls, acme, max_hitl_concurrent=1)
    assert assign(urls, acme, "supervisor", conversation, "operador") == "assigned"
    another = add_conversation(urls, acme)
    with pytest.raises(psycopg.Error) as refused:
        assign(urls, acme, "supervisor", another, "operador")
    assert refused.value.sqlstate == "NA002"
    assert assign(urls, acme, "supervisor", conversation, "owner") == "assigned"  # the same one
    assert takeovers(urls, another) == []
    assert counters(urls, acme) == recount(urls, acme)


def test_it_is_audited_under_who_gave_it(urls: Urls, acme: Company, conversation: UUID) -> None:
    call_as(urls, acme, "owner", TAKE, conversation)
    assign(urls, acme, "supervisor", conversation, "operador")
    written = query_as_admin(
        urls,
        "select a.user_id from audit_logs a join hitl_sessions s on s.id = a.resource_id"
        " where s.conversation_id = %s and a.user_id = %s",
        conversation,
        acme.people["supervisor"].id,
    )
    assert len(written) == 1


OUT = "select private.set_user_active(%s, false)"


def test_letting_somebody_out_waits_for_what_they_are_being_given_and_takes_it_back(
    urls: Urls, acme: Company, conversation: UUID
) -> None:
    operador = acme.people["operador"].id
    with staff(urls, acme, "supervisor") as giving, staff(urls, acme, "owner") as letting:
        letting.execute("set local lock_timeout = '200ms'")
        assert giving.execute(ASSIGN, (conversation, operador)).fetchone() == ("assigned",)
        with pytest.raises(psycopg.errors.LockNotAvailable):
            letting.execute(OUT, (operador,))
    assert call_as(urls, acme, "owner", OUT, operador) == "deactivated"
    assert takeovers(urls, conversation) == [("pending", "manual", None)]


def test_somebody_who_is_being_let_out_is_given_nothing(
    urls: Urls, acme: Company, conversation: UUID
) -> None:
    operador = acme.people["operador"].id
    with staff(urls, acme, "supervisor") as giving, staff(urls, acme, "owner") as letting:
        giving.execute("set local lock_timeout = '200ms'")
        assert letting.execute(OUT, (operador,)).fetchone() == ("deactivated",)
        with pytest.raises(psycopg.errors.LockNotAvailable):
            giving.execute(ASSIGN, (conversation, operador))
    assert assign(urls, acme, "supervisor", conversation, "operador") == "invalid_target"
    assert takeovers(urls, conversation) == []
