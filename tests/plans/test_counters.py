"""Whatever happens to bots, people, integrations, documents and takeovers: counters = a recount."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from uuid import UUID

import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neurant.installation.embedded import Urls
from tests.companies import Company, make_company
from tests.plans.sql_as_role import (
    COUNTERS,
    add_bot,
    add_conversation,
    add_document,
    add_integration,
    add_login,
    counters,
    invite,
    limit,
    query_as_admin,
    recount,
    staff,
    worker,
)

LIMITS = {
    "max_chatbots": 3, "max_users": 6, "max_integrations": 2, "max_document_characters": 2500,
    "max_storage_mb": 3, "max_hitl_concurrent": 2,
}  # fmt: skip
ALLOWED = (3, 6, 2, 2500, 3 * 1024 * 1024, 2)
EXPECTED = {"NA002", "23505", "23514", "23503"}

Life = Callable[["State", int], None]


class State:
    """What was made so far, to be picked from by number."""

    def __init__(self, urls: Urls, company: Company) -> None:
        self.urls = urls
        self.company = company
        self.bots = [company.bot_id]
        self.integrations: list[UUID] = []
        self.documents: list[UUID] = []
        self.conversations = [add_conversation(urls, company) for _ in range(4)]
        self.invitations: list[tuple[UUID, bytes, str]] = []
        self.people = [company.people[role].id for role in ("supervisor", "operador")]

    def owner(self, query: str, *params: object) -> None:
        with staff(self.urls, self.company, "owner") as db:
            db.execute(query, params)

    def raw(self, query: str, *params: object) -> None:
        query_as_admin(self.urls, query, *params)


def _bot(s: State, n: int) -> None:
    with staff(s.urls, s.company, "owner") as db:
        s.bots.append(add_bot(db, s.company))


def _retire_bot(s: State, n: int) -> None:
    s.owner("select private.retire_chatbot(%s)", s.bots[n % len(s.bots)])


def _revive_bot(s: State, n: int) -> None:
    s.raw("update chatbots set retired_at = null where id = %s", s.bots[n % len(s.bots)])


def _integration(s: State, n: int) -> None:
    with staff(s.urls, s.company, "owner") as db:
        s.integrations.append(add_integration(db, s.company))


def _switch(s: State, n: int) -> None:
    for one in s.integrations[n % 3 :: 3]:
        s.owner("update integrations set is_active = not is_active where id = %s", one)


def _drop_integration(s: State, n: int) -> None:
    if s.integrations:
        one = s.integrations.pop(n % len(s.integrations))
        s.raw("delete from integrations where id = %s", one)


def _document(s: State, n: int) -> None:
    with staff(s.urls, s.company, "owner") as db:
        s.documents.append(add_document(db, s.company, 1 + n * 10_000))


def _read(s: State, n: int) -> None:
    if s.documents:
        with worker(s.urls, s.company) as db:
            one = s.documents[n % len(s.documents)]
            characters = None if n % 7 == 0 else n * 10
            db.execute("update documents set character_count = %s where id = %s", (characters, one))


def _retire_document(s: State, n: int) -> None:
    if s.documents:
        s.owner(
            "update documents set retired_at = case when retired_at is null then now() end"
            " where id = %s",
            s.documents[n % len(s.documents)],
        )


def _delete_document(s: State, n: int) -> None:
    if s.documents:
        s.raw("delete from documents where id = %s", s.documents.pop(n % len(s.documents)))


def _take(s: State, n: int) -> None:
    one = s.conversations[n % len(s.conversations)]
    with staff(s.urls, s.company, ("owner", "supervisor", "operador")[n % 3]) as db:
        db.execute("select private.take_conversation(%s, %s)", (one, n % 2 == 0))


def _resolve(s: State, n: int) -> None:
    s.owner("select private.resolve_conversation(%s)", s.conversations[n % len(s.conversations)])


def _invite(s: State, n: int) -> None:
    token, email = secrets.token_bytes(32), f"{n % 5}@{s.company.slug}.example"
    with staff(s.urls, s.company, "owner") as db:
        outcome, invitation = invite(db, email, token=token)
    if outcome == "invited":
        s.invitations.append((invitation, token, email))


def _cancel(s: State, n: int) -> None:
    if s.invitations:
        s.owner("select private.cancel_invitation(%s)", s.invitations[n % len(s.invitations)][0])


def _renew(s: State, n: int) -> None:
    if s.invitations:
        known, _, email = s.invitations[n % len(s.invitations)]
        token = secrets.token_bytes(32)
        s.owner("select private.renew_invitation(%s, %s)", known, token)
        s.invitations.append((known, token, email))


def _accept(s: State, n: int) -> None:
    if s.invitations:
        _, token, email = s.invitations[n % len(s.invitations)]
        [known] = query_as_admin(s.urls, "select id from auth.users where email = %s", email) or [
            (None,)
        ]
        login = known[0] or add_login(s.urls, email)
        with psycopg.connect(s.urls.app) as db:
            row = db.execute(
                "select outcome, user_id from private.accept_invitation(%s, %s)", (token, login)
            ).fetchone()
        if row[0] == "accepted":
            s.people.append(row[1])


def _run_out(s: State, n: int) -> None:
    s.raw(
        "update user_invitations set sent_at = now() - interval '9 days',"
        " expires_at = now() - interval '2 days' where company_id = %s and status = 'pending'",
        s.company.id,
    )


def _sweep(s: State, n: int) -> None:
    with psycopg.connect(s.urls.jobs) as db:
        db.execute("select private.expire_invitations()")


def _switch_person(s: State, n: int) -> None:
    person = s.people[n % len(s.people)]
    s.owner("select private.set_user_active(%s, %s)", person, n % 3 == 0)


LIVES: list[Life] = [
    _bot, _retire_bot, _revive_bot, _integration, _switch, _drop_integration, _document, _read,
    _retire_document, _delete_document, _take, _resolve, _invite, _cancel, _renew, _accept,
    _run_out, _sweep, _switch_person,
]  # fmt: skip


@given(
    steps=st.lists(st.tuples(st.sampled_from(LIVES), st.integers(0, 100)), min_size=10, max_size=40)
)
@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_counters_equal_a_recount_and_never_pass_the_limit(
    urls: Urls, steps: list[tuple[Life, int]]
) -> None:
    acme, rival = make_company(urls.admin, "acme"), make_company(urls.admin, "rival")
    limit(urls, acme, **LIMITS)
    state, untouched = State(urls, acme), counters(urls, rival)
    for life, number in steps:
        try:
            life(state, number)
        except psycopg.Error as error:
            assert error.sqlstate in EXPECTED, f"{life.__name__}: {error}"  # noqa: PT017
        now = counters(urls, acme)
        assert now == recount(urls, acme), life.__name__
        over = [name for name, n, most in zip(COUNTERS, now, ALLOWED, strict=True) if n > most]
        assert not over, life.__name__
    assert counters(urls, rival) == untouched
