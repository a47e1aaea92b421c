"""The formats of times, sizes and names for a person, in each language."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Final
from zlib import crc32
from zoneinfo import ZoneInfo

from markupsafe import Markup, escape

from neurant.core.clock import utc_now
from neurant.core.settings import MEGABYTE
from neurant.texts import Language, text

AVATAR_COLOURS: Final = 6
MONTHS: Final[dict[Language, tuple[str, ...]]] = {
    "es": ("ene", "feb", "mar", "abr", "may", "jun", "jul", "ago", "sep", "oct", "nov", "dic"),
    "en": ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
}


def initials(name: str) -> str:
    """Return two letters for an avatar, from the first and the last word or from the only one."""
    words = re.findall(r"\w+", name)
    if not words:
        return "?"
    letters: str = words[0][0] + words[-1][0] if len(words) > 1 else words[0][:2]
    return letters.upper()


def avatar(name: str) -> str:
    """Return the CSS class of a colour, 1 to 6, which is always the same for the same name."""
    return f"avatar--{crc32(name.encode()) % AVATAR_COLOURS + 1}"


def fours(secret: str) -> str:
    """Return a secret in groups of four characters, for typing it."""
    return " ".join(secret[at : at + 4] for at in range(0, len(secret), 4))


def paragraphs(content: str) -> Markup:
    """Convert plain text to escaped HTML: an empty line starts a paragraph.

    A single newline becomes a line break.
    """
    blocks = re.split(r"\n{2,}", content.strip())
    parts = (Markup("<br>").join(escape(line) for line in block.split("\n")) for block in blocks)
    return Markup("").join(Markup("<p>{}</p>").format(part) for part in parts)


@dataclass(frozen=True)
class Formats:
    """The formats of one reader, given by a language and a time zone."""

    language: Language
    timezone: object = None

    @property
    def _zone(self) -> tzinfo | None:
        return ZoneInfo(self.timezone) if isinstance(self.timezone, str) else None

    def clock(self, moment: datetime) -> str:
        """Format a time of day, such as ``9:05``, in the reader's time zone."""
        local = moment.astimezone(self._zone)
        return f"{local.hour}:{local.minute:02d}"

    def day(self, moment: datetime) -> str:
        """Format a day as today, yesterday or ``3 nov``, with the year if it is another one."""
        local, today = moment.astimezone(self._zone).date(), utc_now().astimezone(self._zone).date()
        if local == today:
            return text("console.time.today", self.language)
        if local == today - timedelta(days=1):
            return text("console.time.yesterday", self.language)
        month = MONTHS[self.language][local.month - 1]
        day = f"{local.day} {month}" if self.language == "es" else f"{month} {local.day}"
        return day if local.year == today.year else f"{day} {local.year}"

    def date(self, moment: datetime) -> str:
        """Format a date for a sentence (``3 de noviembre``), with the year if it is another one."""
        local, today = moment.astimezone(self._zone).date(), utc_now().astimezone(self._zone).date()
        month = text(f"system.month.{local.month}", self.language)
        form = "console.time.date" if local.year == today.year else "console.time.date_of_year"
        return text(form, self.language, day=local.day, month=month, year=local.year)

    def recent(self, moment: datetime) -> str:
        """Format an event of today by its time, and an older one by its day."""
        same_day = moment.astimezone(self._zone).date() == utc_now().astimezone(self._zone).date()
        return self.clock(moment) if same_day else self.day(moment)

    def waited(self, since: datetime) -> str:
        """Format the time since then in its largest unit: ``8 s``, ``3 min``, ``2 h``, ``4 d``."""
        seconds = max(0, int((utc_now() - since).total_seconds()))
        for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
            if seconds >= size:
                return f"{seconds // size} {unit}"
        return f"{seconds} s"

    def size(self, count: int) -> str:
        """Format a number of bytes in a suitable unit: ``96 kB``, ``4,1 MB``, ``25 MB``."""
        if count < MEGABYTE:
            return f"{max(1, round(count / 1024))} kB"
        megabytes = round(count / MEGABYTE, 1)
        return f"{self.number(int(megabytes) if megabytes.is_integer() else megabytes)} MB"

    def number(self, value: float) -> str:
        """Format a number with the language's separators: ``1.184``, ``0,86`` in Spanish."""
        whole = f"{value:,}"
        return whole.translate(str.maketrans(",.", ".,")) if self.language == "es" else whole
