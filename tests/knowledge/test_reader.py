"""Documents that mean harm: each ends with an error of its own, and costs the platform little."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from neurant.core.errors import BadInputError, NeurantError
from neurant.core.sandbox import Limits
from neurant.knowledge import reader
from neurant.knowledge.chunk import chunk
from neurant.knowledge.extract import detect_type, extract
from neurant.knowledge.reader import Ended, limits_for, read_document
from neurant.texts import LANGUAGES
from tests.knowledge import bombs
from tests.support.platform import eventually

pytestmark = pytest.mark.anyio

DEMO = Path(__file__).resolve().parents[2] / "neurant" / "demo" / "documents"
MB = 1024 * 1024

# What the document is, what it is called, and the errors that are right for it.
BOMBS: dict[str, tuple[Callable[[], bytes], str, set[str]]] = {
    "forms that call each other": (
        bombs.forms_that_call_each_other,
        "a.pdf",
        {"document_needs_memory", "document_takes_too_long"},
    ),
    "a doubly deflated stream": (bombs.doubly_deflated, "a.pdf", {"document_needs_memory"}),
    "the same page many times": (bombs.the_same_page_many_times, "a.pdf", {"document_too_long"}),
    "a deep page tree": (bombs.deep_page_tree, "a.pdf", {"document_broken"}),
    "a huge part": (bombs.huge_document_part, "a.docx", {"document_too_large_inside"}),
    "many huge parts": (bombs.many_huge_parts, "a.docx", {"document_too_large_inside"}),
    "many elements": (bombs.many_elements, "a.docx", {"document_too_large_inside"}),
    "text boxes in tables in text boxes": (bombs.nested_boxes, "a.docx", {"document_too_deep"}),
    "deep XML": (bombs.deep_xml, "a.docx", {"document_too_deep"}),
    "nested entities": (bombs.nested_entities, "a.docx", {"document_broken"}),
    "an entity that is a file": (
        lambda: bombs.external_entity("/etc/passwd"),
        "a.docx",
        {"document_broken"},
    ),
    "many entries": (bombs.many_entries, "a.docx", {"document_too_large_inside"}),
    "many entries that are not told": (
        lambda: bombs.many_entries(told=10),
        "a.docx",
        {"document_too_large_inside"},
    ),
    "entries that overlap": (bombs.overlapping_entries, "a.docx", {"document_too_large_inside"}),
    "sizes that are a lie": (bombs.lying_sizes, "a.docx", {"document_too_large_inside"}),
    "thousands of headings": (bombs.many_headings, "a.txt", {"document_too_many_sections"}),
    "a line of 60 MB": (lambda: bombs.one_line(60 * MB), "a.txt", {"document_too_long"}),
}  # fmt: skip


async def refusal(data: bytes, name: str) -> NeurantError:
    with pytest.raises(NeurantError) as caught:
        await read_document(data, name)
    return caught.value


@pytest.mark.parametrize("bomb", BOMBS)
async def test_a_bomb_is_refused_with_a_reason_that_a_person_can_act_on(bomb: str) -> None:
    build, name, codes = BOMBS[bomb]
    error = await refusal(build(), name)
    assert error.code in codes
    assert error.params["filename"] == name
    assert len({error.detail(language) for language in LANGUAGES}) == len(LANGUAGES)


LONG: dict[str, tuple[Callable[[], bytes], str]] = {
    "one heading repeated": (lambda: bombs.one_heading_repeated(2 * MB), "a.txt"),
    "combining marks": (lambda: bombs.combining_marks(2 * MB), "a.txt"),
    "bytes of any encoding": (lambda: bombs.hostile_charset(2 * MB), "a.txt"),
    "a long line": (lambda: bombs.one_line(2 * MB), "a.txt"),
    "letters without a space": (lambda: b"a" * 2 * MB, "a.txt"),
    "emoji that join": (lambda: ("👩\u200d" * 200_000).encode(), "a.txt"),
    "nested tables": (bombs.nested_tables, "a.docx"),
    "a long attribute": (bombs.many_attributes, "a.docx"),
}


@pytest.mark.parametrize("kind", LONG)
async def test_a_document_that_took_minutes_is_read_within_its_seconds(kind: str) -> None:
    build, name = LONG[kind]
    data = build()
    extracted, chunks = await read_document(data, name)  # its CPU is limited to some seconds
    assert chunks
    assert any(page.text for page in extracted.pages)


async def test_each_word_of_nested_tables_is_read_once() -> None:
    extracted, _ = await read_document(bombs.nested_tables(30), "a.docx")
    [page] = extracted.pages
    assert page.text.split().count("lado") == 30
    assert page.text.split().count("fondo") == 1


@pytest.mark.parametrize("path", sorted(DEMO.iterdir()), ids=lambda path: path.suffix)
async def test_a_child_reads_what_this_process_would_read(path: Path) -> None:
    data = await asyncio.to_thread(path.read_bytes)
    extracted = extract(data, path.name)
    assert await read_document(data, path.name) == (extracted, chunk(extracted))


@pytest.mark.parametrize(
    ("data", "name", "code"),
    [
        (b"", "a.txt", "document_empty"),
        (b"%PDF-1.7 and then nothing", "a.pdf", "document_broken"),
        (b"hola", "a.pdf", "document_type_mismatch"),
        ("Atención".encode("cp1252") + b" \x00", "a.txt", "document_type_unsupported"),
    ],
)
async def test_an_ordinary_refusal_comes_through_with_its_kind(
    data: bytes, name: str, code: str
) -> None:
    error = await refusal(data, name)
    with pytest.raises(type(error)) as here:
        extract(data, name)
    assert (error.code, error.params, error.status) == (
        code, here.value.params, here.value.status
    )  # fmt: skip


async def test_text_in_old_encodings_is_read_without_any_file_to_import_from() -> None:
    text = "Horario de atención: los sábados abrimos a las 8:00. ¿Niños? Sí, con sus papás."
    for encoding in ("utf-8-sig", "cp1252", "latin-1", "utf-16", "utf-32", "mac_roman", "cp850"):
        extracted, _ = await read_document(text.encode(encoding), "a.txt")
        assert extracted.pages[0].text or encoding in ("mac_roman", "cp850")


# The web process -----------------------------------------------------------------------------------
@pytest.mark.parametrize("told", [None, 10])
def test_the_type_of_a_zip_with_a_million_entries_is_reported_at_once(told: int | None) -> None:
    data = bombs.many_entries(told=told)
    began = time.process_time()
    with pytest.raises(BadInputError) as caught:
        detect_type(data, "a.docx")
    assert caught.value.code == "document_too_large_inside"
    assert time.process_time() - began < 0.5  # zipfile takes several seconds


# Limits --------------------------------------------------------------------------------------------
def children() -> list[psutil.Process]:
    """Ours that read documents; the test run's PostgreSQL is another one."""
    return [one for one in psutil.Process().children() if one.name() != "postgres"]


async def test_a_child_that_computes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "limits_for", lambda _: Limits(2_000 * MB, 1))
    error = await refusal(bombs.forms_that_call_each_other(), "a.pdf")
    assert error.code in ("document_takes_too_long", "document_needs_memory")
    error = await refusal(bombs.the_same_page_many_times(), "a.pdf")
    assert error.code == "document_takes_too_long"
    assert children() == []


async def test_a_child_that_takes_too_long_by_the_clock_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reader, "_WALL_FACTOR", 0)
    monkeypatch.setattr(reader, "_WALL_SECONDS", 0.2)
    error = await refusal(bombs.the_same_page_many_times(), "a.pdf")
    assert error.code == "document_takes_too_long"
    assert children() == []


async def test_a_child_that_answers_too_much_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_MAX_OUTPUT", 1_000)
    assert (await refusal(bombs.one_line(MB), "a.txt")).code == "document_too_large_inside"


async def test_reading_that_is_cancelled_leaves_no_child_behind() -> None:
    task = asyncio.create_task(read_document(bombs.the_same_page_many_times(), "a.pdf"))

    async def started() -> bool:
        return bool(children())

    await eventually(started)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert children() == []


# What a child may answer ---------------------------------------------------------------------------
def ended(output: object, code: int = 0, cpu: float = 0.1, resident: int = 30 * MB) -> Ended:
    told = output if isinstance(output, bytes) else json.dumps(output).encode()
    return Ended(told, b"", code, "", cpu, resident)


GOOD = {"file_type": "txt", "title": None, "pages": [[None, "hola", None]], "spans": [[0, 0, 4]]}


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        {"error": {"code": "document_broken"}},
        {"error": {"code": "internal", "params": {}}},
        {"error": {"code": "document_made_up", "params": {}}},
        {"error": "document_broken"},
        {**GOOD, "pages": "hola"},
        {**GOOD, "pages": [["1", "hola", None]]},
        {**GOOD, "pages": [[1, "ho\0la", None]]},
        {**GOOD, "title": 7},
        {**GOOD, "file_type": "exe"},
        {**GOOD, "spans": [[1, 0, 4]]},
        {**GOOD, "spans": [[0, -1, 4]]},
        {**GOOD, "spans": [[0, 0, 5]]},
        {**GOOD, "spans": [[0, 0]]},
        {**GOOD, "spans": [[0, 0, 1e3]]},
        {**GOOD, "spans": [[0, 0, 1]] * 20_001},
        {**GOOD, "pages": [[None, "a" * 6_000_001, None]], "spans": []},
    ],
)
def test_an_answer_that_no_reader_of_ours_gives_is_a_crash(answer: object) -> None:
    with pytest.raises(NeurantError) as caught:
        reader._understood(ended(answer), limits_for(1), "a.txt")
    assert caught.value.code == "document_reader_crashed"
    reader._understood(ended(GOOD), limits_for(1), "a.txt")


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ({"code": -signal.SIGSEGV}, "document_reader_crashed"),
        ({"code": -signal.SIGTRAP, "resident": 500 * MB}, "document_needs_memory"),
        ({"code": -signal.SIGKILL}, "document_needs_memory"),  # by the machine, out of memory
        ({"code": -signal.SIGXCPU}, "document_takes_too_long"),
        ({"code": -signal.SIGKILL, "cpu": 11.0}, "document_takes_too_long"),
    ],
)
def test_the_way_in_which_a_child_ends_tells_the_reason(
    how: dict[str, int | float], code: str
) -> None:
    with pytest.raises(NeurantError) as caught:
        reader._understood(ended(b"", **how), limits_for(1), "a.txt")
    assert caught.value.code == code


async def test_a_reader_that_cannot_start_is_not_the_documents_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reader, "_COMMAND", (*reader._COMMAND[:-1], "import not_installed"))
    with pytest.raises(RuntimeError, match="could not start"):
        await read_document(b"Hola a todos.", "a.txt")
