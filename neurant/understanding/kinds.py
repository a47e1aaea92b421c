"""The classes of a turn, and the families of classes that are treated alike."""

from __future__ import annotations

from typing import Literal, get_args

Kind = Literal[
    "courtesy", "thanks", "farewell", "greeting", "reaction", "identity", "person", "complaint",
    "emergency", "advice", "book", "cancel", "move", "status", "order", "insult", "offtopic",
    "question",
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)

# Turns that ask nothing: a short reply is fitting, and nobody is called.
SMALL_TALK: frozenset[Kind] = frozenset({"courtesy", "thanks", "farewell", "greeting", "reaction"})
# Turns that ask the company to act.
REQUESTS: frozenset[Kind] = frozenset({"book", "cancel", "move", "status", "order"})
# Turns for which a person is called.
CARE: frozenset[Kind] = frozenset({"complaint", "emergency", "advice"})
