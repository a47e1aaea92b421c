"""The sentence of an answer, composed of literal pieces of the documents.

Rows become a name and its values ("Limpieza dental (profilaxis): $130.000, 45 minutos."), prose
stays as it is. Nothing but punctuation, a heading and "Sí." or "No." is added; the latter only
where a line with the asked name has hours or says that it is closed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from neurant.knowledge.lines import Unit
from neurant.knowledge.passage import Question, Window, cover
from neurant.knowledge.rows import Row, lower_first, read_row, without_bullet
from neurant.knowledge.words import fold, stems, tokens
from neurant.texts import text

_LISTED_FROM = 3  # rows: from here on they are a list below their heading
_MAX_CELLS = 4
_SMALL_WORDS = frozenset(tokens("a al con de del e el en la las los o para por y u un una"))
_STOP = re.compile(r"(?<=[^\W\d_]{3})\.$|(?<=\d)\.$")  # not that of "p. m."
_ASKS_OPENLY = re.compile(
    r"\b(?:que|cual(?:es)?|cuant[oa]s?|como|cuando|donde|adonde|quien(?:es)?|what|which|when|where"
    r"|who|how|why|horarios?|hours)\b"
)
_ONE_DAY = re.compile(r"\b(?:hoy|manana|est[ea]|ahora|proxim[oa]|que viene|today|tomorrow|\d+)\b")
_ENGLISH = re.compile(r"^\W*(?:do|does|did|is|are|can|could|have|has|will|would|may|you|open)\b")
_CLOCK_AT_START = re.compile(r"\W*(?:de |desde |from )?(?:las? )?\d{1,2}(?::\d\d| ?[ap]\.? ?m)")
_CLOSED_AT_START = re.compile(r"\W*(?:cerrad[oa]s?|closed|no (?:abrimos|atendemos|hay))\b")
# A value of these forms shows by itself what it is: the labels "Precio" and "Duración" add nothing.
_PLAIN_LABELS = {
    "precio": re.compile(r"[$€]\s?\d|pesos|gratis|sin costo|usd|cop"),
    "duracion": re.compile(r"\d.*[a-z]{3}|inmediat"),
}
_SAME_LABELS = {
    "precio": "precio", "valor": "precio", "tarifa": "precio", "costo": "precio", "price": "precio",
    "precios": "precio", "duracion": "duracion", "tiempo": "duracion", "duration": "duracion",
}  # fmt: skip


def phrase(question: Question, asked: str, windows: Sequence[Window]) -> str:
    """Return the text of an answer. ``asked`` is the question as it was written."""
    labels = [read_row(window.units[0].text, window.header) for window in windows if window.units]
    names = [row.name for row in labels if row]
    said = [_window(window, len(set(names)) < len(names)) for window in windows]
    blocks = list(dict.fromkeys(said))
    answer = ("\n\n" if any("\n" in block for block in blocks) else "\n").join(blocks)
    sure = _certainly(question, asked, windows)
    return f"{sure} {answer}" if sure else answer


def _window(window: Window, is_ambiguous: bool) -> str:
    """Return the lines of a passage, with its heading where their labels are ambiguous."""
    rows = [read_row(unit.text, window.header) for unit in window.units]
    if not all(rows) or not window.units:
        return _prose(window)
    said = [row_text(row, window.question, is_listed=len(rows) > 1) for row in rows if row]
    heading = title_of(window.heading)
    if len(rows) >= _LISTED_FROM:
        items = "\n".join(f"- {_STOP.sub('', one)}" for one in said)
        return f"{heading}:\n{items}" if heading else items
    lines = "\n".join(map(ended, said))
    needs_heading = heading and (is_ambiguous or _names(heading, window))
    return f"{heading} — {lines}" if needs_heading and len(rows) == 1 else lines


def _names(heading: str, window: Window) -> bool:
    """Return whether the heading holds a word of the question that its lines lack."""
    even = dict.fromkeys(window.question.stems, 1.0)
    lines = "\n".join(unit.text for unit in window.units)
    covered = cover(window.question, even, lines)
    return cover(window.question, even, f"{heading}\n{lines}") > covered


def row_text(row: Row, question: Question, *, is_listed: bool = False) -> str:
    """Return a row's name, then its values with the labels that they need."""
    cells = _asked_cells(row, question)
    values = [value.rstrip(" ;,") for _, value in cells]
    labels = [_needed(label, value, question, is_listed) for label, value in cells]
    if not row.name:
        return "; ".join(f"{label}: {value}" for label, value in cells)
    if not any(labels):
        return f"{row.name}: {', '.join(values)}"
    if len(cells) == 1:
        return f"{row.name} ({lower_first(labels[0])}): {values[0]}"
    named = [
        f"{lower_first(label)}: {value}" if label else value
        for label, value in zip(labels, values, strict=True)
    ]
    return f"{row.name} — {'; '.join(named)}"


def _asked_cells(row: Row, question: Question) -> tuple[tuple[str, str], ...]:
    """Return the cells whose label the question names; all of them if it names none."""
    wanted = set(question.stems)
    named = [cell for cell in row.cells if wanted.intersection(stems(cell[0]))]
    best = max((len(wanted.intersection(stems(label))) for label, _ in named), default=0)
    chosen = [cell for cell in named if len(wanted.intersection(stems(cell[0]))) == best]
    return tuple(chosen or row.cells[:_MAX_CELLS])


def _needed(label: str, value: str, question: Question, is_listed: bool) -> str:
    """Return the label of a value; "" where the value, or the question of a list, says it."""
    plain = _SAME_LABELS.get(fold(label))
    if plain and _PLAIN_LABELS[plain].search(fold(value)):
        return ""
    if "place" in question.kinds and fold(label) in ("direccion", "address"):
        return ""
    said = stems(label)
    return "" if is_listed and len(said) == 1 and said[0] in question.stems else label


def _prose(window: Window) -> str:
    """Return the lines as they are, without a question that they answer."""
    chosen = list(window.units)
    while len(chosen) > 1 and chosen[0].text.endswith("?"):
        chosen.pop(0)
    lines: list[str] = []
    before: Unit | None = None
    for unit in chosen:
        row = read_row(unit.text, window.header) if unit.row else None
        said = unit.text if row is None else row_text(row, Question((), ()))
        if unit.row and unit.text != without_bullet(unit.text):
            said = f"- {said}" if row is not None else unit.text
        if before is not None and unit.line == before.line:
            lines[-1] = f"{lines[-1]} {said}"
        else:
            lines.append(said)
        before = unit
    if len(lines) == 1:
        lines[0] = ended(without_bullet(lines[0]))
    return "\n".join(lines)


def ended(sentence: str) -> str:
    """Return a sentence with a full stop at its end."""
    sentence = sentence.strip()
    return sentence if sentence.endswith((".", "!", "?", "…", ":")) else f"{sentence}."


def title_of(heading: str) -> str:
    """Return a heading as a title: one in capitals gets small letters after the first ones.

    A question above its answer is no title.
    """
    if heading.endswith("?"):
        return ""
    heading = re.sub(r"^(?:\d+[.)]|#+)\s*", "", heading.strip()).rstrip(":")
    if not heading.isupper() or (len(heading.split()) == 1 and len(heading) <= 4):
        return heading
    first, *words = heading.lower().split()
    rest = [word if word in _SMALL_WORDS else word.capitalize() for word in words]
    return " ".join([first.capitalize(), *rest])


def _certainly(question: Question, asked: str, windows: Sequence[Window]) -> str:
    """Return "Sí." or "No." where a single line answers whether it is open on the named day."""
    if len(windows) != 1 or len(windows[0].units) != 1 or question.kinds != ("open",):
        return ""
    folded = fold(asked)
    row = read_row(windows[0].units[0].text, windows[0].header)
    if row is None or len(row.cells) != 1 or not question.stems:
        return ""
    # The answer to an English question is a quote in another language, without a word of ours.
    # One day of the calendar may be a holiday.
    if any(form.search(folded) for form in (_ASKS_OPENLY, _ENGLISH, _ONE_DAY)):
        return ""
    if cover(question, dict.fromkeys(question.stems, 1.0), row.name) < 1.0:
        return ""
    value = fold(row.cells[0][1])
    closes = bool(re.search(r"\b(?:cierran?|cerrad[oa]s?|closed?)\b", folded))
    if _CLOCK_AT_START.match(value) and not closes:
        return text("answer.yes")
    if _CLOSED_AT_START.match(value) and not closes and len(tokens(value)) <= 3:
        return text("answer.no")
    return ""
