"""A turn read whole: its class, its questions, and the texts and vectors to search for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from neurant.knowledge.search import Prepared
from neurant.understanding.addressing import without_address
from neurant.understanding.classify import Classified, classify
from neurant.understanding.context import follow_up, readings
from neurant.understanding.forms import is_question
from neurant.understanding.kinds import Kind
from neurant.understanding.parts import questions

Prepare = Callable[[str], Awaitable[Prepared]]
"""Repairs the words of a text and embeds it."""

# A class acts before the search only if it is this likely. The classes that call a person or that
# leave a question unsearched must be the surest.
CERTAIN = 0.7
# Where the documents may answer as well, a class acts against them only if it is this likely.
SURE = 0.9


@dataclass(frozen=True, slots=True)
class Reading:
    """A text to search for, with its words repaired and its vector."""

    text: str
    prepared: Prepared


@dataclass(frozen=True, slots=True)
class Part:
    """One question of a turn. ``readings`` are the texts that it may stand for, likeliest first."""

    asked: str
    readings: tuple[Reading, ...]


@dataclass(frozen=True, slots=True)
class Turn:
    """An end user's turn. ``classified`` is None where its form alone shows that it asks."""

    text: str
    classified: Classified | None
    parts: tuple[Part, ...]

    @property
    def kind(self) -> Kind:
        """The class that is certain; a question where none is."""
        if self.classified is None or self.classified.certainty < CERTAIN:
            return "question"
        return self.classified.kind

    @property
    def is_sure(self) -> bool:
        """True if the class is so likely that an answer of the documents changes nothing."""
        return self.classified is not None and self.classified.certainty >= SURE


async def read_turn(text: str, earlier: Sequence[str], prepare: Prepare) -> Turn:
    """Read a turn. ``earlier`` are the end user's earlier messages, oldest first.

    A turn of one question costs one embedding; a second question, or a follow-up with two readings,
    costs one more.
    """
    bare = without_address(text)
    asked = questions(bare)
    known: dict[str, Prepared] = {}

    async def prepared(of: str) -> Prepared:
        if of not in known:
            known[of] = await prepare(of)
        return known[of]

    classified: Classified | None = None
    if len(asked) == 1 and not _plainly_follows(bare):
        one = await prepared(asked[0])
        classified = classify(asked[0], one.vector)
        if classified.kind != "question" and classified.certainty >= CERTAIN:
            return Turn(bare, classified, (Part(asked[0], (Reading(asked[0], one),)),))
    parts: list[Part] = []
    before = list(earlier)
    for question in asked:
        texts = readings(question, before)
        read = tuple([Reading(text, await prepared(text)) for text in texts])
        parts.append(Part(question, read))
        before.append(question)
    return Turn(bare, classified, tuple(parts))


def _plainly_follows(text: str) -> bool:
    """Return whether a message is a question that continues: "¿y los domingos?"."""
    return follow_up(text) is not None and is_question(text)
