"""Messages over HTTP: reading, answering, sending again, reactions, notes."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable

import httpx
import psycopg
import pytest

from tests.companies import Company
from tests.console.people import Visitor
from tests.conversations.api_support import converse, every, other_bot, say, unknown_like

pytest_plugins = ("tests.console.running_web",)


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_a_conversation_is_read_from_either_end(
    sign_in: Callable[[Company, str], httpx.Client], acme: Company, database: psycopg.Connection
) -> None:
    conversation = converse(database, acme, None, *(f"Paso {n}" for n in range(1, 6)))
    client, path = sign_in(acme, "operador"), f"/v1/conversations/{conversation}/messages"
    forwards = [one["seq"] for one in every(client, path, limit=2)]
    assert forwards == [1, 2, 3, 4, 5]
    assert [one["seq"] for one in every(client, path, limit=2, sort="-seq")] == forwards[::-1]


def test_an_answer_takes_the_conversation_and_reaches_the_visitor(
    sign_in: Callable[[Company, str], httpx.Client],
    acme: Company,
    visit: Callable[[Company, str], Visitor],
) -> None:
    visitor = visit(acme, "Hola")
    client = sign_in(acme, "operador")
    path = f"/v1/conversations/{visitor.conversation_id}/messages"
    sent = client.post(path, json={"content": "Buenas, soy Ana"})
    assert sent.status_code == 201
    told = sent.json()
    assert (told["sender_type"], told["sender_id"], told["status"]) == (
        "human",
        str(acme.people["operador"].id),
        "sent",
    )
    assert client.get(sent.headers["location"]).json() == told
    other = sign_in(acme, "supervisor").post(path, json={"content": "Yo también"})
    assert code(other) == (409, "conversations.taken_by_other")
    assert "Yo también" not in [one["content"] for one in every(client, path)]


def test_with_an_id_of_ones_own_it_is_sent_once(
    sign_in: Callable[[Company, str], httpx.Client],
    acme: Company,
    visit: Callable[[Company, str], Visitor],
) -> None:
    visitor, other = visit(acme, "Hola"), visit(acme, "Buenas")
    client, mine = sign_in(acme, "operador"), {"id": str(uuid.uuid4()), "content": "Una vez"}
    path = f"/v1/conversations/{visitor.conversation_id}/messages"
    first, again = client.post(path, json=mine), client.post(path, json=mine)
    assert (first.status_code, first.json()) == (201, again.json())
    assert [one["content"] for one in every(client, path)].count("Una vez") == 1
    elsewhere = f"/v1/conversations/{other.conversation_id}/messages"
    taken = client.post(elsewhere, json=mine)
    assert code(taken) == (409, "conversations.message_id_taken")
    assert (
        client.get(f"/v1/conversations/{other.conversation_id}").json()["is_hitl_active"] is False
    )


def test_on_a_channel_it_waits_in_the_outbox_and_is_sent_again_when_it_failed(
    sign_in: Callable[[Company, str], httpx.Client],
    acme: Company,
    rival: Company,
    database: psycopg.Connection,
) -> None:
    conversation = database.execute(
        "insert into conversations (company_id, chatbot_id, channel_account_id, end_user_id, channel)"
        " select company_id, chatbot_id, id, gen_random_uuid()::text, channel from channel_accounts"
        " where company_id = %s and channel = 'telegram' returning id",
        (acme.id,),
    ).fetchone()[0]
    client = sign_in(acme, "operador")
    sent = client.post(
        f"/v1/conversations/{conversation}/messages", json={"content": "Hola"}
    ).json()
    path = f"/v1/messages/{sent['id']}"
    assert sent["status"] == "pending"
    assert code(client.post(f"{path}/resend")) == (409, "conversations.not_resendable")
    database.execute(
        "update outbox set status = 'failed', last_error = 'chat not found' where message_id = %s",
        (sent["id"],),
    )
    database.execute("update messages set status = 'failed' where id = %s", (sent["id"],))
    assert client.get(path).json()["delivery_error"] == "chat not found"
    again = client.post(f"{path}/resend").json()
    assert (again["status"], again["delivery_error"]) == ("pending", None)
    stranger = sign_in(rival, "owner")
    assert unknown_like(stranger, "POST", "/v1/messages/{}/resend", sent["id"]) == 404
    database.execute("delete from outbox where message_id = %s", (sent["id"],))


def test_one_has_one_reaction_to_an_answer_of_the_bot(
    sign_in: Callable[[Company, str], httpx.Client],
    acme: Company,
    rival: Company,
    database: psycopg.Connection,
) -> None:
    conversation = converse(database, acme)
    answer = say(database, acme, conversation, "Abrimos a las 8")
    question = say(database, acme, conversation, "¿Y los domingos?", by="end_user")
    client, path = sign_in(acme, "operador"), f"/v1/messages/{answer}"
    first = client.put(f"{path}/reaction", json={"reaction_type": "thumbs_up"}).json()
    assert client.put(f"{path}/reaction", json={"reaction_type": "thumbs_up"}).json() == first
    second = {"reaction_type": "not_helpful", "comment": "Falta el domingo"}
    assert client.put(f"{path}/reaction", json=second).json()["comment"] == "Falta el domingo"
    sign_in(acme, "owner").put(f"{path}/reaction", json={"reaction_type": "helpful"})
    kinds = [one["reaction_type"] for one in every(client, f"{path}/reactions", limit=1)]
    assert kinds == ["not_helpful", "helpful"]
    refused = client.put(f"/v1/messages/{question}/reaction", json={"reaction_type": "thumbs_up"})
    assert code(refused) == (409, "conversations.not_the_bots")
    for _ in range(2):
        assert client.delete(f"{path}/reaction").status_code == 204
    left = every(sign_in(acme, "owner"), f"{path}/reactions")
    assert [one["reacted_by_user_id"] for one in left] == [str(acme.people["owner"].id)]


@pytest.mark.parametrize("role", ["owner", "operador"])
def test_messages_out_of_scope_are_like_unknown_ones(
    sign_in: Callable[[Company, str], httpx.Client],
    acme: Company,
    rival: Company,
    database: psycopg.Connection,
    role: str,
) -> None:
    company, bot = (rival, None) if role == "owner" else (acme, other_bot(database, acme))
    hidden = say(database, company, converse(database, company, bot), "Nada")
    client, given = sign_in(acme, role), {"json": {"reaction_type": "helpful"}}
    for method, path, body in (
        ("GET", "/v1/messages/{}", {}),
        ("POST", "/v1/messages/{}/resend", {}),
        ("GET", "/v1/messages/{}/reactions", {}),
        ("PUT", "/v1/messages/{}/reaction", given),
        ("DELETE", "/v1/messages/{}/reaction", {}),
    ):
        assert unknown_like(client, method, path, hidden, **body) == 404


def test_side_by_side_one_person_leaves_one_reaction(
    sign_in: Callable[[Company, str], httpx.Client], acme: Company, database: psycopg.Connection
) -> None:
    answer = say(database, acme, converse(database, acme), "Abrimos a las 8")
    client, path = sign_in(acme, "supervisor"), f"/v1/messages/{answer}/reaction"
    kinds = ("thumbs_up", "thumbs_down", "helpful", "not_helpful") * 2
    statuses: list[int] = []

    def react(kind: str) -> None:
        statuses.append(client.put(path, json={"reaction_type": kind}).status_code)

    threads = [threading.Thread(target=react, args=(kind,)) for kind in kinds]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert set(statuses) == {200}
    assert len(every(client, f"{path}s")) == 1


def test_a_visitor_reacts_and_rates_in_their_own_conversation_only(
    sign_in: Callable[[Company, str], httpx.Client],
    acme: Company,
    rival: Company,
    visit: Callable[[Company, str], Visitor],
    database: psycopg.Connection,
) -> None:
    visitor, stranger = visit(acme, "Hola"), visit(rival, "Hola")
    answer = say(database, acme, visitor.conversation_id, "Abrimos a las 8")
    foreign = say(database, rival, stranger.conversation_id, "Cerrado")
    mine = {"Authorization": f"Bearer {visitor.token}", "x-request-id": "one"}
    path = f"/chat/{acme.web}/messages/{{}}/reaction"
    for kind in ("thumbs_up", "thumbs_down"):
        body = {"reaction_type": kind, "comment": "Ya lo sabía"}
        done = visitor.client.put(path.format(answer), json=body, headers=mine)
        assert done.status_code == 204, done.text
    told = [
        visitor.client.put(path.format(one), json={"reaction_type": "helpful"}, headers=mine)
        for one in (foreign, uuid.uuid4())
    ]
    assert [one.status_code for one in told] == [404, 404]
    assert told[0].content == told[1].content
    client = sign_in(acme, "operador")
    [kept] = every(client, f"/v1/messages/{answer}/reactions")
    assert (kept["reaction_type"], kept["comment"]) == ("thumbs_down", "Ya lo sabía")
    assert kept["reacted_by_end_user"] is True
    assert visitor.client.delete(path.format(answer), headers=mine).status_code == 204
    assert every(client, f"/v1/messages/{answer}/reactions") == []
    rated = {"rating": 4, "comment": "Bien"}
    satisfaction = f"/chat/{acme.web}/satisfaction"
    assert visitor.client.put(satisfaction, json=rated, headers=mine).status_code == 204
    bad = visitor.client.put(satisfaction, json={"rating": 6}, headers=mine)
    assert bad.status_code == 422
    elsewhere = visitor.client.put(f"/chat/{rival.web}/satisfaction", json=rated, headers=mine)
    assert elsewhere.status_code == 401
    shown = client.get(f"/v1/conversations/{visitor.conversation_id}").json()
    assert (shown["satisfaction_rating"], shown["satisfaction_comment"]) == (4, "Bien")
    other = sign_in(rival, "owner").get(f"/v1/conversations/{stranger.conversation_id}").json()
    assert other["satisfaction_rating"] is None


def test_notes_are_the_colleagues_and_in_order(
    sign_in: Callable[[Company, str], httpx.Client], acme: Company, database: psycopg.Connection
) -> None:
    conversation = converse(database, acme, None, "Hola")
    path = f"/v1/conversations/{conversation}/notes"
    for role in ("operador", "supervisor"):
        made = sign_in(acme, role).post(path, json={"content": f"Soy {role}"})
        assert (made.status_code, made.json()["author_id"]) == (201, str(acme.people[role].id))
    listed = every(sign_in(acme, "operador"), path, limit=1)
    assert [one["content"] for one in listed] == ["Soy operador", "Soy supervisor"]
    assert sign_in(acme, "owner").post(path, json={"content": "  "}).status_code == 422
