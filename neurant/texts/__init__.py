"""The message catalogue: every text that a person reads, by language and dotted name.

``texts/<language>/<section>.toml`` holds the section's texts; ``text("chat.send", "es")`` reads
``send`` of ``chat.toml``. Spanish is written first; English is a translation and falls back to it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

from neurant.texts.address import ADDRESSES, STYLES, Manner, in_manner

Language = Literal["es", "en"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
_ROOT = Path(__file__).parent


@lru_cache(maxsize=len(LANGUAGES))
def catalogue(language: Language) -> Mapping[str, str]:
    """Return all texts of one language by dotted name."""
    found: dict[str, str] = {}
    for path in sorted((_ROOT / language).glob("*.toml")):
        _flatten(tomllib.loads(path.read_text("utf-8")), path.stem, found)
    return found


def _flatten(table: Mapping[str, Any], prefix: str, into: dict[str, str]) -> None:
    for key, value in table.items():
        name = f"{prefix}.{key}"
        if isinstance(value, dict):
            _flatten(value, name, into)
        else:
            into[name] = str(value)


def text(name: str, /, language: Language = "es", **params: object) -> str:
    """Return the text called ``name`` with ``{params}`` filled in.

    Raises KeyError for a name that the Spanish catalogue lacks. A test keeps the names of both
    catalogues equal.
    """
    template = catalogue(language).get(name) or catalogue("es")[name]
    return template.format(**params) if params else template


def in_tone(name: str, /, how: Manner, language: Language, **params: object) -> str:
    """Return the text ``section.<tone>.<rest>``, or ``section.<rest>`` if the tone has none.

    It is in the form of address and the style of ``how`` (see ``address``).
    """
    section, _, rest = name.partition(".")
    toned = f"{section}.{how.tone}.{rest}"
    known = toned if toned in catalogue("es") else name
    template = catalogue(language).get(known) or catalogue("es")[known]
    said = in_manner(template, how)
    return said.format(**params) if params else said


@lru_cache(maxsize=64)
def wordings(section: str, name: str) -> frozenset[str]:
    """Return all forms in which a bot may say ``section.name``, a text without parameters.

    They differ by language, tone, form of address and style.
    """
    manners = [Manner(address=one, style=style) for one in ADDRESSES for style in (None, *STYLES)]
    return frozenset(
        in_manner(template, how)
        for language in LANGUAGES
        for key, template in catalogue(language).items()
        if key.startswith(f"{section}.") and key.endswith(f".{name}")
        for how in manners
    )


def preferred_language(accept_language: str | None) -> Language:
    """Return our best language for an ``Accept-Language`` header (RFC 9110), by default Spanish."""
    ranked: list[tuple[float, int, Language]] = []
    for position, part in enumerate((accept_language or "").split(",")):
        tag, _, weight = part.strip().partition(";q=")
        base = tag.split("-")[0].lower()
        if base in LANGUAGES:
            try:
                quality = float(weight) if weight else 1.0
            except ValueError:
                continue
            ranked.append((-quality, position, "en" if base == "en" else "es"))
    return min(ranked)[2] if ranked else "es"
