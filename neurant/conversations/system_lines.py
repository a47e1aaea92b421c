"""System lines: what is stored of them is a name of the catalogue, some with a moment.

``hitl_queued``, ``hitl_taken``, … are texts ``system.<name>``; ``hitl_closed:2026-11-23T08:00``
tells besides when people are back, by the clock of the bot's place (``private.queued_line``).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial

from neurant.texts import Language, text


def line_name(content: str) -> str:
    """The name of the catalogue's text, without what stands behind it."""
    return content.partition(":")[0]


def system_text(content: str, language: Language, name: str = "") -> str:
    """A stored system line as its reader reads it; ``name`` is who did it."""
    translate = partial(_in_language, language)
    return translate(f"system.{line_name(content)}", name=name, when=when(content, translate))


def when(content: str, translate: Callable[..., str]) -> str:
    """The moment that a line carries, in words; empty where it carries none."""
    _, _, moment = content.partition(":")
    return in_words(datetime.fromisoformat(moment), translate) if moment else ""


def in_words(at: datetime, translate: Callable[..., str]) -> str:
    """A moment of the next days, by the clock that it is given in: weekday, day and time."""
    return translate(
        "system.moment",
        weekday=translate(f"system.weekday.{at.isoweekday()}"),
        day=at.day,
        month=translate(f"system.month.{at.month}"),
        time=f"{at.hour}:{at.minute:02d}",
    )


def _in_language(language: Language, name: str, /, **params: object) -> str:
    return text(name, language, **params)
