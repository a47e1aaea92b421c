"""Why the bot said something: over the API, and on the pages of the staff."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any
from uuid import UUID

import httpx
import psycopg

from neurant.knowledge.answer import THRESHOLD
from tests.companies import Company
from tests.conversations.api_support import converse, every, other_bot, say, unknown_like

pytest_plugins = ("tests.console.running_web",)

WHY: dict[str, Any] = {
    "turn": "question",
    "decision": "escalate",
    "reason": "below_threshold",
    "question": "¿Cuánto vale la piscina?",
    "repaired": [{"written": "kuanto", "read": "cuánto"}],
    "confidence": 0.31,
    "threshold": THRESHOLD,
    "passages": [
        {
            "chunk_id": str(uuid.uuid4()), "document": "Tarifas del hotel", "page": 2,
            "section": "Habitaciones", "excerpt": "La habitación doble cuesta 240.000", "score": 0.8,
            "similarity": 0.84, "lexical": None, "is_quoted": False,
        },
    ],
}  # fmt: skip


def explain(database: psycopg.Connection, message: UUID, why: dict[str, Any] = WHY) -> None:
    database.execute(
        "update messages set explanation = %s, confidence_score = 0.31 where id = %s",
        (json.dumps(why), message),
    )


def test_the_explanation_of_a_message_is_returned_with_a_sentence(
    sign_in: Callable[[Company, str], httpx.Client],
    acme: Company,
    rival: Company,
    database: psycopg.Connection,
) -> None:
    conversation = converse(database, acme)
    answer = say(database, acme, conversation, "No lo encontré.")
    explain(database, answer)
    client, path = sign_in(acme, "operador"), f"/v1/messages/{answer}/explanation"
    told = client.get(path, headers={"accept-language": "es"}).json()
    sentence = told.pop("summary")
    assert told == WHY | {"keyword": None}
    assert "31 %" in sentence
    assert "55 %" in sentence
    assert "pasó la conversación a una persona" in sentence
    english = client.get(path, headers={"accept-language": "en"}).json()["summary"]
    assert "handed the conversation over" in english
    [shown] = every(client, f"/v1/conversations/{conversation}/messages")
    assert (shown["confidence_score"], shown["used_knowledge_base"]) == (0.31, False)
    assert "explanation" not in shown
    assert (
        unknown_like(sign_in(rival, "owner"), "GET", "/v1/messages/{}/explanation", answer) == 404
    )


def test_only_who_may_read_the_conversation_reads_why(
    sign_in: Callable[[Company, str], httpx.Client], acme: Company, database: psycopg.Connection
) -> None:
    answer = say(database, acme, converse(database, acme, other_bot(database, acme)), "No sé.")
    explain(database, answer)
    path = f"/v1/messages/{answer}/explanation"
    assert sign_in(acme, "operador").get(path).status_code == 404
    assert sign_in(acme, "owner").get(path).status_code == 200


def test_a_message_without_an_explanation_has_none(
    sign_in: Callable[[Company, str], httpx.Client], acme: Company, database: psycopg.Connection
) -> None:
    conversation = converse(database, acme)
    for by in ("bot", "end_user"):
        said = say(database, acme, conversation, "Hola", by=by)
        answer = sign_in(acme, "owner").get(f"/v1/messages/{said}/explanation")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_the_desk_shows_why_and_what_is_known_of_the_customer(
    sign_in: Callable[[Company, str], httpx.Client], acme: Company, database: psycopg.Connection
) -> None:
    conversation = converse(database, acme)
    explain(database, say(database, acme, conversation, "No lo encontré."))
    # A kind of turn that has no text yet is shown by its name.
    explain(database, say(database, acme, conversation, "Nada."), WHY | {"turn": "new_kind"})
    known = {
        "name": "Ana María", "branch": "Sede Norte", "pedido": "A-17",
        "request": {"what": "reservar", "for": {"day": "martes"}}, "empty": "",
    }  # fmt: skip
    database.execute(
        "update conversations set context_data = %s where id = %s",
        (json.dumps(known), conversation),
    )
    client = sign_in(acme, "operador")
    page = client.get(f"/console/inbox/{conversation}/customer").text
    for words in (
        "¿Por qué?", "Tarifas del hotel · Habitaciones", "«kuanto» como «cuánto»", "new_kind",
        "Ana María", "Sede Norte", "A-17", "martes, reservar",
    ):  # fmt: skip
        assert words in page, words
    assert client.get(f"/v1/conversations/{conversation}").json()["context_data"] == known


def test_a_preview_says_why_in_the_language_of_the_reader(
    sign_in: Callable[[Company, str], httpx.Client], acme: Company
) -> None:
    client = sign_in(acme, "owner")

    def why(message: str, **settings: object) -> dict[str, Any]:
        body = {"message": message, "settings": settings}
        told = client.post(
            f"/v1/chatbots/{acme.bot_id}/preview", json=body, headers={"accept-language": "en"}
        )
        assert told.status_code == 200, told.text
        return told.json()["explanation"]

    nothing = why("¿Cuánto cuesta el viaje a Marte?")
    assert (nothing["reason"], nothing["confidence"], nothing["threshold"]) == (
        "nothing_found", None, THRESHOLD,
    )  # fmt: skip
    assert nothing["summary"].startswith("No document is about this.")
    declined = why("quiero hablar con una persona", hitl_triggers=["no_answer"])
    assert (declined["turn"], declined["reason"]) == ("user_request", "no_people")
    assert why("hola")["reason"] == "courtesy"
    page = client.post(
        f"/console/bots/{acme.bot_id}/trial", data={"message": "hola"},
        headers={"origin": str(client.base_url).rstrip("/")},
    )  # fmt: skip
    assert page.status_code == 200
    assert "why__body" in page.text
