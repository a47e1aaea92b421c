"""Documents as people upload them: read right, or refused with a reason they can act on."""

from __future__ import annotations

import io
import unicodedata
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import docx
import pytest
from docx.oxml import parse_xml
from fpdf import FPDF
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neurant.core.errors import BadInputError, NeurantError, UnsupportedTypeError
from neurant.knowledge import extract_docx, extract_pdf
from neurant.knowledge.extract import (
    _RULE,
    Extracted,
    Page,
    _heading,
    clean,
    extract,
    split_sections,
)
from neurant.texts import catalogue

DEMO = Path(__file__).resolve().parents[2] / "neurant" / "demo" / "documents"
W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def text_of(extracted: Extracted) -> str:
    return "\n".join(page.text for page in extracted.pages)


def pdf(*pages: str, password: str | None = None, title: str | None = None) -> bytes:
    made = FPDF()
    if password:
        made.set_encryption(owner_password=f"owner-{password}", user_password=password)
    if title:
        made.set_title(title)
    made.set_font("helvetica", size=11)
    for page in pages:
        made.add_page()
        if page:
            made.multi_cell(0, 6, page)
    return bytes(made.output())


def word(build: Callable[[docx.document.Document], object] | None = None) -> bytes:
    document = docx.Document()
    if build:
        build(document)
    stream = io.BytesIO()
    document.save(stream)
    return stream.getvalue()


@lru_cache(maxsize=1)
def small_pdf() -> bytes:
    return pdf("Limpieza dental: $130.000", "Segunda página", title="Tarifas")


@lru_cache(maxsize=1)
def small_docx() -> bytes:
    return word(lambda document: document.add_paragraph("Puedes cancelar hasta 24 horas antes."))


def refusal(data: bytes, filename: str) -> NeurantError:
    with pytest.raises(NeurantError) as caught:
        extract(data, filename)
    return caught.value


def test_a_pdf_is_read_page_by_page_with_its_title() -> None:
    extracted = extract(small_pdf(), "Tarifas.pdf")
    assert extracted.file_type == "pdf"
    assert extracted.title == "Tarifas"
    assert [(page.number, page.text) for page in extracted.pages] == [
        (1, "Limpieza dental: $130.000"),
        (2, "Segunda página"),
    ]


def test_the_headings_of_a_pdf_become_sections_and_the_numbers_of_its_pages_stay() -> None:
    path = DEMO / "Tarifas y tratamientos 2026.pdf"
    extracted = extract(path.read_bytes(), path.name)
    found = {(page.number, page.section) for page in extracted.pages}
    assert {(1, "Odontología general"), (3, "Odontopediatría"), (4, "Descuentos")} <= found
    assert extracted.page_count() == 4
    assert "Limpieza dental (profilaxis) $130.000 45 minutos" in text_of(extracted).split("\n")


def test_lines_that_a_pdf_wraps_become_one_paragraph_again() -> None:
    sentence = "El blanqueamiento dura entre uno y dos años según tus hábitos de cada día. " * 4
    assert text_of(extract(pdf(sentence.strip()), "a.pdf")) == sentence.strip()


def test_a_word_broken_by_a_hyphen_at_the_line_end_is_joined() -> None:
    assert extract_pdf.tidy("Este trata-\nmiento es corto") == "Este tratamiento es corto"
    assert extract_pdf.tidy("Este trata\x02\nmiento") == "Este tratamiento"
    assert extract_pdf.tidy("Lunes - viernes\nSábado") == "Lunes - viernes\nSábado"


def test_a_pdf_of_three_hundred_pages_works() -> None:
    extracted = extract(pdf(*[f"Página número {n}" for n in range(1, 301)]), "largo.pdf")
    assert len(extracted.pages) == 300
    assert extracted.pages[299].text == "Página número 300"


def test_a_pdf_of_images_says_how_many_pages_it_has() -> None:
    error = refusal(pdf(*[""] * 24), "escaneado.pdf")
    assert error.code == "document_without_text"
    assert error.detail("es") == (
        "No encontramos texto legible en ninguna de las 24 páginas: pueden ser imágenes escaneadas o"
        " tener letras que no se pueden leer. Sube una versión cuyo texto se pueda seleccionar y copiar."
    )
    one = refusal(pdf(""), "una.pdf")
    assert one.code == "document_without_text_one_page"
    # Nobody knows why there is no text: an image, or letters without a table of characters.
    assert "puede ser" in one.detail("es")
    assert "may be" in one.detail("en")


def test_pages_without_text_among_others_are_reported() -> None:
    assert extract(pdf("uno", "", "tres"), "a.pdf").pages_without_text() == [2]


def test_a_pdf_with_a_password_is_refused_as_such() -> None:
    assert refusal(pdf("hola", password="x"), "a.pdf").code == "document_encrypted"


def test_a_pdf_with_too_many_pages_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract_pdf, "MAX_PAGES", 1)
    error = refusal(small_pdf(), "a.pdf")
    assert (error.code, error.params["pages"]) == ("document_too_many_pages", 2)


def test_a_broken_pdf_is_refused_as_broken() -> None:
    assert refusal(b"%PDF-1.7 and then nothing", "a.pdf").code == "document_broken"


def test_pdfs_may_be_read_from_many_threads_at_once() -> None:
    with ThreadPoolExecutor(4) as pool:
        read = pool.map(lambda _: text_of(extract(small_pdf(), "a.pdf")), range(40))
    assert set(read) == {"Limpieza dental: $130.000\nSegunda página"}


def test_a_word_document_keeps_the_order_of_headings_paragraphs_and_tables() -> None:
    def build(document: docx.document.Document) -> None:
        document.core_properties.title = "Políticas"
        document.add_heading("Pagos", level=1)
        document.add_paragraph("Recibimos Nequi.")
        table = document.add_table(rows=2, cols=2)
        for cell, text in zip(table._cells, ["Plan", "Precio", "Básico", "$10"], strict=True):
            cell.text = text
        document.add_paragraph("Después de la tabla.")
        document.add_heading("Garantías", level=1)
        document.add_paragraph("Un año.")

    extracted = extract(word(build), "Políticas.docx")
    assert extracted.title == "Políticas"
    assert [(page.section, page.text) for page in extracted.pages] == [
        (
            "Pagos",
            "Pagos\n\nRecibimos Nequi.\n\nPlan — Precio\nBásico — Precio: $10\n\n"
            "Después de la tabla.",
        ),
        ("Garantías", "Garantías\n\nUn año."),
    ]


def test_a_word_document_loses_no_content_controls_insertions_or_line_breaks() -> None:
    def build(document: docx.document.Document) -> None:
        paragraph = document.add_paragraph("visible")
        paragraph._p.append(parse_xml(f"<w:ins {W}><w:r><w:t> insertado</w:t></w:r></w:ins>"))
        paragraph._p.append(
            parse_xml(f"<w:del {W}><w:r><w:delText> borrado</w:delText></w:r></w:del>")
        )
        control = f"<w:sdt {W}><w:sdtContent><w:p><w:r><w:t>control</w:t></w:r></w:p>"
        document.element.body.insert(0, parse_xml(f"{control}</w:sdtContent></w:sdt>"))

    assert text_of(extract(word(build), "a.docx")) == "control\n\nvisible insertado"


def test_a_word_document_without_text_is_empty() -> None:
    assert refusal(word(), "a.docx").code == "document_empty"


def test_a_zip_bomb_is_refused_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.BytesIO(small_docx())
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/media/image1.png", b"\0" * (5 * 1024 * 1024))
    assert len(stream.getvalue()) < 100_000
    monkeypatch.setattr(extract_docx, "MAX_UNCOMPRESSED", 4 * 1024 * 1024)
    assert refusal(stream.getvalue(), "a.docx").code == "document_too_large_inside"


def test_entities_that_grow_when_expanded_stay_small() -> None:
    levels = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 9))
    xml = (
        f'<?xml version="1.0"?><!DOCTYPE d [<!ENTITY e0 "bomba">{levels}]><w:document {W}>'
        "<w:body><w:p><w:r><w:t>&e8;</w:t></w:r></w:p></w:body></w:document>"
    )
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(small_docx())) as source,
        zipfile.ZipFile(stream, "w") as target,
    ):
        for entry in source.infolist():
            body = source.read(entry)
            target.writestr(entry, xml if entry.filename == "word/document.xml" else body)
    assert refusal(stream.getvalue(), "a.docx").code in ("document_broken", "document_empty")


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16", "utf-16-le", "utf-32"]
)
def test_plain_text_is_read_in_the_encodings_that_people_save(encoding: str) -> None:
    text = "Horario de atención: los sábados abrimos a las 8:00. ¿Niños? Sí, con sus papás."
    mark = b"\xff\xfe" if encoding == "utf-16-le" else b""
    assert text_of(extract(mark + text.encode(encoding), "Horarios.txt")) == text


def test_the_sections_of_plain_text_are_found_by_their_headings() -> None:
    text = "SEDE NORTE\n\nCalle 1\n\nSEDE SUR\nCalle 2\n\n# Pagos\nNequi\n\nOtros\n=====\nNada"
    pages = extract(text.encode(), "a.txt").pages
    assert [(page.section, page.text) for page in pages] == [
        ("SEDE NORTE", "SEDE NORTE\n\nCalle 1"),
        ("SEDE SUR", "SEDE SUR\nCalle 2"),
        ("Pagos", "Pagos\nNequi"),
        ("Otros", "Otros\nNada"),
    ]


@pytest.mark.parametrize(
    ("data", "filename", "code"),
    [
        (b"", "a.txt", "document_empty"),
        (b" \n\t ", "a.txt", "document_empty"),
        (b"\x00\x01\x02binary\x00", "a.txt", "document_type_unsupported"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "foto.png", "document_type_unsupported"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "foto.pdf", "document_broken"),
        (b"hola", "a.pdf", "document_type_mismatch"),
        (b"hola", "a.exe", "document_type_unsupported"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 old word", "a.doc", "document_type_unsupported"),
        (b"PK\x03\x04 not really", "a.docx", "document_broken"),
        (b"\xff\xfe\x00", "a.txt", "document_broken"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_reason(
    data: bytes, filename: str, code: str
) -> None:
    assert refusal(data, filename).code == code


def test_a_file_that_is_not_what_its_name_says_is_refused() -> None:
    error = refusal(small_pdf(), "contrato.docx")
    assert isinstance(error, UnsupportedTypeError)
    assert error.detail("es") == (
        "«contrato.docx» tiene la extensión de DOCX, pero por dentro es PDF. "
        "Cámbiale la extensión o sube el archivo correcto."
    )
    assert refusal(small_docx(), "notas.txt").code == "document_type_mismatch"


def test_a_word_document_with_a_password_is_distinguished() -> None:
    ole = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le")
    assert refusal(ole, "a.docx").code == "document_encrypted"


def test_too_much_text_is_refused() -> None:
    assert refusal(b"hola mundo\n" * 600_000, "a.txt").code == "document_too_long"


@pytest.mark.parametrize("language", ["es", "en"])
def test_every_refusal_has_a_text_in_both_languages(language: str) -> None:
    texts = catalogue("es" if language == "es" else "en")
    codes = {name for name in catalogue("es") if name.startswith("errors.document_")}
    assert len(codes) >= 10
    assert codes <= set(texts)


@given(st.text())
def test_cleaned_text_is_normal_and_printable_and_cleaning_twice_changes_nothing(
    text: str,
) -> None:
    cleaned = clean(text)
    assert unicodedata.is_normalized("NFC", cleaned)
    assert not any(unicodedata.category(c) in ("Cc", "Cs") for c in cleaned if c != "\n")
    assert clean(cleaned) == cleaned


MARKS = st.text(st.sampled_from("a\u0301\u0316\u0344\u0f73 \u0958\u05b0é—\n"), max_size=400)


@given(MARKS)
def test_letters_keep_thirty_marks_and_the_rest_of_the_text_stays(text: str) -> None:
    cleaned = clean(text)
    assert unicodedata.is_normalized("NFC", cleaned)
    assert clean(cleaned) == cleaned
    run = 0
    for character in unicodedata.normalize("NFD", cleaned):
        run = run + 1 if unicodedata.combining(character) else 0
        assert run <= 34  # a letter may bring some that it cannot be written without
    assert clean("ca\u0301fe\u0301") == "cáfé"


@given(st.lists(st.sampled_from(["UNO", "DOS", "# UNO", "texto", "", "===", "# # x"]), max_size=30))
def test_sections_are_what_comparing_every_line_would_find(lines: list[str]) -> None:
    """The rule as it was first written, which reads a section again at each heading."""
    pages: list[Page] = []
    title: str | None = None
    block: list[str] = []
    for position, line in enumerate(lines):
        heading = _heading(lines, position)
        bare = [other.lstrip("# ").strip() for other in block]
        if heading and any(other != title and other for other in bare):
            pages.append(Page(None, "\n".join(block).strip(), title))
            block = []
        title = heading or title
        if not _RULE.fullmatch(line):
            block.append(heading or line)
    pages.append(Page(None, "\n".join(block).strip(), title))
    assert split_sections("\n".join(lines) if lines else "") == pages or not lines


NAMES = st.sampled_from(["a.pdf", "a.docx", "a.txt", "sin extensión", "a.b.c", "../x.pdf", ""])
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def only_our_errors(data: bytes, filename: str) -> None:
    try:
        text = text_of(extract(data, filename))
    except (BadInputError, UnsupportedTypeError) as error:
        text = error.detail("es")
    assert text.strip()
    text.encode("utf-8")


@FUZZ
@given(st.binary(max_size=2_000), NAMES, st.sampled_from([b"", b"%PDF-1.7\n", b"PK\x03\x04"]))
def test_random_bytes_cause_only_our_errors(data: bytes, filename: str, magic: bytes) -> None:
    only_our_errors(magic + data, filename)


@FUZZ
@given(st.data(), st.sampled_from(["a.pdf", "a.docx"]))
def test_damaged_documents_cause_only_our_errors(data: st.DataObject, filename: str) -> None:
    damaged = bytearray(small_pdf() if filename == "a.pdf" else small_docx())
    end = data.draw(st.just(len(damaged)) | st.integers(10, len(damaged)), label="cut at")
    flips = data.draw(
        st.lists(st.tuples(st.integers(0, end - 1), st.integers(0, 255)), max_size=30),
        label="flips",
    )
    for position, value in flips:
        damaged[position] = value
    only_our_errors(bytes(damaged[:end]), filename)
