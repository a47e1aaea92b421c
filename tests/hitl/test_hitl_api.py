"""Takeovers and transfers over HTTP."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from uuid import UUID

import httpx
import psycopg
import pytest

from tests.companies import Company
from tests.conversations.api_support import converse, every, ids, other_bot, unknown_like

pytest_plugins = ("tests.console.running_web",)


@pytest.fixture
def taken(
    sign_in: Callable[[Company, str], httpx.Client], acme: Company, database: psycopg.Connection
) -> UUID:
    """A conversation that the operador has taken."""
    conversation = converse(database, acme, None, "Hola")
    assert sign_in(acme, "operador").post(f"/v1/conversations/{conversation}/take").is_success
    return conversation


def ask(
    sign_in: Callable[[Company, str], httpx.Client],
    acme: Company,
    conversation: UUID,
    role: str = "supervisor",
    by: str = "operador",
) -> httpx.Response:
    body = {"to_user_id": str(acme.people[role].id), "reason": "Necesita a alguien de caja"}
    return sign_in(acme, by).post(f"/v1/conversations/{conversation}/transfers", json=body)


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_who_is_asked_accepts_and_has_the_conversation(
    sign_in: Callable[[Company, str], httpx.Client], acme: Company, taken: UUID
) -> None:
    asked = ask(sign_in, acme, taken)
    assert asked.status_code == 201
    transfer = asked.json()
    supervisor = sign_in(acme, "supervisor")
    me = str(acme.people["supervisor"].id)
    assert transfer["id"] in ids(every(supervisor, "/v1/transfers", to_user_id=me))
    assert supervisor.get(asked.headers["location"]).json() == transfer
    for by in ("operador", "owner"):
        path = f"/v1/transfers/{transfer['id']}/accept"
        assert code(sign_in(acme, by).post(path)) == (403, "api.not_permitted")
    accepted = supervisor.post(f"/v1/transfers/{transfer['id']}/accept").json()
    assert accepted["status"] == "accepted"
    shown = supervisor.get(f"/v1/conversations/{taken}").json()
    assert shown["assigned_operator_id"] == me
    again = supervisor.post(f"/v1/transfers/{transfer['id']}/reject")
    assert code(again) == (409, "conversations.transfer_over")


def test_a_refused_transfer_leaves_it_where_it_is(
    sign_in: Callable[[Company, str], httpx.Client], acme: Company, taken: UUID
) -> None:
    transfer = ask(sign_in, acme, taken).json()
    second = ask(sign_in, acme, taken, "administrador")
    assert code(second) == (409, "conversations.already_requested")
    told = sign_in(acme, "supervisor").post(f"/v1/transfers/{transfer['id']}/reject").json()
    assert told["status"] == "rejected"
    shown = sign_in(acme, "operador").get(f"/v1/conversations/{taken}").json()
    assert shown["assigned_operator_id"] == str(acme.people["operador"].id)
    not_mine = ask(sign_in, acme, taken, "owner", by="administrador")
    assert code(not_mine) == (409, "conversations.not_yours")


def test_a_colleague_of_another_company_is_like_nobody(
    sign_in: Callable[[Company, str], httpx.Client], acme: Company, rival: Company, taken: UUID
) -> None:
    client, path = sign_in(acme, "operador"), f"/v1/conversations/{taken}/transfers"
    told = [
        client.post(
            path,
            json={"to_user_id": str(one), "reason": "x"},
            headers={"x-request-id": "one"},
        )
        for one in (rival.people["owner"].id, uuid.uuid4())
    ]
    assert code(told[0]) == (409, "conversations.invalid_target")
    assert told[0].content == told[1].content
    transfer = ask(sign_in, acme, taken).json()["id"]
    stranger = sign_in(rival, "supervisor")
    assert every(stranger, "/v1/transfers", conversation_id=taken) == []
    for method, path in (
        ("GET", "/v1/transfers/{}"),
        ("POST", "/v1/transfers/{}/accept"),
        ("POST", "/v1/transfers/{}/reject"),
    ):
        assert unknown_like(stranger, method, path, transfer) == 404


def test_takeovers_are_listed_to_who_sees_their_conversations(
    sign_in: Callable[[Company, str], httpx.Client],
    acme: Company,
    rival: Company,
    database: psycopg.Connection,
) -> None:
    hidden = converse(database, acme, other_bot(database, acme), "Hola")
    owner, operador = sign_in(acme, "owner"), sign_in(acme, "operador")
    assert owner.post(f"/v1/conversations/{hidden}/take").is_success
    [session] = every(owner, "/v1/hitl-sessions", conversation_id=hidden, status="active")
    assert (session["reason"], session["operator_id"]) == ("manual", str(acme.people["owner"].id))
    assert owner.get(f"/v1/hitl-sessions/{session['id']}").json() == session
    assert every(owner, "/v1/hitl-sessions", conversation_id=hidden, status="pending") == []
    for client in (operador, sign_in(rival, "owner")):
        assert every(client, "/v1/hitl-sessions", conversation_id=hidden) == []
        assert unknown_like(client, "GET", "/v1/hitl-sessions/{}", session["id"]) == 404
