"""The details of a request to act that a message says: what, when, in whose name, which contact."""

from __future__ import annotations

import re
from typing import Literal

from neurant.knowledge.words import STOP_WORDS, fold, stem, tokens
from neurant.understanding.kinds import Kind

Detail = Literal["service", "when", "cancelled", "moved", "number", "details", "name", "contact"]

# The details that a person needs to act, in the order of asking.
NEEDED: dict[Kind, tuple[Detail, ...]] = {
    "book": ("service", "when", "name", "contact"),
    "cancel": ("cancelled", "name", "contact"),
    "move": ("moved", "name", "contact"),
    "status": ("number", "name"),
    "order": ("details", "name", "contact"),
}

_WHEN = re.compile(
    r"\b(?:hoy|manana|pasado manana|lunes|martes|miercoles|jueves|viernes|sabado|domingo|"
    r"enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|octubre|noviembre|diciembre|"
    r"fin de semana|proxim[oa]s?|otra semana|esta semana|"
    r"esta (?:noche|tarde)|en la (?:manana|tarde|noche)|"
    r"today|tonight|tomorrow|monday|tuesday|wednesday|thursday|friday|saturday|sunday|weekend|"
    r"next week|january|february|march|april|june|july|august|september|october|november|december|"
    r"a las? \d{1,2}|at \d{1,2}|el \d{1,2}|\d{1,2}(?::\d\d)? ?[ap]\.? ?m|"
    r"\d{1,2}[/-]\d{1,2}|\d{1,2}:\d\d)\b"
)
_PHONE = re.compile(r"(?<![\w$#.,])\+?\d(?:[ ().-]?\d){6,14}(?![\w])")
_MAIL = re.compile(r"[^\s@,;]+@[^\s@,;]+\.\w{2,}")
_NAME = re.compile(
    r"\b(?i:soy|me llamo|mi nombre es|a nombre de|de parte de|para|i am|i'm|my name is|"
    r"under the name(?: of)?)"
    r"\s+((?:[A-ZÁÉÍÓÚÑ][\wáéíóúüñ'-]+)(?:\s+(?:de |del |la )?[A-ZÁÉÍÓÚÑ][\wáéíóúüñ'-]+){0,3})"
)
_NUMBER = re.compile(r"\b[A-Za-z]{0,4}-?\d{3,}[\w-]*\b")
# Words of the request itself, which name nothing.
_GENERIC = frozenset(
    map(
        stem,
        tokens(
            "pedir sacar agendar agenda agendame reservar reserva reservame reservacion "
            "apartar aparta separar separame programar tomar dar cita citas turno turnos cupo "
            "hora horario espacio cancelar cancela cancelame cancelen anular anula cambiar "
            "cambio cambia mover reprogramar aplazar modificar pedido pedidos orden compra "
            "envio paquete tramite solicitud estado saber confirmar inscribirme inscribir "
            "matricularme apuntame anotame comprar hacer encargar solicitar favor porfa "
            "porfavor gracias urgente nueva nuevo dia kiero nesecito please book booking make "
            "schedule appointment reserve reservation cancel change move reschedule order "
            "status track buy place sign register like appointments ir poder asistir voy"
        ),
    )
)


def said(text: str, detail: Detail) -> str | None:
    """Return the detail as a text says it; None if the text does not say it."""
    if detail == "contact":
        found = _MAIL.search(text) or _PHONE.search(text)
        return found[0].strip() if found else None
    if detail == "name":
        named = _NAME.search(text)
        return named[1] if named and not _WHEN.fullmatch(fold(named[1])) else None
    if detail in ("when", "moved"):
        return text.strip() if _WHEN.search(fold(text)) else None
    if detail == "number" and (numbered := _NUMBER.search(text)):
        return numbered[0]
    names = _names_something(text) or (detail == "cancelled" and _WHEN.search(fold(text)))
    return text.strip() if names else None


def missing(kind: Kind, texts: list[str], asked: frozenset[Detail]) -> Detail | None:
    """Return the first detail that the texts do not say and that was not asked for yet."""
    for detail in NEEDED[kind]:
        if detail not in asked and not any(said(text, detail) for text in texts):
            return detail
    return None


def _names_something(text: str) -> bool:
    """Return whether a text names a thing beyond the request, a time, a name and a number."""
    folded = _WHEN.sub(" ", fold(_NAME.sub(" ", _PHONE.sub(" ", _MAIL.sub(" ", text)))))
    return any(
        stem(word) not in _GENERIC
        for word in tokens(folded)
        if word not in STOP_WORDS and not word.isdigit()
    )
