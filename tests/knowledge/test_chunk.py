"""Passages: short enough to embed and quote, and nothing of the document is lost."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from neurant.knowledge.chunk import CONTEXT_CHARS, MAX_CHUNK_CHARS, chunk
from neurant.knowledge.extract import Extracted, Page

WORDS = st.sampled_from(
    [
        "Limpieza",
        "dental",
        "$130.000",
        "¿hora?",
        "fin.",
        "\n",
        "\n\n",
        "a. m.",
        "x" * 700,
        "ñandú",
        "—",
    ]
)
TEXTS = st.one_of(st.lists(WORDS, max_size=300).map(" ".join), st.text(max_size=2_000))


def bare(text: str) -> str:
    return "".join(text.split())


def page(number: int | None, text: str, section: str | None) -> Page:
    return Page(number, f"{section}\n\n{text}" if section else text, section)


PAGES = st.lists(
    st.builds(page, st.integers(1, 9) | st.none(), TEXTS, st.none() | st.just("Pagos")), max_size=4
)


@settings(deadline=None)
@given(PAGES)
def test_no_character_is_lost_or_moved_and_no_passage_is_too_long(pages: list[Page]) -> None:
    chunks = chunk(Extracted("txt", None, pages))
    assert bare("".join(c.content for c in chunks)) == bare("".join(p.text for p in pages))
    assert [c.index for c in chunks] == list(range(len(chunks)))
    for piece in chunks:
        assert 0 < len(piece.content) <= MAX_CHUNK_CHARS
        assert len(piece.context_before) <= CONTEXT_CHARS
        assert len(piece.context_after) <= CONTEXT_CHARS


def test_passages_never_join_two_pages() -> None:
    pages = [Page(1, "Primera.", "Uno"), Page(2, "Segunda.", "Dos")]
    found = [
        (c.content, c.page_number, c.section_title) for c in chunk(Extracted("pdf", None, pages))
    ]
    assert found == [("Primera.", 1, "Uno"), ("Segunda.", 2, "Dos")]


def test_a_paragraph_that_fits_stays_whole_and_knows_what_stands_around_it() -> None:
    first, second = "Uno dos tres. " * 30, "Cuatro cinco seis. " * 25
    text = f"{first.strip()}\n\n{second.strip()}"
    chunks = chunk(Extracted("txt", None, [Page(None, text, None)]))
    assert [c.content for c in chunks] == [first.strip(), second.strip()]
    assert first.strip().endswith(chunks[1].context_before)
    assert second.startswith(chunks[0].context_after)
    assert (chunks[0].context_before, chunks[1].context_after) == ("", "")


def test_what_is_embedded_names_the_section_once() -> None:
    pages = [Page(None, "Garantías\n\n" + "Dura un año. " * 60, "Garantías")]
    chunks = chunk(Extracted("docx", None, pages))
    assert len(chunks) > 1
    assert all(c.embedding_text().startswith("Garantías\n") for c in chunks)
    assert chunks[0].embedding_text() == chunks[0].content
