"""A pasted text becomes a file with a name, whatever was pasted."""

from __future__ import annotations

import pytest

from neurant.core.errors import BadInputError
from neurant.core.names import reads_as_label
from neurant.knowledge.service import MAX_NAME, pasted_text


@pytest.mark.parametrize(
    ("title", "content", "filename", "stored_title"),
    [
        ("Precios", "Corte: $ 30.000", "Precios.txt", "Precios"),
        ("", "Matrículas 2027\nHasta el 15 de enero.", "Matrículas 2027.txt", "Matrículas 2027"),
        ("", "\n\n## Piscina\nAbre a las 9.", "Piscina.md", "Piscina"),
        (
            "",
            "# Envíos\nA todo el país.\n# Cambios\n30 días.",
            "Envíos, Cambios.md",
            "Envíos, Cambios",
        ),
        ("", "# Hotel Sol\n## Piscina\n## Spa\nUno.", "Hotel Sol.md", "Hotel Sol"),
        ("", "-----\n***\nSedes", "Sedes.txt", "Sedes"),
        ("", "…\n¿?\n—", "Texto pegado.txt", "Texto pegado"),
        ("Atención 24/7", "Siempre.", "Atención 24-7.txt", "Atención 24/7"),
        ("a\\b", "Siempre.", "a-b.txt", "a\\b"),
    ],
)
def test_its_name_is_the_title_or_its_headings_or_its_first_line(
    title: str, content: str, filename: str, stored_title: str
) -> None:
    made = pasted_text(title, content, "Texto pegado")
    assert (made.filename, made.title) == (filename, stored_title)


def test_many_headings_are_cut_after_a_whole_one() -> None:
    content = "\n".join(f"# Sede número {n}\nAbierta." for n in range(2_000))
    assert pasted_text("", content, "Texto pegado").title.endswith("Sede número 4")


def test_a_long_first_line_is_cut_at_a_word() -> None:
    made = pasted_text("", "palabra " * 500, "Texto pegado")
    assert len(made.filename) <= MAX_NAME
    assert made.title.endswith("palabra")


@pytest.mark.parametrize("title", ["***", "x" * 201, "uno\ndos"])
def test_a_title_that_is_no_visible_line_is_refused(title: str) -> None:
    with pytest.raises(BadInputError) as refused:
        pasted_text(title, "Hola a todos.", "Texto pegado")
    assert refused.value.code == "document_title"


def test_signs_that_no_document_has_are_left_out() -> None:
    made = pasted_text("", "Pre\u202ecios\0\nCorte", "Texto pegado")
    assert reads_as_label(made.title)
    assert b"\0" not in made.data
