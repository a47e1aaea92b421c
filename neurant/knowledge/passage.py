"""The lines and sentences of a passage, and the selection of those that answer a question.

A question consists of its content words and the kind of answer that it asks for (a price, an hour,
a place...). The words are compared by stem; the kind is recognised by the form of such an answer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from neurant.knowledge.words import fold, is_light, likeness, question_stems, stems

MAX_QUOTE_CHARS = 420
MAX_UNITS = 6
SHORT_PARAGRAPH = 260
MAX_STEMS = 24  # per question; each is compared with every word of the passages
LIGHT_WEIGHT = 0.35
LEAD_BONUS = 0.2

_CLOCK = r"\b\d{1,2}:\d\d\b|\b\d{1,2} ?[ap]\.? ?m\b|\b24 horas"
# kind: (the form of the question, the content of an answer), both as patterns on folded text.
_KINDS: dict[str, tuple[re.Pattern[str], re.Pattern[str]]] = {
    "price": (
        re.compile(
            r"\bcuant[oa]s? (?:me |nos |te )?(?:cuesta|cuestan|vale|valen|cobran|sale|salen|es|son|"
            r"pagan|pago|seria|costaria|costo|cobra)\w*|\bprecios?\b|\btarifas?\b|"
            r"\bcostos?\b|\bcosto\b|\bvalor\b|\bhow much\b|\bprices?\b|\bcosts?\b"
        ),
        re.compile(r"[$€]\s?\d|\d+ (?:pesos|dolares|usd|cop)\b|\bgratis|\bsin costo|\bgratuit"),
    ),
    "hour": (
        re.compile(
            r"\b(?:a|hasta|desde) que hora\b|\bque horas?\b|\bhorarios?\b|\bwhat time\b|\bhours\b"
        ),
        re.compile(rf"{_CLOCK}|\bcerrado|\bno abrimos"),
    ),
    "open": (
        re.compile(r"\babren\b|\babiert\w+|\bcierran\b|\babre\b|\bcierra\b|\bopen\b|\bclosed?\b"),
        re.compile(rf"{_CLOCK}|\bcerrado|\bcerramos|\babrimos|\batendemos"),
    ),
    "place": (
        re.compile(
            r"\bdonde\b|\bdireccion\b|\bubicad\w+|\bubicacion\b|\bqueda[n]?\b|\bcomo lleg\w+|"
            r"\bwhere\b|\baddress\b|\blocated\b"
        ),
        re.compile(r"\b(?:calle|carrera|avenida|diagonal|transversal|direccion|barrio|cra|km)\b|#"),
    ),
    "contact": (
        re.compile(r"\btelefonos?\b|\bwhatsapp\b|\bcorreo\b|\be-?mail\b|\bllam\w+|\bphone\b"),
        re.compile(r"\d{3}[ -]?\d{3,4}|\S@\S"),
    ),
    "length": (
        re.compile(
            # "dura" stays a word: of two lines with a duration, the one with this word fits better.
            r"\bcuanto (?:tiempo|demora|demoran|tarda|tardan|se demora|se tarda)\w*|"
            r"\bcuanto (?=dura)|\bhow long\b"
        ),
        re.compile(
            r"(?:\d|\bun[oa]?|\bdos|\btres|\bcuatro|\bseis|\bocho|\bdiez)\b.{0,12}"
            r"\b(?:minuto|hora|dia|semana|mes|ano|noche|cita)"
        ),
    ),
    "who": (
        re.compile(r"\bquien(?:es)?\b|\bwho\b"),
        re.compile(r"\b(?:doctora?|dra?|profesora?|ingenier[oa]|abogad[oa]|director[a]?)\b"),
    ),
    "cadence": (re.compile(r"\bcada cuant\w+|\bhow often\b"), re.compile(r"\bcada\b")),
}
# Documents use the same names for these kinds as questions do, so the name counts as a word too.
_NAMED_KINDS = frozenset({"contact"})
# A question of these kinds that names nothing else is about the company itself.
_COMPLETE_KINDS = frozenset({"hour", "open", "place"})
_BULLET = re.compile(r"[-•*·–▪] ?\S|\d{1,2}[.)] ")
_END = re.compile(
    r"(?<=[.!?…])(?<!\b[A-Z]\.)(?<!\bDr\.)(?<!\bDra\.)(?<!\bSr\.)(?<!\bSra\.)(?<!\bAv\.)"
    r"(?<!\bCra\.)(?<!\bNo\.)(?<!\bNúm\.)(?<!\bTel\.) +(?=[A-ZÁÉÍÓÚÑÜ¿¡«“\"(\d])"
)


@dataclass(frozen=True, slots=True)
class Question:
    """The stems of a question's content words, and the kinds of answer that it wants."""

    stems: tuple[str, ...]
    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unit:
    """A line or sentence. ``heading`` and ``row`` (of a table) are its role in the passage."""

    text: str
    line: int
    heading: bool
    row: bool


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a passage that answers best.

    ``coverage`` (0..1) is the weighted share of the question that it contains together with its
    headings. ``evidence`` says whether it looks like the kind of answer asked for (None where the
    question asks for no known kind). ``lead`` (0..1) is the share of the question in the label of a
    line, such as "Sábados: ...", or in a heading that names the kind.
    """

    quote: str
    coverage: float
    evidence: bool | None
    lead: float


_OURSELVES = re.compile(
    r"\b(?:la|el|los|las|su|tu) (?:clinica|consultorio|tienda|almacen|negocio|empresa|local|sede"
    r"|oficina|restaurante|hotel|gimnasio|colegio|academia|taller|farmacia)s?\b"
)


def read_question(text: str) -> Question:
    """Return a question's content words and kinds; words that express a kind count as the kind.

    Of more than 24 content words, the first and the last twelve count.
    """
    folded = fold(text)
    kinds = []
    rest = folded
    for kind, (asked, _) in _KINDS.items():
        if asked.search(folded):
            kinds.append(kind)
            if kind not in _NAMED_KINDS:
                rest = asked.sub(" ", rest)
    if "hour" in kinds and "open" in kinds:
        kinds.remove("open")  # "a qué hora abren" asks for the hour, not only whether they open
    if "place" in kinds:
        rest = _OURSELVES.sub(" ", rest)  # "dónde queda la clínica" is about the company itself
    found = question_stems(rest)
    if len(found) > MAX_STEMS:
        found = found[: MAX_STEMS // 2] + found[-(MAX_STEMS // 2) :]
    return Question(tuple(found), tuple(kinds))


def asks_something(question: Question) -> bool:
    """Return whether there is a subject.

    "¿cuánto cuesta?" has none; "¿dónde quedan?" needs none.
    """
    return bool(question.stems) or bool(_COMPLETE_KINDS.intersection(question.kinds))


def weights(question: Question, passages: Sequence[str]) -> dict[str, float]:
    """Return how well each word of the question distinguishes the passages.

    The weight is the inverse document frequency.
    """
    sets = [frozenset(stems(passage)) for passage in passages]
    found = {}
    for word in question.stems:
        holding = sum(likeness(word, words) > 0 for words in sets)
        # A word in no passage weighs as much as a word in a single passage.
        rarity = math.log(1 + (len(sets) + 1) / (max(1, holding) + 0.5))
        found[word] = rarity * (LIGHT_WEIGHT if is_light(word) else 1.0)
    return found


def units(content: str, section: str | None) -> list[Unit]:
    """Return the passage's lines; long lines are divided into sentences."""
    found: list[Unit] = []
    lines = [line.strip() for line in content.split("\n")]
    for number, line in enumerate(lines):
        if not line:
            continue
        row = bool(_BULLET.match(line)) or (
            len(line) <= 120
            and not line.endswith((".", "?", "!", ":"))
            and bool(re.search(r"\d|: \S|—|\|", line))
        )
        heading = line == section or (
            len(line) <= 70 and not re.search(r"[.:;?!,]$|\d", line) and not row
        )
        for sentence in sentences(line):
            found.append(Unit(sentence.strip(), number, heading, row))
    return found


def sentences(line: str) -> list[str]:
    """Return the sentences of a line; abbreviations and hours do not end one."""
    return _END.split(line)


def cover(question: Question, weight: dict[str, float], text: str) -> float:
    """Return the share (0..1) of the question's weighted words that a text contains."""
    total = sum(weight.values())
    if not total:
        return 0.0
    words = frozenset(stems(text))
    return sum(weight[word] * likeness(word, words) for word in question.stems) / total


def shows(question: Question, text: str) -> bool | None:
    """Return whether a text looks like an answer of the kind asked for; None without a kind."""
    if not question.kinds:
        return None
    folded = fold(text)
    return any(_KINDS[kind][1].search(folded) for kind in question.kinds)


def best_window(
    question: Question, weight: dict[str, float], content: str, section: str | None
) -> Window | None:
    """Return the complete lines or sentences that answer best.

    Returns None for a passage of headings only.
    """
    parts = units(content, section)
    scores = _scores(question, weight, parts, section)
    bodies = [number for number, unit in enumerate(parts) if not unit.heading]
    if not bodies:
        return None
    best = max(bodies, key=lambda number: scores[number])
    first, last = _grown(parts, scores, best)
    quote = _quote(parts, first, last)
    headings = [unit.text for unit in parts[:first] if unit.heading][-2:]
    context = "\n".join([section or "", *headings, quote])
    kind = shows(question, quote)
    covered = _with_kind(cover(question, weight, context), question, weight, kind)
    lead = _lead(question, weight, parts[best], _heading_of(parts, best, section), kind)
    return Window(quote, covered, kind, lead)


def _heading_of(parts: list[Unit], number: int, section: str | None) -> str:
    above = [unit.text for unit in parts[:number] if unit.heading]
    return above[-1] if above else section or ""


def _lead(
    question: Question, weight: dict[str, float], unit: Unit, heading: str, kind: bool | None
) -> float:
    """Return the share of the question in the unit's label.

    For a question without words it is 1 or 0, depending on whether the heading asks it.
    """
    if question.stems:
        return cover(question, weight, _label(unit)) if kind is not False else 0.0
    folded = fold(heading)
    return float(bool(kind) and any(_KINDS[kind][0].search(folded) for kind in question.kinds))


def _label(unit: Unit) -> str:
    """Return the unit's label: the text before its colon, or in a table row before its values."""
    label = re.match(r"[^:.;]{1,32}(?=: )", unit.text)
    if label is None and unit.row:
        label = re.match(r"[^$\d—|]+", unit.text)
    return label.group() if label else ""


def _with_kind(
    coverage: float, question: Question, weight: dict[str, float], kind: bool | None
) -> float:
    """Return the coverage with the kind of answer counted as one more word of average weight."""
    if kind is None:
        return coverage
    total = sum(weight.values())
    share = total / len(question.stems) if question.stems else 1.0
    return (coverage * total + share * kind) / (total + share)


def _scores(
    question: Question, weight: dict[str, float], parts: list[Unit], section: str | None
) -> list[float]:
    heading = section or ""
    scores = []
    for unit in parts:
        if unit.heading:
            heading = unit.text
            scores.append(0.0)
            continue
        own = cover(question, weight, unit.text)
        under = cover(question, weight, f"{heading}\n{unit.text}")
        kind = shows(question, unit.text)
        lead = LEAD_BONUS * _lead(question, weight, unit, heading, kind)
        scores.append(own + 0.3 * (under - own) + (0.25 if kind else 0.0) + lead)
    return scores


def _grown(parts: list[Unit], scores: list[float], best: int) -> tuple[int, int]:
    """Return the first and last unit of the quote.

    It includes neighbours that fit as well, and the lines that a colon announces.
    """
    first, last = _paragraph(parts, best)
    floor = max(0.9 * scores[best], 0.05)
    size = sum(len(part.text) for part in parts[first : last + 1])

    def fits(number: int) -> bool:
        return (
            0 <= number < len(parts)
            and not parts[number].heading
            and last - first + 1 < MAX_UNITS
            and size + len(parts[number].text) <= MAX_QUOTE_CHARS
        )

    listing = False
    while fits(last + 1):
        listing = parts[last].text.endswith(":") or (listing and parts[last].row)
        announced = parts[last].text.endswith("?") or (listing and parts[last + 1].row)
        if not announced and scores[last + 1] < floor:
            break
        last += 1
        size += len(parts[last].text)
    while fits(first - 1) and scores[first - 1] >= floor:
        first -= 1
        size += len(parts[first].text)
    return first, last


def _paragraph(parts: list[Unit], best: int) -> tuple[int, int]:
    """Return the whole paragraph of a sentence if it is short, because it reads better."""
    line = [number for number, part in enumerate(parts) if part.line == parts[best].line]
    short = sum(len(parts[number].text) + 1 for number in line) <= SHORT_PARAGRAPH
    return (line[0], line[-1]) if short else (best, best)


def _quote(parts: list[Unit], first: int, last: int) -> str:
    lines: list[str] = []
    if parts[first].row:
        lines += _column_names(parts, first)
    for number in range(first, last + 1):
        same_line = number > first and parts[number].line == parts[number - 1].line
        if same_line:
            lines[-1] = f"{lines[-1]} {parts[number].text}"
        else:
            lines.append(parts[number].text)
    return "\n".join(lines)


def _column_names(parts: list[Unit], first: int) -> list[str]:
    """Return the line above a table's rows or a list's items: column names, or the announcement."""
    number = first - 1
    while number >= 0 and parts[number].row:
        number -= 1
    if number >= 0 and (parts[number].heading or parts[number].text.endswith(":")):
        return [parts[number].text]
    return []
