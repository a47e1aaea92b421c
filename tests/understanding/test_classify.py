"""The classes of turns: what was never trained on is recognised, and the model is up to date."""

from __future__ import annotations

import json
import time
import tomllib
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.turns import situation
from neurant.knowledge.embed import DIMENSIONS, embed_query
from neurant.replies.decide import react
from neurant.replies.intent import small_talk, wants_person
from neurant.understanding.classify import (
    MODEL_FILE,
    Classified,
    classify,
    examples,
    fingerprint,
    is_known_small_talk,
)
from neurant.understanding.kinds import KINDS, SMALL_TALK, Kind
from neurant.understanding.surface import FORMS, form, plain
from neurant.understanding.turn import CERTAIN

HELD_OUT = tomllib.loads(Path(__file__).with_name("held_out.toml").read_text("utf-8"))
CALLING = ("person", "complaint", "emergency", "advice")


@cache
def of(message: str) -> Classified:
    return classify(message, embed_query(message))


def certain(message: str) -> Kind:
    found = of(message)
    return found.kind if found.certainty >= CERTAIN else "question"


def test_the_model_is_fitted_on_the_examples_and_signals_of_today() -> None:
    stored = json.loads(MODEL_FILE.read_text("utf-8"))
    assert stored["fingerprint"] == fingerprint(), "run python -m scripts.train_understanding"


def test_no_held_out_message_is_an_example_and_no_message_has_two_classes() -> None:
    labelled = [(plain(text) or text, kind) for kind, texts in examples().items() for text in texts]
    trained = dict(labelled)
    twice = {text for text, kind in labelled if trained[text] != kind}
    assert twice == set()
    assert not [
        text for texts in HELD_OUT.values() for text in texts if (plain(text) or text) in trained
    ]


def test_every_class_has_examples_and_held_out_messages() -> None:
    assert set(HELD_OUT) == set(KINDS)
    assert min(len(texts) for texts in examples().values()) >= 40
    assert min(map(len, HELD_OUT.values())) >= 8


def test_the_likeliest_class_is_right_for_nine_of_ten_messages_that_no_training_saw() -> None:
    messages = [(text, kind) for kind, texts in HELD_OUT.items() for text in texts]
    model = sum(of(text).kind == kind for text, kind in messages) / len(messages)
    words = sum(by_words(text) == kind for text, kind in messages) / len(messages)
    assert model >= 0.9
    assert model > words + 0.4


def test_no_question_is_swallowed_as_a_courtesy_or_anything_else() -> None:
    assert len(HELD_OUT["question"]) >= 100
    for text in HELD_OUT["question"]:
        assert react(situation(text, []), certain(text)).action == "retrieve", text


def test_nobody_is_called_for_a_courtesy() -> None:
    courtesies = [text for kind in SMALL_TALK for text in HELD_OUT[kind]]
    assert len(courtesies) >= 60
    assert [text for text in courtesies if certain(text) in CALLING] == []


def test_a_certain_class_is_right_nineteen_times_of_twenty() -> None:
    sure = [
        of(text).kind == kind
        for kind, texts in HELD_OUT.items()
        for text in texts
        if of(text).certainty >= CERTAIN
    ]
    assert sum(sure) / len(sure) >= 0.95


@pytest.mark.parametrize(
    ("question", "request_to_act", "kind"),
    [
        ("¿puedo cancelar mi cita?", "quiero cancelar mi cita", "cancel"),
        ("¿cómo pido una cita?", "quiero pedir una cita para mañana a las 10", "book"),
        ("¿se puede cambiar la fecha?", "cambia la fecha de mi reserva por favor", "move"),
    ],
)
def test_a_question_about_an_action_is_no_request_for_it(
    question: str, request_to_act: str, kind: str
) -> None:
    assert certain(question) == "question"
    assert certain(request_to_act) == kind


def test_an_example_that_asks_nothing_is_known_word_for_word() -> None:
    assert is_known_small_talk("¡LISTO!")
    assert not is_known_small_talk("¿Abren los sábados?")


def test_classifying_takes_less_than_five_milliseconds() -> None:
    vector = embed_query("¿Abren los sábados?")
    classify("¿Abren los sábados?", vector)
    began = time.thread_time()
    for _ in range(20):
        classify("¿Abren los sábados?", vector)
    assert (time.thread_time() - began) / 20 < 0.005


@given(st.text(max_size=400))
def test_any_text_has_probabilities_that_sum_to_one(text: str) -> None:
    found = classify(text, [0.05] * DIMENSIONS)
    assert abs(sum(found.probabilities.values()) - 1) < 1e-9
    assert len(form(text)) == FORMS


def by_words(message: str) -> str:
    return "person" if wants_person(message) else small_talk(message) or "question"
