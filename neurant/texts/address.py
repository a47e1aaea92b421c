"""The form of address in Spanish (tú, usted or vos) and the number of words of a bot's phrases.

One text serves every form of address. ``[te|le|te]`` holds the words for tú, usted and vos, and
``[mira|mire]`` has the words of tú for vos as well. A part in ``<…>`` is left out by a concise bot,
and a part in ``<+…>`` is said by a detailed bot only. A text without such marks is the same for
every bot.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Address = Literal["tu", "usted", "vos"]
ADDRESSES: tuple[Address, ...] = ("tu", "usted", "vos")
Style = Literal["concise", "detailed"]
STYLES: tuple[Style, ...] = ("concise", "detailed")

_FORMS = re.compile(r"\[([^\[\]|]*)\|([^\[\]|]*)(?:\|([^\[\]|]*))?\]")
_EXTRA = re.compile(r"<(\+?)([^<>]*)>")
# The first templates called the tone "professional" "formal".
_LIKE = {"formal": "professional"}
# The countries in which people say vos to one another in writing, and where they say usted. They
# are known by the time zone of the bot, because no other setting names the country.
_VOS = re.compile(r"America/(?:Argentina/.+|Buenos_Aires|Cordoba|Rosario|Montevideo|Asuncion)")
_USTED = frozenset({"America/Costa_Rica"})


@dataclass(frozen=True, slots=True)
class Manner:
    """The settings that choose a bot's words: its tone, form of address and style."""

    tone: str | None = None
    address: Address = "tu"
    style: str | None = None


def manner(
    tone: str | None, address: str | None, style: str | None, timezone: str | None
) -> Manner:
    """Return the manner of a bot from its stored traits and its time zone."""
    known = _LIKE.get(tone or "", tone)
    chosen = next((one for one in ADDRESSES if one == address), None)
    return Manner(known, chosen or usual_address(known, timezone), style)


def usual_address(tone: str | None, timezone: str | None) -> Address:
    """Return the form of address of a bot that has no setting for it.

    A professional bot says usted, and every other bot what is usual in the country of its time
    zone.
    """
    if _LIKE.get(tone or "", tone) == "professional" or timezone in _USTED:
        return "usted"
    return "vos" if _VOS.fullmatch(timezone or "") else "tu"


def in_manner(template: str, how: Manner) -> str:
    """Return a text with the forms of one address, and with the parts that the style includes."""
    position = ADDRESSES.index(how.address)

    def chosen(forms: re.Match[str]) -> str:
        tu, usted, vos = forms.groups()
        return (tu, usted, tu if vos is None else vos)[position]

    def included(part: re.Match[str]) -> str:
        is_said = how.style == "detailed" if part[1] else how.style != "concise"
        return part[2] if is_said else ""

    return _EXTRA.sub(included, _FORMS.sub(chosen, template)).strip()
