"""A request to act, as the conversation holds it: what was asked for, and what was said.

Nothing is stored: the bot's own questions stand in the messages, so the state of a request follows
from them. A request is open as long as the bot's last text ends with one of those questions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

from neurant.knowledge.words import fold
from neurant.texts import wordings
from neurant.understanding.details import NEEDED, Detail, missing, said
from neurant.understanding.kinds import Kind

_DETAILS: tuple[Detail, ...] = get_args(Detail)
_MAX_LENGTH = 200
_STOPS = re.compile(
    r"(?:no,? gracias|ya no(?: quiero| gracias)?|no quiero|olvid[ae]lo|dejal[oa](?: asi)?|"
    r"dejemoslo asi|nada|cancelar?|mejor no|no importa|never ?mind|forget it|"
    r"no thanks|no thank you|cancel)[ .!]*"
)


@dataclass(frozen=True, slots=True)
class Said:
    """A message of the conversation, as the state of a request needs it."""

    by_bot: bool
    text: str


@dataclass(frozen=True, slots=True)
class Request:
    """An open request. ``answers`` pairs the details that the bot asked for with the answers."""

    kind: Kind
    start: str
    answers: tuple[tuple[Detail, str], ...]
    waits_for: Detail | None

    def answered(self, text: str) -> Request:
        """Return the request after the answer to the detail that it waits for."""
        if self.waits_for is None:
            return self
        answers = (*self.answers, (self.waits_for, text.strip()[:_MAX_LENGTH]))
        return Request(self.kind, self.start, answers, None)

    def next_detail(self) -> Detail | None:
        """Return the next detail to ask for; None if a person can act."""
        texts = [self.start, *(text for _, text in self.answers)]
        return missing(self.kind, texts, frozenset(detail for detail, _ in self.answers))

    def summary(self, label: Callable[[Detail | None], str]) -> str:
        """Return the request in lines for a person. ``label`` names a detail; None: the request."""
        lines = [(label(None), self.start.strip()[:_MAX_LENGTH])]
        lines += [(label(detail), text) for detail, text in self.answers]
        asked = {detail for detail, _ in self.answers}
        for detail in NEEDED[self.kind]:
            if detail in ("name", "contact") and detail not in asked:
                texts = [self.start, *(text for _, text in self.answers)]
                known = next(filter(None, (said(text, detail) for text in texts)), None)
                lines += [(label(detail), known)] if known else []
        return "\n".join(f"- {name}: {' '.join(text.split())}" for name, text in lines)


def stops(text: str) -> bool:
    """Return whether a message gives a request up: "olvídalo", "no, gracias"."""
    return bool(_STOPS.fullmatch(fold(text).strip()))


def open_request(thread: Sequence[Said]) -> Request | None:
    """Return the request that the bot's last text asks about; None if it asks for no detail.

    ``thread`` is the conversation before the messages that wait for an answer, oldest first.
    """
    turns = _turns(thread)
    if not turns or not turns[-1].by_bot or (waits_for := _asked_for(turns[-1].text)) is None:
        return None
    answers: list[tuple[Detail, str]] = []
    detail, at = waits_for, len(turns) - 1
    start = ""
    first = waits_for
    while at >= 1:
        user = turns[at - 1]
        earlier = _asked_for(turns[at - 2].text) if at >= 2 else None
        if earlier is None:
            start, first = user.text, detail
            break
        if earlier != detail:  # asked twice: a question came between, and its answer
            answers.append((earlier, user.text.strip()[:_MAX_LENGTH]))
        detail, at = earlier, at - 2
    return Request(_kind_of(first), start, tuple(reversed(answers)), waits_for)


def _turns(thread: Sequence[Said]) -> list[Said]:
    """Join neighbouring messages of the same side."""
    found: list[Said] = []
    for message in thread:
        if found and found[-1].by_bot == message.by_bot:
            found[-1] = Said(message.by_bot, f"{found[-1].text}\n{message.text}")
        else:
            found.append(message)
    return found


def _kind_of(first: Detail) -> Kind:
    """Return the kind of a request by the first detail that was asked for."""
    if first in ("name", "contact"):
        return "order"  # of which only these details are left to ask
    return next(kind for kind, details in NEEDED.items() if first in details)


def _asked_for(text: str) -> Detail | None:
    """Return the detail that the bot asks for at the end of a text."""
    ending = text.rstrip()
    return next(
        (one for one in _DETAILS if ending.endswith(tuple(wordings("replies", f"ask_{one}")))), None
    )
