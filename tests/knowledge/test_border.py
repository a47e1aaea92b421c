"""A quote that a passage's border cuts is completed from the text around the passage."""

from __future__ import annotations

import uuid

import pytest

from neurant.knowledge.border import grown
from neurant.knowledge.rank import Candidate


def candidate(content: str, before: str = "", after: str = "") -> Candidate:
    return Candidate(
        chunk_id=uuid.uuid4(), document_id=uuid.uuid4(), document="Reglas", page_number=None,
        section_title=None, content=content, similarity=0.9, lexical=None,
        context_before=before, context_after=after,
    )  # fmt: skip


CUT = "La matrícula se devuelve completa hasta el primer día de clases y después solo"


def test_a_sentence_that_goes_on_is_completed() -> None:
    found = candidate(f"Pagos\n{CUT}", after="la mitad. Los materiales no se devuelven.")
    assert grown(CUT, found) == f"{CUT} la mitad."


def test_a_list_is_completed_after_the_line_that_announces_it() -> None:
    announced = "Para inscribirte trae:"
    after = "- Documento de identidad\n- Una foto\n\nHorario"
    assert grown(announced, candidate(announced, after=after)) == (
        "Para inscribirte trae:\n- Documento de identidad\n- Una foto"
    )


def test_a_list_line_that_may_be_cut_is_left_out() -> None:
    announced = "Para inscribirte trae:"
    after = "- Documento de identidad\n- Una foto de fondo bl"
    assert grown(announced, candidate(announced, after=after)).endswith("identidad")


def test_a_beginning_that_is_cut_is_completed() -> None:
    rest = "y desde el segundo mes se cobra un recargo del 5 %."
    before = "Otra cosa. La cuota vence el día 10"
    assert grown(rest, candidate(rest, before=before)) == f"La cuota vence el día 10 {rest}"


@pytest.mark.parametrize(
    ("quote", "content", "before", "after"),
    [
        ("Abrimos a las 8.", "Abrimos a las 8.", "Horario", "Cerramos a las 6."),
        ("Abrimos a las 8", "Abrimos a las 8", "", "Servicios\nPiscina"),
        ("Abrimos a las 8.", "Abrimos a las 8. Cerramos a las 6 y", "", "los sábados a la 1."),
        (CUT, CUT, "", "la mitad sin que termine la frase en lo guardado"),
        ("- Piscina: gratis", "- Piscina: gratis", "Servicios del hotel", ""),
        (CUT, CUT, "", ""),
    ],
)
def test_a_complete_quote_stays_as_it_is(quote: str, content: str, before: str, after: str) -> None:
    assert grown(quote, candidate(content, before, after)) == quote
