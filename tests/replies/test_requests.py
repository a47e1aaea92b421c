"""A request to act: its details are asked for one by one and handed to a person together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from neurant.replies.decide import Decision, Situation, decide, react
from neurant.replies.requests import Said, open_request
from neurant.texts import in_tone
from neurant.texts.address import ADDRESSES, Manner
from neurant.understanding.details import said
from neurant.understanding.kinds import Kind
from tests.support.phrases import spoken

QUIET = Situation(
    company_name="Los Cedros",
    bot_name="Cedro",
    bot_is_active=True,
    limit_reached=False,
    is_hitl_active=False,
    hitl_enabled=True,
    hitl_triggers=["no_answer", "user_request", "keywords"],
    keywords=["cita"],
    fallback_message=None,
    question="",
    last_notice=None,
    last_bot_text=None,
    language="es",
)


class Chat:
    """A conversation whose first message is of a known class."""

    def __init__(self, kind: Kind, tone: str | None = None, address: str | None = None) -> None:
        self.kind = kind
        self.tone, self.address = tone, address
        self.thread: list[Said] = []

    def says(self, message: str) -> Decision:
        last = next((one.text for one in reversed(self.thread) if one.by_bot), None)
        now = replace(
            QUIET, question=message, thread=list(self.thread), last_bot_text=last, tone=self.tone,
            address=self.address, keywords=[],
        )  # fmt: skip
        decision = decide(now)
        if decision.action == "retrieve" and decision.request is None:
            decision = react(now, self.kind)
        self.thread += [Said(False, message), *self._answer(decision)]
        return decision

    def _answer(self, decision: Decision) -> list[Said]:
        return [Said(True, decision.content)] if decision.content else []


def test_the_missing_details_are_asked_for_one_at_a_time_and_handed_over_together() -> None:
    chat = Chat("book")
    assert chat.says("quiero pedir una cita").content == spoken("ask_service")
    assert chat.says("limpieza dental").content == spoken("ask_when")
    assert chat.says("el martes a las 10").content == spoken("ask_name")
    assert chat.says("Ana Ruiz").content == spoken("ask_contact")
    done = chat.says("300 555 0123")
    assert (done.action, done.reason) == ("escalate", "request")
    for detail in (
        "quiero pedir una cita",
        "limpieza dental",
        "el martes a las 10",
        "Ana Ruiz",
        "300 555 0123",
    ):
        assert detail in (done.detail or "")
        assert detail in (done.content or "")


def test_details_that_were_said_are_not_asked_for() -> None:
    chat = Chat("book")
    first = "Quiero una cita de ortodoncia para mañana a las 10, soy Ana Ruiz, mi correo es ana@correo.example"
    done = chat.says(first)
    assert (done.action, done.reason) == ("escalate", "request")
    assert "ana@correo.example" in (done.detail or "")


@pytest.mark.parametrize(
    ("kind", "message", "asks"),
    [
        ("book", "quiero una habitación doble", "ask_when"),
        ("book", "necesito turno para mañana", "ask_service"),
        ("cancel", "quiero cancelar mi cita", "ask_cancelled"),
        ("cancel", "quiero cancelar mi cita del viernes", "ask_name"),
        ("move", "quiero cambiar mi reserva", "ask_moved"),
        ("move", "mueve mi clase para el jueves", "ask_name"),
        ("status", "¿dónde está mi pedido?", "ask_number"),
        ("status", "¿dónde está mi pedido 45821?", "ask_name"),
        ("order", "quiero hacer un pedido", "ask_details"),
        ("order", "quiero comprar dos camisetas", "ask_name"),
    ],
)
def test_each_kind_of_request_asks_for_what_it_needs(kind: Kind, message: str, asks: str) -> None:
    assert Chat(kind).says(message).content == spoken(asks)


def test_a_question_within_a_request_is_answered_and_the_request_goes_on() -> None:
    chat = Chat("book")
    chat.says("quiero una cita de limpieza")
    asked = chat.says("¿cuánto cuesta la limpieza?")
    assert asked.action == "retrieve"
    assert asked.request is not None
    chat.thread.append(Said(True, f"Cuesta $130.000.\n\n{spoken('ask_when')}"))
    assert chat.says("el lunes").content == spoken("ask_name")
    request = open_request(chat.thread)
    assert request is not None
    assert request.start == "quiero una cita de limpieza"
    assert request.answers == (("when", "el lunes"),)


@pytest.mark.parametrize("message", ["olvídalo", "No, gracias", "ya no", "never mind"])
def test_a_request_can_be_given_up(message: str) -> None:
    chat = Chat("book")
    chat.says("quiero una cita")
    stopped = chat.says(message)
    assert (stopped.action, stopped.content) == ("answer", spoken("request_stopped"))
    assert open_request(chat.thread) is None


def test_a_wish_for_a_person_within_a_request_hands_over_what_was_said() -> None:
    chat = Chat("cancel")
    chat.says("quiero cancelar mi cita")
    chat.says("la del viernes")
    done = chat.says("mejor pásame con un asesor")
    assert (done.action, done.reason) == ("escalate", "user_request")
    assert "la del viernes" in (done.detail or "")


def test_a_request_is_followed_in_every_tone() -> None:
    chat = Chat("cancel", tone="professional")
    chat.says("quiero cancelar mi cita del viernes")
    assert chat.says("Ana Ruiz").content == in_tone(
        "replies.ask_contact", Manner("professional", "usted"), "es"
    )


def test_a_keyword_within_a_request_does_not_interrupt_it() -> None:
    thread = [Said(False, "quiero reservar"), Said(True, spoken("ask_service"))]
    now = replace(QUIET, question="una cita de limpieza", thread=thread)
    assert decide(now).content == spoken("ask_when")


def test_without_people_nothing_is_asked_that_nobody_would_read() -> None:
    now = replace(QUIET, hitl_enabled=False, question="quiero una cita", keywords=[])
    assert react(now, "book").action == "retrieve"


@pytest.mark.parametrize(
    ("message", "detail", "found"),
    [
        ("mi número es +57 300 555 0123", "contact", "+57 300 555 0123"),
        ("escríbeme a ana.ruiz@correo.example por favor", "contact", "ana.ruiz@correo.example"),
        ("cuesta $1.250.000", "contact", None),
        ("a nombre de Pedro Gómez", "name", "Pedro Gómez"),
        ("soy estudiante", "name", None),
        ("para el Lunes", "name", None),
        ("pedido AB-4581", "number", "AB-4581"),
    ],
)
def test_details_are_found_in_a_message(message: str, detail: str, found: str | None) -> None:
    assert said(message, detail) == found


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("tone", ["friendly", "professional"])
def test_a_request_goes_on_in_every_form_of_address(tone: str, address: str) -> None:
    chat = Chat("cancel", tone, address)
    assert chat.says("quiero cancelar mi reserva").action == "answer"
    assert chat.says("la del viernes").action == "answer"
    assert chat.says("Ana Ruiz").action == "answer"
    handed = chat.says("310 555 0101")
    assert (handed.action, handed.reason) == ("escalate", "request")
