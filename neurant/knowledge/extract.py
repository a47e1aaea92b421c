"""The text of an uploaded document, by page or section.

``extract`` determines the type by the content and trusts neither the file's name nor its sender:
malicious bytes can cause nothing but one of our own errors. ``extract_pdf`` and ``extract_docx``
read the formats other than plain text. ``extract`` runs in a confined child only
(``reader_child``); ``detect_type`` also runs in the web process, and its work is bounded.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from neurant.core.errors import BadInputError, UnsupportedTypeError

FileType = Literal["pdf", "docx", "txt"]
MAX_PAGES = 2_000
MAX_CHARS = MAX_PAGES * 3_000
MAX_SECTIONS = 20_000  # pieces between headings: ten on each of 2,000 pages
MAX_TITLE = 500  # characters of a document's or section's title, as in the database
MAX_BYTES_OF_A_CHARACTER = 4  # in any encoding that we read

_TYPE_OF_EXTENSION: dict[str, FileType] = {
    ".pdf": "pdf",
    ".docx": "docx",
    ".txt": "txt",
    ".text": "txt",
    ".md": "txt",
}
_OLE_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
_BOMS: tuple[tuple[bytes, str], ...] = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_SINGLE_BYTE_ENCODINGS = ["cp1252", "latin_1", "mac_roman", "cp850"]
_SAMPLE_BYTES = 64 * 1024
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\u200b\u2060\ufeff\ufffe\uffff]")
_SURROGATES = re.compile("[\ud800-\udfff]")
_SPACES = re.compile(r"[^\S\n]+")
_BLANK_LINES = re.compile(r"\n{3,}")


@dataclass(frozen=True, slots=True)
class Page:
    """A page, or one section of it; its text is never joined with that of the next.

    ``number`` is the PDF page from 1, and None for DOCX and TXT, which have no fixed pages.
    ``section`` is the heading above the text.
    """

    number: int | None
    text: str
    section: str | None


@dataclass(frozen=True, slots=True)
class Extracted:
    """A document's text. ``title`` comes from the file's own metadata, if it has any."""

    file_type: FileType
    title: str | None
    pages: list[Page]

    def page_count(self) -> int | None:
        """Return the number of pages of a PDF; None for the types without pages."""
        return self.pages[-1].number

    def pages_without_text(self) -> list[int]:
        """Return the numbers of the PDF pages without text, such as scanned images."""
        return [page.number for page in self.pages if page.number is not None and not page.text]


def extract(data: bytes, filename: str) -> Extracted:
    """Read a PDF, DOCX or plain text.

    Raises UnsupportedTypeError (none of the three types, or another one than its name says) and
    BadInputError (empty, damaged, protected by a password, without text, too long).
    """
    if not data.strip():
        raise BadInputError("document_empty", filename=filename)
    file_type = detect_type(data, filename)
    if file_type == "pdf":
        from neurant.knowledge.extract_pdf import read_pdf

        extracted = read_pdf(data, filename)
    elif file_type == "docx":
        from neurant.knowledge.extract_docx import read_docx

        extracted = read_docx(data, filename)
    else:
        text = clean(decode(data, filename))
        if len(text) > MAX_CHARS:
            raise BadInputError("document_too_long", filename=filename, limit=MAX_CHARS)
        extracted = Extracted("txt", None, split_sections(text, filename))
    return _checked(extracted, filename)


def detect_type(data: bytes, filename: str) -> FileType:
    """Return the type that the content shows, provided that the name's extension agrees.

    Raises UnsupportedTypeError, or BadInputError for content that is damaged or protected.
    """
    extension = PurePosixPath(filename).suffix.lower()
    named = _TYPE_OF_EXTENSION.get(extension)
    if extension and named is None:
        raise UnsupportedTypeError("document_type_unsupported", filename=filename)
    found = _type_of_content(data, filename)
    if found is None:
        if named in ("pdf", "docx"):
            raise BadInputError("document_broken", filename=filename)
        raise UnsupportedTypeError("document_type_unsupported", filename=filename)
    if named is not None and found != named:
        raise UnsupportedTypeError(
            "document_type_mismatch", filename=filename, found=found.upper(), named=named.upper()
        )
    return found


def _type_of_content(data: bytes, filename: str) -> FileType | None:
    if b"%PDF-" in data[:1024]:
        return "pdf"
    if data.startswith(_ZIP_MAGICS):
        from neurant.knowledge.extract_docx import is_docx
        from neurant.knowledge.zip_directory import TooLargeInsideError

        try:
            return "docx" if is_docx(data) else None
        except TooLargeInsideError as error:
            raise BadInputError("document_too_large_inside", filename=filename) from error
    if data.startswith(_OLE_MAGIC):
        # Word stores a document with a password in an OLE container with a stream of this name.
        if "EncryptedPackage".encode("utf-16-le") in data:
            raise BadInputError("document_encrypted", filename=filename)
        return None
    return "txt" if _looks_like_text(data) else None


def _looks_like_text(data: bytes) -> bool:
    if data.startswith(tuple(bom for bom, _ in _BOMS)):
        return True
    if b"\0" in data:
        return False
    sample = data[:_SAMPLE_BYTES]
    controls = sum(byte < 32 and byte not in b"\t\n\r\x0b\x0c" for byte in sample)
    return controls * 50 <= len(sample)


def decode(data: bytes, filename: str) -> str:
    """Return plain text from bytes, by a byte order mark, as UTF-8, or in the most likely encoding.

    Raises BadInputError for bytes that contradict their byte order mark, and for too much text,
    which is refused before it is decoded.
    """
    if len(data) > MAX_CHARS * MAX_BYTES_OF_A_CHARACTER:
        raise BadInputError("document_too_long", filename=filename, limit=MAX_CHARS)
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            try:
                return data.decode(encoding)
            except UnicodeDecodeError as error:
                raise BadInputError("document_broken", filename=filename) from error
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        from charset_normalizer import from_bytes

        best = from_bytes(data[:_SAMPLE_BYTES], cp_isolation=_SINGLE_BYTE_ENCODINGS).best()
        try:
            return data.decode(best.encoding if best else "cp1252")
        except UnicodeDecodeError:
            return data.decode("latin-1")  # has a character for each of the 256 bytes


def clean(text: str) -> str:
    """Normalise text: Unicode NFC, newlines, single spaces, at most one blank line.

    Unprintable characters are removed.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n\n")
    text = text.replace("\x0b", "\n").replace("\u2028", "\n").replace("\u2029", "\n\n")
    text = _SURROGATES.sub("", _CONTROLS.sub("", text.replace("\u0085", "\n")))
    # Before NFC, this bounds the work; NFC may add marks, so it is repeated afterwards.
    text = _MAY_BE_MARKS.sub(_fewer_marks, text)
    text = _MAY_BE_MARKS.sub(_fewer_marks, unicodedata.normalize("NFC", text))
    text = _SPACES.sub(" ", text)
    lines = (line.strip() for line in text.split("\n"))
    return _BLANK_LINES.sub("\n\n", "\n".join(lines)).strip()


# No letter needs more than 30 combining marks (Unicode UAX #15, "Stream-Safe Text Format"), and
# ordering them takes a time that is quadratic in their number. A mark is never \\w for ``re``.
_MAX_MARKS = 30
_MAY_BE_MARKS = re.compile(rf"[^\w\s\x00-\x7f]{{{_MAX_MARKS // 3},}}")


def _fewer_marks(found: re.Match[str]) -> str:
    """Return the same characters without the combining marks beyond 30 in a row."""
    kept: list[str] = []
    marks = 0
    for character in found[0]:
        apart = unicodedata.normalize("NFD", character)
        marks = marks + len(apart) if unicodedata.combining(apart[0]) else len(apart) - 1
        if marks <= _MAX_MARKS:
            kept.append(character)
    return "".join(kept)


_RULE = re.compile(r"[=\-_*~]{3,}")


def split_sections(text: str, filename: str = "") -> list[Page]:
    """Divide plain text where a line is clearly a heading; the heading stays in its section's text.

    A heading is a Markdown heading (``# Horarios``), an underlined line, or a line in capitals
    after a blank line. Raises BadInputError for more than ``MAX_SECTIONS``.
    """
    lines = text.split("\n")
    pages: list[Page] = []
    title: str | None = None
    block = _Block()
    for position, line in enumerate(lines):
        heading = _heading(lines, position)
        if heading and block.has_more_than(title):
            add_page(pages, Page(None, block.text(), title), filename)
            block = _Block()
        title = heading or title
        if not _RULE.fullmatch(line):
            block.add(heading or line)
    add_page(pages, Page(None, block.text(), title), filename)
    return pages


def add_page(pages: list[Page], page: Page, filename: str) -> None:
    """Append a page. Raises BadInputError for one beyond ``MAX_SECTIONS``."""
    if len(pages) >= MAX_SECTIONS:
        raise BadInputError("document_too_many_sections", filename=filename, limit=MAX_SECTIONS)
    pages.append(page)


class _Block:
    """The lines of one section; ``has_more_than`` answers without reading them again."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._first = ""  # the first line with a word
        self._differ = False  # a later line has other words

    def add(self, line: str) -> None:
        self._lines.append(line)
        bare = line.lstrip("# ").strip()
        self._differ = self._differ or bool(bare and self._first and bare != self._first)
        self._first = self._first or bare

    def has_more_than(self, title: str | None) -> bool:
        """Return whether a line with a word differs from ``title``."""
        return self._differ or bool(self._first and self._first != title)

    def text(self) -> str:
        return "\n".join(self._lines).strip()


def _heading(lines: list[str], position: int) -> str | None:
    line = lines[position]
    if not 2 < len(line) <= 90 or _RULE.fullmatch(line):
        return None
    if re.match(r"#{1,6} \S", line):
        return line.lstrip("# ").strip()
    following = lines[position + 1] if position + 1 < len(lines) else ""
    if re.fullmatch(r"=+|-{3,}", following):
        return line
    alone = position == 0 or not lines[position - 1] or bool(_RULE.fullmatch(lines[position - 1]))
    capitals = line.isupper() and sum(letter.isalpha() for letter in line) > 3
    return line if alone and capitals and not line.endswith((".", ",", ";")) else None


def _checked(extracted: Extracted, filename: str) -> Extracted:
    if not any(page.text for page in extracted.pages):
        if extracted.file_type != "pdf":
            raise BadInputError("document_empty", filename=filename)
        pages = extracted.page_count() or 1
        code = "document_without_text" if pages > 1 else "document_without_text_one_page"
        raise BadInputError(code, filename=filename, pages=pages)
    if sum(len(page.text) for page in extracted.pages) > MAX_CHARS:
        raise BadInputError("document_too_long", filename=filename, limit=MAX_CHARS)
    return extracted
