"""Dividing documents into passages that fit one embedding and read well when quoted.

The length is a compromise measured by the bench ``answers``. An embedding's time grows with the
characters (508: 183 ms, 1,500: 769 ms), and a shorter passage is a more precise match for a
question, but a passage that is too short lacks the heading or sentence that gives it its meaning.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from neurant.core.errors import BadInputError
from neurant.knowledge.extract import Extracted, Page

MAX_CHUNK_CHARS = 600
CONTEXT_CHARS = 200
# A document of the maximum length needs half of this. Each passage costs an embedding (25 to
# 200 ms) and a row.
MAX_CHUNKS = 20_000
# The splitter's time is quadratic in the length of its text (50,000 emoji 0.4 s, 100,000 1.5 s).
# So it gets _WINDOW passages at a time, of which the last _AHEAD serve only as context.
_WINDOW, _AHEAD = 8, 3

Span = tuple[int, int, int]
"""A passage's page (an index from 0) and its begin and end, as offsets in the page's text."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage of a document. ``index`` counts from 0 through the whole document.

    ``context_before`` and ``context_after`` hold up to 200 characters of the same page around it.
    """

    index: int
    content: str
    page_number: int | None
    section_title: str | None
    context_before: str
    context_after: str

    def embedding_text(self) -> str:
        """Return the content, preceded by its section's title unless it contains the title."""
        title = self.section_title
        if not title or title in self.content:
            return self.content
        return f"{title}\n{self.content}"


def chunk(extracted: Extracted, max_chars: int = MAX_CHUNK_CHARS) -> list[Chunk]:
    """Return passages of at most ``max_chars`` characters, in reading order.

    A passage ends at the largest boundary that fits (paragraph, line, sentence, word) and never
    joins two pages; no character but white space is lost.
    """
    return chunks_at(extracted, find_spans(extracted, max_chars=max_chars))


def chunks_at(extracted: Extracted, spans: Sequence[Span]) -> list[Chunk]:
    """Return the passages at ``spans``. Raises ValueError for spans that are on no page."""
    found: list[Chunk] = []
    for number, start, end in spans:
        if not 0 <= number < len(extracted.pages):
            raise ValueError("a passage on no page")
        page = extracted.pages[number]
        if not 0 <= start < end <= min(len(page.text), start + MAX_CHUNK_CHARS):
            raise ValueError("a passage that is not on its page")
        found.append(_chunk(len(found), page, start, page.text[start:end]))
    return found


def find_spans(
    extracted: Extracted, filename: str = "", max_chars: int = MAX_CHUNK_CHARS
) -> list[Span]:
    """Return the spans of the passages. Raises BadInputError for more than ``MAX_CHUNKS``."""
    found: list[Span] = []
    for number, page in enumerate(extracted.pages):
        for start, content in _pieces(page, max_chars):
            if len(found) >= MAX_CHUNKS:
                raise BadInputError(
                    "document_too_many_passages", filename=filename, limit=MAX_CHUNKS
                )
            found.append((number, start, start + len(content)))
    return found


def _pieces(page: Page, max_chars: int) -> Iterator[tuple[int, str]]:
    """Yield (start, content) of each passage of a page; a heading is never a passage by itself.

    The splitter makes a heading a passage of its own before a paragraph that is longer than a
    passage.
    """
    pieces = _split(page.text, 0, max_chars)
    first, second = next(pieces, None), next(pieces, None)
    if first is None:
        return
    if second is None or first[1] != page.section or second[0] > max_chars // 2:
        yield first
        if second is not None:
            yield second
            yield from pieces
        return
    body_start = second[0]
    body = _split(page.text, body_start, max_chars - body_start)
    start, content = next(body)
    yield 0, page.text[: start + len(content)].strip()
    yield from body


def _split(text: str, start: int, max_chars: int) -> Iterator[tuple[int, str]]:
    """Yield (start, content) of each passage from ``start`` on, in a time linear in the text."""
    from semantic_text_splitter import TextSplitter

    splitter = TextSplitter(max_chars)
    while start < len(text):
        window = text[start : start + _WINDOW * max_chars]
        is_last = start + len(window) >= len(text)
        settled = len(window) if is_last else (_WINDOW - _AHEAD) * max_chars
        following = len(window)
        for position, content in splitter.chunk_indices(window):
            if position >= settled:
                following = position
                break
            yield start + position, content
        start += following


def _chunk(index: int, page: Page, start: int, content: str) -> Chunk:
    end = start + len(content)
    return Chunk(
        index=index,
        content=content,
        page_number=page.number,
        section_title=page.section,
        context_before=_tail(page.text[max(0, start - CONTEXT_CHARS - 1) : start]),
        context_after=_head(page.text[end : end + CONTEXT_CHARS + 1]),
    )


def _tail(text: str) -> str:
    """Return the last 200 characters, from the beginning of a word."""
    if len(text) <= CONTEXT_CHARS:
        return text.strip()
    _, space, rest = text.partition(" ")
    return (rest if space else text[1:]).strip()


def _head(text: str) -> str:
    """Return the first 200 characters, up to the end of a word."""
    if len(text) <= CONTEXT_CHARS:
        return text.strip()
    rest, space, _ = text.rpartition(" ")
    return (rest if space else text[:-1]).strip()
