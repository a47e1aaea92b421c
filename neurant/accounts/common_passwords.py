"""Whether a password is among the published and leaked ones: offline, in 370 kB.

``common_passwords.bin`` is a Bloom filter that ``scripts/common_passwords.py`` builds from about
135,000 entries: leaked passwords of at least ten characters, and the kernels (without the digits
and signs around) of the most common ones and of names. A password that is in the lists is always
found; of 100,000 others about three are refused for nothing.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

DATA = Path(__file__).with_suffix(".bin")
_BITS_PER_ENTRY = 22
_HASHES = 15  # _BITS_PER_ENTRY * ln 2
_AROUND = "0123456789!?.,;:*+-_@#$%&/()=¡¿ "


def folded(password: str) -> str:
    """The form in which passwords are compared with the lists: NFC, lower case."""
    return unicodedata.normalize("NFC", password).lower()


def kernel(password: str) -> str:
    """A password without the digits and signs around it, which guessing programs add."""
    return password.strip(_AROUND)


def is_common(password: str) -> bool:
    """Whether the password, its kernel or its doubled half is in the lists."""
    whole = folded(password)
    core = kernel(whole)
    half = core[: len(core) // 2]
    tried = {whole, core} | ({half} if core == half * 2 else set())
    return any(_holds(_filter(), one) for one in tried if one)


def build(entries: Collection[str]) -> bytes:
    """The filter of these entries, which must be ``folded``."""
    size = len(entries) * _BITS_PER_ENTRY // 8 + 1
    data = bytearray(size)
    for entry in entries:
        for place in _places(entry, size):
            data[place >> 3] |= 1 << (place & 7)
    return bytes(data)


def _holds(data: bytes, entry: str) -> bool:
    return all(data[place >> 3] & 1 << (place & 7) for place in _places(entry, len(data)))


def _places(entry: str, size: int) -> Iterator[int]:
    """The bits of an entry, by double hashing (Kirsch and Mitzenmacher, 2006)."""
    digest = sha256(entry.encode("utf-8", "surrogatepass")).digest()
    first, step = int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:16], "big") | 1
    return ((first + number * step) % (size * 8) for number in range(_HASHES))


@lru_cache(maxsize=1)
def _filter() -> bytes:
    return DATA.read_bytes()
