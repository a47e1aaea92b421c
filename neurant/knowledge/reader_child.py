"""The process that reads one document; ``reader`` starts it.

It starts without an environment, imports the modules for the document's type, and gives up every
right (``neurant.core.sandbox``). Only then it reads the document: a line of JSON and the file's
bytes on standard input. Its answer is one JSON object on standard output. Arguments: the action
(``pdf``, ``docx``, ``txt`` or ``probe``), bytes of memory, seconds of CPU, and the pid of its
parent.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from neurant.core.errors import NeurantError
from neurant.core.sandbox import Limits, confine, give_way

_BLOCK = 1024 * 1024
# This answer is prepared for the case that no memory is left to build one.
_NO_MEMORY = b'{"error": {"code": "document_needs_memory", "params": {}}}'
_TOO_DEEP = b'{"error": {"code": "document_too_deep", "params": {}}}'
_BROKEN = b'{"error": {"code": "document_reader_crashed", "params": {}}}'
# It has a title and a line, so that reading it loads everything that reading any PDF needs.
_SMALL_PDF = b"""%PDF-1.4
1 0 obj <</Type/Catalog/Pages 2 0 R>> endobj
2 0 obj <</Type/Pages/Kids[3 0 R]/Count 1>> endobj
3 0 obj <</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]/Contents 4 0 R
/Resources<</Font<</F 5 0 R>>>>>> endobj
4 0 obj <</Length 29>> stream
BT /F 9 Tf 9 9 Td (Hola) Tj ET
endstream endobj
5 0 obj <</Type/Font/Subtype/Type1/BaseFont/Helvetica>> endobj
6 0 obj <</Title(Hola)>> endobj
trailer <</Root 1 0 R/Info 6 0 R>>
%%EOF
"""


def main() -> None:
    """Lower the priority, give up all rights, read, answer, and exit without cleaning up."""
    give_way()  # before the imports, which take longer than most documents
    kind, memory, cpu, parent = sys.argv[1], *map(int, sys.argv[2:5])
    _import_for(kind)
    confine(Limits(memory, cpu), parent)
    try:
        answer = _answer(kind, _read_input())
    except MemoryError:
        answer = _NO_MEMORY
    except RecursionError:
        answer = _TOO_DEEP
    except NeurantError as error:
        told = {"error": {"code": error.code, "params": error.params}}
        answer = json.dumps(told, ensure_ascii=False, default=str).encode("utf-8", "replace")
    except Exception as error:
        _write(2, f"{type(error).__name__}: {error}"[:500].encode("utf-8", "replace"))
        answer = _BROKEN
    _write(1, answer)
    os._exit(0)


def _import_for(kind: str) -> None:
    """Import everything that reading needs, because no file can be opened afterwards."""
    from semantic_text_splitter import TextSplitter

    import neurant.knowledge.chunk
    import neurant.knowledge.extract

    TextSplitter(10).chunks("Hola. Y algo más.")
    if kind == "pdf":
        from neurant.knowledge.extract_pdf import read_pdf

        read_pdf(_SMALL_PDF, "")
    elif kind == "docx":
        import neurant.knowledge.extract_docx
    elif kind == "probe":
        import neurant.knowledge.reader_probe
    else:
        # Python imports the module of an encoding when it is first used.
        neurant.knowledge.extract.decode("Atención".encode("cp1252") * 20, "")
        for name in ("utf-8-sig", "utf-16", "utf-32", "mac_roman", "cp850", "latin-1"):
            "a".encode(name).decode(name)


def _read_input() -> bytes:
    parts: list[bytes] = []
    while block := os.read(0, _BLOCK):
        parts.append(block)
    return b"".join(parts)


def _answer(kind: str, given: bytes) -> bytes:
    told, _, data = given.partition(b"\n")
    header: dict[str, Any] = json.loads(told)
    if kind == "probe":
        from neurant.knowledge.reader_probe import probe

        return json.dumps(probe(**header)).encode()
    return _read(data, str(header["filename"]))


def _read(data: bytes, filename: str) -> bytes:
    from neurant.knowledge.chunk import find_spans
    from neurant.knowledge.extract import extract

    extracted = extract(data, filename)
    answer = {
        "file_type": extracted.file_type,
        "title": extracted.title,
        "pages": [[page.number, page.text, page.section] for page in extracted.pages],
        "spans": find_spans(extracted, filename),
    }
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()


def _write(stream: int, answer: bytes) -> None:
    left = memoryview(answer)
    while left:
        left = left[os.write(stream, left) :]
