"""The decision about an end user's message: a pure function of the situation."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from neurant.replies.intent import (
    matched_keyword,
    small_talk,
    wants_person,
    wants_person_confirmation,
)
from neurant.replies.remember import customer_name, without_introduction
from neurant.texts import Language, in_tone
from neurant.texts.address import Manner, manner

# A fallback message that offers a person, which a bot must not repeat where no person attends.
_OFFERS = re.compile(
    r"\b(?:comunic\w+|transfi\w+|paso con|persona|operador[ae]?|asesora?|agente|alguien|humano"
    r"|equipo|person|someone|agent|human|representative|team)\b[^.!?¿]*\?",
    re.IGNORECASE,
)

Action = Literal["none", "notice", "answer", "escalate", "limit", "retrieve"]


@dataclass(frozen=True, slots=True)
class Situation:
    """A conversation when a reply is due.

    ``question`` joins the end user's messages since the last answer: "" for media only, None if an
    answer was given meanwhile. ``limit_reached``: no bot message is left this month.
    ``last_notice`` is the newest system line since the last answer, ``last_bot_text`` the bot's
    last message. ``persona`` is the bot's name for itself, if it differs from ``bot_name``;
    ``tone``, ``address``, ``style`` and the country of ``timezone`` select the wording.
    ``context`` is what the conversation has established (``remember``).
    """

    company_name: str
    bot_name: str
    bot_is_active: bool
    limit_reached: bool
    is_hitl_active: bool
    hitl_enabled: bool
    hitl_triggers: Sequence[str]
    keywords: Sequence[str]
    fallback_message: str | None
    question: str | None
    last_notice: str | None
    last_bot_text: str | None
    language: Language
    persona: str | None = None
    tone: str | None = None
    address: str | None = None
    style: str | None = None
    timezone: str | None = None
    context: Mapping[str, Any] = field(default_factory=dict)

    def say(self, name: str, **params: object) -> str:
        """Return a phrase of the bot in its language and its manner.

        A greeting has the customer's name, if it is known.
        """
        customer = customer_name(self.context)
        if name == "greeting" and customer:
            name = "greeting_name"
        known = {
            "bot": self.persona or self.bot_name,
            "company": self.company_name,
            "name": customer,
        }
        return in_tone(f"replies.{name}", self.manner, self.language, **(known | params))

    @property
    def manner(self) -> Manner:
        """The bot's tone, form of address and style."""
        return manner(self.tone, self.address, self.style, self.timezone)

    @property
    def fallback(self) -> str | None:
        """The fallback message. The default of the database has the bot's form of address too."""
        is_default = self.fallback_message == in_tone("replies.fallback", Manner(), "es")
        return self.say("fallback") if is_default else self.fallback_message


@dataclass(frozen=True, slots=True)
class Decision:
    """The action for a reply. ``content`` is the text (for a ``notice``: a key of the texts).

    ``reason`` and ``detail`` belong to an escalation. ``because`` names the reason of any other
    decision, for its explanation.
    """

    action: Action
    content: str | None = None
    reason: Literal["user_request", "keywords", "no_answer", "manual"] | None = None
    detail: str | None = None
    because: str | None = None


def decide(now: Situation) -> Decision:
    """Decide the reply: a present operator comes first, then plain wishes, then the documents."""
    if now.is_hitl_active or now.question is None:
        return Decision("none")
    if not now.bot_is_active:
        return _once(now, "bot_inactive", "inactive")
    if now.limit_reached:
        return Decision("limit")  # the database knows whether this month's notice was sent
    if not now.question.strip():
        return _once(now, "text_only", "empty")
    if escalation := _escalation(now, now.question):
        return escalation
    if talk := small_talk(without_introduction(now.question)):
        return Decision("answer", content=now.say(talk), because="courtesy")
    return Decision("retrieve")


def without_answer(now: Situation, question: str) -> Decision:
    """Decide the reply when the documents hold no answer that is good enough."""
    content = now.fallback or now.say("not_found")
    if now.hitl_enabled and "no_answer" in now.hitl_triggers:
        detail = question[:500]
        return Decision("escalate", content=content, reason="no_answer", detail=detail)
    return Decision("answer", content=content)


def without_person(now: Situation) -> Decision:
    """Decide the reply to a wish for a person where the bot hands no conversation over for it."""
    fallback = now.fallback
    if fallback and not _OFFERS.search(fallback):
        content = now.say("no_person_fallback", fallback=fallback)
    else:
        content = now.say("no_person")
    return Decision("answer", content=content, because="no_people")


def _once(now: Situation, notice: str, because: str) -> Decision:
    if now.last_notice == notice:
        return Decision("none")
    return Decision("notice", content=notice, because=because)


def _escalation(now: Situation, question: str) -> Decision | None:
    confirms = wants_person_confirmation(question) and _offered(now)
    is_wish = wants_person(question) or confirms
    if is_wish and now.hitl_enabled and "user_request" in now.hitl_triggers:
        return Decision("escalate", reason="user_request")
    if now.hitl_enabled and "keywords" in now.hitl_triggers:
        keyword = matched_keyword(question, now.keywords)
        if keyword:
            return Decision("escalate", reason="keywords", detail=keyword)
    return without_person(now) if is_wish else None


def _offered(now: Situation) -> bool:
    """Return whether the bot's last message offered a person."""
    return bool(now.fallback) and now.last_bot_text == now.fallback
