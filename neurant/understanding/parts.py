"""The questions of a turn: a message, or several in quick succession, may ask two or three."""

from __future__ import annotations

import re

from neurant.knowledge.words import bare_question, fold
from neurant.understanding.classify import is_known_small_talk
from neurant.understanding.context import completed, correction
from neurant.understanding.forms import ASKING, VERB, is_question, is_whole_clause

MAX_PARTS = 3
MAX_CHARS = 1_000

_SENTENCE_END = re.compile(
    r"(?<=[?!])[\s,;]+|(?<=[^\s.]{3}[.…])\s+(?=[A-ZÁÉÍÓÚÑ¿¡])|[\s,;]+(?=¿)|\n+"
)
# The joint between two questions in one sentence, on folded text.
_JOINT = re.compile(
    rf"(?:,? +(?:y|e|and|tambien|ademas|also)|,) +"
    rf"(?=(?:(?:si|me|se|no|tambien|a|en) )*(?:{ASKING}|{VERB})\b)"
)


def questions(text: str) -> list[str]:
    """Return the questions that a turn asks, at most three, in order; the turn itself if it is one.

    A statement stays with the question that it explains, a correction replaces what it corrects,
    and courtesies around a question are left out.
    """
    pieces: list[str] = []
    for sentence in _sentences(text[:MAX_CHARS]):
        corrected = correction(sentence) if pieces else None
        if corrected is not None:
            pieces[-1] = completed(pieces[-1], corrected) or corrected
        elif not _is_empty(sentence):
            pieces += _clauses(sentence)
    asked = _with_statements(pieces)
    if len(asked) <= 1:
        return [" ".join(pieces) if pieces else text.strip()]
    return asked[:MAX_PARTS]


def _sentences(text: str) -> list[str]:
    return [piece.strip() for piece in _SENTENCE_END.split(text) if piece and piece.strip()]


def _is_empty(sentence: str) -> bool:
    """Return whether a sentence says nothing for a search: "hola", "gracias,", "una pregunta"."""
    return not bare_question(sentence) or is_known_small_talk(sentence)


def _clauses(sentence: str) -> list[str]:
    """Divide "¿cuánto cuesta la limpieza y dónde quedan?" into its two questions."""
    folded = fold(sentence)
    if len(folded) != len(sentence) or not is_question(sentence):
        return [sentence]
    found: list[str] = []
    start = 0
    for joint in _JOINT.finditer(folded):
        before, after = sentence[start : joint.start()], sentence[joint.end() :]
        if is_question(before) and is_whole_clause(after):
            found.append(before)
            start = joint.end()
    return [*found, sentence[start:]]


def _with_statements(pieces: list[str]) -> list[str]:
    """Return the questions, each with the statements before it; later statements join the last."""
    found: list[str] = []
    waiting: list[str] = []
    for piece in pieces:
        if is_question(piece):
            found.append(" ".join([*waiting, piece]))
            waiting = []
        else:
            waiting.append(piece)
    if found and waiting:
        found[-1] = " ".join([found[-1], *waiting])
    return found
