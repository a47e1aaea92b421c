"""The rows of tables and price lists in plain text: a name and its values.

Documents arrive as text, so a row has one of four forms: cells with a separator (``Resinas —
Garantía: 1 año``, ``| Corte | $35.000 |``), a label with a colon (``Sábados: 8:00 a 13:00``), a
name with a dotted line, or, from a PDF, only words before values (``Corona $1.250.000 2 citas``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from neurant.knowledge.words import fold

_BULLET = re.compile(r"(?:[-•*·–▪]\s*|\d{1,2}[.)]\s+)(?=\S)")
_SEPARATOR = re.compile(r"\s+[—|]\s+|\s*\|\s*|\t+")
_RULE = re.compile(r"[\s|:—-]+")
_LABELLED = re.compile(r"(?P<label>[^:;.!?]{1,60}):\s+(?P<value>\S.*)")
_MONEY = re.compile(
    r"(?:US\$|COP|USD|[$€])\s?\d|\d[\d.,]*\s?(?:pesos|d[oó]lares|euros|USD|COP|€)\b"
)
# A value begins at a number or a price, unless a word before it says that the value continues.
_VALUE_START = re.compile(
    r"(?<!\S)(?<!\ba )(?<!\bo )(?<!\by )(?<!\bde )(?<!\bpor )(?<!\bhasta )"
    r"(?<!\bx )(?<!\bto )(?<!- )(?<!– )(?=(?:US\$|COP |USD |[$€])\s?\d|\d)"
)
_FREE = re.compile(r"\b(?:gratis|gratuit[oa]s?|sin costo|free)\b")
_NAMED_VALUE = re.compile(r"\s*[.·…_]{2,}\s*|\s+[–-]\s+(?=[$€\d])|\s*[=→]\s*")
_SHORTEST_NAME = 3
_LONGEST_LABEL = 3  # words, in a line that ends like a sentence
MAX_ROW_CHARS = 160
_VALUE_WORDS = re.compile(
    r"\b(?:precios?|valor(?:es)?|tarifas?|costos?|duracion|tiempos?|horarios?|plazos?|descuentos?|"
    r"garantias?|cupos?|price|cost|fee|duration|time|hours)\b"
)


@dataclass(frozen=True, slots=True)
class Row:
    """A row: its name (may be empty) and its values, each with its column's label or ""."""

    name: str
    cells: tuple[tuple[str, str], ...]


def without_bullet(line: str) -> str:
    """Return a line without the mark of a list's item."""
    return _BULLET.sub("", line, count=1) if _BULLET.match(line) else line


@lru_cache(maxsize=512)  # one question reads its rows several times
def read_row(line: str, header: str = "") -> Row | None:
    """Return a line's name and values; None if it is no row.

    ``header`` is the line with the names of the columns; "" if there is none.
    """
    if len(line) > MAX_ROW_CHARS:
        return None
    text = without_bullet(line.strip()).strip("| ")
    if not text or text.endswith(("?", ":")):
        return None
    cells = [cell.strip() for cell in _SEPARATOR.split(text) if cell.strip()]
    if len(cells) > 1:
        return _separated(cells, header)
    labelled = _LABELLED.fullmatch(text)
    if labelled is not None and _is_label(labelled["label"], text):
        return Row(labelled["label"].strip(), (("", labelled["value"].strip()),))
    dotted = _NAMED_VALUE.split(text, maxsplit=1)
    if len(dotted) == 2 and all(part.strip() for part in dotted) and re.search(r"\d", dotted[1]):
        return Row(dotted[0].strip(), (("", dotted[1].strip()),))
    return _glued(text, header)


def _is_label(label: str, text: str) -> bool:
    """Return whether the words before a colon name a value; those of a sentence do not."""
    return not text.endswith(".") or len(label.split()) <= _LONGEST_LABEL


def is_rule(line: str) -> bool:
    """Return whether a line only draws a line of a table: ``|---|---|``."""
    return bool(_RULE.fullmatch(line))


def is_header(line: str, below: str) -> bool:
    """Return whether a line holds the column names of the row ``below`` it."""
    is_short = len(line) <= MAX_ROW_CHARS and len(below) <= MAX_ROW_CHARS
    if not is_short or line.endswith((".", "?", "!", ":")) or _MONEY.search(line):
        return False
    names = [cell.strip() for cell in _SEPARATOR.split(line.strip("| ")) if cell.strip()]
    values = [cell.strip() for cell in _SEPARATOR.split(below.strip("| ")) if cell.strip()]
    if len(names) > 1:
        labels = [cell.partition(":")[0].strip() for cell in values]
        return any(name in labels for name in names) or (
            len(names) == len(values)
            and not any(":" in cell for cell in values)
            and (
                bool(_MONEY.search(below))
                or (not re.search(r"\d", "".join(names)) and bool(re.search(r"\d", below)))
            )
        )
    row = _glued(without_bullet(below), "")
    if row is None or re.search(r"\d", line):
        return False
    words = line.split()
    if _VALUE_WORDS.search(fold(line)):
        return len(words) > len(row.cells)
    # "Servicio Carro Moto": one capitalised word for each column.
    return len(words) == len(row.cells) + 1 > 2 and all(map(str.istitle, words))


def _separated(cells: list[str], header: str) -> Row | None:
    names = [cell.strip() for cell in _SEPARATOR.split(header.strip("| ")) if cell.strip()]
    labels = names[1:] if len(names) == len(cells) else [""] * (len(cells) - 1)
    found = []
    for label, cell in zip(labels, cells[1:], strict=True):
        own = _LABELLED.fullmatch(cell)
        found.append((own["label"].strip(), own["value"].strip()) if own else (label, cell))
    first = _LABELLED.fullmatch(cells[0])
    if first is not None and all(label for label, _ in found):
        return _qualified("", [(first["label"].strip(), first["value"].strip()), *found])
    return _qualified(cells[0], found)


def _qualified(name: str, cells: list[tuple[str, str]]) -> Row:
    """Return a row whose cells without digits before its values belong to the name.

    ``Moto — Tiempo: Día completo — Precio: $9.000`` is "Moto (tiempo: Día completo): $9.000".
    """
    rest = list(cells)
    while len(rest) > 1 and not re.search(r"\d", rest[0][1]) and _has_digits(rest[1:]):
        label, value = rest.pop(0)
        named = f"{lower_first(label)}: {value}" if label else value
        name = f"{name} ({named})" if name else value
    return Row(name, tuple(rest))


def _has_digits(cells: list[tuple[str, str]]) -> bool:
    return any(re.search(r"\d", value) for _, value in cells)


def lower_first(label: str) -> str:
    """Return a label as it is written within a sentence; acronyms keep their capitals."""
    return label if label[1:2].isupper() else label[:1].lower() + label[1:]


def _glued(text: str, header: str) -> Row | None:
    """Return the row of a line from a PDF, whose cells are separated by spaces only.

    Without a price it is a row only below a line of column names: "Calle 57 # 9-24" is none.
    """
    money = _MONEY.search(text)
    if (money is None and not header) or text.endswith((".", "!")):
        return None
    starts = [match.start() for match in _VALUE_START.finditer(text)]
    if money is not None:  # a number before the price belongs to the name: "Paquete de 10 clases"
        starts = [start for start in starts if start >= money.start()]
    if not starts or len(text[: starts[0]].strip()) < _SHORTEST_NAME:
        return None
    values = [text[a:b].strip() for a, b in zip(starts, [*starts[1:], len(text)], strict=True)]
    labels = _labels(header, len(values))
    name = text[: starts[0]].strip(" .,:–-")
    return Row(name, tuple(zip(labels, values, strict=True)))


def _labels(header: str, count: int) -> list[str]:
    """Return the names of ``count`` columns, as far as a header without separators shows them."""
    words = header.split()
    if len(words) == count + 1:
        return words[1:]
    names = re.split(r"\s+(?=[A-ZÁÉÍÓÚÑ])", header)
    return names[1:] if len(names) == count + 1 else [""] * count


def price_of(row: Row) -> float | None:
    """Return the lowest price of a row, 0 for what is free; None if it has none."""
    prices = [
        float(re.sub(r"[.,'’](?=\d{3})", "", number).replace(",", "."))
        for _, value in row.cells
        for number in re.findall(r"(?:[$€]|COP|USD)\s?(\d[\d.,'’]*\d|\d)", value)
    ]
    prices += [0.0 for _, value in row.cells if _FREE.search(fold(value))]
    return min(prices, default=None)
