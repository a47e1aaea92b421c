"""Typed words are repaired against the company's documents and Spanish; known words stay."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurant.knowledge.repair import RepairedWord, is_plain, repair
from neurant.knowledge.spelling import (
    NO_WORDS,
    Vocabulary,
    common_spanish,
    sound,
    vocabulary_of,
    warm,
    words_of,
)
from neurant.knowledge.words import is_english

ACME = """El gimnasio Acme abre de lunes a sábado. La inscripción cuesta $50.000 y la mensualidad
$90.000. Hay parqueadero gratis, casilleros, clases de zumba y crossfit, y cafetería.
La entrenadora Yuliana Pardo atiende los jueves. Congelar la membresía no cuesta."""
RIVAL = "El hotel Rival ofrece desayuno bufé, piscina climatizada y habitaciones con vista al mar."


@pytest.fixture(scope="module")
def acme() -> Vocabulary:
    return vocabulary_of([words_of(ACME)])


@pytest.fixture(scope="module")
def rival() -> Vocabulary:
    return vocabulary_of([words_of(RIVAL)])


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("cuanto cuesta la inscirpcion", "cuanto cuesta la inscripción"),
        ("hay paqueadero?", "hay parqueadero?"),
        ("clases de crosfit", "clases de crossfit"),
        ("clases de sumva", "clases de zumba"),
        ("tienen kafeteria", "tienen cafetería"),
        ("puedo congelar la menbrecia", "puedo congelar la membresía"),
        ("que dia atiende yulianna", "que día atiende yuliana"),
    ],
)
def test_a_slip_is_repaired_with_the_words_of_the_documents(
    acme: Vocabulary, typed: str, meant: str
) -> None:
    assert repair(typed, acme).text == meant


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("a q hora abren", "a que hora abren"),
        ("xq no abren", "por qué no abren"),
        ("tb hay casilleros?", "también hay casilleros?"),
        ("kiero inscribirme", "quiero inscribirme"),
        ("holaaaaa tienen zumba", "hola tienen zumba"),
        ("el sabado abren", "el sábado abren"),
    ],
)
def test_the_spelling_of_chats_is_written_out(acme: Vocabulary, typed: str, meant: str) -> None:
    assert repair(typed, acme).text == meant


def test_only_changed_words_are_reported_and_mere_accents_are_not(acme: Vocabulary) -> None:
    assert repair("q cuesta la inscripcion y el paqueadero", acme).words == (
        RepairedWord("q", "que"),
        RepairedWord("paqueadero", "parqueadero"),
    )


@pytest.mark.parametrize(
    "typed",
    [
        "¿Cuánto cuesta la inscripción?",
        "¿Tienen clases de natación o de boxeo?",
        "¿Quién es Beyoncé?",
        "¿Vino Klauz Roloff?",
        "¿Puedo congelarla tres meses?",
        "mi perro se llama Zumbo",
        "son 3 x 2 o 50k al mes",
        "What does the membership cost?",
        "",
        "🙂",
    ],
)
def test_words_that_are_typed_right_stay(acme: Vocabulary, typed: str) -> None:
    assert repair(typed, acme).text == typed


def test_a_word_of_one_company_repairs_no_question_to_another(
    acme: Vocabulary, rival: Vocabulary
) -> None:
    assert repair("tienen crosfit", acme).text == "tienen crossfit"
    assert repair("tienen crosfit", rival).text == "tienen crosfit"
    assert repair("vista al mar, dezayuno", rival).text == "vista al mar, desayuno"


def test_a_word_whose_stem_is_known_is_no_mistake() -> None:
    vocabulary = vocabulary_of([words_of("Las cuotas se pagan aquí. Trotadoras nuevas.")])
    assert repair("¿la cuota de la trotadora?", vocabulary).words == ()


def test_an_abbreviation_that_the_documents_use_is_a_word_of_theirs() -> None:
    vocabulary = vocabulary_of([words_of("Atiende el Dr. Ruiz, tel 5551234, sala TB.")])
    assert repair("el dr ruiz en la sala tb", vocabulary).text == "el dr ruiz en la sala tb"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("kiero", "quiero"),
        ("ayar", "hallar"),
        ("baca", "vaca"),
        ("sita", "cita"),
        ("jente", "gente"),
    ],
)
def test_words_that_sound_the_same_have_the_same_sound(one: str, other: str) -> None:
    assert sound(one) == sound(other)


def test_a_language_is_recognised_by_its_commonest_words() -> None:
    assert is_english("How much is the room?")
    assert not is_english("cuanto vale un cuarto")
    assert not is_english("check in")


def test_a_question_of_spanish_words_needs_no_look_at_the_documents() -> None:
    warm()
    assert is_plain("¿Cuánto cuesta una limpieza?")
    assert not is_plain("¿Cuánto cuesta una limpiesa?")
    assert not is_plain("q cuesta una limpieza")


def test_a_long_message_of_unknown_words_costs_little(acme: Vocabulary) -> None:
    repair("xyzzyx", acme)
    started = time.perf_counter()
    repair(" ".join(f"qwzx{chr(97 + n % 26)}kjhp" for n in range(400)), acme)
    assert time.perf_counter() - started < 0.5


@settings(deadline=None, max_examples=150)
@given(st.text(max_size=200))
def test_no_text_breaks_the_repair(text: str) -> None:
    repaired = repair(text, NO_WORDS)
    assert all(word.typed != word.meant for word in repaired.words)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.sampled_from(sorted(common_spanish().written)), min_size=1, max_size=8))
def test_a_word_of_the_dictionary_never_becomes_another_word(words: list[str]) -> None:
    assert [w.typed for w in repair(" ".join(words), NO_WORDS).words if len(w.typed) > 5] == []
