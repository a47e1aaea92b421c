"""The facts of a conversation: the customer's name, the branch spoken of, and a preference.

The facts are derived by narrow rules, because a wrong name is worse than none: a name only where
the customer states it, and a branch only where the cited text names it. They are stored in
``conversations.context_data``, which the next reply and the operator read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from neurant.knowledge.words import fold
from neurant.replies.intent import wants_person

_MAX_NAME, _MAX_FACT = 60, 80
_MAX_READ_CHARS = 1_000

_UPPER = "A-ZÁÉÍÓÚÑÜÇ"
_LETTER = rf"[{_UPPER}a-záéíóúñüç'’-]"
_CAPITALIZED = rf"[{_UPPER}][a-záéíóúñüç'’-]+"
_FULL_NAME = rf"{_CAPITALIZED}(?: (?:(?:de|del|de la|de los) )?{_CAPITALIZED}){{0,3}}"
# These words announce a name however it is written; of a name in lower case, one word is taken.
_STATES = re.compile(
    rf"(?<!\b[Nn]o )(?i:\b(?:me llamo|mi nombre es|my name is|mi nombre:))\s+"
    rf"(?P<name>{_FULL_NAME}|{_LETTER}{{2,20}})\b"
)
# After these, only a capitalized word is a name: "soy nueva" and "habla español" are not.
_INTRODUCES = re.compile(
    r"(?<!\b[Nn]o )(?i:\b(?:(?:yo )?soy|(?:te|le|les) (?:habla|escribe|saluda)|i am|i[’']m"
    rf"|this is))\s+(?P<name>{_FULL_NAME})(?=\s*(?:[,.;:!¡¿?\n)]|$)|\s+[a-záéíóúñ])"
)
# Capitalized words that describe a customer and name nobody.
_DESCRIBES = re.compile(
    r"(?:cliente|paciente|usuari[oa]|estudiante|alumn[oa]|huesped|socia?|madre|padre|mama|papa|"
    r"nuev[oa]|medic[oa]|doctora?|senora?|soltero|soltera|casad[oa]|mayor|menor|de|del|la|el|un|"
    r"una|que|muy|yo|alguien|not|just|from|looking|interested|trying|the|an?|mr|mrs)\b|"
    r"\w+(?:ish|ese|ican|ombian|nian)\b"
)
_BRANCH = re.compile(
    rf"\b(?P<kind>(?i:sede|sucursal|tienda|local|oficina|campus|agencia|seccional|branch|store))"
    rf":?\s+(?:(?:de|del|de la|el|la) )?"
    rf"(?P<name>[{_UPPER}]{_LETTER}*"
    rf"(?: (?:(?:de|del|la|las|los|el) )?(?:[{_UPPER}]{_LETTER}*|\d{{1,3}})){{0,3}})"
)
_PREFERS = re.compile(
    r"(?<!\bno )\b(?:prefiero|preferiria|preferiría|i prefer|i[’']d prefer|i would prefer)\s+"
    r"(?P<what>[^.,;:!?¿¡\n]{2,80})(?![^.,;:!\n]*\?)",
    re.IGNORECASE,
)
# Words that point at the branch that was just spoken of.
_POINTS_AT_BRANCH = re.compile(
    r"\b(?:ahi|alla|alli|(?:esa|esta) (?:sede|sucursal|tienda|oficina|agencia|seccional)|"
    r"(?:ese|este) (?:local|campus)|(?:that|this) (?:branch|store|office|campus))\b"
)


def established(said: str, cited: Iterable[str], known: Mapping[str, Any]) -> dict[str, str]:
    """Return the facts that a turn adds or changes.

    ``said`` is the customer's message, ``cited`` are the headings and quotes of the answer, and
    ``known`` is what the conversation has established before.
    """
    message = said[:_MAX_READ_CHARS]
    found = {
        "name": _stated_name(message),
        "branch": _branch(message, cited),
        "preference": _preference(message),
    }
    return {fact: value for fact, value in found.items() if value and value != known.get(fact)}


def customer_name(context: Mapping[str, Any]) -> str | None:
    """Return the name by which the bot greets the customer; None if it is unknown."""
    name = context.get("name")
    return name.split(" ")[0] if isinstance(name, str) and name else None


def without_introduction(text: str) -> str:
    """Return a message without the customer's introduction: "hola" of "hola, soy Ana"."""
    introduced = _introduction(text[:_MAX_READ_CHARS])
    if introduced is None:
        return text
    rest = text[: introduced.start()] + " " + text[introduced.end() :]
    return rest if re.search(r"\w", rest) else "hola"


def completed(question: str, context: Mapping[str, Any]) -> str:
    """Return the question with the known branch, if it points at it ("¿y ahí abren?")."""
    branch = context.get("branch")
    if not isinstance(branch, str) or not branch or not _POINTS_AT_BRANCH.search(fold(question)):
        return question
    return f"{question} ({branch})"


def _introduction(text: str) -> re.Match[str] | None:
    for pattern in (_STATES, _INTRODUCES):
        found = pattern.search(text)
        if found and not _DESCRIBES.match(fold(found["name"])):
            return found
    return None


def _stated_name(text: str) -> str | None:
    found = _introduction(text)
    if found is None:
        return None
    name = found["name"].strip("'’-")
    return (name if name[:1].isupper() else name.capitalize())[:_MAX_NAME]


def _branch(said: str, cited: Iterable[str]) -> str | None:
    """Return the branch that the cited text names, or of several the one that was asked for."""
    named = {fold(found["name"]): found for text in cited for found in _BRANCH.finditer(text)}
    asked = f" {' '.join(re.findall(r'[a-z0-9]+', fold(said)))} "
    wanted = [name for name in named if f" {name} " in asked]
    chosen = wanted or list(named)
    if len(chosen) != 1:
        return None
    found = named[chosen[0]]
    name = found["name"].title() if found["name"].isupper() else found["name"]
    return f"{found['kind'].capitalize()} {name}"[:_MAX_FACT]


def _preference(said: str) -> str | None:
    found = _PREFERS.search(said)
    if found is None or wants_person(said):
        return None
    return " ".join(found["what"].split())[:_MAX_FACT]
