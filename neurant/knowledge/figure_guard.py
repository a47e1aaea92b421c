"""The figure guard: a reply states no price, date, hour, phone, address or link of its own.

``unsupported_figures`` compares the figures of a reply with those of the texts that it cites (the
passages, and the results of tools), independent of how they are written: "$130.000" is "130.000
pesos", "8:00 a. m." is "8 am", "+57 310 555 0101" is "3105550101". ``guarded`` removes the
sentences that contain another figure. Every number in digits is a figure; numbers in words are
checked by nobody, but "quince minutos" in a cited text supports "15 minutos".

The guard holds for every generator, so it knows nothing of documents, questions or models.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from neurant.knowledge.figures import (
    COUNT,
    Figure,
    Kind,
    read_figures,
    spoken_numbers,
    street_words,
)
from neurant.knowledge.lines import sentences
from neurant.knowledge.words import stems

_PHONE_DIGITS = 7
_MAX_PREFIX = 3  # digits of a country or area code, which one of two equal phones may lack
# The numbers of a list's items, steps and citations count the parts of the reply itself.
_COUNTERS = re.compile(
    r"^[ \t]*\d{1,2}[.)](?=\s)|\[\d{1,3}\]|\b(?:pasos?|opci[oó]n|step|option) \d{1,2}\b",
    re.IGNORECASE | re.MULTILINE,
)

_ITEM = re.compile(r"\s*(?:[-•*·–▪]|\d{1,2}[.)])\s")


def unsupported_figures(text: str, cited: Sequence[str]) -> list[str]:
    """Return the figures of ``text`` that no cited text contains, as they are written, in order."""
    known = [figure for one in cited for figure in read_figures(one)]
    known += [figure for one in cited for figure in spoken_numbers(one)]
    streets = [f" {street_words(one)} " for one in cited]
    found = read_figures(_COUNTERS.sub(" ", text))
    lacking = [figure.written for figure in found if not _is_supported(figure, known, streets)]
    return [written for at, written in enumerate(lacking) if lacking[at - 1 : at] != [written]]


def guarded(text: str, cited: Sequence[str]) -> str | None:
    """Return ``text`` without the sentences that have an unsupported figure; None if none remains.

    A line that announces a list goes with the last of its items. Where something was removed, the
    rest must share a word with the cited texts: a courtesy by itself is no answer.
    """
    kept, is_whole = text, True
    # Two sentences may form a new figure when the sentence between them is removed.
    while kept and unsupported_figures(kept, cited):
        shorter = _without(kept, cited)
        if shorter == kept:  # the figure crosses the end of a sentence
            return None
        kept, is_whole = shorter, False
    if not kept.strip():
        return None
    if is_whole:
        return text
    said = frozenset(word for one in cited for word in stems(one))
    return kept if said.intersection(stems(kept)) else None


def _without(text: str, cited: Sequence[str]) -> str:
    lines: list[str] = []
    announcement: str | None = None  # a line with a colon that waits for its first item
    lost: str | None = None  # the line that was removed last
    for line in text.split("\n"):
        parts = sentences(line)
        good = [part for part in parts if not unsupported_figures(part, cited)]
        rest = line if len(good) == len(parts) else " ".join(good)
        if line.strip() and not rest.strip():
            lost = line
            continue
        if announcement is not None and rest.strip():
            if lost is None or _is_item(lost) == _is_item(rest):
                lines.append(announcement)
            announcement = None
        if rest.rstrip().endswith(":"):
            announcement, lost = rest, None
        elif announcement is None or rest.strip():
            lines.append(rest)
    return "\n".join(lines).strip("\n")


def _is_item(line: str) -> bool:
    return bool(_ITEM.match(line))


def _is_supported(figure: Figure, known: Sequence[Figure], streets: Sequence[str]) -> bool:
    if figure.kind is Kind.ADDRESS:
        return any(f" {figure.value} " in street for street in streets)
    if figure.kind is Kind.DATE and not _is_year_known(figure, known):
        return False
    return any(_supports(one, figure) for one in known)


def _supports(known: Figure, figure: Figure) -> bool:
    """Return whether a figure of a cited text is the same as a figure of the reply."""
    if figure.kind is Kind.NUMBER and not figure.is_measured:
        return figure.value in known.numbers
    if figure.kind is not known.kind:
        return False
    if figure.kind is Kind.NUMBER:
        return figure.value == known.value and (
            not known.units or bool(figure.units & known.units - {COUNT})
        )
    if figure.kind is Kind.TIME:
        return bool(figure.times & known.times)
    if figure.kind is Kind.PHONE:
        return _same_phone(figure.value, known.value)
    if figure.kind is Kind.LINK:
        return known.value == figure.value or known.value.startswith(f"{figure.value}/")
    if figure.kind is Kind.DATE:
        return figure.value == known.value or _is_month_of(figure, known)
    return figure.value == known.value


def _is_year_known(date: Figure, known: Sequence[Figure]) -> bool:
    """Return whether the date's year is that of a cited date, or is cited where no date has one."""
    same = [one for one in known if one.kind is Kind.DATE and _supports(one, date)]
    if not date.year or any(one.year == date.year for one in same):
        return True
    return any(not one.year for one in same) and any(str(date.year) in o.numbers for o in known)


def _is_month_of(month: Figure, date: Figure) -> bool:
    """Return whether "marzo de 2026" is the month of a cited day."""
    name, day = month.value.split("-")
    return day == "0" and date.value.startswith(f"{name}-") and month.year == date.year


def _same_phone(left: str, right: str) -> bool:
    longer, shorter = (left, right) if len(left) >= len(right) else (right, left)
    if longer == shorter:
        return True
    is_long = len(shorter) >= _PHONE_DIGITS
    return is_long and len(longer) - len(shorter) <= _MAX_PREFIX and longer.endswith(shorter)
