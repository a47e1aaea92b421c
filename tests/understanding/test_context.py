"""Follow-ups and corrections, completed with the question before them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurant.understanding.context import completed, correction, readings


@pytest.mark.parametrize(
    ("before", "ask", "meant"),
    [
        ("¿Hacen limpieza dental?", "¿y cuánto cuesta?", "cuánto cuesta limpieza dental"),
        ("¿Abren los sábados?", "¿y los domingos?", "¿Abren los domingos?"),
        ("¿Tienen parqueadero en la sede norte?", "¿y en la sede sur?", "¿Tienen parqueadero en la sede sur?"),
        ("¿Cuánto vale la habitación doble en temporada baja?", "¿y la sencilla?",
         "¿Cuánto vale la sencilla en temporada baja?"),
        ("¿Cuánto vale la habitación doble en temporada baja?", "y en temporada alta?",
         "¿Cuánto vale la habitación doble en temporada alta?"),
        ("¿Qué requisitos tiene la beca?", "¿y la media beca?", "¿Qué requisitos tiene la media beca?"),
        ("¿qué pasa si llego tarde?", "¿y si no voy?", "¿qué pasa si no voy?"),
        ("¿Hay descuento para estudiantes?", "¿y para jubilados?", "¿Hay descuento para jubilados?"),
        ("How much is the double room?", "what about the suite?", "How much is the suite?"),
        ("¿A qué hora cierran los viernes?", "perdón, quise decir el sábado", "¿A qué hora cierran el sábado?"),
        ("¿Tienen piscina?", "¿a qué hora abre?", "¿a qué hora abre piscina"),
        ("¿Dictan yoga?", "precio?", "precio yoga"),
    ],
)  # fmt: skip
def test_a_follow_up_is_completed_with_the_question_before(
    before: str, ask: str, meant: str
) -> None:
    assert readings(ask, [before])[0].strip("¿? ") == meant.strip("¿? ")


@pytest.mark.parametrize(
    "ask",
    ["¿Hay wifi?", "¿dónde quedan?", "¿A qué hora abren?", "¿el desayuno está incluido?",
     "¿Y reciben cheques?", "¿cuánto cuesta el envío a Cali?"],
)  # fmt: skip
def test_a_question_that_stands_alone_stays_as_it_is(ask: str) -> None:
    assert readings(ask, ["¿Hacen limpieza dental?"]) == [ask]


def test_without_an_earlier_question_nothing_is_added() -> None:
    assert readings("¿y cuánto cuesta?", []) == ["¿y cuánto cuesta?"]
    assert readings("¿y cuánto cuesta?", ["hola", "ok", "gracias"]) == ["¿y cuánto cuesta?"]


def test_courtesies_between_do_not_hide_the_question_before() -> None:
    assert (
        readings("precio?", ["¿Hacen blanqueamiento?", "ok", "gracias"])[0]
        == "precio blanqueamiento"
    )


def test_a_chain_of_follow_ups_keeps_its_subject_and_its_form() -> None:
    earlier = ["¿Hacen blanqueamiento?", "¿y cuánto cuesta?"]
    assert readings("¿y la limpieza?", earlier)[0].startswith("cuánto cuesta la limpieza")


def test_the_branch_just_spoken_of_is_one_reading_of_the_next_question() -> None:
    found = readings("¿tienen ascensor?", ["¿Dónde queda la sede de Chapinero?"])
    assert len(found) == 2
    assert "Chapinero" in found[0]
    assert found[1] == "¿tienen ascensor?"


@pytest.mark.parametrize(
    ("message", "new"),
    [
        ("perdón, quise decir el domingo", "el domingo"),
        ("no, me refiero a la otra sede", "la otra sede"),
        ("digo, la limpieza", "la limpieza"),
        ("*sábados", "sábados"),
        ("sorry, I meant Sunday", "Sunday"),
        ("no, el sábado", "el sábado"),
        ("perdón", None),
        ("no", None),
        ("quiero decir algo", None),
        ("¿abren el domingo?", None),
        ("no, gracias", None),
    ],
)
def test_a_correction_is_recognised(message: str, new: str | None) -> None:
    assert correction(message) == new


@given(st.text(max_size=300), st.text(max_size=300))
def test_no_text_breaks_the_completion(before: str, new: str) -> None:
    assert readings(new, [before])
    completed(before, new)
