"""A check for leaked passwords and common words that works offline, in 758 kB.

``common_passwords.bin`` is a Bloom filter that ``scripts/common_passwords.py`` builds from 233,079
entries: leaked passwords of at least ten characters, the kernels of the most common passwords
(without the digits and signs around them), and common words and names of Spanish and English. An
entry is always found; of 100,000 other texts about three are found by accident.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from re import compile as pattern

DATA = Path(__file__).with_suffix(".bin")
# The letters of a phrase (``i love you``) are compared with the lists as one word from this length.
_MIN_PHRASE_LENGTH = 8
# A shorter text would match words by accident if its signs were read as letters.
_MIN_DISGUISED_LENGTH = 6
_SHORT, _FEW_DIGITS, _RUN = 4, 6, "01234567890123456789"
_BITS_PER_ENTRY = 26
_HASHES = 18  # _BITS_PER_ENTRY * ln 2
_LETTERS = pattern(r"[^\W\d_]+")
# Signs that replace letters in many leaked passwords ("p4ssw0rd"). A 1 is an i or an l.
_LOOKALIKES = tuple(str.maketrans("013457@$!", f"o{one}eastasi") for one in "il")


def folded(password: str) -> str:
    """Return the form in which passwords are compared with the lists: NFC, lower case."""
    return unicodedata.normalize("NFC", password).lower()


def without_accents(text: str) -> str:
    """Return the text without combining marks: ``año`` becomes ``ano``."""
    apart = unicodedata.normalize("NFD", text)
    return "".join(one for one in apart if not unicodedata.combining(one))


def kernel(password: str) -> str:
    """Return a password without the digits and signs around it, which guessing programs add."""
    places = [at for at, one in enumerate(password) if unicodedata.category(one)[0] in "LM"]
    return password[places[0] : places[-1] + 1] if places else ""


def is_common(password: str) -> bool:
    """Return whether the password is an entry of the lists, even in disguise.

    The disguises are: digits, years and signs around it, repetition, other signs in place of
    letters, missing accents, and signs between the words of a phrase.
    """
    whole = folded(password)
    tried = {form for bare in (whole, without_accents(whole)) for form in _forms(bare)}
    return any(_holds(_filter(), one) for one in tried)


def _forms(whole: str) -> Iterator[str]:
    for bare in {whole, kernel(whole), _repeated(whole), kernel(_repeated(whole))} - {""}:
        # Many random digits around a short word make a strong password; a few digits do not.
        if len(bare) < _SHORT and not _is_simple(whole):
            continue
        for text in {bare, *(bare.translate(table) for table in _lookalikes(bare))}:
            yield from (text, _repeated(text))
            words = _LETTERS.findall(text)
            if len(set(words)) == 1 and len(words[0]) >= _SHORT:
                yield _repeated(words[0])
            phrase = "".join(words)
            if len(phrase) >= _MIN_PHRASE_LENGTH:
                yield from (phrase, _repeated(phrase))


def _lookalikes(text: str) -> tuple[dict[int, int], ...]:
    return _LOOKALIKES if len(text) >= _MIN_DISGUISED_LENGTH else ()


def _is_simple(whole: str) -> bool:
    digits = "".join(filter(str.isdigit, whole))
    return len(digits) <= _FEW_DIGITS or digits in _RUN


def _repeated(text: str) -> str:
    """Return the shortest text of which ``text`` consists of one or more copies."""
    period = (text + text).find(text, 1)
    return text[:period]


def build(entries: Collection[str]) -> bytes:
    """Return the filter of these entries, which must be ``folded``."""
    size = len(entries) * _BITS_PER_ENTRY // 8 + 1
    data = bytearray(size)
    for entry in entries:
        for place in _places(entry, size):
            data[place >> 3] |= 1 << (place & 7)
    return bytes(data)


def _holds(data: bytes, entry: str) -> bool:
    return all(data[place >> 3] & 1 << (place & 7) for place in _places(entry, len(data)))


def _places(entry: str, size: int) -> Iterator[int]:
    """Yield the bits of an entry, by double hashing (Kirsch and Mitzenmacher, 2006)."""
    digest = sha256(entry.encode("utf-8", "surrogatepass")).digest()
    first, step = int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:16], "big") | 1
    return ((first + number * step) % (size * 8) for number in range(_HASHES))


@lru_cache(maxsize=1)
def _filter() -> bytes:
    return DATA.read_bytes()
