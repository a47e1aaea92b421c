"""The result of an action, as a page shows it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Notice:
    """A message about the result of an action, which the page shows once."""

    kind: str
    icon: str
    title: str
    detail: str = ""
