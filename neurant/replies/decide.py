"""The decision about an end user's message: a pure function of the situation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from neurant.replies.intent import (
    matched_keyword,
    small_talk,
    wants_person,
    wants_person_confirmation,
)
from neurant.texts import Language, in_tone

Action = Literal["none", "notice", "answer", "escalate", "limit", "retrieve"]


@dataclass(frozen=True, slots=True)
class Situation:
    """A conversation when a reply is due.

    ``question`` joins the end user's messages since the last answer: "" for media only, None if an
    answer was given meanwhile. ``limit_reached``: no bot message is left this month.
    ``last_notice`` is the newest system line since the last answer, ``last_bot_text`` the bot's
    last message. ``persona`` is the bot's name for itself, if it differs from ``bot_name``;
    ``tone`` selects the wording.
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

    def say(self, name: str) -> str:
        """Return a phrase of the bot, in its tone and language."""
        bot = self.persona or self.bot_name
        return in_tone(
            f"replies.{name}", self.tone, self.language, bot=bot, company=self.company_name
        )


@dataclass(frozen=True, slots=True)
class Decision:
    """The action for a reply. ``content`` is the text (for a ``notice``: a key of the texts).

    ``reason`` and ``detail`` belong to an escalation.
    """

    action: Action
    content: str | None = None
    reason: Literal["user_request", "keywords", "no_answer", "manual"] | None = None
    detail: str | None = None


def decide(now: Situation) -> Decision:
    """Decide the reply: a present operator comes first, then plain wishes, then the documents."""
    if now.is_hitl_active or now.question is None:
        return Decision("none")
    if not now.bot_is_active:
        return _once(now, "bot_inactive")
    if now.limit_reached:
        return Decision("limit")  # the database knows whether this month's notice was sent
    if not now.question.strip():
        return _once(now, "text_only")
    if escalation := _escalation(now, now.question):
        return escalation
    if talk := small_talk(now.question):
        return Decision("answer", content=now.say(talk))
    return Decision("retrieve")


def without_answer(now: Situation, question: str) -> Decision:
    """Decide the reply when the documents hold no answer that is good enough."""
    not_found = now.say("not_found")
    if not now.hitl_enabled:
        return Decision("answer", content=not_found)
    if "no_answer" in now.hitl_triggers:
        detail = question[:500]
        return Decision("escalate", content=not_found, reason="no_answer", detail=detail)
    return Decision("answer", content=now.fallback_message or not_found)


def _once(now: Situation, notice: str) -> Decision:
    return Decision("none") if now.last_notice == notice else Decision("notice", content=notice)


def _escalation(now: Situation, question: str) -> Decision | None:
    confirms = wants_person_confirmation(question) and _offered(now)
    if wants_person(question) or confirms:
        if not now.hitl_enabled:
            return Decision("answer", content=now.say("no_person"))
        return Decision("escalate", reason="user_request")
    if now.hitl_enabled and "keywords" in now.hitl_triggers:
        keyword = matched_keyword(question, now.keywords)
        if keyword:
            return Decision("escalate", reason="keywords", detail=keyword)
    return None


def _offered(now: Situation) -> bool:
    """Return whether the bot's last message offered a person."""
    return bool(now.fallback_message) and now.last_bot_text == now.fallback_message
