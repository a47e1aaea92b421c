"""Typed words, repaired against the vocabulary of the company's documents and Spanish.

People type with slips ("limpiesa", "hroario") and with the spelling of chats ("xq", "tb", "kiero",
no accents). A word is repaired only if neither the documents nor Spanish know it: other repairs do
more harm than good, because they change names and rare words that were typed right.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from neurant.knowledge.spelling import (
    Vocabulary,
    common_spanish,
    is_loaded,
    sound,
    spanish_form,
    spanish_words_near,
)
from neurant.knowledge.words import STOP_WORDS, condensed, fold, is_english, stem, tokens

_WORD = re.compile(r"[^\W\d_]+")
_MAX_CHARS = 1_000  # of a message, in which words are repaired
_MAX_SOUGHT = 8  # words; a message of more unknown words is in another language, or is noise
_MAX_PLAIN = 300  # characters, whose words are looked up in about a millisecond
_MIN_LENGTH = 4  # a shorter word is too near to too many others
_TWO_SLIPS_FROM = 8  # letters

_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_BESIDE = {
    letter: {
        other[place]
        for other in _ROWS[max(0, row - 1) : row + 2]
        for place in range(max(0, column - 1), min(len(other), column + 2))
    }
    for row, letters in enumerate(_ROWS)
    for column, letter in enumerate(letters)
}
_DOUBLED = re.compile(r"(.)\1")
# "inscribirme", "reservarlo": dictionaries have the verb without the pronoun.
_WITH_PRONOUN = re.compile(r"(\w{2,}(?:[aei]r|ndo))(?:[mts]e|nos)?(?:l[oae]s?)?")

# What people write in chats, and the word that they mean. No rule of sound or slip finds these.
_CHAT = {
    "q": "que", "k": "que", "qe": "que", "ke": "que", "xq": "por qué", "pq": "por qué",
    "xk": "por qué", "porq": "porque", "x": "por", "xa": "para", "pa": "para", "pra": "para",
    "xfa": "por favor", "xfavor": "por favor", "porfa": "por favor", "tb": "también",
    "tmb": "también", "tbn": "también", "tmbn": "también", "d": "de", "dl": "del", "dnd": "dónde",
    "dde": "dónde", "cdo": "cuando", "cnd": "cuando", "qndo": "cuando", "cto": "cuánto",
    "qto": "cuánto", "cm": "cómo", "cmo": "cómo", "qn": "quién", "qien": "quién", "aki": "aquí",
    "ay": "hay", "bn": "bien", "mxo": "mucho", "muxo": "mucho", "msj": "mensaje", "tlf": "teléfono",
    "tel": "teléfono", "cel": "celular", "wsp": "whatsapp", "wpp": "whatsapp", "was": "whatsapp",
    "wasap": "whatsapp", "dsd": "desde", "hsta": "hasta", "hrs": "horas", "hr": "hora",
    "grax": "gracias", "dsp": "después", "dps": "después", "sta": "está", "stan": "están",
    "toy": "estoy", "ud": "usted", "uds": "ustedes", "dr": "doctor", "dto": "descuento",
    "nro": "número", "num": "número", "dir": "dirección", "prof": "profesor", "univ": "universidad",
    "lun": "lunes", "mie": "miércoles", "jue": "jueves", "vie": "viernes", "sab": "sábado",
    "dom": "domingo", "finde": "fin de semana", "info": "información",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class RepairedWord:
    """A word as it was typed, and as it is searched."""

    typed: str
    meant: str


@dataclass(frozen=True, slots=True)
class Repaired:
    """A message with its words repaired. ``words`` leaves out mere accents."""

    text: str
    words: tuple[RepairedWord, ...] = ()


def is_plain(text: str) -> bool:
    """Return whether Spanish alone knows all words of a message.

    It is False for a long message, and while the Spanish words have not been read, because this
    function runs in the event loop and must not wait.
    """
    if not is_loaded() or len(text) > _MAX_PLAIN:
        return False
    words = tokens(text)
    return all(word not in _CHAT and (word.isdigit() or _is_spanish(word)) for word in words)


def repair(text: str, vocabulary: Vocabulary) -> Repaired:
    """Return a message with its unknown words repaired, in the spelling of the documents."""
    text = condensed(text, _MAX_CHARS)
    if is_english(text):
        return Repaired(text)
    pieces: list[str] = []
    words: list[RepairedWord] = []
    end = sought = 0
    for found in _WORD.finditer(text):
        typed, folded = found.group(), fold(found.group())
        if _is_known(folded, text[: found.start()], text[found.end() :], vocabulary):
            meant = _accented(typed, folded, vocabulary)
        elif folded in _CHAT:
            meant = _CHAT[folded]
        elif len(folded) >= _MIN_LENGTH and sought < _MAX_SOUGHT:
            sought += 1
            is_name = typed.istitle() and bool(_WORD.search(text[: found.start()]))
            best = min(_candidates(folded, vocabulary, is_name), default=None)
            meant = best[1] if best else None
            if meant is None and not is_name:
                meant = _inflected(folded, vocabulary) or _parted(folded, vocabulary)
        else:
            continue
        if meant is not None:
            pieces += [text[end : found.start()], meant]
            end = found.end()
            if fold(meant) != folded:
                words.append(RepairedWord(typed, meant))
    return Repaired("".join([*pieces, text[end:]]), tuple(words))


def _is_known(folded: str, before: str, after: str, vocabulary: Vocabulary) -> bool:
    """Return whether a word is one of the documents or of Spanish, or a unit beside a number."""
    if folded in vocabulary.written:
        return True
    beside_number = before.rstrip()[-1:].isdigit() or after.lstrip()[:1].isdigit()
    if beside_number and len(folded) < _MIN_LENGTH:
        return True
    return folded not in _CHAT and (_is_spanish(folded) or folded in vocabulary)


def _accented(typed: str, folded: str, vocabulary: Vocabulary) -> str | None:
    """Return the word with the accents that it is written with; None if it has them."""
    if typed.lower() != folded:
        return None
    common = common_spanish().written
    written = vocabulary.written.get(folded) or common.get(folded) or spanish_form(folded)
    if written is None:
        return None
    return written if written != folded else None


def _candidates(folded: str, vocabulary: Vocabulary, is_name: bool) -> Iterator[tuple[float, str]]:
    """Yield the words that may be meant, each with its cost."""
    slips = 2 if len(folded) >= _TWO_SLIPS_FROM else 1
    # "holaaaa": people repeat a letter to be emphatic.
    once = re.sub(r"(.)\1{2,}", r"\1", folded)
    sources = [(vocabulary, 0.0)] if is_name else [(vocabulary, 0.0), (common_spanish(), 0.6)]
    for source, price in sources:
        total = sum(source.counts.values()) or 1
        for word, distance in source.near(once, slips):
            cost = distance + price - 0.05 * math.log(1 + 1e6 * source.counts[word] / total)
            yield cost + _unlikeliness(once, word), source.written[word]


def _unlikeliness(typed: str, word: str) -> float:
    """Return a small cost: low for swapped letters, doubled letters and neighbours on a keyboard.

    A word that sounds the same is likelier than any slip, and the first letter is rarely wrong.
    """
    cost = 0.1 * (word[0] != typed[0]) - 0.5 * (sound(word) == sound(typed))
    if sorted(word) == sorted(typed) or _DOUBLED.sub(r"\1", typed) == _DOUBLED.sub(r"\1", word):
        return cost - 0.25
    if len(word) == len(typed):
        pairs = [pair for pair in zip(word, typed, strict=True) if pair[0] != pair[1]]
        cost += 0.1 if any(b not in _BESIDE[a] for a, b in pairs if a in _BESIDE) else -0.1
    return cost


def _inflected(folded: str, vocabulary: Vocabulary) -> str | None:
    """Return the likeliest Spanish word one slip away, if the documents or the slip prefer it."""
    near = sorted(
        (stem(word) not in vocabulary.stems, _unlikeliness(folded, word), word)
        for word in spanish_words_near(folded)
    )
    if not near or (near[0][0] and len(near) > 1 and near[0][:2] == near[1][:2]):
        return None
    return near[0][2]


def _parted(folded: str, vocabulary: Vocabulary) -> str | None:
    """Return two known words that were typed without the space between them."""
    common = common_spanish()
    best: tuple[int, str] | None = None
    for cut in range(2, len(folded) - 2):
        left, right = folded[:cut], folded[cut:]
        written = vocabulary.written.get(right) or common.written.get(right)
        if left not in common.counts or written is None:
            continue
        frequency = min(common.counts[left], common.counts.get(right, common.counts[left]))
        if best is None or frequency > best[0]:
            best = frequency, f"{common.written[left]} {written}"
    return best[1] if best else None


def _is_spanish(folded: str) -> bool:
    if folded in STOP_WORDS or spanish_form(folded) is not None:
        return True
    verb = _WITH_PRONOUN.fullmatch(folded)
    return verb is not None and spanish_form(verb[1]) is not None
