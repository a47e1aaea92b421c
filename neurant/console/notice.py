"""What came of an action, as a page tells it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Notice:
    """What came of an action, told once above the thread."""

    kind: str
    icon: str
    title: str
    detail: str = ""
