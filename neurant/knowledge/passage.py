"""The selection of the lines and sentences of a passage that answer a question.

A question consists of its content words and the kind of answer that it asks for (a price, an hour,
a place...). The words are compared by stem; the kind is recognised by the form of such an answer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from neurant.knowledge.lines import Unit, sentences, units
from neurant.knowledge.rows import read_row
from neurant.knowledge.words import fold, is_light, likeness, question_stems, stems

MAX_QUOTE_CHARS = 600
MAX_UNITS = 6
MAX_ROWS = 8
WEAK = 0.85  # below this score the neighbours of the best sentence are quoted as well
# The share of the best score from which on a neighbour belongs to the quote. Sentences of one
# paragraph belong together more often than lines do.
FLOOR, LINE_FLOOR = 0.5, 0.9
SHORT_PARAGRAPH = 260
MAX_STEMS = 24  # per question; each is compared with every word of the passages
LIGHT_WEIGHT = 0.35
LEAD_BONUS = 0.2
_WHOLE = 0.99  # the share of a question that counts as all of it

# The worth of the words in the heading: a row is understood only under its heading.
CONTEXT, ROW_CONTEXT = 0.3, 0.7
KIND_BONUS = 0.25
LISTED = 0.75  # the score of a row below a heading that is what the question names
EXTREME_BONUS = 0.6  # "the cheapest one" is found among rows, not in prose
_EXTREME = re.compile(
    r"\b(?:mas|menos) (?:barat|economic|costos)\w*|\bmas car[oa]s?\b|\bcheap\w*"
    r"|\b(?:menor|mayor) (?:precio|valor|costo)\b|\b(?:most|least) expensive\b"
)
_CLOCK = r"\b\d{1,2}:\d\d\b|\b\d{1,2} ?[ap]\.? ?m\b|\b24 horas"
# kind: (the form of the question, the content of an answer), both as patterns on folded text.
_KINDS: dict[str, tuple[re.Pattern[str], re.Pattern[str]]] = {
    "price": (
        re.compile(
            r"\bcuant[oa]s? (?:me |nos |te )?(?:(?:es|son)\b|(?:cuesta|cuestan|vale|valen|cobran|"
            r"sale|salen|pagan|pago|seria|costaria|costo|cobra)\w*)|\bprecios?\b|\btarifas?\b|"
            r"\bcostos?\b|\bcosto\b|\bvalor\b|\bhow much\b|\bprices?\b|\bcosts?\b|"
            r"\bdiferencias? (?:de|en) (?:el |los )?(?:precios?|valor|costos?|tarifas?)(?: entre)?|"
            rf"{_EXTREME.pattern}"
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
_FORMS: dict[str, tuple[re.Pattern[str], re.Pattern[str]]] = {
    "number": (
        re.compile(r"\bcuant[oa]s\b|\bporcentaje\b|\bhow many\b|\bque (?:edad|numero|cantidad)\b"),
        re.compile(
            r"\d|\b(?:dos|tres|cuatro|cinco|seis|siete|ocho|nueve|diez|doce|quince|veinte|treinta"
            r"|cien\w*|mil|millon\w*)\b"
        ),
    ),
    "date": (
        re.compile(
            r"\bcuando\b|\bwhen\b|\b(?:que|cual) (?:\w+ )?(?:ano|fecha|mes|siglo|dia|decada)s?\b"
        ),
        re.compile(
            r"\b(?:1\d|20)\d\d\b|\bsiglo\b|\b\d{1,2} de [a-z]|\b(?:enero|febrero|marzo|abril|mayo"
            r"|junio|julio|agosto|sep?tiembre|octubre|noviembre|diciembre|lunes|martes|miercoles"
            r"|jueves|viernes|sabados?|domingos?|dias|semanas?|meses|anos)\b"
        ),
    ),
    "name": (
        re.compile(r"\bquien(?:es)?\b|\bwho(?:se)?\b|\bcomo se llama|\bnombre\b"),
        re.compile(r"(?<=[a-záéíóúñ,] )[A-ZÁÉÍÓÚÑ][a-záéíóúñ]+"),
    ),
}
FORM_BONUS = 0.15
# Documents use the same names for these kinds as questions do, so the name counts as a word too.
_NAMED_KINDS = frozenset({"contact"})
# A question of these kinds that names nothing else is about the company itself.
_COMPLETE_KINDS = frozenset({"hour", "open", "place"})
_WEEK = ("lunes", "martes", "miercoles", "jueves", "viernes", "sabado", "domingo")
_DAY = rf"({'|'.join(_WEEK)})s?"
_DAYS = re.compile(rf"\b{_DAY}(?: al? |[ -]*[-–][ -]*){_DAY}\b")
REFERS = re.compile(
    r"(?:esto|est[ea]s?|estos|es[oe]|esas?|esos|ello|ellos|ellas?|su|sus|pero|ademas|tambien|asi|por"
    r" (?:eso|ello|lo tanto|esta|este)|sin embargo|en (?:cambio|ese|esa|este|esta) |a su vez|alli"
    r"|aqui|ahi|como resultado|se|esta|estan|es|son|fue|fueron|era|eran|incluye\w*|tiene\w*|dura"
    r"|cuesta|si no|de lo contrario|los otros|las otras|el otro|la otra|despues|luego|ambos|ambas"
    r"|it|its|this|these|they|their|but|also|otherwise)\b"
)
_REFUSES = re.compile(r"\bno (?:\w+mos|hay|se \w+[ae]n?|esta\w*|incluye\w*|cubre\w*)\b")


@dataclass(frozen=True, slots=True)
class Question:
    """The stems of a question's content words, and the kinds of answer that it wants.

    ``forms`` are weaker hints for the choice among sentences: a number, a date, a name.
    ``is_extreme``: it asks for the cheapest or the dearest of several.
    """

    stems: tuple[str, ...]
    kinds: tuple[str, ...]
    forms: tuple[str, ...] = ()
    is_extreme: bool = False


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a passage that answers best.

    ``coverage`` (0..1) is the weighted share of the question that it contains together with its
    headings. ``evidence`` says whether it looks like the kind of answer asked for (None where the
    question asks for no known kind). ``lead`` (0..1) is the share of the question in the label of a
    line, such as "Sábados: ...", or in a heading that names the kind. ``units`` are the chosen
    lines and sentences, ``heading`` is the heading above them and ``header`` the names of their
    columns, ``question`` is what they answer (a part of the question, if it has several).
    """

    quote: str
    coverage: float
    evidence: bool | None
    lead: float
    units: tuple[Unit, ...] = ()
    heading: str = ""
    header: str = ""
    question: Question = Question((), ())


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
    forms = [form for form, (asked, _) in _FORMS.items() if asked.search(folded)]
    extreme = _EXTREME.search(folded) is not None
    return Question(tuple(found), tuple(kinds), tuple(forms), extreme)


def asks_something(question: Question) -> bool:
    """Return whether there is a subject.

    "¿cuánto cuesta?" has none; "¿dónde quedan?" needs none.
    """
    return bool(question.stems) or bool(_COMPLETE_KINDS.intersection(question.kinds))


def weights(question: Question, passages: Sequence[str]) -> dict[str, float]:
    """Return how well each word of the question distinguishes the passages.

    The weight is the inverse document frequency.
    """
    sets = [_words_of(passage) for passage in passages]
    found = {}
    for word in question.stems:
        holding = sum(likeness(word, words) > 0 for words in sets)
        # A word in no passage weighs as much as a word in a single passage.
        rarity = math.log(1 + (len(sets) + 1) / (max(1, holding) + 0.5))
        found[word] = rarity * (LIGHT_WEIGHT if is_light(word) else 1.0)
    return found


def cover(question: Question, weight: dict[str, float], text: str) -> float:
    """Return the share (0..1) of the question's weighted words that a text contains."""
    total = sum(weight.values())
    if not total:
        return 0.0
    words = _words_of(text)
    return sum(weight[word] * likeness(word, words) for word in question.stems) / total


@lru_cache(maxsize=1_024)  # one question compares each text several times
def _words_of(text: str) -> frozenset[str]:
    words = frozenset(stems(text))
    return words if words.isdisjoint(_day_stems()) else words.union(_days_meant(text))


@lru_cache(maxsize=1)
def _day_stems() -> frozenset[str]:
    return frozenset(stems(" ".join(_WEEK)))


def _days_meant(text: str) -> list[str]:
    """Return the stems of the weekdays that a range includes: "lunes a jueves"."""
    found: list[str] = []
    for first, last in _DAYS.findall(fold(text)):
        start, end = _WEEK.index(first), _WEEK.index(last)
        days = _WEEK[start : end + 1] if start <= end else (*_WEEK[start:], *_WEEK[: end + 1])
        found += [stem for day in days for stem in stems(day)]
    return found


def shows(question: Question, text: str) -> bool | None:
    """Return whether a text looks like an answer of the kind asked for; None without a kind."""
    if not question.kinds:
        return None
    folded = fold(text)
    if any(_KINDS[kind][1].search(folded) for kind in question.kinds):
        return True
    return _REFUSES.search(folded) is not None and _refuses(question, text)


def _refuses(question: Question, text: str) -> bool:
    """Return whether a sentence denies what is asked: "No ofrecemos X" answers what X costs."""
    asked = frozenset(question.stems)
    return any(
        _REFUSES.search(fold(sentence)) is not None and not asked.isdisjoint(_words_of(sentence))
        for line in text.split("\n")
        for sentence in sentences(line)
    )


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
    above = _heading_of(parts, best, section)
    rows = _rows(question, weight, parts, best, above)
    # The sentences around the best ones help a reader; as a signal they would blur the difference
    # between the passages.
    core = rows or _grown(parts, scores, best, LINE_FLOOR)
    chosen = rows or _widened(question, parts, scores, best)
    headings = [unit.text for unit in parts[: core[0]] if unit.heading][-2:]
    best_lines = _quote(parts, core)
    context = "\n".join([section or "", *headings, best_lines])
    kind = shows(question, best_lines)
    covered = _with_kind(cover(question, weight, context), question, weight, kind)
    lead = _lead(question, weight, parts[best], above, kind)
    lines = tuple(parts[number] for number in chosen)
    header = _header_of(parts, chosen[0])
    return Window(_quote(parts, chosen), covered, kind, lead, lines, above, header, question)


def _rows(
    question: Question, weight: dict[str, float], parts: Sequence[Unit], best: int, heading: str
) -> list[int]:
    """Return the rows around ``best`` that answer alike; empty where the best line is no row.

    "precio de ortodoncia" names the topic of the rows, so it asks for all of them; "cuánto cuesta
    la limpieza" asks for every row with that name, and "limpieza dental" for one.
    """
    if not question.stems or not _is_row(parts, best):
        return []
    first, last = best, best
    while first > 0 and _is_row(parts, first - 1):
        first -= 1
    while last + 1 < len(parts) and _is_row(parts, last + 1):
        last += 1
    listed = [number for number in range(first, last + 1) if _fits_kind(question, parts[number])]
    names = {number: cover(question, weight, _name(parts, number)) for number in listed}
    topic = f"{heading}\n{_header_of(parts, best)}"
    is_topic = cover(question, weight, topic) >= _WHOLE
    is_topic = is_topic and (bool(question.kinds) or names.get(best, 0.0) < _WHOLE)
    if is_topic and len(listed) > 1 and all(parts[number].row for number in listed):
        return listed[:MAX_ROWS]
    top = names.get(best, 0.0)
    if top <= 0:
        return []
    alike = [number for number in listed if names[number] >= top - 0.01]
    return alike[:MAX_ROWS] if best in alike[:MAX_ROWS] else [best]


def _is_row(parts: Sequence[Unit], number: int) -> bool:
    unit = parts[number]
    if unit.heading:
        return False
    return read_row(unit.text, _header_of(parts, number)) is not None


def _name(parts: Sequence[Unit], number: int) -> str:
    row = read_row(parts[number].text, _header_of(parts, number))
    return row.name if row else ""


def _fits_kind(question: Question, unit: Unit) -> bool:
    return shows(question, unit.text) is not False


def _header_of(parts: Sequence[Unit], number: int) -> str:
    """Return the column names above a row of a table; "" if there are none."""
    while number >= 0 and parts[number].row:
        number -= 1
    return parts[number].text if number >= 0 and parts[number].header else ""


def _heading_of(parts: Sequence[Unit], number: int, section: str | None) -> str:
    above = [unit.text for unit in parts[:number] if unit.heading and not unit.header]
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
    question: Question, weight: dict[str, float], parts: Sequence[Unit], section: str | None
) -> list[float]:
    heading, columns = section or "", ""
    scores = []
    for number, unit in enumerate(parts):
        if unit.heading:
            columns = unit.text if unit.header else ""
            heading = heading if unit.header else unit.text
            scores.append(0.0)
            continue
        own = cover(question, weight, unit.text)
        above = f"{heading}\n{columns}" if unit.row else heading
        under = cover(question, weight, f"{above}\n{unit.text}")
        if number > 0 and parts[number - 1].heading and heading.endswith("?"):
            own = under  # the question before an answer counts as a part of it
        kind = shows(question, unit.text)
        lead = LEAD_BONUS * _lead(question, weight, unit, heading, kind)
        form = FORM_BONUS if _has_form(question, unit.text) else 0.0
        if question.is_extreme and unit.row and kind:
            form += EXTREME_BONUS
        listed = unit.row and bool(question.stems) and cover(question, weight, heading) >= _WHOLE
        scores.append(
            own
            + max(
                (ROW_CONTEXT if unit.row else CONTEXT) * (under - own),
                LISTED - own if listed else 0.0,
            )
            + (0.25 if kind else 0.0)
            + lead
            + form
        )
    return scores


def _has_form(question: Question, text: str) -> bool:
    folded = fold(text)
    return any(
        _FORMS[form][1].search(text if form == "name" else folded) for form in question.forms
    )


def _grown(
    parts: Sequence[Unit], scores: list[float], best: int, sentence_floor: float
) -> list[int]:
    """Return the units of a quote, which follow one another.

    It includes neighbours that fit as well, the lines that a colon announces, and the sentences
    that belong together: one that refers to the sentence before it comes with it.
    """
    first, last = _paragraph(parts, scores, best)

    def is_as_good(number: int) -> bool:
        floor = sentence_floor if _is_same_line(parts, number, best) else LINE_FLOOR
        return scores[number] >= max(floor * scores[best], 0.05)

    listing = False
    while _fits(parts, first, last, last + 1):
        listing = parts[last].text.endswith(":") or (listing and parts[last].row)
        announced = parts[last].text.endswith(("?", ":")) or (listing and parts[last + 1].row)
        if not announced and not is_as_good(last + 1) and not _refers_back(parts, last + 1):
            break
        last += 1
    while _fits(parts, first, last, first - 1) and (
        is_as_good(first - 1) or _refers_back(parts, first)
    ):
        first -= 1
    return list(range(first, last + 1))


def _widened(
    question: Question, parts: Sequence[Unit], scores: list[float], best: int
) -> list[int]:
    """Return the quote for the reader: also the neighbours of sentences that answer weakly.

    A sentence answers weakly when it has little of the question, or no number, date or name where
    the question wants one.
    """
    chosen = _grown(parts, scores, best, FLOOR)
    first, last = chosen[0], chosen[-1]
    quoted = " ".join(part.text for part in parts[first : last + 1])
    lacks_form = bool(question.forms) and not _has_form(question, quoted)
    if not lacks_form and scores[best] >= WEAK:
        return chosen
    for number in (last + 1, first - 1):
        if not _fits(parts, first, last, number) or not _is_same_line(parts, number, best):
            continue
        helps = not lacks_form or _has_form(question, parts[number].text)
        if helps and (number > best or scores[number] > 0):
            first, last = min(first, number), max(last, number)
    return list(range(first, last + 1))


def _fits(parts: Sequence[Unit], first: int, last: int, number: int) -> bool:
    """Return whether the unit ``number`` may join the quote from ``first`` to ``last``."""
    if not 0 <= number < len(parts) or parts[number].heading or last - first + 1 >= MAX_UNITS:
        return False
    size = sum(len(part.text) for part in parts[first : last + 1])
    return size + len(parts[number].text) <= MAX_QUOTE_CHARS


def _refers_back(parts: Sequence[Unit], number: int) -> bool:
    """Return whether a sentence is understood only with the sentence before it."""
    joined = _is_same_line(parts, number, number - 1)
    return joined and REFERS.match(fold(parts[number].text)) is not None


def _is_same_line(parts: Sequence[Unit], number: int, other: int) -> bool:
    return 0 <= number < len(parts) and other >= 0 and parts[number].line == parts[other].line


def _paragraph(parts: Sequence[Unit], scores: list[float], best: int) -> tuple[int, int]:
    """Return the sentences of a short paragraph around the best one, because they read better.

    They end before a sentence that has nothing to do with the question.
    """
    line = [number for number, part in enumerate(parts) if part.line == parts[best].line]
    if sum(len(parts[number].text) + 1 for number in line) > SHORT_PARAGRAPH:
        return best, best
    first, last = best, best
    while last < line[-1] and scores[last + 1] > 0:
        last += 1
    while first > line[0] and scores[first - 1] > 0:
        first -= 1
    return first, last


def _quote(parts: Sequence[Unit], chosen: Sequence[int]) -> str:
    lines: list[str] = []
    if parts[chosen[0]].row:
        lines += _column_names(parts, chosen[0])
    for place, number in enumerate(chosen):
        adjoins = place > 0 and chosen[place - 1] == number - 1
        if adjoins and parts[number].line == parts[number - 1].line:
            lines[-1] = f"{lines[-1]} {parts[number].text}"
        else:
            lines.append(parts[number].text)
    return "\n".join(lines)


def _column_names(parts: Sequence[Unit], first: int) -> list[str]:
    """Return the line above a table's rows or a list's items: column names, or the announcement."""
    number = first - 1
    while number >= 0 and parts[number].row:
        number -= 1
    if number >= 0 and (parts[number].heading or parts[number].text.endswith(":")):
        return [parts[number].text]
    return []
