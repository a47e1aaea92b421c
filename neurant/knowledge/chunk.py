"""Documents cut into passages that fit one embedding and read well when quoted.

The length is a compromise measured by ``bench/answers.py``: an embedding's time grows with the
characters (508: 183 ms, 1,500: 769 ms), and a shorter passage is a sharper target for a question,
but a passage that is too short loses the heading or the sentence that gives it its meaning.
"""

from __future__ import annotations

from dataclasses import dataclass

from semantic_text_splitter import TextSplitter

from neurant.knowledge.extract import Extracted, Page

MAX_CHUNK_CHARS = 600
CONTEXT_CHARS = 200


@dataclass(frozen=True, slots=True)
class Chunk:
    """One passage. ``index`` counts from 0 through the whole document.

    ``context_before`` and ``context_after`` are up to 200 characters of the same page around it.
    """

    index: int
    content: str
    page_number: int | None
    section_title: str | None
    context_before: str
    context_after: str

    def embedding_text(self) -> str:
        """What to embed: the content, under its section's title when it does not name it itself."""
        title = self.section_title
        if not title or title in self.content:
            return self.content
        return f"{title}\n{self.content}"


def chunk(extracted: Extracted, max_chars: int = MAX_CHUNK_CHARS) -> list[Chunk]:
    """Passages of at most ``max_chars`` characters, in reading order.

    Cuts fall at the largest boundary that fits (paragraph, line, sentence, word) and never join
    two pages; no character but white space is lost.
    """
    found: list[Chunk] = []
    for page in extracted.pages:
        for start, content in _pieces(page, max_chars):
            found.append(_chunk(len(found), page, start, content))
    return found


def _pieces(page: Page, max_chars: int) -> list[tuple[int, str]]:
    """(start, content) of each passage of a page; a heading is never one by itself.

    The splitter leaves a heading alone before a paragraph that is longer than a passage.
    """
    pieces = TextSplitter(max_chars).chunk_indices(page.text)
    if len(pieces) < 2 or pieces[0][1] != page.section or pieces[1][0] > max_chars // 2:
        return pieces
    body_start = pieces[1][0]
    body = TextSplitter(max_chars - body_start).chunk_indices(page.text[body_start:])
    first_end = body_start + body[0][0] + len(body[0][1])
    rest = [(body_start + start, content) for start, content in body[1:]]
    return [(0, page.text[:first_end].strip()), *rest]


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
    """The last 200 characters, beginning at a word."""
    if len(text) <= CONTEXT_CHARS:
        return text.strip()
    _, space, rest = text.partition(" ")
    return (rest if space else text[1:]).strip()


def _head(text: str) -> str:
    """The first 200 characters, ending at a word."""
    if len(text) <= CONTEXT_CHARS:
        return text.strip()
    rest, space, _ = text.rpartition(" ")
    return (rest if space else text[:-1]).strip()
