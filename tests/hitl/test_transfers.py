"""Passing a takeover on: only upwards or sideways, only by who has it, and only when accepted."""

from __future__ import annotations

import json
from dataclasses import dataclass
from uuid import UUID, uuid4

import psycopg
import pytest

from neurant.installation.embedded import Urls
from tests.companies import Company, make_company, open_visitor


@dataclass
class Desk:
    """A company with one conversation that its operador has taken."""

    urls: Urls
    company: Company
    conversation: UUID

    def call(self, role: str, query: str, *params: object) -> object:
        """What the query answers to a person of this role, committed."""
        person = self.company.people[role]
        claims = {"sub": str(person.auth_user_id), "company_id": str(self.company.id)}
        with psycopg.connect(self.urls.app) as db:
            db.execute("select set_config('role', 'authenticated', true)")
            db.execute("select set_config('request.jwt.claims', %s, true)", (json.dumps(claims),))
            row = db.execute(query, params).fetchone()
        return row[0] if row else None

    def request(self, by: str, to: UUID, reason: str = "Necesita a alguien de caja") -> object:
        query = "select private.request_transfer(%s, %s, 'escalation', %s)"
        return self.call(by, query, self.conversation, to, reason)

    def pending(self) -> UUID:
        with psycopg.connect(self.urls.admin) as db:
            row = db.execute(
                "select id from hitl_transfers where company_id = %s and status = 'pending'",
                (self.company.id,),
            ).fetchone()
        assert row
        return row[0]

    def decide(self, by: str, accept: bool) -> object:
        return self.call(by, "select private.decide_transfer(%s, %s)", self.pending(), accept)

    def holder(self) -> object:
        query = "select assigned_operator_id from conversations where id = %s"
        return self.call("owner", query, self.conversation)


def make_desk(urls: Urls, name: str) -> Desk:
    company = make_company(urls.admin, name)
    _, visitor = open_visitor(urls.admin, company)
    with psycopg.connect(urls.app) as db:
        row = db.execute(
            "select conversation_id from private.ingest(%s::text[], '{web}', %s::bytea[], '{x}', '{null}',"
            " %s::text[], '{text}', '{hola}', '{null}')",
            ([company.web], [visitor], [str(uuid4())]),
        ).fetchone()
    assert row
    desk = Desk(urls, company, row[0])
    assert desk.call("operador", "select private.take_conversation(%s)", row[0]) == "taken"
    return desk


@pytest.fixture
def acme(urls: Urls) -> Desk:
    return make_desk(urls, "acme")


def id_of(desk: Desk, role: str) -> UUID:
    return desk.company.people[role].id


def test_the_colleague_who_accepts_has_the_conversation(acme: Desk) -> None:
    assert acme.request("operador", id_of(acme, "supervisor")) == "requested"
    assert acme.holder() == id_of(acme, "operador")
    assert acme.decide("supervisor", True) == "accepted"
    assert acme.holder() == id_of(acme, "supervisor")


def test_who_is_asked_and_who_asked_are_notified(acme: Desk) -> None:
    acme.request("operador", id_of(acme, "supervisor"))
    kinds = "select string_agg(kind, ',') from notifications"
    assert acme.call("supervisor", kinds) == "transfer_requested"
    assert acme.call("owner", kinds) is None
    acme.decide("supervisor", False)
    assert acme.call("operador", kinds) == "transfer_rejected"


def test_a_refused_request_leaves_it_where_it_is_and_another_may_follow(acme: Desk) -> None:
    acme.request("operador", id_of(acme, "supervisor"))
    assert acme.request("operador", id_of(acme, "administrador")) == "already_requested"
    assert acme.decide("supervisor", False) == "rejected"
    assert acme.holder() == id_of(acme, "operador")
    assert acme.request("operador", id_of(acme, "administrador")) == "requested"


def test_nobody_decides_for_another(acme: Desk) -> None:
    acme.request("operador", id_of(acme, "supervisor"))
    for role in ("owner", "administrador", "operador"):
        assert acme.decide(role, True) == "not_found"
    assert acme.holder() == id_of(acme, "operador")


def test_only_who_has_it_may_pass_it_on(acme: Desk) -> None:
    assert acme.request("administrador", id_of(acme, "owner")) == "not_yours"


def test_never_down_nor_to_oneself(acme: Desk) -> None:
    assert acme.request("operador", id_of(acme, "operador")) == "invalid_target"
    acme.request("operador", id_of(acme, "supervisor"))
    acme.decide("supervisor", True)
    assert acme.request("supervisor", id_of(acme, "operador")) == "invalid_target"


def test_a_colleague_of_the_other_company_is_like_nobody(acme: Desk, urls: Urls) -> None:
    rival = make_desk(urls, "rival")
    assert acme.request("operador", id_of(rival, "supervisor")) == "invalid_target"
    assert acme.request("operador", uuid4()) == "invalid_target"
    acme.request("operador", id_of(acme, "supervisor"))
    query = "select private.decide_transfer(%s, true)"
    assert rival.call("supervisor", query, acme.pending()) == "not_found"
    assert rival.call("supervisor", query, uuid4()) == "not_found"
    assert rival.call("owner", "select count(*) from hitl_transfers") == 0


def test_what_nobody_answers_expires_and_cannot_be_accepted_any_more(acme: Desk) -> None:
    acme.request("operador", id_of(acme, "supervisor"))
    with psycopg.connect(acme.urls.jobs) as db:
        later = "select private.expire_transfers(now() + interval '6 minutes')"
        assert db.execute(later).fetchone()[0] >= 1
    kinds = "select string_agg(kind, ',') from notifications"
    assert acme.call("operador", kinds) == "transfer_expired"
    assert acme.request("operador", id_of(acme, "supervisor")) == "requested"


def test_a_takeover_that_ended_meanwhile_is_not_taken_up_again(acme: Desk) -> None:
    acme.request("operador", id_of(acme, "supervisor"))
    acme.call("operador", "select private.resolve_conversation(%s)", acme.conversation)
    assert acme.decide("supervisor", True) == "closed"
    assert acme.holder() is None


def test_a_reason_is_owed(acme: Desk) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        acme.request("operador", id_of(acme, "supervisor"), "  ")


@pytest.mark.parametrize(
    "kind", ["escalation", "skill_based", "workload_distribution", "emergency"]
)
def test_a_request_keeps_its_kind(acme: Desk, kind: str) -> None:
    query = "select private.request_transfer(%s, %s, %s, 'Necesita a alguien de caja')"
    to = id_of(acme, "supervisor")
    assert acme.call("operador", query, acme.conversation, to, kind) == "requested"
    kept = "select kind from hitl_transfers where id = %s"
    assert acme.call("supervisor", kept, acme.pending()) == kind
