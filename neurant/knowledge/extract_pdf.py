"""The text of a PDF, page by page, read with PDFium."""

from __future__ import annotations

import re
from itertools import pairwise
from statistics import median
from threading import Lock

import pypdfium2

from neurant.core.errors import BadInputError
from neurant.knowledge.extract import (
    MAX_CHARS,
    MAX_PAGES,
    MAX_TITLE,
    Extracted,
    Page,
    add_page,
    clean,
)

# PDFium is not thread-safe, so the process reads one document at a time.
_pdfium = Lock()
_WRONG_PASSWORD = 4  # FPDF_ERR_PASSWORD of fpdfview.h

# PDFium writes U+0002 (or U+FFFE) for a hyphen that divides a word at a line's end.
_BROKEN_WORD = re.compile(r"[\x02\ufffe\u00ad]\s*")
_HYPHEN_AT_END = re.compile(r"(?<=[^\W\d_])-\n(?=[a-záéíóúüñ])")
_BULLET = re.compile(r"[-•·▪◦*–]|\d+[.)] ")
_PROSE_WIDTH = 60
_MAX_HEADING_LENGTH = 90

Line = tuple[str, float]


def read_pdf(data: bytes, filename: str) -> Extracted:
    """Return all pages of a PDF; a page without text has an empty ``text``.

    Raises BadInputError (document_encrypted, document_broken, document_too_many_pages,
    document_too_long, document_too_many_sections) and MemoryError.
    """
    with _pdfium:
        try:
            document = pypdfium2.PdfDocument(data)
        except Exception as error:  # any error of the library means a damaged document
            protected = getattr(error, "err_code", None) == _WRONG_PASSWORD
            code = "document_encrypted" if protected else "document_broken"
            raise BadInputError(code, filename=filename) from error
        try:
            return _read(document, filename)
        except (BadInputError, MemoryError):
            raise
        except Exception as error:
            raise BadInputError("document_broken", filename=filename) from error
        finally:
            document.close()


def _read(document: pypdfium2.PdfDocument, filename: str) -> Extracted:
    count = len(document)
    if count == 0:
        raise BadInputError("document_broken", filename=filename)
    if count > MAX_PAGES:
        raise BadInputError(
            "document_too_many_pages", filename=filename, pages=count, limit=MAX_PAGES
        )
    said = document.get_metadata_dict().get("Title") or ""
    title = clean(said)[:MAX_TITLE] or None
    pages: list[Page] = []
    section: str | None = None
    room = MAX_CHARS
    for index in range(count):
        lines = _lines_of(document, index, room)
        room -= sum(len(line) for line, _ in lines)
        if room < 0:  # checked per page: a small file may repeat a large page 2,000 times
            raise BadInputError("document_too_long", filename=filename, limit=MAX_CHARS)
        for page in _page(index + 1, lines, section):
            add_page(pages, page, filename)
        section = pages[-1].section
    return Extracted("pdf", title, pages)


def _lines_of(document: pypdfium2.PdfDocument, index: int, room: int) -> list[Line]:
    """Return the lines of a page; of one with more than ``room`` characters, just too many."""
    page = document[index]
    try:
        text_page = page.get_textpage()
        try:
            if text_page.count_chars() > 2 * room + 2:  # the count includes characters without text
                return [(" " * (room + 1), 0.0)]
            return _measured(text_page)
        finally:
            text_page.close()
    finally:
        page.close()


def _measured(text_page: pypdfium2.PdfTextPage) -> list[Line]:
    """Return every line with the height of its first character's box, which grows with the font."""
    lines: list[Line] = []
    position = 0
    total = text_page.count_chars()
    for line in str(text_page.get_text_range()).splitlines(keepends=True):
        height = 0.0
        if line.strip() and position < total:
            _, bottom, _, top = text_page.get_charbox(position, loose=True)
            height = round(top - bottom, 1)
        lines.append((line, height))
        position += len(line)
    return lines


def _page(number: int, lines: list[Line], section: str | None) -> list[Page]:
    """Divide a page at its headings, which are the lines in a larger font than most of the text.

    The text before the first heading belongs to the section with which the previous page ended.
    """
    sizes = [height for line, height in lines for _ in line.strip()]
    body = median(sizes) if sizes else 0.0
    pieces: list[Page] = []
    block: list[str] = []
    for line, height in lines:
        heading = " ".join(tidy(line).split())
        if 1.1 * body < height and 2 < len(heading) <= _MAX_HEADING_LENGTH:
            if len(block) > 1:
                pieces.append(Page(number, tidy("".join(block)), section))
                block = []
            section = heading
        block.append(line)
    pieces.append(Page(number, tidy("".join(block)), section))
    return [piece for piece in pieces if piece.text] or [Page(number, "", section)]


def tidy(text: str) -> str:
    """Return a page's text with divided words joined and wrapped lines made into paragraphs."""
    text = clean(_BROKEN_WORD.sub("", text))
    text = _HYPHEN_AT_END.sub("", text)
    lines = text.split("\n")
    width = max(map(len, lines))
    joined = [lines[0]]
    for previous, line in pairwise(lines):
        joined += (" " if _continues(previous, line, width) else "\n", line)
    return "".join(joined)


def _continues(previous: str, line: str, width: int) -> bool:
    """Return whether ``line`` continues the sentence of the line before it."""
    if not line or not previous or _BULLET.match(line) or previous.endswith((".", ":", "?", "!")):
        return False
    full = width >= _PROSE_WIDTH and len(previous) >= 0.8 * width
    return full or (line[0].islower() and len(previous) >= 0.5 * width)
