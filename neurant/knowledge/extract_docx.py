"""Text of a Word document (Office Open XML, ECMA-376), in reading order.

The XML is walked here and not through python-docx's paragraphs, which leave out what stands in
content controls, tracked insertions and text boxes. Headers and footers are left out on purpose:
they repeat on every page and answer nothing.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from typing import Any

import docx

from neurant.errors import BadInputError
from neurant.knowledge.extract import Extracted, Page, clean

MAX_UNCOMPRESSED = 200 * 1024 * 1024
MAX_DOCUMENT_XML = 40 * 1024 * 1024
MAX_ENTRIES = 10_000
_DOCUMENT = "word/document.xml"
_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_BREAKS = {f"{_W}tab": "\t", f"{_W}br": "\n", f"{_W}cr": "\n", f"{_W}noBreakHyphen": "-"}
_WRAPPERS = {f"{_W}{name}" for name in ("sdt", "sdtContent", "ins", "customXml", "smartTag")}


def is_docx(data: bytes) -> bool:
    """Whether these bytes are a zip with a Word document's parts."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = set(archive.namelist())
    except Exception:  # zipfile raises many kinds for bytes that are no zip
        return False
    return _DOCUMENT in names and "[Content_Types].xml" in names


def read_docx(data: bytes, filename: str) -> Extracted:
    """Sections of a DOCX: each heading begins one and stays the first line of its text.

    Raises BadInputError: document_broken, document_encrypted, document_too_large_inside.
    """
    try:
        _refuse_bombs(data, filename)
        document = docx.Document(io.BytesIO(data))
        title = clean(document.core_properties.title or "") or None
        return Extracted("docx", title, _sections(document))
    except BadInputError:
        raise
    except Exception as error:  # whatever a library makes of bad bytes is a bad document
        raise BadInputError("document_broken", filename=filename) from error


def _refuse_bombs(data: bytes, filename: str) -> None:
    """Judge the declared sizes: zipfile never hands out more than an entry declares."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
    if any(entry.flag_bits & 1 for entry in entries):
        raise BadInputError("document_encrypted", filename=filename)
    total = sum(entry.file_size for entry in entries)
    largest_xml = max(
        (entry.file_size for entry in entries if entry.filename.endswith((".xml", ".rels"))),
        default=0,
    )
    if total > MAX_UNCOMPRESSED or largest_xml > MAX_DOCUMENT_XML or len(entries) > MAX_ENTRIES:
        raise BadInputError("document_too_large_inside", filename=filename)


def _sections(document: Any) -> list[Page]:
    names = {style.style_id: style.name or "" for style in document.styles}
    pages: list[Page] = []
    section: str | None = None
    lines: list[str] = []
    has_body = False
    for is_heading, text in _blocks(document.element.body, names):
        if is_heading:
            if has_body:
                pages.append(Page(None, clean("\n\n".join(lines)), section))
                lines, has_body = [], False
            section = " ".join(clean(text).split())
        else:
            has_body = True
        lines.append(text)
    pages.append(Page(None, clean("\n\n".join(lines)), section))
    return pages


def _blocks(parent: Any, styles: dict[str, str]) -> Iterator[tuple[bool, str]]:
    """(is a heading, text) of every paragraph and table with text, in reading order."""
    for element in parent:
        if element.tag == f"{_W}p":
            text = _paragraph(element)
            if text.strip():
                name = styles.get(_style_id(element), "")
                bullet = "• " if name.startswith("List Bullet") else ""
                yield name.startswith(("Heading", "Title", "Título")), bullet + text
        elif element.tag == f"{_W}tbl":
            text = "\n".join(_table(element))
            if text.strip():
                yield False, text
        elif element.tag in _WRAPPERS:
            yield from _blocks(element, styles)


def _style_id(paragraph: Any) -> str:
    style = paragraph.find(f"{_W}pPr/{_W}pStyle")
    return "" if style is None else str(style.get(f"{_W}val", ""))


def _paragraph(element: Any) -> str:
    """Text of one paragraph and of the boxes anchored in it, in one pass."""
    parts: list[str] = []
    pending = list(element)[::-1]
    while pending:
        node = pending.pop()
        if node.tag == f"{_W}t":
            parts.append(node.text or "")
        elif node.tag in _BREAKS:
            parts.append(_BREAKS[node.tag])
        elif node.tag not in (f"{_W}pPr", _FALLBACK):
            if node.tag == f"{_W}p":
                parts.append("\n")
            pending.extend(list(node)[::-1])
    return "".join(parts)


def _table(element: Any) -> list[str]:
    """One line a row, each readable alone: ``Limpieza — Precio: $120.000 — Duración: 45 min``."""
    rows = [[_cell(cell) for cell in row.iter(f"{_W}tc")] for row in element.iter(f"{_W}tr")]
    rows = [row for row in rows if any(row)]
    if not rows:
        return []
    header = rows[0]
    if not _is_header(header, rows):
        return [" — ".join(cell for cell in row if cell) for row in rows]
    lines = [" — ".join(header)]
    for row in rows[1:]:
        named = [
            f"{title}: {cell}" for title, cell in zip(header[1:], row[1:], strict=True) if cell
        ]
        lines.append(" — ".join([row[0], *named] if row[0] else named))
    return lines


def _is_header(header: list[str], rows: list[list[str]]) -> bool:
    return (
        len(rows) > 1
        and len(header) > 1
        and all(header)
        and all(len(row) == len(header) for row in rows)
        and not any(character.isdigit() for cell in header for character in cell)
        and all(len(cell) <= 40 for cell in header)
    )


def _cell(element: Any) -> str:
    paragraphs = (_paragraph(node) for node in element.iter(f"{_W}p"))
    return " ".join(" ".join(paragraphs).split())
