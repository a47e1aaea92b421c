"""Past conversations come along: each wholly or not at all, once, in order, and at no cost."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neurant.installation.embedded import Urls
from tests.companies import Company, make_company
from tests.conversations.api_support import every, other_bot, unknown_like
from tests.conversations.test_counters import RECOUNT

pytest_plugins = ("tests.console.running_web",)
STARTED = datetime(2026, 2, 3, 10, tzinfo=UTC)
LINES = {"content-type": "application/x-ndjson"}


def past(
    *texts: str, name: str | None = None, begun: datetime = STARTED, **values: object
) -> dict[str, Any]:
    """A conversation as it is sent: the end user and the bot take turns."""
    return {
        "external_id": name or f"c-{uuid.uuid4()}",
        "channel": "web",
        "end_user_id": f"u-{uuid.uuid4()}",
        "messages": [
            {
                "external_id": f"m{place}",
                "sender": "bot" if place % 2 else "end_user",
                "content": text,
                "sent_at": (begun + timedelta(minutes=place)).isoformat(),
            }
            for place, text in enumerate(texts)
        ],
    } | values


@pytest.fixture
def send(
    sign_in: Callable[[Company, str], httpx.Client], acme: Company
) -> Callable[..., dict[str, Any]]:
    """Imports into acme's bot as its administrador; the answer's body."""

    def import_all(*conversations: dict[str, Any], role: str = "administrador") -> dict[str, Any]:
        answer = sign_in(acme, role).post(
            f"/v1/chatbots/{acme.bot_id}/conversation-imports",
            json={"conversations": conversations},
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    return import_all


def outcome(report: dict[str, Any], place: int = 0) -> tuple[str, str | None]:
    told = report["conversations"][place]
    return told["outcome"], told["reason"]


def recounted(database: psycopg.Connection, company: Company) -> None:
    for row in database.execute(RECOUNT, (company.id,)).fetchall():
        assert row[:7] == row[7:]


def test_what_is_imported_is_read_searched_and_counted_like_any_other(
    sign_in: Callable[[Company, str], httpx.Client],
    send: Callable[..., dict[str, Any]],
    acme: Company,
    rival: Company,
    database: psycopg.Connection,
    urls: Urls,
) -> None:
    told = past(
        "¿Venden mejillones?",
        "Sí, los jueves",
        "Gracias",
        end_user_name="Íñigo",
        satisfaction_rating=5,
        satisfaction_comment="Rápido",
        summary="Preguntó por mejillones",
        context={"pedido": "A-17"},
    )
    told["messages"][2] |= {
        "sender": "human",
        "sender_id": str(acme.people["operador"].id),
        "type": "image",
        "media_url": "https://example.com/a.png",
        "media_type": "image/png",
    }
    report = send(told)
    assert outcome(report) == ("imported", None)
    client, [one] = sign_in(acme, "operador"), report["conversations"]
    path = f"/v1/conversations/{one['conversation_id']}"
    shown = client.get(path).json()
    assert (shown["started_at"], shown["ended_at"]) == (
        "2026-02-03T10:00:00Z",
        "2026-02-03T10:02:00Z",
    )
    assert (shown["status"], shown["session_duration_minutes"]) == ("resolved", 2)
    assert (shown["satisfaction_rating"], shown["context_data"]) == (5, {"pedido": "A-17"})
    assert shown["conversation_summary"] == "Preguntó por mejillones"
    said = every(client, f"{path}/messages", limit=1)
    assert [(row["seq"], row["sender_type"], row["status"]) for row in said] == [
        (1, "end_user", "delivered"),
        (2, "bot", "sent"),
        (3, "human", "sent"),
    ]
    assert (said[2]["media_type"], said[2]["sender_id"]) == (
        "image/png",
        str(acme.people["operador"].id),
    )
    found = [row["id"] for row in every(client, "/v1/conversations", q="mejillones jueves")]
    assert found == []  # one message has the one word, another the other
    for words in ("mejillones", "inigo"):
        found = every(client, "/v1/conversations", q=words)
        assert [row["id"] for row in found] == [one["conversation_id"]]
    assert every(sign_in(rival, "owner"), "/v1/conversations", q="mejillones") == []
    assert every(client, "/v1/contacts", q="inigo")[0]["last_seen_at"] == shown["ended_at"]
    recounted(database, acme)


def test_it_costs_nothing_and_nobody_is_notified_or_answered(
    send: Callable[..., dict[str, Any]], acme: Company, database: psycopg.Connection
) -> None:
    sides = (
        "select coalesce(sum(s.used), 0) from usage_slots s where s.company_id = %(c)s",
        "select monthly_message_count from companies where id = %(c)s",
        "select count(*) from outbox where company_id = %(c)s",
        "select count(*) from reply_requests where company_id = %(c)s",
        "select count(*) from notifications where company_id = %(c)s",
        "select count(*) from hitl_sessions where company_id = %(c)s",
    )

    def look() -> list[object]:
        return [database.execute(side, {"c": acme.id}).fetchone()[0] for side in sides]

    before = look()
    assert send(past("Hola", "Hola, soy el bot", channel="telegram"))["imported"] == 1
    assert look() == before


def test_the_days_of_the_past_are_counted_again(
    urls: Urls,
    database: psycopg.Connection,
    sign_in: Callable[[Company, str], httpx.Client],
    known_password: str,
) -> None:
    company = make_company(urls.admin, "acme", password_hash=known_password)
    client = sign_in(company, "owner")
    path = f"/v1/chatbots/{company.bot_id}/conversation-imports"
    begun = datetime(2025, 12, 5, 15, tzinfo=UTC)
    body = {"conversations": [past("Hola", "Hola", begun=begun), past("Adiós", begun=begun)]}
    assert client.post(path, json=body).json()["messages_added"] == 3
    database.execute("select private.drain_message_changes(100000)")
    database.execute("select private.roll_up_analytics(%s, 100)", (company.id,))
    counted = database.execute(
        "select date, total_messages, bot_messages, new_conversations, resolved_conversations"
        " from analytics_daily where company_id = %s and chatbot_id is null",
        (company.id,),
    ).fetchall()
    assert counted == [(begun.date(), 3, 1, 2, 2)]


def test_a_second_time_nothing_changes_and_more_at_the_end_is_added(
    send: Callable[..., dict[str, Any]],
    acme: Company,
    sign_in: Callable[[Company, str], httpx.Client],
    database: psycopg.Connection,
) -> None:
    told = past("Hola", "Hola", "Adiós")
    whole = json.loads(json.dumps(told))
    told["messages"] = told["messages"][:2]
    first = send(told)["conversations"][0]
    assert outcome(send(told)) == ("unchanged", None)
    report = send(whole)
    assert (outcome(report), report["messages_added"]) == (("extended", None), 1)
    assert report["conversations"][0]["conversation_id"] == first["conversation_id"]
    path = f"/v1/conversations/{first['conversation_id']}"
    client = sign_in(acme, "owner")
    assert [one["content"] for one in every(client, f"{path}/messages")] == [
        "Hola",
        "Hola",
        "Adiós",
    ]
    assert client.get(path).json()["ended_at"] == "2026-02-03T10:02:00Z"
    early = whole | {"messages": [whole["messages"][0] | {"external_id": "m0-bis"}]}
    assert outcome(send(early)) == ("refused", "too_early")
    recounted(database, acme)


def test_what_cannot_be_taken_is_refused_wholly_and_said_why(
    send: Callable[..., dict[str, Any]], acme: Company, rival: Company, database: psycopg.Connection
) -> None:
    count = "select count(*) from conversations where company_id = %s"
    before = database.execute(count, (acme.id,)).fetchone()

    def changed(**values: object) -> dict[str, Any]:
        one = past("Hola", "Hola")
        one["messages"][1] |= values
        return one

    twice = past("Hola", name=f"c-{uuid.uuid4()}")
    bad = {
        "no_channel": past("Hola", channel="slack"),
        "repeated_message": changed(external_id="m0"),
        "in_the_future": changed(sent_at="2099-01-01T00:00:00Z"),
        "out_of_order": changed(sent_at="2001-01-01T00:00:00Z"),
        "unknown_sender": changed(sender="human", sender_id=str(rival.people["owner"].id)),
        "empty_text": changed(content=""),
        "erased": past("Hola", end_user_id=f"erased-{uuid.uuid4()}"),
    }
    report = send(*bad.values(), twice, twice)
    for place, reason in enumerate(bad):
        assert outcome(report, place) == ("refused", reason)
        assert report["conversations"][place]["conversation_id"] is None
        assert len(report["conversations"][place]["detail"]) > 20
    assert outcome(report, len(bad)) == ("imported", None)
    assert outcome(report, len(bad) + 1) == ("refused", "repeated")
    assert database.execute(count, (acme.id,)).fetchone() == (before[0] + 1,)
    assert (report["imported"], report["refused"]) == (1, len(bad) + 1)
    other = outcome(send(twice | {"end_user_id": "somebody else"}))
    assert other == ("refused", "other_contact")


def test_neither_the_archive_nor_an_erasure_is_undone(
    send: Callable[..., dict[str, Any]],
    acme: Company,
    sign_in: Callable[[Company, str], httpx.Client],
    database: psycopg.Connection,
) -> None:
    kept, gone = past("Hola"), past("Me llamo Eva")
    ids = [one["conversation_id"] for one in send(kept, gone)["conversations"]]
    database.execute(
        "select private.move_conversations(%s, %s::uuid[], '', '_archived', clock_timestamp())",
        (acme.id, ids[:1]),
    )
    client = sign_in(acme, "owner")
    contact = client.get(f"/v1/conversations/{ids[1]}").json()["contact_id"]
    assert client.post(f"/v1/contacts/{contact}/erase").status_code == 200
    report = send(kept, gone)
    assert [outcome(report, place) for place in (0, 1)] == [
        ("unchanged", None),
        ("refused", "erased"),
    ]
    more = past("Hola", "Sigo aquí") | {name: kept[name] for name in ("external_id", "end_user_id")}
    assert outcome(send(more)) == ("refused", "archived")


def test_who_may_import_and_into_what(
    send: Callable[..., dict[str, Any]],
    sign_in: Callable[[Company, str], httpx.Client],
    acme: Company,
    rival: Company,
    database: psycopg.Connection,
) -> None:
    told = past("Hola")
    body = {"json": {"conversations": [told]}}
    path = "/v1/chatbots/{}/conversation-imports"
    for role in ("supervisor", "operador"):
        answer = sign_in(acme, role).post(path.format(acme.bot_id), **body)
        assert (answer.status_code, answer.json()["code"]) == (403, "api.not_permitted")
    assert unknown_like(sign_in(rival, "owner"), "POST", path, acme.bot_id, **body) == 404
    # The same names in another bot, and in another company, are others.
    elsewhere = sign_in(acme, "owner").post(path.format(other_bot(database, acme)), **body).json()
    foreign = sign_in(rival, "owner").post(path.format(rival.bot_id), **body).json()
    mine = send(told)
    made = [one["conversations"][0] for one in (mine, elsewhere, foreign)]
    assert {one["outcome"] for one in made} == {"imported"}
    assert len({one["conversation_id"] for one in made}) == 3
    audited = database.execute(
        "select user_role::text, details ->> 'messages' from audit_logs"
        " where company_id = %s and resource_type = 'conversation_imports'",
        (rival.id,),
    ).fetchall()
    assert ("owner", "1") in audited


def test_a_line_each_is_read_as_well(
    sign_in: Callable[[Company, str], httpx.Client], acme: Company
) -> None:
    client, path = sign_in(acme, "owner"), f"/v1/chatbots/{acme.bot_id}/conversation-imports"
    lines = [json.dumps(past("Hola", "Hola")).encode() for _ in range(3)]
    report = client.post(path, content=b"\n\n".join(lines), headers=LINES).json()
    assert (report["imported"], report["messages_added"]) == (3, 6)
    again = client.post(path, content=iter([lines[0][:40], lines[0][40:]]), headers=LINES).json()
    assert again["unchanged"] == 1
    for number, body in (
        (2, lines[0] + b"\n{"),
        (1, b""),
        (1, b"\xff\xfe"),
        (1, b'{"external_id": "a"}'),
        (2, lines[0] + b"\n" + lines[1].replace(b'"web"', b'"fax"')),
    ):
        answer = client.post(path, content=body, headers=LINES)
        assert (answer.status_code, answer.json()["code"]) == (
            422,
            "conversations.import_bad_line",
        )
        assert f" {number} " in answer.json()["detail"]


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (415, {"content-type": "text/csv"}, b"a,b"),
        (400, {"content-type": "application/json"}, b"{"),
        (422, {"content-type": "application/json"}, b"[]"),
        (422, {"content-type": "application/json"}, b'{"conversations": []}'),
        (400, {"content-type": "application/json"}, b'{"conversations": ["\\ud800"]}'),
        (413, LINES, b"x" * (20 * 1024 * 1024 + 1)),
        (413, LINES, b"\n".join([json.dumps(past("Hola")).encode()] * 1001)),
        (413, LINES, json.dumps(past(*["Hola"] * 5001)).encode() + b"\n" + json.dumps(past(*["Hola"] * 5000)).encode()),
    ],
)  # fmt: skip
def test_hostile_bodies_are_refused_as_a_whole(
    sign_in: Callable[[Company, str], httpx.Client],
    acme: Company,
    database: psycopg.Connection,
    status: int,
    headers: dict[str, str],
    body: bytes,
) -> None:
    count = "select count(*) from conversations where company_id = %s"
    before = database.execute(count, (acme.id,)).fetchone()
    answer = sign_in(acme, "owner").post(
        f"/v1/chatbots/{acme.bot_id}/conversation-imports", content=body, headers=headers
    )
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert database.execute(count, (acme.id,)).fetchone() == before


def test_what_is_wrong_in_a_document_is_named_and_a_whole_number_is_one(
    sign_in: Callable[[Company, str], httpx.Client], acme: Company
) -> None:
    client, path = sign_in(acme, "owner"), f"/v1/chatbots/{acme.bot_id}/conversation-imports"
    for rating, status in ((5.0, 200), (4.5, 422), ("5", 422), (6, 422), (True, 422)):
        body = {"conversations": [past("Hola"), past("Hola", satisfaction_rating=rating)]}
        answer = client.post(path, json=body)
        assert answer.status_code == status, rating
        if status == 422:
            assert "conversations.1.satisfaction_rating" in answer.json()["detail"]


def test_hostile_texts_are_kept_or_refused_never_half(
    send: Callable[..., dict[str, Any]],
    acme: Company,
    sign_in: Callable[[Company, str], httpx.Client],
) -> None:
    text = "'; drop table messages; -- \N{PILE OF POO} \u202e <script>"
    report = send(past(text, name="\u202e'\"\\", end_user_id="%_'\"", end_user_name="<b>"))
    conversation = report["conversations"][0]["conversation_id"]
    client = sign_in(acme, "owner")
    assert every(client, f"/v1/conversations/{conversation}/messages")[0]["content"] == text
    for hostile in (past("con \0 nulo"), past("Hola", end_user_id="con \0 nulo")):
        answer = client.post(
            f"/v1/chatbots/{acme.bot_id}/conversation-imports",
            json={"conversations": [past("Entera"), hostile]},
        )
        assert answer.status_code == 422
    assert every(client, "/v1/conversations", q="entera") == []


def test_of_the_same_import_twice_at_once_one_stores_it(
    send: Callable[..., dict[str, Any]], acme: Company, database: psycopg.Connection
) -> None:
    told = [past(*["Hola"] * 5) for _ in range(20)]
    reports: list[dict[str, Any]] = []
    threads = [threading.Thread(target=lambda: reports.append(send(*told))) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(one["imported"] for one in reports) == [0, 0, 0, 20]
    assert sum(one["messages_added"] for one in reports) == 100
    recounted(database, acme)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cuts=st.lists(st.integers(0, 6), min_size=1, max_size=5), length=st.integers(1, 6))
def test_however_it_is_cut_and_repeated_the_same_is_stored(
    send: Callable[..., dict[str, Any]],
    acme: Company,
    sign_in: Callable[[Company, str], httpx.Client],
    cuts: list[int],
    length: int,
) -> None:
    told = past(*(f"Paso {number}" for number in range(length)))
    for cut in [*cuts, length]:
        part = told | {"messages": told["messages"][: min(cut, length)]}
        if part["messages"]:
            report = send(part)
            assert report["refused"] == 0
    [one] = send(told)["conversations"]
    client = sign_in(acme, "owner")
    said = every(client, f"/v1/conversations/{one['conversation_id']}/messages")
    assert [row["content"] for row in said] == [f"Paso {number}" for number in range(length)]
    assert [row["seq"] for row in said] == list(range(1, length + 1))
