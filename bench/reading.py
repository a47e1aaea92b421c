"""How the time to read a document grows with its length, and what the child process costs.

Run: ``python bench/reading.py`` (a minute). Reading twice as much must take at most 2.6 times as long:
a linear reader doubles, and the rest is allowed for a busy machine. All times are CPU time, so that
other processes count as little as possible; what takes less than 50 ms counts as 50 ms.
"""

from __future__ import annotations

import asyncio
import io
import json
import math
import sys
import time
import zipfile
from collections.abc import Callable

from fpdf import FPDF
from support import ROOT, busy, report

from neurant.knowledge.chunk import chunk
from neurant.knowledge.extract import extract
from neurant.knowledge.reader import Ended, limits_for, run_child

_SIZES = (250_000, 500_000, 1_000_000)  # characters
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
    """One page whose lines all continue the sentence of the line before."""
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


async def seconds(build: Callable[[int], bytes], name: str, size: int) -> float:
    """CPU of the child beyond its start; the better of two."""
    data = build(size)
    kind = name.partition(".")[2]
    return min([(await read(kind, data, name)).cpu for _ in range(2)]) - START[kind]


START: dict[str, float] = {}
DOCUMENTS = sorted((ROOT / "neurant" / "demo" / "documents").iterdir())


async def starts() -> None:
    small = {"txt": b"Hola a todos.", "docx": word_paragraphs(100), "pdf": pdf(3_000)}
    for kind, data in small.items():
        cpu = [(await read(kind, data, f"a.{kind}")).cpu for _ in range(5)]
        START[kind] = min(cpu)


def here() -> float:
    """Seconds of CPU for the demo's documents in this process, which has imported all it needs."""
    began = time.process_time()
    for path in DOCUMENTS:
        chunk(extract(path.read_bytes(), path.name))
    return time.process_time() - began


async def in_children() -> float:
    """The same in a child for each document."""
    used = [await read(path.suffix[1:], path.read_bytes(), path.name) for path in DOCUMENTS]
    return sum(ended.cpu for ended in used)


async def measure() -> bool:
    before = busy()
    await starts()
    told: dict[str, list[float]] = {}
    for name, (build, file) in KINDS.items():
        told[name] = [await seconds(build, file, size) for size in _SIZES]
    # From the smallest to the largest is twice and twice again.
    growth = {name: math.sqrt(row[-1] / max(row[0], _UNMEASURABLE)) for name, row in told.items()}
    worst = max(growth, key=growth.__getitem__)
    rows = "; ".join(
        f"{name} {' '.join(f'{value:.2f}' for value in row)} s" for name, row in told.items()
    )
    ok = report(
        "reading",
        "twice the document, time to read it: the worst of all kinds",
        growth[worst],
        _GROWTH,
        f"{worst}; CPU at {' '.join(f'{size:,}' for size in _SIZES)} characters: {rows}; {before}",
    )
    here()  # imports
    more = min([await in_children() for _ in range(7)]) - min(here() for _ in range(7))
    started = " ".join(f"{kind} {1000 * cpu:.0f}" for kind, cpu in START.items())
    return ok & report(
        "reading_child",
        "CPU that a child adds to one of the demo's documents, ms",
        1000 * more / len(DOCUMENTS),
        100.0,
        f"CPU of its start and a small document, ms: {started}; {before}",
    )


def main() -> int:
    return 0 if asyncio.run(measure()) else 1


if __name__ == "__main__":
    sys.exit(main())
