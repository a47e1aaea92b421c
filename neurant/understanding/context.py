"""Follow-ups: a message that is incomplete by itself is completed with the question before it.

"¿y los domingos?" after "¿Abren los sábados?" becomes "¿Abren los domingos?": the question before
keeps its form, and the new words replace the words of the same role. "¿y cuánto cuesta?" after
"¿Hacen limpieza dental?" becomes "cuánto cuesta limpieza dental": the new form takes over the
subject. The result is a text, so the words and the vector of the search are both completed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from neurant.knowledge.passage import asks_something, read_question
from neurant.knowledge.words import (
    STOP_WORDS,
    bare_question,
    fold,
    is_light,
    likeness,
    question_stems,
    stem,
    stems,
)
from neurant.understanding.classify import is_known_small_talk
from neurant.understanding.forms import addresses_company, has_form, has_verb, lacks_subject

_TOKEN = re.compile(r"[\wáéíóúüñÁÉÍÓÚÜÑ]+")
_FOLLOWS = re.compile(
    r"^[\s¿¡]*(?:(?:ok|listo|vale|gracias|perfecto|bueno|ah|entonces|pero)[\s,.]+)*"
    r"(?:y|e|and|what about|how about|que tal|qu[eé] hay de|tambi[eé]n|also)\b[\s,]*"
    r"(?:si (?:es |son |fuera |fueran |ser[ií]a )?|tambi[eé]n )?",
    re.IGNORECASE,
)
_POINTS = re.compile(
    r"\b(?:ah[ií]|all[aá]|all[ií]|es[aeo]s?|est[aeo]s?|aquel(?:la)?s?|dich[ao]s?|l[ao] mism[ao]|"
    r"there|that|those|these|it)\b",
    re.IGNORECASE,
)
_CORRECTS = re.compile(
    r"^[\s¿¡*]*(?:(?:ay|uy|ah|no|perd[oó]n|perdona|disculpa|sorry|mejor dicho|o sea)[\s,.:]+)*"
    r"(?:(?:quise|quer[ií]a) decir|me refer[ií]a a|me refiero a|"
    r"me equivoqu[eé][\s,.:]*(?:es|era)?|corrijo|digo|mejor dicho|i meant?)\b"
    r"[\s,.:]*(?:que )?",
    re.IGNORECASE,
)
_APOLOGY = re.compile(
    r"^[\s¿¡]*(?:(?:ay|uy|ah|no)[\s,]+)?(?:perd[oó]n|perdona|disculpa|sorry|no)\s*,\s*"
    r"(?=(?:el|la|los|las|en|para|de|con|the|on|in|for)\b[^?]{1,40}$)",
    re.IGNORECASE,
)
_SUPPOSES = re.compile(r"^[\s¿¡]*(?:y|e|pero) (?:qu[eé] pasa )?si +", re.IGNORECASE)
_SUPPOSITION = re.compile(r"(?<=\w) +si +", re.IGNORECASE)
_PREPOSITIONS = frozenset(
    [
        "en", "para", "con", "por", "desde", "hasta", "sin", "sobre", "a", "at", "in", "on", "for",
        "with", "from",
    ]
)  # fmt: skip
_TRANSPARENT = frozenset(
    [
        "de", "del", "el", "la", "los", "las", "un", "una", "unos", "unas", "al", "lo", "su",
        "sus", "mi", "mis", "the", "an", "of", "my", "your",
    ]
)  # fmt: skip
_TIMES = frozenset(
    map(
        stem,
        [
            "lunes", "martes", "miercoles", "jueves", "viernes", "sabado", "sabados", "domingo",
            "domingos", "festivo", "festivos", "hoy", "manana", "tarde", "noche", "semana",
            "enero", "febrero", "marzo", "abril", "mayo", "junio", "julio", "agosto", "septiembre",
            "octubre", "noviembre", "diciembre", "navidad", "monday", "mondays", "tuesday",
            "tuesdays", "wednesday", "wednesdays", "thursday", "thursdays", "friday", "fridays",
            "saturday", "saturdays", "sunday", "sundays", "holidays", "weekend", "weekends",
            "tomorrow", "today",
        ],
    )
)  # fmt: skip
_PLACE_NOUNS = frozenset(
    map(stem, ["sede", "sucursal", "oficina", "local", "tienda", "branch", "campus", "punto"])
)
_MAX_EARLIER = 5


@dataclass(frozen=True, slots=True)
class Phrase:
    """Neighbouring content words of a question with their span in its text.

    ``start`` and ``end`` include the preposition and the article before the words.
    """

    text: str
    start: int
    end: int
    preposition: str
    words: tuple[str, ...]

    @property
    def is_time(self) -> bool:
        """True for a day, a month or a part of a day."""
        return any(stem(word) in _TIMES for word in self.words) or all(
            word.isdigit() for word in self.words
        )

    @property
    def is_place(self) -> bool:
        """True for a phrase that names a branch, or that stands after "en"."""
        return not self.is_time and (
            self.preposition in ("en", "at", "in")
            or any(stem(word) in _PLACE_NOUNS for word in self.words)
        )


def correction(text: str) -> str | None:
    """Return what a message puts in place of the one before it; None if it corrects nothing.

    "perdón, quise decir el domingo" gives "el domingo", "*sábados" gives "sábados".
    """
    found = _CORRECTS.match(text) or _APOLOGY.match(text)
    if found is None and text.startswith("*") and len(text.split()) <= 3:
        return text.strip("* ") or None
    if found is None:
        return None
    return text[found.end() :].strip(" .¿?!*") or None


def follow_up(text: str) -> str | None:
    """Return a message without the "y" or "what about" at its beginning; None if it has none."""
    found = _FOLLOWS.match(text)
    return text[found.end() :].strip() if found else None


def readings(text: str, earlier: Sequence[str]) -> list[str]:
    """Return the complete texts that a question may stand for, the likeliest first.

    ``earlier`` are the end user's earlier messages, oldest first. A question that needs no context
    has one reading. Where a question may be meant by itself too, both readings are returned.
    """
    before = _standing(earlier)
    if before is None:
        return [text]
    corrected = correction(text)
    if corrected is not None:
        return [completed(before, corrected) or corrected]
    tied = follow_up(text)
    if tied is not None and (supposed := _supposed(before, text)):
        return [supposed, tied]
    bare = bare_question(tied if tied is not None else text) or text
    if _is_elliptical(bare, tied=tied is not None):
        whole = completed(before, bare)
        if whole is None:
            return [text]
        if not asks_something(read_question(bare)):
            return [whole]
        return [text] if tied is None and addresses_company(bare) else [whole, bare]
    placed = _with_place(before, bare)
    return [placed, text] if placed else [text]


def completed(before: str, new: str) -> str | None:
    """Return the question ``before`` with the words of ``new``; None if nothing can be carried.

    A new text that brings its own form ("cuánto cuesta") gets the subject of the earlier question;
    a new text of words only ("los domingos") replaces the words of the same role.
    """
    asked = read_question(new)
    old = phrases(before)
    if not old:
        return None
    if _has_own_form(new):
        carried = [one for one in old if not (set(one.words) & set(_folded_words(new)))]
        if asked.stems and not _POINTS.search(new) and not lacks_subject(new):
            carried = [one for one in carried if one.is_place]
        useful = [one for one in carried if not all(is_light(stem(word)) for word in one.words)]
        ending = " ".join(one.text for one in useful or carried)
        return f"{_without_pointers(new)} {ending}".strip() if ending else None
    fresh = phrases(new)
    if not fresh:
        return None
    replaced = before
    shift = 0
    taken: list[Phrase] = []
    for phrase in fresh:
        place = _role(phrase, [one for one in old if one not in taken])
        if place is None:
            replaced = f"{replaced.rstrip(' ?')} {phrase.text}"
            continue
        taken.append(place)
        text = phrase.text
        if not phrase.preposition and place.preposition:
            text = f"{place.preposition} {text}"
        replaced = replaced[: place.start + shift] + text + replaced[place.end + shift :]
        shift += len(text) - (place.end - place.start)
    return replaced


def phrases(text: str) -> list[Phrase]:
    """Return the phrases of a question's content words, in order, without its question words."""
    wanted = frozenset(read_question(text).stems)
    found: list[Phrase] = []
    start: int | None = None
    preposition = ""
    words: list[str] = []
    end = 0

    def close() -> None:
        nonlocal start, preposition, words
        if words and start is not None:
            found.append(Phrase(text[start:end], start, end, preposition, tuple(words)))
        start, preposition, words = None, "", []

    tokens = list(_TOKEN.finditer(text))
    first = tokens[0] if len(tokens) > 1 else None
    for token in tokens:
        word = fold(token[0])
        gap = text[end : token.start()]
        if words and re.search(r"[,;:.?!¿¡]", gap):
            close()
        if word in _PREPOSITIONS:
            close()
            start, preposition, end = token.start(), word, token.end()
        elif word in _TRANSPARENT:
            if words and word not in ("de", "del", "of"):
                close()
            start = token.start() if start is None else start
            if not words:
                end = token.end()
        elif not found and not words and token is first and addresses_company(word):
            continue  # the verb of "¿Dictan yoga?", where the phrase is "yoga"
        elif _is_wanted(word, wanted) or (word.isdigit() and words):
            start = token.start() if start is None else start
            words.append(word)
            end = token.end()
        else:
            close()
    close()
    return found


def _has_article(phrase: Phrase) -> bool:
    return fold(phrase.text).split()[0] in _TRANSPARENT


def _is_wanted(word: str, wanted: frozenset[str]) -> bool:
    if stem(word) in _PLACE_NOUNS:
        return True
    if is_light(stem(word)) and has_verb(word):
        return False
    return any(likeness(one, wanted) for one in question_stems(word))


def _role(phrase: Phrase, old: Sequence[Phrase]) -> Phrase | None:
    """Return the phrase of the earlier question whose role the new phrase takes."""
    if phrase.is_time:
        times = [one for one in old if one.is_time]
        return times[-1] if times else None
    others = [one for one in old if not one.is_time]
    if phrase.preposition or phrase.is_place:
        same = [
            one
            for one in others
            if (one.preposition == phrase.preposition and phrase.preposition)
            or (one.is_place and phrase.is_place)
        ]
        return same[-1] if same else None
    named = [one for one in others if any(word in one.words for word in phrase.words)]
    if named:
        return named[-1]
    subjects = [one for one in others if not one.preposition]
    heavy = [one for one in subjects if not all(is_light(stem(word)) for word in one.words)]
    chosen = heavy or subjects or others
    alike = [one for one in chosen if _has_article(one) == _has_article(phrase)]
    chosen = alike or chosen
    return chosen[-1] if chosen else None


def _supposed(before: str, text: str) -> str | None:
    """Return "¿qué pasa si cancelo?" for "¿y si cancelo?" after "¿qué pasa si llego tarde?"."""
    new, old = _SUPPOSES.match(text), _SUPPOSITION.search(before)
    if new is None or old is None:
        return None
    return f"{before[: old.start()]} si {text[new.end() :]}".strip()


def _standing(earlier: Sequence[str]) -> str | None:
    """Return the last earlier question, itself completed with those before it."""
    before: str | None = None
    for text in earlier[-_MAX_EARLIER:]:
        if is_known_small_talk(text) or not (bare_question(text) and _is_about_something(text)):
            continue
        before = text if before is None else readings(text, [before])[0]
    return before


def _is_about_something(text: str) -> bool:
    return bool(stems(text)) or asks_something(read_question(text))


def _is_elliptical(bare: str, *, tied: bool) -> bool:
    """Return whether a question lacks its form or its subject."""
    asked = read_question(bare)
    if not asked.stems or _POINTS.search(bare) or lacks_subject(bare):
        return True
    if _has_own_form(bare):
        return False
    return tied or len(asked.stems) <= 2


def _has_own_form(text: str) -> bool:
    """Return whether a text has a question word, a verb, or asks for a known kind of answer."""
    return bool(read_question(text).kinds) or has_form(text) or has_verb(text)


def _with_place(before: str, bare: str) -> str | None:
    """Return a complete question with the branch that was just spoken of, if it names no place."""
    if any(one.is_place for one in phrases(bare)):
        return None
    places = [one for one in phrases(before) if one.is_place]
    if not places:
        return None
    return f"{bare.rstrip(' ?')} {places[-1].text}"


def _without_pointers(text: str) -> str:
    """Return a text without "eso", "ahí" and the like, which the carried words replace."""
    return re.sub(r"\s+", " ", _POINTS.sub(" ", text)).strip(" ?")


def _folded_words(text: str) -> list[str]:
    return [word for word in map(fold, _TOKEN.findall(text)) if word not in STOP_WORDS]
