"""Questions as people type them: with slips of the finger, and in the spelling of a chat.

The module shares nothing with the product's repair of words (``neurant.knowledge.repair``), so that
the repair is measured on mistakes that it was not written for. All choices depend on a seed.
"""

from __future__ import annotations

import random
import re
import unicodedata

_ROWS = ("qwertyuiop", "asdfghjklñ", "zxcvbnm")
_WORD = re.compile(r"[^\W\d_]+")
_MIN_LENGTH = 4  # people notice a slip in a shorter word

# Each group: the written forms of a word (folded), and the forms that people type in chats.
_HABITS = (
    ({"que"}, ("q", "ke", "k", "qe")),
    ({"porque"}, ("xq", "pq", "porq")),
    ({"por"}, ("x",)),
    ({"para"}, ("pa", "pra")),
    ({"tambien"}, ("tb", "tmb", "tbn")),
    ({"cuando"}, ("cdo", "cuand")),
    ({"cuanto", "cuantos"}, ("cuant", "cto")),
    ({"donde"}, ("dnd", "donde")),
    ({"como"}, ("cmo", "como", "komo")),
    ({"de"}, ("d",)),
    ({"quien"}, ("qn", "kien")),
    ({"mucho", "muchos"}, ("mxo", "muxo")),
    ({"personas"}, ("prsnas",)),
    ({"hay"}, ("ay",)),
    ({"es"}, ("s", "es")),
)
_SOUNDS = (
    ("qu", "k"),
    ("ll", "y"),
    ("v", "b"),
    ("z", "s"),
    ("ce", "se"),
    ("ci", "si"),
    ("ch", "x"),
)


def with_slips(question: str, seed: int) -> str:
    """Return a question with one or two slips, each in another word of four letters or more."""
    chosen = random.Random(seed)
    words = [one for one in _WORD.finditer(question) if len(one.group()) >= _MIN_LENGTH]
    hit = sorted(
        chosen.sample(words, min(len(words), chosen.choice((1, 2)))), key=lambda one: -one.start()
    )
    for one in hit:
        question = question[: one.start()] + _slipped(one.group(), chosen) + question[one.end() :]
    return question


def _slipped(word: str, chosen: random.Random) -> str:
    place = chosen.randrange(len(word) - 1)
    kind = chosen.choice(("neighbour", "dropped", "doubled", "swapped", "added"))
    if kind == "dropped":
        return word[:place] + word[place + 1 :]
    if kind == "doubled":
        return word[:place] + word[place] + word[place:]
    if kind == "swapped" and word[place] != word[place + 1]:
        return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    beside = chosen.choice(_neighbours(_bare(word[place].lower())))
    return word[:place] + beside + word[place + (kind != "added") :]


def _neighbours(letter: str) -> str:
    for number, row in enumerate(_ROWS):
        if (place := row.find(letter)) < 0:
            continue
        found = row[max(0, place - 1) : place] + row[place + 1 : place + 2]
        for other in _ROWS[max(0, number - 1) : number] + _ROWS[number + 1 : number + 2]:
            found += other[place : place + 1]
        return found
    return "aeiou"


def in_chat_spelling(question: str, seed: int) -> str:
    """Return a question in lower case without accents and marks, with habits of chats."""
    chosen = random.Random(seed)
    words = _WORD.sub(lambda one: _chatted(_bare(one.group().lower()), chosen), question.lower())
    return " ".join(re.sub(r"[¿?¡!,;:.]", " ", words).split())


def _chatted(word: str, chosen: random.Random) -> str:
    for forms, typed in _HABITS:
        if word in forms:
            return chosen.choice(typed)
    if len(word) >= _MIN_LENGTH and chosen.random() < 0.25:
        written, heard = chosen.choice(_SOUNDS)
        word = word.replace(written, heard, 1)
    if word.startswith("h") and len(word) > _MIN_LENGTH and chosen.random() < 0.5:
        word = word[1:]
    if len(word) >= _MIN_LENGTH and word[-1] in "aeiou" and chosen.random() < 0.08:
        word += word[-1] * 3
    return word


def _bare(text: str) -> str:
    """Return the text without accents; ``ñ`` becomes ``n``."""
    return "".join(
        one for one in unicodedata.normalize("NFD", text) if not unicodedata.combining(one)
    )
