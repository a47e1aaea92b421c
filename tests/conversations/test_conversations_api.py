"""Conversations over HTTP: who sees which, what people do with them, and the archive."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
import psycopg
import pytest

from neurant.installation.embedded import Urls
from tests.companies import Company, make_company
from tests.console.people import Visitor
from tests.conversations.api_support import converse, every, ids, other_bot, say, unknown_like

pytest_plugins = ("tests.console.running_web",)
PATH = "/v1/conversations"
ACTIONS = {
    "take": {},
    "take-over": {},
    "resolve": {"json": {}},
    "close": {},
    "assign": {"json": {"user_id": str(uuid.uuid4())}},
}


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_the_list_goes_through_everything_once_in_each_order(
    sign_in: Callable[[Company, str], httpx.Client],
    acme: Company,
    rival: Company,
    database: psycopg.Connection,
) -> None:
    bot = other_bot(database, acme)
    mine = [str(converse(database, acme, bot, "Hola")) for _ in range(5)]
    for place, one in enumerate(mine):
        moment = datetime(2026, 5, 1, tzinfo=UTC) + timedelta(minutes=7 * place)
        database.execute(
            "update conversations set started_at = %s, last_message_at = %s where id = %s",
            (moment, moment, one),
        )
    client = sign_in(acme, "supervisor")
    for sort in ("last_message_at", "started_at"):
        for limit in (1, 2, 200):
            listed = every(client, PATH, chatbot_id=bot, sort=sort, limit=limit)
            assert ids(listed) == mine
            backwards = every(client, PATH, chatbot_id=bot, sort=f"-{sort}", limit=limit)
            assert ids(backwards) == mine[::-1]
    assert every(sign_in(rival, "owner"), PATH, chatbot_id=bot) == []


def test_an_operador_sees_those_of_the_bots_they_serve_and_those_assigned_to_them(
    sign_in: Callable[[Company, str], httpx.Client],
    acme: Company,
    rival: Company,
    database: psycopg.Connection,
) -> None:
    hidden = converse(database, acme, other_bot(database, acme), "Secreto de otro bot")
    client = sign_in(acme, "operador")
    assert str(hidden) not in ids(every(client, PATH, limit=200))
    assert str(hidden) not in ids(every(client, PATH, q="secreto", limit=200))
    assert str(hidden) in ids(every(sign_in(acme, "supervisor"), PATH, q="secreto"))
    assert ids(every(sign_in(rival, "owner"), PATH, q="secreto")) == []
    for path in ("", "/messages", "/notes"):
        assert unknown_like(client, "GET", f"{PATH}/{{}}{path}", hidden) == 404
    for action, body in ACTIONS.items():
        expected = 403 if action == "assign" else 404
        assert unknown_like(client, "POST", f"{PATH}/{{}}/{action}", hidden, **body) == expected
    database.execute(
        "insert into hitl_sessions (company_id, conversation_id, chatbot_id, status, reason,"
        " operator_id, taken_at) select company_id, id, chatbot_id, 'active', 'manual', %s, now()"
        " from conversations where id = %s",
        (acme.people["operador"].id, hidden),
    )
    assert client.get(f"{PATH}/{hidden}").json()["hitl_session"]["status"] == "active"
    mine = every(client, PATH, assigned_operator_id=acme.people["operador"].id, limit=200)
    assert str(hidden) in ids(mine)


def test_a_foreign_conversation_answers_like_an_unknown_one(
    sign_in: Callable[[Company, str], httpx.Client],
    acme: Company,
    rival: Company,
    database: psycopg.Connection,
) -> None:
    conversation = converse(database, acme, None, "Hola")
    client = sign_in(rival, "owner")
    for path in ("", "/messages", "/notes"):
        assert unknown_like(client, "GET", f"{PATH}/{{}}{path}", conversation) == 404
    for action, body in ACTIONS.items():
        assert unknown_like(client, "POST", f"{PATH}/{{}}/{action}", conversation, **body) == 404
    for path, body in (
        ("messages", {"content": "Hola"}),
        ("notes", {"content": "Hola"}),
        ("transfers", {"to_user_id": str(uuid.uuid4()), "reason": "x"}),
    ):
        where = f"{PATH}/{{}}/{path}"
        assert unknown_like(client, "POST", where, conversation, json=body) == 404
    assert sign_in(acme, "owner").get(f"{PATH}/{conversation}").json()["message_count"] == 1


def test_each_filter_leaves_the_others_out(
    sign_in: Callable[[Company, str], httpx.Client], acme: Company, database: psycopg.Connection
) -> None:
    bot = other_bot(database, acme)
    first, second = (converse(database, acme, bot, "Hola") for _ in range(2))
    database.execute(
        "update conversations set started_at = '2026-04-01T00:00Z' where id = %s", (first,)
    )
    client = sign_in(acme, "owner")
    assert client.post(f"{PATH}/{second}/take").status_code == 200
    assert client.post(f"{PATH}/{first}/close").status_code == 200
    contact = client.get(f"{PATH}/{first}").json()["contact_id"]
    for given, expected in (
        ({"status": "resolved"}, [first]),
        ({"status": "active"}, [second]),
        ({"is_hitl_active": True}, [second]),
        ({"is_hitl_active": False}, [first]),
        ({"contact_id": contact}, [first]),
        ({"started_before": "2026-04-01T00:00:01Z"}, [first]),
        ({"started_after": "2026-04-01T00:00:01Z"}, [second]),
        ({"channel": "telegram"}, []),
        ({"assigned_operator_id": str(uuid.uuid4())}, []),
    ):
        found = ids(every(client, PATH, chatbot_id=bot, **given))
        assert found == [str(one) for one in expected], given
    assert client.get(PATH, params={"started_after": "2026-02-30T00:00:00Z"}).status_code == 422
    assert client.get(PATH, params={"colour": "red"}).status_code == 422


def test_of_two_one_takes_it_and_a_supervisor_may_take_it_over(
    sign_in: Callable[[Company, str], httpx.Client], acme: Company, database: psycopg.Connection
) -> None:
    conversation = converse(database, acme, None, "Hola")
    operador, supervisor = sign_in(acme, "operador"), sign_in(acme, "supervisor")
    taken = operador.post(f"{PATH}/{conversation}/take").json()
    assert taken["assigned_operator_id"] == str(acme.people["operador"].id)
    assert taken["hitl_session"]["operator_id"] == taken["assigned_operator_id"]
    assert operador.post(f"{PATH}/{conversation}/take").status_code == 200
    late = supervisor.post(f"{PATH}/{conversation}/take")
    assert code(late) == (409, "conversations.taken_by_other")
    over = supervisor.post(f"{PATH}/{conversation}/take-over").json()
    assert over["assigned_operator_id"] == str(acme.people["supervisor"].id)
    assert code(operador.post(f"{PATH}/{conversation}/take-over"))[0] == 409
    mine = operador.post(f"{PATH}/{conversation}/resolve", json={"notes": "Resuelto"})
    assert code(mine) == (409, "conversations.taken_by_other")
    done = supervisor.post(f"{PATH}/{conversation}/resolve", json={"notes": "Resuelto"})
    assert (done.json()["is_hitl_active"], done.json()["hitl_session"]) == (False, None)
    again = supervisor.post(f"{PATH}/{conversation}/resolve", json={})
    assert code(again) == (409, "conversations.not_open")
    kept = every(supervisor, "/v1/hitl-sessions", conversation_id=conversation)
    assert [one["resolution_notes"] for one in kept] == ["Resuelto"]


def test_a_closed_conversation_is_over_for_everybody(
    sign_in: Callable[[Company, str], httpx.Client],
    acme: Company,
    visit: Callable[[Company, str], Visitor],
    database: psycopg.Connection,
) -> None:
    visitor = visit(acme, "Hola")
    conversation = visitor.conversation_id
    operador, supervisor = sign_in(acme, "operador"), sign_in(acme, "supervisor")
    supervisor.post(f"{PATH}/{conversation}/take")
    assert code(operador.post(f"{PATH}/{conversation}/close"))[0] == 409
    closed = supervisor.post(f"{PATH}/{conversation}/close").json()
    assert (closed["status"], closed["is_hitl_active"]) == ("resolved", False)
    assert closed["ended_at"] is not None
    assert supervisor.post(f"{PATH}/{conversation}/close").json() == closed
    for action in ("take", "take-over"):
        answer = supervisor.post(f"{PATH}/{conversation}/{action}")
        assert code(answer) == (409, "conversations.closed")
    reply = supervisor.post(f"{PATH}/{conversation}/messages", json={"content": "Tarde"})
    assert code(reply) == (409, "conversations.closed")
    owed = "select count(*) from reply_requests where conversation_id = %s"
    assert database.execute(owed, (conversation,)).fetchone() == (0,)
    visitor.say("¿Sigues ahí?")
    client = sign_in(acme, "owner")
    contact = closed["contact_id"]
    assert len(every(client, PATH, contact_id=contact)) == 2


def test_it_is_given_to_who_can_attend_it(
    sign_in: Callable[[Company, str], httpx.Client],
    acme: Company,
    rival: Company,
    database: psycopg.Connection,
) -> None:
    conversation = converse(database, acme, None, "Hola")
    client = sign_in(acme, "supervisor")
    path = f"{PATH}/{conversation}/assign"
    given = client.post(path, json={"user_id": str(acme.people["operador"].id)})
    assert given.json()["assigned_operator_id"] == str(acme.people["operador"].id)
    foreign = client.post(
        path, json={"user_id": str(rival.people["owner"].id)}, headers={"x-request-id": "one"}
    )
    unknown = client.post(
        path, json={"user_id": str(uuid.uuid4())}, headers={"x-request-id": "one"}
    )
    assert code(foreign) == (409, "conversations.invalid_target")
    assert foreign.content == unknown.content


@pytest.fixture
def archived(acme: Company, database: psycopg.Connection) -> UUID:
    """A conversation that was archived."""
    conversation = converse(database, acme, other_bot(database, acme), "Gracias por venir")
    database.execute("update conversations set status = 'resolved' where id = %s", (conversation,))
    database.execute(
        "select private.move_conversations(%s, %s, '', '_archived', clock_timestamp())",
        (acme.id, [conversation]),
    )
    return conversation


def test_what_is_archived_is_read_in_its_own_place_and_restored_by_managers(
    sign_in: Callable[[Company, str], httpx.Client], acme: Company, rival: Company, archived: UUID
) -> None:
    old = "/v1/archived-conversations"
    client = sign_in(acme, "administrador")
    assert client.get(f"{PATH}/{archived}").status_code == 404
    assert client.get(f"{old}/{archived}").json()["status"] == "resolved"
    assert str(archived) in ids(every(client, old, limit=200))
    said = every(client, f"{old}/{archived}/messages")
    assert [one["content"] for one in said] == ["Gracias por venir"]
    for stranger in (sign_in(rival, "owner"), sign_in(acme, "operador")):
        assert str(archived) not in ids(every(stranger, old, limit=200))
        for path in ("", "/messages"):
            assert unknown_like(stranger, "GET", f"{old}/{{}}{path}", archived) == 404
    assert unknown_like(sign_in(rival, "owner"), "POST", f"{old}/{{}}/restore", archived) == 404
    refused = sign_in(acme, "supervisor").post(f"{old}/{archived}/restore")
    assert code(refused) == (403, "api.not_permitted")
    assert client.post(f"{old}/{archived}/restore").json()["id"] == str(archived)
    assert client.get(f"{PATH}/{archived}").status_code == 200
    assert client.get(f"{old}/{archived}").status_code == 404


def test_of_whom_it_knows_the_staff_finds_contacts_and_managers_erase_them(
    sign_in: Callable[[Company, str], httpx.Client],
    urls: Urls,
    database: psycopg.Connection,
    known_password: str,
    rival: Company,
) -> None:
    company = make_company(urls.admin, "acme", password_hash=known_password)
    conversation = converse(database, company)
    message = say(database, company, conversation, "Mi dirección es Sol 5", by="end_user")
    database.execute("update contacts set name = 'José Ñandú' where company_id = %s", (company.id,))
    converse(database, company)
    contacts, client = "/v1/contacts", sign_in(company, "administrador")
    [found] = every(client, contacts, q="jose nan")
    assert found["name"] == "José Ñandú"
    assert len(every(client, contacts, limit=1)) == 2
    assert every(client, contacts, q="%") == []
    stranger = sign_in(rival, "owner")
    assert every(stranger, contacts, q="jose nan") == []
    assert unknown_like(stranger, "GET", f"{contacts}/{{}}", found["id"]) == 404
    assert unknown_like(stranger, "POST", f"{contacts}/{{}}/erase", found["id"]) == 404
    path = f"{contacts}/{found['id']}/erase"
    assert code(sign_in(company, "supervisor").post(path)) == (403, "api.not_permitted")
    erased = client.post(path).json()
    assert (erased["name"], erased["erased_at"] is None) == (None, False)
    assert client.post(path).json() == erased
    assert client.get(f"/v1/messages/{message}").json()["content"] == "[borrado]"
    assert ids(every(client, contacts, is_erased=True)) == [found["id"]]
