"""The text of a Word document (Office Open XML, ECMA-376), in reading order.

Only three parts are unpacked, and the XML is read as a stream of events: memory grows with the
text, and every element is visited once, however deeply tables and text boxes are nested. Headers
and footers are omitted on purpose: they repeat on every page and answer nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.parsers import expat

from neurant.core.errors import BadInputError
from neurant.knowledge.extract import MAX_CHARS, MAX_TITLE, Extracted, Page, add_page, clean
from neurant.knowledge.zip_directory import (
    Entry,
    NotAZipError,
    TooLargeInsideError,
    read_directory,
    read_entry,
)

MAX_UNCOMPRESSED = 200 * 1024 * 1024
MAX_DOCUMENT_XML = 40 * 1024 * 1024
# Word's XML compresses to 1/10, a huge table of equal cells to 1/50, zeros to 1/1000.
MAX_RATIO, _RATIO_MATTERS = 200, 4 * 1024 * 1024
MAX_DEPTH = 256  # the same as libxml2's limit
_DOCUMENT, _STYLES, _PROPERTIES = "word/document.xml", "word/styles.xml", "docProps/core.xml"
_TYPES = "[Content_Types].xml"
# The namespaces of transitional and strict documents (ECMA-376 parts 4 and 1).
_WORD = (
    "http://schemas.openxmlformats.org/wordprocessingml/2006/main",
    "http://purl.oclc.org/ooxml/wordprocessingml/main",
)
_DUBLIN_CORE = "http://purl.org/dc/elements/1.1/"
_FALLBACK = "http://schemas.openxmlformats.org/markup-compatibility/2006 Fallback"
_BREAKS = {"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}


def is_docx(data: bytes) -> bool:
    """Return whether these bytes are a ZIP with a Word document's parts. The work is bounded.

    Raises TooLargeInsideError for a ZIP with more entries than any document has.
    """
    try:
        names = {entry.name for entry in read_directory(data)}
    except NotAZipError:
        return False
    return _DOCUMENT in names and _TYPES in names


def read_docx(data: bytes, filename: str) -> Extracted:
    """Return the sections of a DOCX: each heading begins one and stays the first line of its text.

    Raises BadInputError (document_broken, document_encrypted, document_too_large_inside,
    document_too_deep, document_too_long, document_too_many_sections) and MemoryError.
    """
    try:
        entries = _checked_entries(data, filename)
        title = _title(_part(data, entries, _PROPERTIES), filename)
        styles = _style_names(_part(data, entries, _STYLES), filename)
        blocks = _blocks(_part(data, entries, _DOCUMENT), styles, filename)
        return Extracted("docx", title, _sections(blocks, filename))
    except TooLargeInsideError as error:
        raise BadInputError("document_too_large_inside", filename=filename) from error
    except (NotAZipError, expat.ExpatError) as error:
        raise BadInputError("document_broken", filename=filename) from error


def _checked_entries(data: bytes, filename: str) -> dict[str, Entry]:
    """Return the archive's entries by name, after checks of what they declare."""
    entries = read_directory(data)
    if any(entry.is_encrypted for entry in entries):
        raise BadInputError("document_encrypted", filename=filename)
    if sum(entry.size for entry in entries) > MAX_UNCOMPRESSED:
        raise TooLargeInsideError
    for entry in entries:
        if entry.name.endswith((".xml", ".rels")):
            swollen = entry.size > _RATIO_MATTERS and entry.size > MAX_RATIO * entry.packed
            if swollen or entry.size > MAX_DOCUMENT_XML:
                raise TooLargeInsideError
    return {entry.name: entry for entry in entries}


def _part(data: bytes, entries: Mapping[str, Entry], name: str) -> bytes:
    entry = entries.get(name)
    return read_entry(data, entry, MAX_DOCUMENT_XML) if entry else b""


def _parse(xml: bytes, handler: _Handler, filename: str) -> None:
    """Report each element and text to ``handler``.

    Raises ExpatError, and BadInputError for a DTD or too deep nesting.
    """
    if not xml:
        return
    depth = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise BadInputError("document_too_deep", filename=filename)
        handler.start(_short(name), {_short(key): value for key, value in attributes.items()})

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        handler.end(_short(name))

    def refuse(*_: object) -> None:  # entities may expand, and Word never writes a DTD
        raise BadInputError("document_broken", filename=filename)

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = handler.text
    parser.StartDoctypeDeclHandler = refuse
    parser.Parse(xml, True)  # in one piece, because expat reads a long token again per block


def _short(name: str) -> str:
    """Return ``w:p`` for an element or attribute of Word's namespaces, else the full name."""
    namespace, _, local = name.rpartition(" ")
    return f"w:{local}" if namespace in _WORD else name


class _Handler:
    """The receiver of an XML part's events. Text arrives in pieces."""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """Handle the start of an element."""

    def end(self, name: str) -> None:
        """Handle the end of an element."""

    def text(self, data: str) -> None:
        """Handle characters of the innermost element."""


class _Title(_Handler):
    def __init__(self) -> None:
        self.parts: list[str] = []
        self._inside = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._inside = name == f"{_DUBLIN_CORE} title"

    def end(self, name: str) -> None:
        self._inside = False

    def text(self, data: str) -> None:
        if self._inside:
            self.parts.append(data)


def _title(xml: bytes, filename: str) -> str | None:
    found = _Title()
    _parse(xml, found, filename)
    return clean("".join(found.parts))[:MAX_TITLE] or None


class _Styles(_Handler):
    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self._style = ""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "w:style":
            self._style = attributes.get("w:styleId", "")
        elif name == "w:name" and self._style:
            self.names[self._style] = attributes.get("w:val", "").lower()


def _style_names(xml: bytes, filename: str) -> dict[str, str]:
    """Return the names of the styles in lower case by their ids: ``heading 1`` by ``Ttulo1``."""
    found = _Styles()
    _parse(xml, found, filename)
    return found.names


@dataclass(slots=True)
class _Text:
    """A paragraph or a cell that is being read; ``separator`` precedes each inner paragraph."""

    separator: str
    parts: list[str] = field(default_factory=list)
    style: str = ""


Block = tuple[bool, str]  # whether it is a heading, and its text


class _Body(_Handler):
    """The paragraphs and tables with text, in reading order; each word is read once."""

    def __init__(self, styles: Mapping[str, str], filename: str) -> None:
        self.blocks: list[Block] = []
        self._styles, self._filename = styles, filename
        self._room = MAX_CHARS
        self._depth = 0
        self._skipped = 0  # the depth of the element whose content is omitted; 0: none
        self._properties = False  # whether that element is the outermost paragraph's properties
        self._paragraph = 0  # the depth of the outermost paragraph; 0: none
        self._tables = 0  # the number of tables that enclose the current element
        self._rows: list[list[str]] = []
        self._text: _Text | None = None
        self._in_words = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._skipped:
            if name == "w:pStyle" and self._properties and self._text:
                self._text.style = self._text.style or attributes.get("w:val", "")
        elif name in ("w:pPr", _FALLBACK):
            self._skipped = self._depth
            self._properties = name == "w:pPr" and self._depth == self._paragraph + 1
        elif name == "w:t":
            self._in_words = True
        elif name == "w:p":
            self._start_paragraph()
        elif name == "w:tbl" and not self._paragraph:
            self._tables += 1
        elif self._tables == 1 and not self._paragraph:
            self._start_in_table(name)
        if name.startswith("w:") and not self._skipped and self._text:
            self._add(_BREAKS.get(name[2:], ""))

    def _start_paragraph(self) -> None:
        if self._text:
            self._add(self._text.separator)
        elif not self._tables:
            self._text, self._paragraph = _Text("\n"), self._depth

    def _start_in_table(self, name: str) -> None:
        if name == "w:tr":
            self._rows.append([])
        elif name == "w:tc" and self._rows:
            self._text = _Text(" ")

    def end(self, name: str) -> None:
        if self._skipped == self._depth:
            self._skipped, self._properties = 0, False
        elif not self._skipped:
            self._end(name)
        self._depth -= 1

    def _end(self, name: str) -> None:
        if name == "w:t":
            self._in_words = False
        elif self._paragraph:
            if self._depth == self._paragraph:
                self._end_paragraph()
        elif name == "w:tc" and self._tables == 1 and self._text:
            self._rows[-1].append(" ".join("".join(self._text.parts).split()))
            self._text = None
        elif name == "w:tbl" and self._tables:
            self._tables -= 1
            if not self._tables:
                self._block(False, "\n".join(_table(self._rows)))
                self._rows = []

    def _end_paragraph(self) -> None:
        assert self._text is not None  # noqa: S101 - set at the paragraph's start
        text, style = "".join(self._text.parts), self._styles.get(self._text.style, "")
        self._text, self._paragraph = None, 0
        bullet = "• " if style.startswith("list bullet") and text.strip() else ""
        self._block(style.startswith(("heading", "title", "título")), bullet + text)

    def text(self, data: str) -> None:
        if self._in_words and not self._skipped and self._text:
            self._add(data)

    def _add(self, data: str) -> None:
        if not data or self._text is None:
            return
        self._room -= len(data)
        if self._room < 0:
            raise BadInputError("document_too_long", filename=self._filename, limit=MAX_CHARS)
        self._text.parts.append(data)

    def _block(self, is_heading: bool, text: str) -> None:
        if text.strip():
            self.blocks.append((is_heading, text))


def _blocks(xml: bytes, styles: Mapping[str, str], filename: str) -> list[Block]:
    found = _Body(styles, filename)
    _parse(xml, found, filename)
    return found.blocks


def _sections(blocks: list[Block], filename: str) -> list[Page]:
    pages: list[Page] = []
    section: str | None = None
    lines: list[str] = []
    has_body = False
    for is_heading, text in blocks:
        if is_heading:
            if has_body:
                add_page(pages, Page(None, clean("\n\n".join(lines)), section), filename)
                lines, has_body = [], False
            section = " ".join(clean(text).split())[:MAX_TITLE]
        else:
            has_body = True
        lines.append(text)
    add_page(pages, Page(None, clean("\n\n".join(lines)), section), filename)
    return pages


def _table(rows: list[list[str]]) -> list[str]:
    """Return one line per row, each readable alone:

    ``Limpieza — Precio: $120.000 — Duración: 45 min``.
    """
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
