"""Files that are small and mean harm. They are built here and never kept in the repository."""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib

MB = 1024 * 1024
_W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
_TYPES = '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>'


# PDF ---------------------------------------------------------------------------------------------
def pdf(*objects: bytes, root: int = 1) -> bytes:
    """A PDF of these objects, numbered from 1, with a right table of references."""
    made = bytearray(b"%PDF-1.7\n")
    places = []
    for number, body in enumerate(objects, 1):
        places.append(len(made))
        made += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = len(made)
    made += b"xref\n0 %d\n0000000000 65535 f \n" % (len(places) + 1)
    made += b"".join(b"%010d 00000 n \n" % place for place in places)
    return bytes(made) + b"trailer <</Size %d/Root %d 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (
        len(places) + 1,
        root,
        table,
    )


def stream(content: bytes, more: bytes = b"") -> bytes:
    return b"<</Length %d%s>>\nstream\n%s\nendstream" % (len(content), more, content)


_CATALOG = b"<</Type/Catalog/Pages 2 0 R>>"
_FONT = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"


def _one_page(content: bytes, resources: bytes, *more: bytes) -> bytes:
    """Objects 1 catalog, 2 pages, 3 page, 4 content, 5 font, then ``more``."""
    page = (
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R/Resources<<"
        b"/Font<</F 5 0 R>>" + resources + b">>>>"
    )
    return pdf(_CATALOG, b"<</Type/Pages/Kids[3 0 R]/Count 1>>", page, content, _FONT, *more)


def forms_that_call_each_other(wide: int = 10, deep: int = 7) -> bytes:
    """Each form draws the next one ``wide`` times: wide ** deep texts."""
    forms = []
    for level in range(deep):
        number = 6 + level
        last = level == deep - 1
        body = b"BT /F 9 Tf 9 9 Td (bomba de texto) Tj ET" if last else b"/X Do " * wide
        inner = b"" if last else b"/XObject<</X %d 0 R>>" % (number + 1)
        kind = (
            b"/Type/XObject/Subtype/Form/BBox[0 0 600 800]/Resources<</Font<</F 5 0 R>>%s>>" % inner
        )
        forms.append(stream(body, kind))
    return _one_page(stream(b"/X Do " * wide), b"/XObject<</X 6 0 R>>", *forms)


def doubly_deflated(size: int = 600 * MB) -> bytes:
    """A content stream of ``size`` bytes behind two FlateDecode filters."""
    packer, block = zlib.compressobj(9), b" " * MB
    once = b"".join(packer.compress(block) for _ in range(size // MB)) + packer.flush()
    text = stream(zlib.compress(once, 9), b"/Filter[/FlateDecode/FlateDecode]")
    return _one_page(text, b"")


def the_same_page_many_times(pages: int = 2_000, lines: int = 3_000) -> bytes:
    """One page object with much text that the page tree names ``pages`` times."""
    line = b"(la misma pagina otra vez y otra vez y otra vez) Tj T* "
    content = zlib.compress(b"BT /F 9 Tf 9 TL 9 700 Td " + line * lines + b"ET", 9)
    page = (
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R"
        b"/Resources<</Font<</F 5 0 R>>>>>>"
    )
    tree = b"<</Type/Pages/Kids[%s]/Count %d>>" % (b"3 0 R " * pages, pages)
    return pdf(_CATALOG, tree, page, stream(content, b"/Filter/FlateDecode"), _FONT)


def deep_page_tree(deep: int = 50_000) -> bytes:
    """Every node of the page tree holds one more node."""
    nodes = [
        b"<</Type/Pages/Kids[%d 0 R]/Count 1%s>>"
        % (number + 1, b"/Parent %d 0 R" % (number - 1) if number > 2 else b"")
        for number in range(2, deep)
    ]
    return pdf(_CATALOG, *nodes, b"<</Type/Page/Parent %d 0 R/MediaBox[0 0 9 9]>>" % (deep - 1))


def deep_pdf_arrays(deep: int = 200_000) -> bytes:
    return pdf(b"<</Type/Catalog/Pages 2 0 R/X %s%s>>" % (b"[" * deep, b"]" * deep), b"<<>>")


# DOCX --------------------------------------------------------------------------------------------
def docx(body: str | bytes, **more: bytes) -> bytes:
    """A DOCX with this document.xml; further parts by their names."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("[Content_Types].xml", _TYPES)
        archive.writestr("word/document.xml", body)
        for name, content in more.items():
            archive.writestr(name, content)
    return made.getvalue()


def document(inner: str) -> str:
    return f'<?xml version="1.0"?><w:document {_W}><w:body>{inner}</w:body></w:document>'


def words(text: str) -> str:
    return f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"


def huge_document_part(size: int = 150 * MB) -> bytes:
    """document.xml is mostly spaces: it packs a thousand times."""
    return docx(document(words("hola") + " " * size))


def many_huge_parts(parts: int = 60, size: int = 4 * MB) -> bytes:
    """Each part is below the limit of a part."""
    blank = b"<x>" + b" " * size + b"</x>"
    return docx(document(words("hola")), **{f"word/part{n}.xml": blank for n in range(parts)})


def many_elements(count: int = 3_000_000) -> bytes:
    """Forty bytes of XML each, and a tree of them is a hundred times as much."""
    return docx(document("<w:p/>" * count + words("hola")))


def nested_tables(deep: int = 60) -> bytes:
    """A table in a cell of a table; each level has two rows."""
    inner = words("fondo")
    for _ in range(deep):
        row = f"<w:tr><w:tc>{words('lado')}</w:tc><w:tc>{inner}</w:tc></w:tr>"
        inner = f"<w:tbl>{row}</w:tbl>"
    return docx(document(inner))


def nested_boxes(deep: int = 80) -> bytes:
    """A table in a text box in a table, which each way of walking would meet many times."""
    inner = words("fondo")
    for _ in range(deep):
        inner = f"<w:tbl><w:tr><w:tc><w:p>{inner}</w:p></w:tc></w:tr></w:tbl>"
    return docx(document(f"<w:p>{inner}</w:p>"))


def deep_xml(deep: int = 100_000) -> bytes:
    return docx(document("<w:sdt>" * deep + words("hola") + "</w:sdt>" * deep))


def nested_entities() -> bytes:
    levels = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    return docx(
        f'<?xml version="1.0"?><!DOCTYPE d [<!ENTITY e0 "bomba">{levels}]><w:document {_W}>'
        "<w:body><w:p><w:r><w:t>&e9;</w:t></w:r></w:p></w:body></w:document>"
    )


def external_entity(path: str) -> bytes:
    """An entity that is a file of this machine."""
    return docx(
        f'<?xml version="1.0"?><!DOCTYPE d [<!ENTITY e SYSTEM "file://{path}">]><w:document {_W}>'
        "<w:body><w:p><w:r><w:t>texto &e;</w:t></w:r></w:p></w:body></w:document>"
    )


def many_attributes(size: int = 10 * MB) -> bytes:
    """One element with one endless attribute, of letters that do not pack as well as blanks."""
    letters = random.Random(1).choices("abcdefghijklmnop", k=MB)
    return docx(document(f'<w:p x="{"".join(letters) * (size // MB)}"/>' + words("hola")))


def _entry(name: bytes, start: int, packed: int, size: int, crc: int, method: int = 8) -> bytes:
    numbers = (0x02014B50, 20, 20, 0, method, 0, 0, crc, packed, size, len(name), 0, 0, 0, 0, 0)
    return struct.pack("<IHHHHHHIIIHHHHHII", *numbers, start) + name


def many_entries(count: int = 500_000, told: int | None = None) -> bytes:
    """A ZIP that is nothing but a directory; its end may tell another number than it holds."""
    names = (b"[Content_Types].xml", b"word/document.xml")
    listed = b"".join(_entry(name, 0, 0, 0, 0) for name in names)
    listed += _entry(b"a", 0, 0, 0, 0) * count
    number = min(count, 65_534) if told is None else told
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, number, number, len(listed), 4, 0)
    return b"PK\x03\x04" + listed + end


def overlapping_entries(count: int = 9_000, size: int = 10 * MB) -> bytes:
    """Many entries that share the same packed bytes (David Fifield, "A better zip bomb", 2019)."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    content = b"<x>" + b" " * size
    packed = packer.compress(content) + packer.flush()
    name = b"word/document.xml"
    local = struct.pack("<IHHHHHIIIHH", 0x04034B50, 20, 0, 8, 0, 0, zlib.crc32(content),
                        len(packed), len(content), len(name), 0) + name + packed  # fmt: skip
    told = (len(packed), len(content), zlib.crc32(content))
    listed = _entry(b"[Content_Types].xml", 0, *told) + _entry(name, 0, *told)
    listed += b"".join(_entry(b"word/%d.bin" % n, 0, *told) for n in range(count))
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, count + 2, count + 2, len(listed),
                      len(local), 0)  # fmt: skip
    return local + listed + end


def lying_sizes(size: int = 100 * MB) -> bytes:
    """The directory says ten bytes; unpacked they are a hundred million."""
    packer, block = zlib.compressobj(9, zlib.DEFLATED, -15), b" " * MB
    packed = b"".join(packer.compress(block) for _ in range(size // MB)) + packer.flush()
    name = b"word/document.xml"
    local = struct.pack("<IHHHHHIIIHH", 0x04034B50, 20, 0, 8, 0, 0, 0, len(packed), 10,
                        len(name), 0) + name + packed  # fmt: skip
    listed = _entry(b"[Content_Types].xml", 0, 0, 0, 0) + _entry(name, 0, len(packed), 10, 0)
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 2, 2, len(listed), len(local), 0)
    return local + listed + end


# Plain text --------------------------------------------------------------------------------------
def one_heading_repeated(size: int) -> bytes:
    return b"TITULO\n\n" * (size // 8)


def many_headings(count: int = 30_000) -> bytes:
    return b"".join(b"TITULO %d\n\ntexto\n\n" % n for n in range(count))


def underlines(size: int) -> bytes:
    return b"=" * size


def one_line(size: int) -> bytes:
    return b"palabra " * (size // 8)


def combining_marks(size: int) -> bytes:
    """One letter under marks in an order that normalising has to turn round."""
    marks = "\u0301\u0316" * (size // 4)
    return ("a" + marks).encode()


def hostile_charset(size: int) -> bytes:
    """Bytes that are no UTF-8 and that every encoding of one byte could be."""
    return bytes(random.Random(2).choices([*range(0x80, 0x100), 0x20, 0x0A], k=size))
