"""The figure guard: a reply states no figure, address or link that its cited texts lack."""

from __future__ import annotations

import re
from collections.abc import Sequence

from neurant.knowledge.passage import units

_LINK = re.compile(r"(?:https?://|www\.)\S+|\S+@\S+|\b[\w-]+\.(?:com|net|org|co|mx|es|io|app)\b\S*")
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")


def unsupported_figures(text: str, cited: Sequence[str]) -> list[str]:
    """Return the figures and addresses of ``text`` that no cited text contains, in order."""
    known = "\n".join(cited).lower()
    links = [one.rstrip(".,;:)") for one in _LINK.findall(text)]
    wrong = [one for one in links if one.lower() not in known]
    numbers = {_digits(one) for one in _NUMBER.findall(known)}
    return wrong + [one for one in _NUMBER.findall(text) if _digits(one) not in numbers]


def guarded(text: str, cited: Sequence[str]) -> str | None:
    """Return ``text`` without the sentences that have an unsupported figure; None if none stays."""
    kept = [one.text for one in units(text, None) if not unsupported_figures(one.text, cited)]
    return " ".join(kept) or None


def _digits(written: str) -> str:
    return re.sub(r"\D", "", written)
