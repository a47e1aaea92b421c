"""Mentions, commands, and the questions of a turn."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurant.understanding.addressing import asks_for_help, without_address
from neurant.understanding.parts import questions


@pytest.mark.parametrize(
    ("message", "content"),
    [
        ("@AsistenteBot ¿Abren los sábados?", "¿Abren los sábados?"),
        ("/pregunta@AsistenteBot ¿Abren los sábados?", "¿Abren los sábados?"),
        ("@AsistenteBot, /pregunta ¿Abren?", "¿Abren?"),
        ("¿Abren los sábados? @AsistenteBot", "¿Abren los sábados?"),
        ("oye @AsistenteBot abren hoy?", "oye  abren hoy?"),
        ("/precio limpieza", "precio limpieza"),
        ("/horario@TiendaBot", "horario"),
        ("escriban a ventas@tienda.example", "escriban a ventas@tienda.example"),
        ("¿su instagram es @latienda o @otra_tienda de Cali?",
         "¿su instagram es @latienda o @otra_tienda de Cali?"),
        ("la relación 1/2 taza", "la relación 1/2 taza"),
    ],
)  # fmt: skip
def test_mentions_and_commands_are_no_content(message: str, content: str) -> None:
    assert without_address(message) == content


@pytest.mark.parametrize(
    ("message", "asks"),
    [("/menu", True), ("/start", True), ("/start qr-42", True), ("/help@TiendaBot", True),
     ("/horario", False), ("menu", False), ("/startled", False)],
)  # fmt: skip
def test_a_command_for_help_is_recognised(message: str, asks: bool) -> None:
    assert asks_for_help(message) is asks


@pytest.mark.parametrize(
    ("turn", "asked"),
    [
        ("¿Abren los sábados? ¿Tienen parqueadero en Cali?",
         ["¿Abren los sábados?", "¿Tienen parqueadero en Cali?"]),
        ("¿cuánto vale el envío y hacen factura?", ["¿cuánto vale el envío", "hacen factura?"]),
        ("hola\nuna pregunta\n¿tienen piscina?\ny a que hora cierran",
         ["¿tienen piscina?", "y a que hora cierran"]),
        ("Tengo 65 años. ¿Tengo descuento?", ["Tengo 65 años. ¿Tengo descuento?"]),
        ("si llego tarde, ¿qué pasa?", ["si llego tarde ¿qué pasa?"]),
        ("gracias, ¿y el parqueadero?", ["¿y el parqueadero?"]),
        ("¿abren el sábado?\nperdón, quise decir el domingo", ["¿abren el domingo?"]),
        ("¿Tienen talla M y L?", ["¿Tienen talla M y L?"]),
        ("¿Qué días abren y cierran?", ["¿Qué días abren y cierran?"]),
        ("quiero una cita para mañana", ["quiero una cita para mañana"]),
        ("ok", ["ok"]),
        ("¿a? ¿b? ¿c? ¿d?", ["¿a?", "¿b?", "¿c?"]),
    ],
)  # fmt: skip
def test_a_turn_is_divided_into_its_questions(turn: str, asked: list[str]) -> None:
    assert questions(turn) == asked


@given(st.text(max_size=2_000))
def test_no_text_breaks_the_division(text: str) -> None:
    assert 1 <= len(questions(text)) <= 3
    without_address(text)


def test_a_long_message_is_divided_quickly() -> None:
    for message in (
        "¿a? " * 5_000,
        "y " * 5_000,
        "perdón, " * 3_000,
        "@bot " * 3_000,
        ", qué" * 3_000,
    ):
        assert questions(without_address(message))
