"""Passages: short enough to embed and quote, and nothing of the document is lost."""

from __future__ import annotations

from itertools import pairwise

import pytest
import semantic_text_splitter
from hypothesis import given, settings
from hypothesis import strategies as st
from semantic_text_splitter import TextSplitter

from neurant.core.errors import BadInputError
from neurant.knowledge import chunk as chunking
from neurant.knowledge.chunk import CONTEXT_CHARS, MAX_CHUNK_CHARS, chunk, find_spans
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


SENTENCES = st.lists(
    st.sampled_from(
        ["Abrimos a las ocho.\n\n", "La cita vale cinco euros. ", "PRECIOS\n\n", "- uno\n", "a\n"]
    ),
    min_size=600,
    max_size=900,
).map("".join)


@settings(deadline=None, max_examples=30)
@given(SENTENCES)
def test_a_long_page_is_cut_where_the_splitter_would_cut_it_in_one_piece(text: str) -> None:
    text = text.strip()
    spans = find_spans(Extracted("txt", None, [Page(None, text, None)]))
    whole = TextSplitter(MAX_CHUNK_CHARS).chunk_indices(text)
    assert [(start, text[start:end]) for _, start, end in spans] == whole


def test_the_splitter_is_given_a_few_passages_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    given_to_it: list[int] = []

    class Counting:
        def __init__(self, size: int) -> None:
            self._splitter = TextSplitter(size)

        def chunk_indices(self, text: str) -> list[tuple[int, str]]:
            given_to_it.append(len(text))
            return self._splitter.chunk_indices(text)

    monkeypatch.setattr(semantic_text_splitter, "TextSplitter", Counting)
    work = []
    for length in (100_000, 200_000, 400_000):
        given_to_it.clear()
        find_spans(Extracted("txt", None, [Page(None, "palabra " * (length // 8), None)]))
        assert max(given_to_it) <= 8 * MAX_CHUNK_CHARS
        work.append(sum(given_to_it))
    assert all(later <= 2.1 * earlier for earlier, later in pairwise(work))


def test_more_passages_than_a_document_may_have_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chunking, "MAX_CHUNKS", 3)
    pages = [Page(number, "Hola.", None) for number in range(1, 5)]
    assert len(find_spans(Extracted("pdf", None, pages[:3]), "a.pdf")) == 3
    with pytest.raises(BadInputError) as caught:
        find_spans(Extracted("pdf", None, pages), "a.pdf")
    assert caught.value.code == "document_too_many_passages"
