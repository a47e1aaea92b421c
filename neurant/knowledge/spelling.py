"""The words that a repair of typed words knows: of Spanish, and of a company's documents.

The package simplemma knows Spanish with all its inflections (824,000 forms), and pyspellchecker
knows how frequent its common words are, which are proposed for mistyped ones. Both are read once in
a process. Words are compared folded: in lower case, without accents.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache, partial

from rapidfuzz import process
from rapidfuzz.distance import OSA
from simplemma.strategies.dictionaries import StreamDictionaryFactory
from spellchecker import SpellChecker

from neurant.knowledge.words import LIGHT_WORDS, STOP_WORDS, fold, stem

_COMMON = 300  # occurrences in film subtitles; rarer words are known, but never proposed
_ALPHABET = "abcdefghijlmnopqrstuvxyz"
_LETTERS = re.compile(r"[^\W\d_]+")
_SHORTEST, _LONGEST = 2, 40  # letters of a word that is worth keeping

# Letters that sound the same in Latin America, so that people confuse them: b/v, ll/y, c/s/z, ...
_SOUNDS = (
    (re.compile(r"qu(?=[ei])|q|c(?![eih])"), "k"),
    (re.compile(r"ch"), "1"),
    (re.compile(r"ll"), "y"),
    (re.compile(r"h"), ""),
    (re.compile(r"1"), "ch"),
    (re.compile(r"v|w"), "b"),
    (re.compile(r"z|c(?=[ei])"), "s"),
    (re.compile(r"gu(?=[ei])"), "g"),
    (re.compile(r"g(?=[ei])"), "j"),
    (re.compile(r"(.)\1+"), r"\1"),
)


def sound(folded: str) -> str:
    """Return a folded word as it sounds: ``kiero`` and ``quiero`` give ``kiero``."""
    for letters, heard in _SOUNDS:
        folded = letters.sub(heard, folded)
    return folded


class Vocabulary:
    """Folded words with the way they are written and their number of occurrences.

    ``read`` returns both. It is called at the first use, which belongs in a thread.
    """

    def __init__(self, read: Callable[[], tuple[dict[str, str], dict[str, int]]]) -> None:
        self._read = read

    @cached_property
    def _words(self) -> tuple[dict[str, str], dict[str, int]]:
        return self._read()

    @property
    def written(self) -> dict[str, str]:
        """The way in which each folded word is written."""
        return self._words[0]

    @property
    def counts(self) -> dict[str, int]:
        """The occurrences of the words that a repair may propose."""
        return self._words[1]

    @cached_property
    def stems(self) -> frozenset[str]:
        """The stems of the words."""
        return frozenset(map(stem, self.written))

    def __contains__(self, folded: str) -> bool:
        return folded in self.written or stem(folded) in self.stems

    def near(self, folded: str, slips: int) -> list[tuple[str, int]]:
        """Return the words within some slips of a word, each with its number of slips."""
        found = {
            word: int(distance)
            for length in range(len(folded) - slips, len(folded) + slips + 1)
            for word, distance, _ in process.extract(
                folded, self._by_length.get(length, ()), scorer=OSA.distance,
                score_cutoff=slips, limit=None,
            )
        }  # fmt: skip
        for word in self._by_sound.get(sound(folded), ()):
            found[word] = min(1, found.get(word, 1))
        return list(found.items())

    @cached_property
    def _by_length(self) -> dict[int, list[str]]:
        found: dict[int, list[str]] = {}
        for word in self.counts:
            found.setdefault(len(word), []).append(word)
        return found

    @cached_property
    def _by_sound(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for word in self.counts:
            found.setdefault(sound(word), []).append(word)
        return found


def words_of(text: str) -> str:
    """Return the distinct words of a document in lower case with their accents, and spaces."""
    found = dict.fromkeys(one.lower() for one in _LETTERS.findall(text))
    return " ".join(word for word in found if _SHORTEST <= len(word) <= _LONGEST)


def vocabulary_of(documents: Sequence[str]) -> Vocabulary:
    """Return the vocabulary of documents, each given by its ``words_of``."""
    return Vocabulary(partial(_counted, documents))


def _counted(documents: Sequence[str]) -> tuple[dict[str, str], dict[str, int]]:
    written: dict[str, str] = {}
    counts: dict[str, int] = {}
    for words in documents:
        for word in words.split(" "):
            folded = fold(word)
            counts[folded] = counts.get(folded, 0) + 1
            # A typed "esta" may mean "esta" or "está": an accented form counts only if it is the
            # only one.
            if folded not in written or word == folded:
                written[folded] = word
    return written, counts


NO_WORDS = vocabulary_of(())


def _common_words() -> tuple[dict[str, str], dict[str, int]]:
    # The list lacks many inflected forms ("abren", "quiero"), so customers' own verbs are added.
    known: dict[str, tuple[int, str]] = {
        word: (count, spanish_form(word) or word)
        for words, count in ((LIGHT_WORDS, 50_000), (STOP_WORDS, 1_000_000))
        for word in words
        if spanish_form(word)
    }
    for word, count in SpellChecker(language="es").word_frequency.dictionary.items():
        if count >= _COMMON:
            folded = fold(word)
            known[folded] = max(known.get(folded, (0, "")), (count, word))
    return (
        {folded: word for folded, (_, word) in known.items()},
        {folded: count for folded, (count, _) in known.items()},
    )


@lru_cache(maxsize=1)
def common_spanish() -> Vocabulary:
    """Return the common Spanish words, which are proposed for a mistyped word."""
    return Vocabulary(_common_words)


@lru_cache(maxsize=1)
def _dictionary() -> Mapping[str, str]:
    return StreamDictionaryFactory().get_dictionary("es")


@lru_cache(maxsize=50_000)
def spanish_form(folded: str) -> str | None:
    """Return a Spanish word with its accents, given without them; None for an unknown word."""
    return next((form for form in _accentings(folded) if form in _dictionary()), None)


def spanish_words_near(folded: str) -> list[str]:
    """Return the Spanish words without accents that are one slip away from a folded word."""
    cuts = [(folded[:place], folded[place:]) for place in range(len(folded) + 1)]
    near = {left + letter + right for left, right in cuts for letter in _ALPHABET}
    near |= {left + letter + right[1:] for left, right in cuts if right for letter in _ALPHABET}
    near |= {left + right[1:] for left, right in cuts if right}
    near |= {left + right[1] + right[0] + right[2:] for left, right in cuts if len(right) > 1}
    return [word for word in sorted(near) if word in _dictionary()]


def _accentings(folded: str) -> Iterator[str]:
    """Yield the word, and all ways to write it with one accent and one tilde or diaeresis."""
    bases = [folded]
    for found in re.finditer(r"n|(?<=g)u(?=[ei])", folded):
        other = "ñ" if found.group() == "n" else "ü"
        bases.append(folded[: found.start()] + other + folded[found.end() :])
    yield from bases
    for base in bases:
        for found in re.finditer(r"[aeiou]", base):
            accented = "áéíóú"["aeiou".index(found.group())]
            yield base[: found.start()] + accented + base[found.end() :]


def warm() -> None:
    """Read the dictionaries now, which takes about two seconds, so that no question waits."""
    spanish_form("hola")
    common_spanish().near("hola", 1)


def is_loaded() -> bool:
    """Return whether the dictionaries have been read."""
    return bool(_dictionary.cache_info().currsize)
