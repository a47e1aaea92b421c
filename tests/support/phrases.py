"""The phrases of a bot as it says them."""

from __future__ import annotations

from neurant.texts import in_tone
from neurant.texts.address import Manner


def spoken(name: str, **params: object) -> str:
    """Return the phrase of a friendly bot that says tú, in Spanish."""
    return in_tone(f"replies.{name}", Manner(), "es", **params)
