"""A reply states a figure only where a cited text contains it, however it is written."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurant.knowledge.figure_guard import guarded, unsupported_figures
from neurant.knowledge.figures import read_figures

SAME = [
    ("$130.000", "130.000 pesos"),
    ("$130.000", "$ 130,000"),
    ("$130.000", "130 mil pesos"),
    ("$130.000", "COP 130000"),
    ("$1.250.000", "1'250.000 pesos"),
    ("2 millones de pesos", "$2.000.000"),
    ("US$ 20", "20 dólares"),
    ("1.250,50 €", "€1,250.50"),
    ("entre $20.000 y 30.000", "$30.000"),
    ("8:00 a. m.", "8 am"),
    ("8:00 a. m.", "08:00"),
    ("8:00 a. m.", "8:00 de la mañana"),
    ("8:00 p. m.", "20:00"),
    ("de 8 a 10 a. m.", "8:00 a. m."),
    ("a las 7", "7:00 p. m."),
    ("12:00 m.", "12:00 p. m."),
    ("2:30 p. m.", "14h30"),
    ("+57 310 555 0101", "3105550101"),
    ("3105550101", "(+57) 310-555-0101"),
    ("(601) 555 0142", "601 5550142"),
    ("31 de diciembre de 2026", "31/12/2026"),
    ("31 de diciembre", "December 31"),
    ("31 de diciembre de 2026", "2026-12-31"),
    ("del 24 al 31 de diciembre", "24 de diciembre"),
    ("31 de diciembre", "el 31"),
    ("15 de marzo de 2026", "marzo de 2026"),
    ("10 %", "10%"),
    ("10 %", "10 por ciento"),
    ("del 10 al 20 %", "10%"),
    ("45 minutos", "45 min"),
    ("quince minutos", "15 minutos"),
    ("8 a 14 meses", "14 meses"),
    ("Carrera 15 # 140-32", "Cra. 15 No. 140-32"),
    ("Calle 57 # 9-24, segundo piso", "Calle 57"),
    ("Av. Insurgentes Sur 1602", "Avenida Insurgentes Sur 1602"),
    ("https://www.acme.example/precios", "acme.example/precios"),
    ("https://acme.example/precios", "https://acme.example"),
    ("Hola@Acme.example", "hola@acme.example"),
    ("cuenta 123-456789-01", "123-456789-01"),
    ("Precio en pesos: 130.000", "$130.000"),
    ("código VERANO20", "VERANO20"),
]
DIFFERENT = [
    ("$130.000", "$131.000"),
    ("$130.000", "$13.000"),
    ("$130.000", "130.000 euros"),
    ("45 minutos", "$45"),
    ("45 minutos", "45 horas"),
    ("12 cuotas", "$12"),
    ("12 cuotas", "12 %"),
    ("$1.130.000", "$130.000"),
    ("8:00 a. m.", "8:00 p. m."),
    ("18:00", "8:00"),
    ("8:00 a. m.", "8:30 a. m."),
    ("310 555 0101", "310 555 0102"),
    ("310 555 0101", "555 0109"),
    ("31 de diciembre", "30 de diciembre"),
    ("31 de diciembre", "31 de enero"),
    ("31 de diciembre de 2026", "31 de diciembre de 2025"),
    ("enero de 2026", "marzo de 2026"),
    ("10 %", "15 %"),
    ("Calle 57 # 9-24", "Calle 57 # 9-40"),
    ("Calle 57 # 9-24", "Carrera 57 # 9-24"),
    ("https://acme.example/precios", "https://rival.example/precios"),
    ("hola@acme.example", "hola@rival.example"),
    ("https://acme.example", "https://acme.example/pago"),
    ("cuenta 123-456789-01", "cuenta 123-456789-02"),
    ("código VERANO20", "VERANO30"),
    ("@acme_oficial", "@rival_oficial"),
    ("sin número", "5 años"),
]


@pytest.mark.parametrize(("cited", "written"), SAME)
def test_the_same_figure_in_another_form_is_supported(cited: str, written: str) -> None:
    assert unsupported_figures(f"Es así: {written}.", [f"Dato: {cited}, según la tabla"]) == []


@pytest.mark.parametrize(("cited", "written"), DIFFERENT)
def test_another_figure_is_found(cited: str, written: str) -> None:
    assert unsupported_figures(f"Es así: {written}.", [f"Dato: {cited}, según la tabla"])
    assert guarded(f"Es así: {written}.", [f"Dato: {cited}, según la tabla"]) is None


@settings(deadline=None, max_examples=300)
@given(st.text(max_size=300))
def test_every_text_supports_itself(text: str) -> None:
    assert unsupported_figures(text, [text]) == []
    assert guarded(text, [text]) == (text if text.strip() else None)


FIGURES = st.sampled_from([written for pair in (*SAME, *DIFFERENT) for written in pair])
WORDS = st.sampled_from(
    ["abrimos", "cuesta", "la limpieza", "hasta", "el", "de", "y", "a", "Son", *".,:?()-#"]
)
TEXTS = st.lists(st.one_of(FIGURES, WORDS, st.just("\n")), max_size=14).map(" ".join)


@settings(deadline=None, max_examples=300)
@given(TEXTS, TEXTS)
def test_what_the_guard_lets_through_has_no_figure_of_its_own(text: str, cited: str) -> None:
    kept = guarded(text, [cited])
    assert kept is None or unsupported_figures(kept, [cited]) == []


@settings(deadline=None, max_examples=200)
@given(TEXTS)
def test_every_composed_text_supports_itself(text: str) -> None:
    assert unsupported_figures(text, [text]) == []


@settings(deadline=None, max_examples=200)
@given(st.integers(1_000, 9_999_999), st.integers(1_000, 9_999_999), TEXTS)
def test_an_invented_price_is_never_said(price: int, invented: int, around: str) -> None:
    cited = f"La limpieza cuesta ${price:,}."
    reply = f"La limpieza cuesta ${invented:,} pesos."
    found = guarded(f"{around}\n{reply}", [cited, around])
    told = found is not None and f"{invented:,}" in found
    assert told == (price == invented or f"{invented:,}" in around)


@settings(deadline=None, max_examples=100)
@given(st.text(alphabet="0123456789.,:-/$ ()+#ampdel\n", max_size=400))
def test_no_text_of_figures_breaks_the_reading(text: str) -> None:
    assert all(figure.written for figure in read_figures(text))


def test_the_sentence_with_the_invented_figure_is_dropped_and_the_others_stay() -> None:
    cited = ["Limpieza dental: $130.000, 45 minutos. Atendemos de 8:00 a. m. a 5:00 p. m."]
    reply = (
        "La limpieza dental cuesta $130.000. Con 20 % de descuento queda en $104.000. Dura 45 min."
    )
    assert guarded(reply, cited) == "La limpieza dental cuesta $130.000. Dura 45 min."


def test_a_courtesy_that_alone_remains_is_no_answer() -> None:
    assert guarded("¡Con gusto! La limpieza cuesta $90.000.", ["La limpieza: $130.000"]) is None


def test_the_line_that_announces_a_list_goes_with_its_last_item() -> None:
    cited = ["Resina: $160.000. Limpieza: $130.000. Abrimos los lunes."]
    reply = "Estos son los precios:\n- Corona: $900.000\n- Carilla: $380.000\nAbrimos los lunes."
    assert guarded(reply, cited) == "Abrimos los lunes."
    reply = "Estos son los precios:\n- Corona: $900.000\n- Resina: $160.000"
    assert guarded(reply, cited) == "Estos son los precios:\n- Resina: $160.000"


def test_the_numbers_of_items_steps_and_citations_are_no_figures() -> None:
    cited = ["Trae el documento y el recibo."]
    assert (
        unsupported_figures("1. Trae el documento [1]\n2) Trae el recibo [2]\nPaso 3: paga", cited)
        == []
    )


def test_the_result_of_a_tool_supports_a_figure_like_a_passage() -> None:
    passage = "El envío nacional llega en tres días."
    assert unsupported_figures("Tu pedido A-1042 llega el 5 de mayo.", [passage]) == [
        "A-1042",
        "5 de mayo",
    ]
    tool = '{"order": "A-1042", "arrives": "2026-05-05"}'
    assert unsupported_figures("Tu pedido A-1042 llega el 5 de mayo.", [passage, tool]) == []


def test_words_and_file_names_are_no_figures() -> None:
    text = "Según Tarifas.pdf, la empresa S.A.S. de EE. UU. atiende p. ej. a niños, etc."
    assert unsupported_figures(text, []) == []


def test_reading_a_long_hostile_text_takes_little_time() -> None:
    for piece in ("1 a ", "1.", "a.", "Calle De ", "+1 ", "(1", "1-", "@a", "9" * 50, "1, "):
        began = time.perf_counter()
        unsupported_figures(piece * (8_000 // len(piece)), ["8"])
        assert time.perf_counter() - began < 2, piece
