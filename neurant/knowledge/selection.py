"""The passages of one answer: the best one, and others where the answer spans several.

A question may name two things ("sábados y domingos", "la diferencia entre X e Y"); each is looked
up by itself where the best lines lack it. A question may also fit lines with the same label in
several sections ("¿tienen parqueadero?" of a company with two branches).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from neurant.knowledge.lines import Unit
from neurant.knowledge.passage import (
    Question,
    Window,
    asks_something,
    best_window,
    cover,
    read_question,
    shows,
    weights,
)
from neurant.knowledge.rank import Candidate, Ranked
from neurant.knowledge.rows import price_of, read_row
from neurant.knowledge.words import fold

_CONSIDERED = 10
_MAX_PARTS = 4
_MAX_PASSAGES = 3
_MAX_COMPARED = 3  # rows: the cheapest, and the next ones
_WHOLE = 0.99
_NEARLY = 0.02
_AND = re.compile(r"\s*(?:[,;](?=\s)|\b(?:y|e|o|u|ni|and|or|versus|vs\.?)\b)\s*", re.IGNORECASE)
_BETWEEN = re.compile(r"^.*\b(?:diferencias?\b.*\bentre|difference\b.*\bbetween)\b", re.IGNORECASE)
_CHEAPEST = re.compile(
    r"\b(?:mas (?:barat|economic)\w*|menos cost\w+|menor (?:precio|valor|costo)|cheap\w*"
    r"|least expensive|lowest price)"
)
_DEAREST = re.compile(
    r"\b(?:mas (?:car[oa]s?\b|costos\w+)|mayor (?:precio|valor|costo)|most expensive|highest price)"
)

Chosen = tuple[Candidate, Window]


def all_that_answer(
    asked: str, question: Question, ranked: Sequence[Ranked], best: Chosen
) -> list[Chosen]:
    """Return the passages and lines that answer together, ``best`` first."""
    found = [best]
    is_comparison = question.is_extreme or bool(_BETWEEN.match(asked))
    for part in _parts(asked, question):
        if is_comparison or not _contains(found, part):
            other = _best_for(part, question, ranked)
            found += [other] if other else []
    if len(found) == 1:
        found += _twins(question, ranked, best)
    return [
        (candidate, _in_order_of_price(asked, window))
        for candidate, window in _merged(found)[:_MAX_PASSAGES]
    ]


def _parts(asked: str, question: Question) -> list[Question]:
    """Return the things that a question names one after another; none if it names one."""
    texts = [part for part in _AND.split(_BETWEEN.sub("", asked)) if part.strip()]
    if not 2 <= len(texts) <= _MAX_PARTS:
        return []
    found = []
    for text in texts:
        own = read_question(text)
        part = own if own.kinds else replace(own, kinds=question.kinds)
        if asks_something(part) and not all(map(str.isdigit, part.stems or ("?",))):
            found.append(part)
    return found if len(found) > 1 else []


def _contains(found: Sequence[Chosen], part: Question) -> bool:
    texts = [f"{window.heading}\n{window.quote}" for _, window in found]
    return any(_covers(part, text) and shows(part, text) is not False for text in texts)


def _covers(part: Question, text: str) -> bool:
    return not part.stems or cover(part, dict.fromkeys(part.stems, 1.0), text) >= _WHOLE


def _best_for(part: Question, whole: Question, ranked: Sequence[Ranked]) -> Chosen | None:
    """Return the lines that contain a part of the question completely; None if there are none."""
    even = dict.fromkeys(whole.stems, 1.0)
    weight = dict.fromkeys(part.stems, 1.0)
    best: tuple[float, Chosen] | None = None
    for one in ranked[:_CONSIDERED]:
        candidate = one.candidate
        window = best_window(part, weight, candidate.content, candidate.section_title)
        if window is None or window.evidence is False:
            continue
        text = f"{window.heading}\n{window.quote}"
        if not _covers(part, text) or (not part.stems and not window.evidence):
            continue
        score = one.score + cover(whole, even, text) + window.lead
        if best is None or score > best[0]:
            best = score, (candidate, window)
    return best[1] if best else None


def _twins(question: Question, ranked: Sequence[Ranked], best: Chosen) -> list[Chosen]:
    """Return lines with the label of the best line below other headings of its document."""
    candidate, window = best
    label = _label_of(window)
    if not label or _tells_apart(question, window):
        return []
    others = [one.candidate for one in ranked if label in fold(one.candidate.content)]
    if len(others) < 2:
        return []
    weight = weights(question, [f"{one.section_title or ''}\n{one.content}" for one in others])
    found = []
    for other in others[:_CONSIDERED]:
        if other is candidate or other.document_id != candidate.document_id:
            continue
        twin = best_window(question, weight, other.content, other.section_title)
        if (
            twin is not None
            and _label_of(twin) == label
            and twin.heading != window.heading
            and abs(twin.coverage - window.coverage) <= _NEARLY
        ):
            found.append((other, twin))
    return found


def _label_of(window: Window) -> str:
    row = read_row(window.units[0].text, window.header) if len(window.units) == 1 else None
    return fold(row.name) if row else ""


def _tells_apart(question: Question, window: Window) -> bool:
    """Return whether the question names the heading, and so means these lines only."""
    even = dict.fromkeys(question.stems, 1.0)
    return bool(question.stems) and cover(question, even, window.heading) > 0


def _merged(found: Sequence[Chosen]) -> list[Chosen]:
    """Return one window for each passage."""
    merged: dict[object, Chosen] = {}
    for candidate, window in found:
        known = merged.get(candidate.chunk_id)
        merged[candidate.chunk_id] = (candidate, _joined(known[1], window) if known else window)
    return list(merged.values())


def _joined(first: Window, second: Window) -> Window:
    units: list[Unit] = sorted({*first.units, *second.units}, key=lambda unit: unit.line)
    lines = dict.fromkeys([*first.quote.split("\n"), *second.quote.split("\n")])
    return replace(first, units=tuple(units), quote="\n".join(lines))


def _in_order_of_price(asked: str, window: Window) -> Window:
    """Return the rows of a window by price where the question asks for the cheapest or dearest."""
    folded = fold(asked)
    dearest = bool(_DEAREST.search(folded))
    if not dearest and not _CHEAPEST.search(folded):
        return window
    rows = [(read_row(unit.text, window.header), unit) for unit in window.units]
    priced = [(price_of(row), unit) for row, unit in rows if row]
    known = [(price, unit) for price, unit in priced if price is not None]
    if len(known) < len(window.units):
        return window
    known.sort(key=lambda one: -one[0] if dearest else one[0])
    return replace(window, units=tuple(unit for _, unit in known[:_MAX_COMPARED]))
