"""The lines and sentences of a passage, and the role of each: heading, column names, row, prose."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from neurant.knowledge.rows import is_header, is_rule

_BULLET = re.compile(r"[-•*·–▪] ?\S|\d{1,2}[.)] ")
_END = re.compile(
    r"(?<=[.!?…])(?<!\b[A-Z]\.)(?<!\bDr\.)(?<!\bDra\.)(?<!\bSr\.)(?<!\bSra\.)(?<!\bAv\.)"
    r"(?<!\bCra\.)(?<!\bNo\.)(?<!\bNúm\.)(?<!\bTel\.) +(?=[A-ZÁÉÍÓÚÑÜ¿¡«“\"(\d])"
)

_HOUR_AT_END = re.compile(r"\b[ap]\. ?m\.$")  # its full stop ends no sentence
# A label whose value is missing, as in the printed text of a form: "Precio por hora: ____".
_EMPTY_LABEL = re.compile(r":[\s_.…–—-]*$")


@dataclass(frozen=True, slots=True)
class Unit:
    """A line or sentence. ``heading`` and ``row`` (of a table) are its role in the passage.

    A heading is never an answer; nor are a label without a value, a question of a list of questions
    and a ``header``, which holds the column names of the rows below it. They count as headings.
    """

    text: str
    line: int
    heading: bool
    row: bool
    header: bool = False


@lru_cache(maxsize=256)  # one question reads its passages several times
def units(content: str, section: str | None) -> tuple[Unit, ...]:
    """Return the passage's lines; long lines are divided into sentences."""
    lines = [line.strip() for line in content.split("\n")]
    full = [(number, line) for number, line in enumerate(lines) if line and not is_rule(line)]
    found: list[list[Unit]] = []
    below = Unit("", len(lines), heading=True, row=False)  # below the last line there is no value
    for number, line in reversed(full):
        row = bool(_BULLET.match(line)) or (
            len(line) <= 120
            and (not line.endswith((".", "?", "!", ":")) or bool(_HOUR_AT_END.search(line)))
            and bool(re.search(r"\d|: \S|—|\|", line))
        )
        header = bool(below.text) and line != section and is_header(line, lines[below.line])
        heading = line == section or header or _is_heading(line, row, below)
        parts = [
            Unit(sentence.strip(), number, heading, row and not header, header)
            for sentence in sentences(line)
        ]
        found.append(parts)
        below = parts[0]
    return tuple(part for parts in reversed(found) for part in parts)


def _is_heading(line: str, row: bool, below: Unit) -> bool:
    if _EMPTY_LABEL.search(line):
        return below.heading or not line.endswith(":")
    if line.endswith("?"):
        return True
    return len(line) <= 70 and not row and not re.search(r"[.:;?!,]$|\d", line)


def sentences(line: str) -> list[str]:
    """Return the sentences of a line; abbreviations and hours do not end one."""
    return _END.split(line)
