"""The growth of the time to read a document with its length, and the cost of the child process.

Reading twice as much must take at most 2.6 times as long: a linear reader doubles, and the rest is
a margin for a busy machine. All times are CPU time, so that other processes matter as little as
possible; a time of less than 50 ms counts as 50 ms.
"""

from __future__ import annotations

import asyncio
import io
import json
import math
import time
import zipfile
from collections.abc import Callable

from fpdf import FPDF

from bench.figures import Figure, Figures
from bench.product import DEMO_DOCUMENTS, Ended, chunk, extract, limits_for, run_child
from bench.sizes import sized
from bench.support import busy

_SIZES = sized((250_000, 500_000, 1_000_000), tiny=(8_000,))  # characters
_REPEATS, _STARTS, _DEMO_REPEATS = sized((2, 5, 7), tiny=(1, 1, 1))
_CHILD_GOAL = 100.0  # ms
_GROWTH = 2.6
_UNMEASURABLE = 0.05  # seconds
_WORDS = "La consulta de valoración cuesta 60.000 pesos y dura media hora. "
_W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def repeated(text: str) -> Callable[[int], bytes]:
    return lambda size: (text * (size // len(text))).encode()


def paragraphs(size: int) -> bytes:
    return ("\n\n".join([_WORDS * 6] * (size // len(_WORDS) // 6))).encode()


def marks(size: int) -> bytes:
    return ("a" + "\u0301\u0316" * (size // 2)).encode()


def word(body: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        xml = f'<w:document xmlns:w="{_W}"><w:body>{body}</w:body></w:document>'
        archive.writestr("word/document.xml", xml)
    return made.getvalue()


def word_paragraphs(size: int) -> bytes:
    return word(f"<w:p><w:r><w:t>{_WORDS}</w:t></w:r></w:p>" * (size // len(_WORDS)))


def word_table(size: int) -> bytes:
    cell = f"<w:tc><w:p><w:r><w:t>{_WORDS}</w:t></w:r></w:p></w:tc>"
    rows = f"<w:tr>{cell * 4}</w:tr>" * (size // len(_WORDS) // 4)
    return word(f"<w:tbl>{rows}</w:tbl>")


def pdf(size: int) -> bytes:
    made = FPDF()
    made.set_font("helvetica", size=9)
    for _ in range(size // (len(_WORDS) * 40)):
        made.add_page()
        for _ in range(40):
            made.cell(0, 5, _WORDS.strip(), new_x="LMARGIN", new_y="NEXT")
    return bytes(made.output())


def long_paragraph_pdf(size: int) -> bytes:
    """Return a page on which every line continues the sentence of the line before."""
    made = FPDF(format=(300, 100_000))
    made.set_font("helvetica", size=9)
    made.add_page()
    made.set_auto_page_break(False)
    for _ in range(size // len(_WORDS)):
        made.cell(0, 4, _WORDS.replace(".", "").strip(), new_x="LMARGIN", new_y="NEXT")
    return bytes(made.output())


KINDS: dict[str, tuple[Callable[[int], bytes], str]] = {
    "one heading repeated": (repeated("TITULO\n\n"), "a.txt"),
    "headings in turn": (repeated("# Uno\n\n# Dos\n\n"), "a.txt"),
    "paragraphs": (paragraphs, "a.txt"),
    "one line": (repeated("palabra "), "a.txt"),
    "one word": (repeated("x"), "a.txt"),
    "short lines": (repeated("a\n"), "a.txt"),
    "emoji": (repeated("👩\u200d"), "a.txt"),
    "combining marks": (marks, "a.txt"),
    "Word, paragraphs": (word_paragraphs, "a.docx"),
    "Word, one table": (word_table, "a.docx"),
    "PDF, pages": (pdf, "a.pdf"),
    "PDF, one paragraph": (long_paragraph_pdf, "a.pdf"),
}


async def read(kind: str, data: bytes, name: str) -> Ended:
    header = json.dumps({"filename": name}).encode() + b"\n"
    return await run_child(kind, limits_for(len(data)), header, data)


async def seconds(
    build: Callable[[int], bytes], name: str, size: int, start: dict[str, float]
) -> float:
    """Return the CPU seconds of the child after its start, the best of some runs.

    A document that takes no measurable time counts as none, never as less.
    """
    data = build(size)
    kind = name.partition(".")[2]
    best = min([(await read(kind, data, name)).cpu for _ in range(_REPEATS)])
    return max(0.0, best - start[kind])


DOCUMENTS = sorted(DEMO_DOCUMENTS.iterdir())


async def starts() -> dict[str, float]:
    """Return the CPU seconds of a child that reads a small document, by the kind of document."""
    small = {"txt": b"Hola a todos.", "docx": word_paragraphs(100), "pdf": pdf(3_000)}
    return {
        kind: min([(await read(kind, data, f"a.{kind}")).cpu for _ in range(_STARTS)])
        for kind, data in small.items()
    }


def in_this_process() -> float:
    """Return the CPU seconds of the demo's documents in this process, with warm imports."""
    began = time.process_time()
    for path in DOCUMENTS:
        chunk(extract(path.read_bytes(), path.name))
    return time.process_time() - began


async def in_children() -> float:
    """Return the CPU seconds of the same documents, each in its own child."""
    used = [await read(path.suffix[1:], path.read_bytes(), path.name) for path in DOCUMENTS]
    return sum(ended.cpu for ended in used)


async def growth(start: dict[str, float], before: str) -> Figure:
    """Return the figure of the kind of document whose time grows fastest with its length."""
    rows = {
        name: [await seconds(build, file, size, start) for size in _SIZES]
        for name, (build, file) in KINDS.items()
    }
    doublings = max(1.0, math.log2(_SIZES[-1] / _SIZES[0]))
    grown = {
        name: (max(row[-1], 1e-9) / max(row[0], _UNMEASURABLE)) ** (1 / doublings)
        for name, row in rows.items()
    }
    worst = max(grown, key=grown.__getitem__)
    listed = "; ".join(
        f"{name} {' '.join(f'{value:.2f}' for value in row)} s" for name, row in rows.items()
    )
    sizes = " ".join(f"{size:,}" for size in _SIZES)
    return Figure(
        id="reading",
        title="time to read a document of twice the length, worst kind",
        measured=rows[worst][-1],
        unit="s",
        baseline=f"the same kind with {_SIZES[0]:,} characters",
        baseline_measured=max(rows[worst][0], _UNMEASURABLE),
        ratio=grown[worst],
        goal=_GROWTH,
        details=f"{worst}; the ratio is for each doubling; CPU at {sizes} characters: {listed};"
        f" {before}",
    )


async def cost_of_child(start: dict[str, float], before: str) -> Figure:
    """Return the figure of the CPU time that a child adds to reading a document."""
    in_this_process()  # the first run imports the modules
    own = min(in_this_process() for _ in range(_DEMO_REPEATS))
    children = min([await in_children() for _ in range(_DEMO_REPEATS)])
    of_own, more = (1000 * one / len(DOCUMENTS) for one in (own, children - own))
    listed = " ".join(f"{kind} {1000 * cpu:.0f}" for kind, cpu in start.items())
    return Figure(
        id="reading_child",
        title="CPU that a child adds to one of the demo's documents",
        measured=more,
        unit="ms",
        baseline="reading the document in the same process",
        baseline_measured=of_own,
        ratio=more / of_own,
        goal=_CHILD_GOAL,
        goal_on="measured",
        details=f"CPU of its start and a small document, ms: {listed}; {before}",
    )


async def both(before: str) -> tuple[Figure, Figure]:
    start = await starts()
    return await growth(start, before), await cost_of_child(start, before)


def measure() -> Figures:
    yield from asyncio.run(both(busy()))
