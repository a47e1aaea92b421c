"""The signals of a message that a sentence vector blurs: its words, its letters and its form.

A vector of a whole sentence hardly distinguishes "quiero cancelar" from "¿puedo cancelar?", and
says little about one word of chat. Word and letter sequences are hashed to a fixed number of
places, so that no vocabulary has to be kept (Weinberger et al., "Feature Hashing", 2009).
"""

from __future__ import annotations

import itertools
import re
from zlib import crc32

from neurant.knowledge.words import fold

PLACES = 2_048
MAX_CHARS = 300

_WORD = re.compile(r"[a-z0-9]+")
_REPEATED = re.compile(r"(.)\1{2,}")
_LETTERS = (3, 4)  # lengths of the letter sequences inside a word
_ASKS = re.compile(
    r"(?:(?:y|e|pero|ok|hola|and|but|so) )*(?:a |en |de |por |con |para |hasta |desde |to |for |"
    r"from )?"
    r"(?:que|cual|cuales|quien|quienes|cuanto|cuanta|cuantos|cuantas|cuando|donde|como|xq|q|dnd|"
    r"what|which|who|how|when|where|why|is|are|do|does|can|could|will)\b"
)
_WISHES = re.compile(
    r"\b(?:quiero|quisiera|necesito|deseo|me gustaria|kiero|nesecito|i want|i need|i d like)\b"
)
_LAUGHS = re.compile(r"\b(?:a?(?:ja|je|ji|js|ha|he)(?: ?(?:ja|je|ji|js|ha|he|j|h))+|lo+l+|x+d+)\b")
FORMS = 9


def plain(text: str) -> str:
    """Return the folded words with single spaces, and "hola" for "holaaaa"."""
    shortened = _REPEATED.sub(r"\1", fold(text[:MAX_CHARS]))
    return " ".join(_WORD.findall(shortened))


def form(text: str) -> list[float]:
    """Return the numbers that describe the form of a message; there are ``FORMS`` of them."""
    words = plain(text)
    count = len(words.split())
    return [
        float("?" in text or "¿" in text),
        float(bool(_ASKS.match(words))),
        float(bool(_WISHES.search(words))),
        float(bool(_LAUGHS.search(words))),
        float(count == 0),
        float(count == 1),
        float(2 <= count <= 3),
        float(4 <= count <= 8),
        float(count > 8),
    ]


def places(text: str) -> dict[int, float]:
    """Return the hashed word and letter sequences of a message, as a sparse vector of length 1."""
    words = plain(text).split()
    found: dict[int, float] = {}
    marked = ["<", *words, ">"]
    sequences = [*words, *map(" ".join, itertools.pairwise(marked))]
    for word in words:
        padded = f"_{word}_"
        for length in _LETTERS:
            sequences += [padded[at : at + length] for at in range(len(padded) - length + 1)]
    if not words:
        sequences = list(text[:MAX_CHARS].split()) + list(text[:20].strip())
    for sequence in sequences:
        place = crc32(sequence.encode()) % PLACES
        found[place] = found.get(place, 0.0) + 1.0
    norm = sum(value * value for value in found.values()) ** 0.5
    return {place: value / norm for place, value in found.items()} if norm else {}
