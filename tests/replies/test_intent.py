"""What a message plainly wants: a person, small talk, a keyword, a language."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurant.replies.intent import (
    language_of,
    matched_keyword,
    small_talk,
    wants_person,
    wants_person_confirmation,
)

WANTS_A_PERSON = [
    "quiero hablar con un asesor",
    "Quiero hablar con alguien",
    "QUIERO HABLAR CON UNA PERSONA",
    "necesito hablar con un humano",
    "pásame con un agente",
    "Pásame con alguien por favor",
    "me puedes comunicar con un asesor?",
    "comuníqueme con un operador",
    "puedo hablar con una persona real?",
    "asesor",
    "Agente por favor",
    "un humano!!",
    "quiero un asesor",
    "kiero ablar con un acesor",
    "nesecito un asesor urgente",
    "prefiero que me atienda una persona",
    "quiero que me ayude un humano",
    "hay alguien ahí?",
    "¿hay un asesor disponible?",
    "no quiero hablar con un robot",
    "¿alguien me puede ayudar?",
    "me puede llamar alguien?",
    "quiero que una persona me atienda",
    "pásame al encargado",
    "servicio al cliente",
    "transfiéreme a un operador",
    "quisiera conversar con alguna persona",
    "Hola, buenas tardes, ¿me comunica con un asesor?",
    "talk to a person",
    "I want to speak to a human",
    "Can I talk to an agent?",
    "connect me with a representative please",
    "I need a human",
    "human please",
    "let me speak with someone",
    "get me a real person",
]
DOES_NOT = [
    "¿cuántas personas caben?",
    "¿es para persona natural o jurídica?",
    "¿el agente inmobiliario cobra comisión?",
    "habla con mi hijo",
    "¿puedo hablar con una persona natural o jurídica?",
    "el precio es por persona?",
    "necesito un agente de viajes",
    "quiero una habitación para una persona",
    "¿puede ir otra persona por mí?",
    "¿el operador logístico llega el sábado?",
    "tienen cursos de recursos humanos?",
    "¿qué derechos humanos protege la ley?",
    "¿cuánto cuesta una limpieza dental?",
    "hola",
    "gracias por la asesoría",
    "no quiero hablar con un asesor",
    "¿los agentes químicos son peligrosos?",
    "how many people fit in the room?",
    "what is the price per person?",
    "is there an agent fee?",
    "I want to speak English",
    "necesito una asesoría contable",
    "¿hay representante de ventas en Cali?",
    "quiero una cita con la doctora Pardo",
    "¿la persona que me atendió ayer trabaja hoy?",
    "puedo ir con otra persona?",
    "¿alguien sabe a qué hora abren?",
    "",
    "🙂",
]


@pytest.mark.parametrize("message", WANTS_A_PERSON)
def test_a_wish_for_a_person_is_understood(message: str) -> None:
    assert wants_person(message)


@pytest.mark.parametrize("message", DOES_NOT)
def test_other_messages_are_not_taken_for_that_wish(message: str) -> None:
    assert not wants_person(message)


@pytest.mark.parametrize(
    "message",
    ["sí", "Si, por favor", "SI", "yes please", "dale", "claro", "Claro que sí", "ok", "sí quiero",
     "siii", "yes", "sure", "👍", "bueno, gracias", "de una", "por favor", "ok dale", "sí sí"],
)  # fmt: skip
def test_a_bare_yes_confirms(message: str) -> None:
    assert wants_person_confirmation(message)


@pytest.mark.parametrize(
    "message",
    ["no", "sí pero ¿cuánto cuesta?", "si llego tarde qué pasa", "no gracias", "claro que no", "",
     "¿sí abren el sábado?", "gracias", "yes but how much", "👎", "sillas"],
)  # fmt: skip
def test_anything_more_than_a_yes_does_not_confirm(message: str) -> None:
    assert not wants_person_confirmation(message)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("hola", "greeting"),
        ("¡Holaaaa! Buenas tardes", "greeting"),
        ("buenos días, ¿cómo están?", "greeting"),
        ("Hi there", "greeting"),
        ("muchas gracias", "thanks"),
        ("ok gracias", "thanks"),
        ("Perfecto, muchas gracias!", "thanks"),
        ("thank you so much", "thanks"),
        ("gracias, hasta luego", "farewell"),
        ("chao", "farewell"),
        ("Bye!", "farewell"),
        ("hola, ¿cuánto cuesta una limpieza?", None),
        ("gracias, ¿y el parqueadero?", None),
        ("ok", None),
        ("", None),
        ("buenas noches quiero una cita", None),
        ("/start", "greeting"),
        ("/start qr-42", "greeting"),
        ("/help", "greeting"),
        ("/ayuda", "greeting"),
        ("una pregunta", "greeting"),
        ("Tengo una duda", "greeting"),
        ("buenas, una consulta", "greeting"),
        ("disculpe", "greeting"),
        ("quisiera más información", "greeting"),
        ("I have a question", "greeting"),
        ("?", "greeting"),
        ("😀", "greeting"),
        ("…", "greeting"),
        ("asdfghjkl", "greeting"),
        ("una pregunta, ¿abren hoy?", None),
        ("tengo una duda sobre los brackets", None),
        ("cuánto vale una consulta", None),
        ("una consulta general", None),
        ("quiero saber los precios", None),
        ("/startled", None),
        ("你好", None),
        ("   ", None),
        ("y", None),
    ],
)
def test_small_talk_is_only_a_message_that_says_nothing_else(
    message: str, kind: str | None
) -> None:
    assert small_talk(message) == kind


def test_a_keyword_is_found_without_accents_or_case_and_as_whole_words() -> None:
    keywords = ["Cotización", "hablar ya", "SOS"]
    assert matched_keyword("necesito una COTIZACION!", keywords) == "Cotización"
    assert matched_keyword("quiero hablar, ya", keywords) == "hablar ya"
    assert matched_keyword("sostenibles, recotización, hablar mañana, ya", keywords) is None
    assert matched_keyword("nada", ["", " ", "!!"]) is None


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("beca", "becas"),
        ("guía", "guías"),
        ("cotización", "cotizaciones"),
        ("luz", "luces"),
        ("mi pedido", "mis pedidos"),
        ("paquete dañado", "paquetes dañados"),
        ("ticket", "tickets"),
    ],
)
def test_a_keyword_is_found_in_singular_and_plural(one: str, many: str) -> None:
    assert matched_keyword(f"¿Y {many.upper()}?", [one]) == one
    assert matched_keyword(f"es por {one}.", [many]) == many


def test_a_particle_has_no_plural_and_a_longer_word_is_another() -> None:
    assert matched_keyword("nos ha llegado", ["no ha llegado"]) is None
    assert matched_keyword("no has llegado", ["no ha llegado"]) is None
    assert matched_keyword("becarios", ["beca"]) is None
    assert matched_keyword("el 12s", ["12"]) is None


@given(
    st.from_regex(r"[a-zñáéíóú]{1,12}", fullmatch=True),
    st.sampled_from(["", "hola ", "¿", "1 "]),
    st.sampled_from(["", " gracias", "?", " 2"]),
)
def test_a_keyword_that_stands_in_the_text_is_always_found(
    word: str, before: str, after: str
) -> None:
    assert matched_keyword(before + word.upper() + after, [word]) == word
    assert matched_keyword(f"x{word}x", [word]) is None


@given(st.text(max_size=300))
def test_no_text_breaks_any_of_them_and_case_never_matters(text: str) -> None:
    assert small_talk(text) in (None, "greeting", "thanks", "farewell")
    assert language_of(text) in ("es", "en")
    wants_person_confirmation(text)
    assert wants_person(f"{text}\nquiero hablar con un asesor ya") or "no" in text.lower()


@given(st.sampled_from(WANTS_A_PERSON), st.sampled_from([str.upper, str.title, str.strip]))
def test_a_wish_for_a_person_survives_shouting(message: str, change: object) -> None:
    assert callable(change)
    assert wants_person(change(message))


def test_a_very_long_message_takes_no_time() -> None:
    started = time.perf_counter()
    for message in (
        "quiero " * 100_000,
        "si " * 100_000,
        "hola " * 100_000,
        "a" * 1_000_000,
        "bye " * 200 + "x",
        "si quiero " * 90 + "x",
        "buenas tardes " * 60 + "x",
        "una pregunta, " * 70 + "x",
        "¿" * 100_000,
    ):
        wants_person(message)
        wants_person_confirmation(message)
        small_talk(message)
    assert time.perf_counter() - started < 2


@pytest.mark.parametrize(
    ("message", "language"),
    [
        ("What time do you open on Saturdays?", "en"),
        ("hello", "en"),
        ("yes please", "en"),
        ("¿a qué hora abren?", "es"),
        ("cuanto cuesta la limpieza", "es"),
        ("precio", "es"),
        ("ok", "es"),
        ("", "es"),
        ("hola do you open", "en"),
    ],
)
def test_the_language_is_guessed_from_the_commonest_words(message: str, language: str) -> None:
    assert language_of(message) == language
