"""Whole conversations about the demo's and three made-up companies' documents, without a database."""

from __future__ import annotations

import pytest

from bench.turns import (
    CONVERSATIONS,
    HELD_OUT,
    Chat,
    company,
    courtesies,
    follow_ups,
    is_right,
    pairs,
)

# Reached: 20 of 23 pairs, 33 of 35 follow-ups, 6 of 8 that stand alone (as many as without context).
PAIRS, FOLLOW_UPS, ALONE = 20, 33, 6


def test_nobody_is_called_for_a_courtesy_after_an_answer() -> None:
    replies = courtesies()
    assert len(replies) >= 60
    assert [message for message, reply in replies if reply.action == "escalate"] == []


def test_both_questions_of_a_turn_are_answered() -> None:
    found = pairs()
    assert len(found) >= 15
    assert sum(is_right(one["expect"], reply) for one, reply in found) >= PAIRS


def test_follow_ups_are_answered_with_what_they_refer_to() -> None:
    found = follow_ups()
    assert len(found) >= 30
    assert sum(is_right(one["expect"], reply) for one, reply in found) >= FOLLOW_UPS


def test_a_question_that_stands_alone_is_answered_as_if_nothing_had_been_said() -> None:
    found = follow_ups("stands_alone")
    assert sum(is_right(one["expect"], reply) for one, reply in found) >= ALONE


def test_the_conversations_are_about_several_companies() -> None:
    for kind in ("pair", "follow_up", "stands_alone"):
        assert len({one.get("company", "clinic") for one in CONVERSATIONS[kind]}) == 4


def test_an_emergency_gets_the_advice_of_the_documents_and_a_person() -> None:
    reply = Chat(company("clinic")).says("se me cayó un diente por un golpe, ¿qué hago?")
    assert (reply.action, reply.reason) == ("escalate", "emergency")
    assert "leche fría" in (reply.content or "")
    assert reply.sources


def test_a_question_about_an_action_is_answered_and_a_request_is_taken() -> None:
    asked = Chat(company("clinic")).says("¿puedo cancelar mi cita sin costo?")
    assert (asked.action, asked.by) == ("answer", "documents")
    assert "24 horas antes" in (asked.content or "")
    wished = Chat(company("clinic")).says("quiero cancelar mi cita")
    assert (wished.action, wished.by) == ("answer", "request")


def test_without_people_a_request_is_answered_with_how_to_reach_the_company() -> None:
    reply = Chat(company("clinic"), hitl_enabled=False).says("quiero cancelar mi cita del viernes")
    assert reply.action == "answer"
    assert "(601) 555 0142" in (reply.content or "") or "24 horas antes" in (reply.content or "")


@pytest.mark.parametrize("message", [*HELD_OUT["offtopic"][:8]])
def test_what_is_off_the_subject_calls_nobody_if_it_is_recognised(message: str) -> None:
    reply = Chat(company("clinic")).says(message)
    assert (reply.action, reply.by) in {("answer", "off_topic"), ("escalate", "no_answer")}
