"""Answers are sentences that a person would write, composed of literal pieces of the documents."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurant.knowledge.answer import Answer, judge
from neurant.knowledge.figure_guard import unsupported_figures
from neurant.knowledge.rank import Candidate, Ranked
from neurant.knowledge.rows import Row, is_header, price_of, read_row

GYM = """Planes y precios
Plan Precio Duración
Plan mensual $95.000 30 días
Plan trimestral $255.000 90 días
Clase suelta de spinning $18.000 50 minutos
Los planes incluyen el casillero."""

ROOMS = """Habitaciones
Tipo — Temporada baja — Temporada alta
Habitación sencilla — Temporada baja: $190.000 — Temporada alta: $280.000
Habitación doble — Temporada baja: $260.000 — Temporada alta: $390.000
Suite — Temporada baja: $480.000 — Temporada alta: $720.000"""

NORTH = """SEDE NORTE
Parqueadero: propio y gratuito, con 20 cupos
Dirección: Calle 100 # 8-15"""

SOUTH = """SEDE SUR
Parqueadero: no tenemos
Dirección: Avenida 1 de Mayo # 30-22"""

HOURS = """Horario de atención
Lunes a viernes: 6:00 a. m. a 9:00 p. m.
Sábados: 8:00 a. m. a 1:00 p. m.
Domingos: cerrado"""

PAYMENT = """Formas de pago
Recibimos efectivo y tarjetas. No recibimos cheques. No hacemos envíos a otros países."""


def answer_of(question: str, passages: Sequence[str]) -> Answer | None:
    """The answer from these passages, after a check that its quotes are literal."""
    ranked = [
        Ranked(
            Candidate(
                UUID(int=n),
                UUID(int=99),
                "d.txt",
                None,
                one.split("\n")[0],
                one,
                0.9 - n / 100,
                0.5,
            ),
            1.0 - n / 10,
        )
        for n, one in enumerate(passages)
    ]
    found = judge(question, ranked, threshold=0.0).answer
    for source in found.sources if found else []:
        content = passages[source.chunk_id.int]
        assert all(line in content for line in source.quote.split("\n"))
    return found


def ask(question: str, *passages: str) -> Answer:
    found = answer_of(question, passages)
    assert found is not None
    return found


def test_a_row_is_said_with_its_name_and_values_and_without_the_names_of_the_columns() -> None:
    found = ask("¿Cuánto vale el plan mensual?", GYM)
    assert found.text == "Plan mensual: $95.000, 30 días."
    assert found.sources[0].quote.split("\n")[-1] == "Plan mensual $95.000 30 días"


def test_a_column_that_the_question_names_is_said_alone() -> None:
    found = ask("¿Cuánto cuesta la habitación doble en temporada baja?", ROOMS)
    assert found.text == "Habitación doble (temporada baja): $260.000."


def test_values_of_the_same_kind_keep_their_columns() -> None:
    found = ask("precio de la suite", ROOMS)
    assert found.text == "Suite — temporada baja: $480.000; temporada alta: $720.000."


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("¿Cuánto cuesta la hora para moto?", "Hora (moto): $2.000."),
        ("¿Cuánto cuesta el carro en 2026?", "Carro (2026): $4.500."),
    ],
)
def test_the_column_of_a_cell_is_found_without_a_label_in_its_row(question: str, text: str) -> None:
    tables = (
        "Tarifas\nServicio Carro Moto\nHora $4.500 $2.000\nDía $20.000 $9.000",
        "Cambios\nVehículo — 2025 — 2026\nCarro — $4.000 — $4.500\nCamión — $7.000 — $7.500",
    )
    found = ask(question, *(tables if "moto" in question else reversed(tables)))
    assert found.text == text


@pytest.mark.parametrize("question", ["precio de los planes", "¿Qué precios tienen los planes?"])
def test_a_question_that_names_a_topic_gets_all_its_prices(question: str) -> None:
    found = ask(question, GYM)
    assert found.text == (
        "Planes y precios:\n"
        "- Plan mensual: $95.000, 30 días\n"
        "- Plan trimestral: $255.000, 90 días\n"
        "- Clase suelta de spinning: $18.000, 50 minutos"
    )


def test_the_cheapest_and_the_dearest_come_first() -> None:
    cheap = ask("¿Cuál habitación es más barata?", ROOMS).text.split("\n")
    assert [line.split(" — ")[0] for line in cheap[1:]] == [
        "- Habitación sencilla",
        "- Habitación doble",
        "- Suite",
    ]
    dear = ask("¿Cuál es la habitación más cara?", ROOMS).text.split("\n")
    assert dear[1].startswith("- Suite — ")


def test_two_things_that_are_compared_are_both_said() -> None:
    found = ask("diferencia de precio entre el plan mensual y el trimestral", GYM)
    assert found.text == "Plan mensual: $95.000, 30 días.\nPlan trimestral: $255.000, 90 días."
    found = ask("¿Qué es más barato, la suite o la habitación sencilla?", ROOMS)
    assert [line.split(" — ")[0] for line in found.text.split("\n")] == [
        "Habitación sencilla",
        "Suite",
    ]


def test_an_answer_from_two_passages_has_two_sources() -> None:
    found = ask("¿Cuánto cuesta el plan mensual y reciben cheques?", GYM, PAYMENT)
    assert "Plan mensual: $95.000, 30 días." in found.text
    assert "No recibimos cheques." in found.text
    assert len(found.sources) == 2


def test_the_same_label_of_two_branches_is_said_for_both() -> None:
    found = ask("¿Tienen parqueadero?", NORTH, SOUTH)
    assert found.text == (
        "Sede Norte — Parqueadero: propio y gratuito, con 20 cupos.\n"
        "Sede Sur — Parqueadero: no tenemos."
    )


def test_a_branch_that_the_question_names_is_said_alone_and_by_its_name() -> None:
    found = ask("¿Hay parqueadero en la sede sur?", NORTH, SOUTH)
    assert found.text == "Sede Sur — Parqueadero: no tenemos."


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("¿Abren los sábados?", "Sí. Sábados: 8:00 a. m. a 1:00 p. m."),
        ("¿Abren los miércoles?", "Sí. Lunes a viernes: 6:00 a. m. a 9:00 p. m."),
        ("¿Abren los domingos?", "No. Domingos: cerrado."),
        ("¿Abren este sábado?", "Sábados: 8:00 a. m. a 1:00 p. m."),
        ("¿Hoy sábado abren?", "Sábados: 8:00 a. m. a 1:00 p. m."),
        ("Are you open on Saturdays?",
         "Our document is in Spanish and says:\nSábados: 8:00 a. m. a 1:00 p. m."),
        ("¿A qué hora abren los sábados?", "Sábados: 8:00 a. m. a 1:00 p. m."),
        ("¿Cierran los sábados?", "Sábados: 8:00 a. m. a 1:00 p. m."),
        ("¿Abren los sábados por la tarde?", "Sábados: 8:00 a. m. a 1:00 p. m."),
    ],
)  # fmt: skip
def test_yes_and_no_are_said_only_where_they_are_certain(question: str, text: str) -> None:
    assert ask(question, HOURS).text == text


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("¿reciben cheques?", "No recibimos cheques."),
        ("¿Cuánto cuesta el envío a otros países?", "No hacemos envíos a otros países."),
    ],
)
def test_a_negative_sentence_is_an_answer(question: str, text: str) -> None:
    assert text in ask(question, PAYMENT).text


@pytest.mark.parametrize(
    "content",
    ["Precio por hora:\nPrecio por día:", "Precio por hora:\nHorario de atención", "Precio por hora: ____\nPrecio por día: ____",
     "Servicio Carro Moto", "Servicio — Precio por hora\nServicio — Precio por hora:",
     "¿Cuánto cuesta la hora?"],
)  # fmt: skip
def test_a_label_without_a_value_and_a_header_alone_are_no_answer(content: str) -> None:
    candidate = Candidate(UUID(int=1), UUID(int=2), "d", None, None, content, 0.93, 0.5)
    found = judge("¿Cuánto cuesta la hora?", [Ranked(candidate, 1.0)], threshold=0.0).answer
    assert found is None


LINES = st.sampled_from(
    [*GYM.split("\n"), *ROOMS.split("\n"), *NORTH.split("\n"), *HOURS.split("\n"), *PAYMENT.split("\n"),
     "", "Precio por hora:", "¿Hay wifi?", "| Corte | $35.000 |", "|---|---|", "- Cédula",
     "Corte ........ $35.000"]
)  # fmt: skip
QUESTIONS = st.sampled_from(
    ["¿Cuánto cuesta el plan mensual y el corte?", "¿Abren los sábados?", "precio de las habitaciones",
     "¿Cuál es el plan más barato?", "¿Tienen parqueadero?", "¿reciben cheques o tarjetas?",
     "horario", "¿Dónde quedan?", "planes"]
)  # fmt: skip


@settings(deadline=None, max_examples=200)
@given(
    QUESTIONS,
    st.lists(st.lists(LINES, min_size=1, max_size=8).map("\n".join), min_size=1, max_size=3),
)
def test_whatever_the_documents_quotes_are_literal_and_figures_are_theirs(
    question: str, passages: list[str]
) -> None:
    found = answer_of(question, passages)
    if found is not None:
        quotes = [source.quote for source in found.sources]
        assert unsupported_figures(found.text, [*quotes, *passages]) == []
        assert found.text.strip()
        assert not found.text.rstrip().endswith(":")


def test_the_value_below_its_label_is_said_with_it() -> None:
    found = ask("¿Cuál es la dirección?", "Contacto\nDirección:\nCalle 10 # 4-32, Pasto")
    assert "Calle 10 # 4-32, Pasto" in found.text


def test_the_answer_below_a_question_is_said_without_the_question() -> None:
    content = "Preguntas\n¿Puedo congelar mi plan?\nPuedes congelarlo hasta 30 días al año."
    assert ask("¿se puede congelar el plan?", content).text == (
        "Puedes congelarlo hasta 30 días al año."
    )


@pytest.mark.parametrize(
    ("line", "header", "row"),
    [
        ("Corona $1.250.000 2 citas", "", Row("Corona", (("", "$1.250.000"), ("", "2 citas")))),
        ("Corona $1.250.000 2 citas", "Servicio Precio Tiempo",
         Row("Corona", (("Precio", "$1.250.000"), ("Tiempo", "2 citas")))),
        ("Paquete de 10 clases $150.000", "", Row("Paquete de 10 clases", (("", "$150.000"),))),
        ("Alineadores $9.800.000 8 a 14 meses", "",
         Row("Alineadores", (("", "$9.800.000"), ("", "8 a 14 meses")))),
        ("Cena bufé $45.000 por persona", "", Row("Cena bufé", (("", "$45.000 por persona"),))),
        ("Corte ........ $35.000", "", Row("Corte", (("", "$35.000"),))),
        ("- Corte - $35.000", "", Row("Corte", (("", "$35.000"),))),
        ("| Corte | $35.000 | 30 min |", "| Servicio | Precio | Tiempo |",
         Row("Corte", (("Precio", "$35.000"), ("Tiempo", "30 min")))),
        ("Moto — Tiempo: Día completo — Precio: $9.000", "",
         Row("Moto (tiempo: Día completo)", (("Precio", "$9.000"),))),
        ("Tiempo: Día completo — Precio: $9.000", "", Row("Día completo", (("Precio", "$9.000"),))),
        ("Calle 57 # 9-24, segundo piso", "", None),
        ("Precio por hora:", "", None),
        ("La consulta cuesta $70.000 por persona.", "", None),
    ],
)  # fmt: skip
def test_the_forms_of_rows_are_read(line: str, header: str, row: Row | None) -> None:
    assert read_row(line, header) == row


def test_column_names_are_recognised_by_the_row_below_them() -> None:
    assert is_header("Servicio Precio Tiempo", "Corona $1.250.000 2 citas")
    assert is_header("Servicio — 2025 — 2026", "Hora — 2025: $4.000 — 2026: $4.500")
    assert is_header("Vehículo — 2025 — 2026", "Carro — $4.000 — $4.500")
    assert is_header("Servicio Carro Moto", "Hora $4.500 $2.000")
    assert is_header("| Servicio | Precio |", "| Corte | $35.000 |")
    assert not is_header("Planes y precios", "Plan Precio Duración")
    assert not is_header("Cuidado facial", "Masaje $110.000 50 minutos")
    assert not is_header("Odontología general", "Tratamiento Precio Duración")
    assert not is_header("Corte $35.000", "Tinte $80.000")


def test_the_lowest_price_of_a_row_counts() -> None:
    assert price_of(Row("Doble", (("Alta", "$390.000"), ("Baja", "$260,000")))) == 260_000
    assert price_of(Row("Doble", (("", "2 camas"),))) is None
