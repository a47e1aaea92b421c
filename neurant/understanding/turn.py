"""A turn read whole: its class, its questions, and the texts and vectors to search for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from neurant.understanding.addressing import without_address
from neurant.understanding.classify import Classified, classify
from neurant.understanding.context import follow_up, readings
from neurant.understanding.forms import is_question
from neurant.understanding.kinds import Kind
from neurant.understanding.parts import questions

Embed = Callable[[str], Awaitable[Sequence[float]]]

# A class acts before the search only if it is this likely. The classes that call a person or that
# leave a question unsearched must be the surest.
CERTAIN = 0.7
# Where the documents may answer as well, a class acts against them only if it is this likely.
SURE = 0.9


@dataclass(frozen=True, slots=True)
class Reading:
    """A text to search for, with its vector."""

    text: str
    vector: Sequence[float]


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


async def read_turn(text: str, earlier: Sequence[str], embed: Embed) -> Turn:
    """Read a turn. ``earlier`` are the end user's earlier messages, oldest first.

    A turn of one question costs one embedding; a second question, or a follow-up with two readings,
    costs one more.
    """
    bare = without_address(text)
    asked = questions(bare)
    vectors: dict[str, Sequence[float]] = {}

    async def vector(of: str) -> Sequence[float]:
        if of not in vectors:
            vectors[of] = await embed(of)
        return vectors[of]

    classified: Classified | None = None
    if len(asked) == 1 and not _plainly_follows(bare):
        classified = classify(asked[0], await vector(asked[0]))
        if classified.kind != "question" and classified.certainty >= CERTAIN:
            return Turn(
                bare, classified, (Part(asked[0], (Reading(asked[0], await vector(asked[0])),)),)
            )
    parts: list[Part] = []
    before = list(earlier)
    for one in asked:
        texts = readings(one, before)
        parts.append(Part(one, tuple([Reading(text, await vector(text)) for text in texts])))
        before.append(one)
    return Turn(bare, classified, tuple(parts))


def _plainly_follows(text: str) -> bool:
    """Return whether a message is a question that continues: "¿y los domingos?"."""
    return follow_up(text) is not None and is_question(text)
