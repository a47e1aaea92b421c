"""The texts of system messages. A stored one is a key of the catalogue, for some with a time.

``hitl_queued``, ``hitl_taken``, … are the texts ``system.<name>``. ``hitl_closed:2026-11-23T08:00``
also has the time at which people are available again, in the bot's time zone
(``private.queued_line``).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial

from neurant.texts import Language, text


def line_name(content: str) -> str:
    """Return the key of the text, without the time that may follow it."""
    return content.partition(":")[0]


def system_text(content: str, language: Language, name: str = "") -> str:
    """Return the text of a stored system message; ``name`` is the person who acted."""
    translate = partial(_in_language, language)
    return translate(f"system.{line_name(content)}", name=name, when=when(content, translate))


def when(content: str, translate: Callable[..., str]) -> str:
    """Return the time of a system message in words, an empty string if it has none."""
    _, _, moment = content.partition(":")
    return in_words(datetime.fromisoformat(moment), translate) if moment else ""


def in_words(at: datetime, translate: Callable[..., str]) -> str:
    """Return a time in words, in its own time zone: weekday, day and time of day."""
    return translate(
        "system.moment",
        weekday=translate(f"system.weekday.{at.isoweekday()}"),
        day=at.day,
        month=translate(f"system.month.{at.month}"),
        time=f"{at.hour}:{at.minute:02d}",
    )


def _in_language(language: Language, name: str, /, **params: object) -> str:
    return text(name, language, **params)
