"""The form of a sentence: whether it asks, by its question words, its verb or its marks."""

from __future__ import annotations

import re

from neurant.knowledge.words import bare_question, fold, stems

ASKING = (
    r"(?:(?:a|en|de|por|con|para|hasta|desde|at|for|from|to) )?"
    r"(?:que|cual|cuales|quien|quienes|cuanto|cuanta|cuantos|cuantas|cuando|donde|como|"
    r"what|which|who|how|when|where)"
)
# A verb in the third person plural addresses the company: "abren", "tienen", "aceptan".
VERB = (
    r"(?:hay|es|son|esta|puedo|puede|podemos|tienes|tiene|debo|incluye|cuesta|vale|queda|dura|cubre|"
    r"is|are|do|does|can|could|(?:[a-z]+(?:an|en)))"
)
_NOT_VERBS = frozenset(
    {"bien", "tambien", "tan", "gran", "pan", "plan", "resumen", "examen", "imagen", "orden"}
)
_BEFORE = r"(?:(?:y|e|pero|and|but|no|si|me|se|le|les|nos|lo|la|los|las|tambien) )*"
_FORM = re.compile(rf"{_BEFORE}(?:{ASKING}\b|({VERB})\b)")
_ADDS = re.compile(r"^[\s¿¡]*(?:(?:y|e|tambi[eé]n|adem[aá]s|and|also)\b[\s,]*)+", re.IGNORECASE)
# A question word and one word more: "¿desde qué edad?", "¿cuánto dura?".
_SHORT = re.compile(
    rf"{_BEFORE}(?:{ASKING} [a-z0-9]+|"
    r"(?:es|son|esta|estan|tiene|incluye|dura|cubre|sirve|funciona|is|are|does)(?: [a-z0-9]+){1,2})"
)
_VERB_WORD = re.compile(VERB)
_PLURAL = re.compile(r"\b[a-z]+(?:an|en)$")
_NOT_A_WORD = re.compile(r"[^a-z0-9]+")


def is_question(text: str) -> bool:
    """Return whether a sentence has the form of a question."""
    return "?" in text or "¿" in text or has_form(text)


def has_form(text: str) -> bool:
    """Return whether a sentence begins with a question word or with the verb of a question."""
    rest = _ADDS.sub("", text)
    return _form(bare_question(rest) or rest) is not None


def has_verb(text: str) -> bool:
    """Return whether any word is the verb of a question: "el desayuno está incluido"."""
    words = _words(text).split()
    return any(_VERB_WORD.fullmatch(word) and word not in _NOT_VERBS for word in words)


def lacks_subject(text: str) -> bool:
    """Return whether a question has no room for a subject: "¿cuánto dura?", "¿es gratis?"."""
    return bool(_SHORT.fullmatch(_words(text)))


def addresses_company(text: str) -> bool:
    """Return whether a question ends with a verb that addresses the company: "¿dónde quedan?"."""
    found = _PLURAL.search(_words(text))
    return found is not None and found[0] not in _NOT_VERBS


def is_whole_clause(text: str) -> bool:
    """Return whether a clause can be a question of its own: it asks, and it names something."""
    folded = _words(text)
    found = _FORM.match(folded)
    if found is None or (found[1] or "") in _NOT_VERBS:
        return False
    return found[1] is None or bool(stems(folded[found.end() :]))


def _form(text: str) -> re.Match[str] | None:
    found = _FORM.match(_words(text))
    return found if found is not None and (found[1] or "") not in _NOT_VERBS else None


def _words(text: str) -> str:
    return _NOT_A_WORD.sub(" ", fold(text)).strip()
