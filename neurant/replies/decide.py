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
from neurant.replies.requests import Request, Said, open_request, stops
from neurant.texts import Language, in_tone, wordings
from neurant.texts.address import Manner, manner
from neurant.understanding.addressing import asks_for_help, without_address
from neurant.understanding.classify import Classified
from neurant.understanding.details import Detail
from neurant.understanding.forms import is_question
from neurant.understanding.kinds import REQUESTS, SMALL_TALK, Kind

_ACKNOWLEDGES = re.compile(
    r"\s*(?:ok|okey|okay|vale|listo|perfecto|bueno|entendido|dale|gracias|alright|great|thanks)\b",
    re.IGNORECASE,
)
# A fallback message that offers a person, which a bot must not repeat where no person attends.
_OFFERS = re.compile(
    r"\b(?:comunic\w+|transfi\w+|paso con|persona|operador[ae]?|asesora?|agente|alguien|humano"
    r"|equipo|person|someone|agent|human|representative|team)\b[^.!?¿]*\?",
    re.IGNORECASE,
)
_PLAIN_QUESTION = 0.75  # above this probability even such a statement is taken for a question

Action = Literal["none", "notice", "answer", "escalate", "limit", "retrieve"]


@dataclass(frozen=True, slots=True)
class Situation:
    """A conversation when a reply is due.

    ``question`` joins the end user's messages since the last answer: "" for media only, None if an
    answer was given meanwhile. ``limit_reached``: no bot message is left this month.
    ``last_notice`` is the newest system line since the last answer, ``last_bot_text`` the bot's
    last message. ``persona`` is the bot's name for itself, if it differs from ``bot_name``;
    ``tone``, ``address``, ``style`` and the country of ``timezone`` select the wording.
    ``context`` is what the conversation has established (``remember``). ``thread`` holds the
    messages before the question, oldest first. ``attachment`` is the kind of the newest message if
    it is a place or a contact without words.
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
    thread: Sequence[Said] = ()
    attachment: Literal["location", "contact"] | None = None

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

    @property
    def hands_over_on_wish(self) -> bool:
        """True if a person is called when the customer asks for one."""
        return self.hitl_enabled and "user_request" in self.hitl_triggers

    @property
    def earlier(self) -> list[str]:
        """The end user's earlier messages, oldest first."""
        return [message.text for message in self.thread if not message.by_bot]


Reason = Literal[
    "user_request", "keywords", "no_answer", "manual", "request", "complaint", "emergency"
]


@dataclass(frozen=True, slots=True)
class Decision:
    """The action for a reply. ``content`` is the text (for a ``notice``: a key of the texts).

    ``reason`` and ``detail`` belong to an escalation. ``kind`` is the class of the turn that a
    search is for; ``request`` is the open request to which the documents' answer returns. ``by``
    names what decided: a class, "keywords", "no_answer", "inactive", "empty" or "documents".
    """

    action: Action
    content: str | None = None
    reason: Reason | None = None
    detail: str | None = None
    kind: Kind = "question"
    request: Request | None = None
    by: str = "documents"


def decide(now: Situation) -> Decision:
    """Decide what needs no reading of the message: a person who attends, plain wishes, courtesies.

    ``retrieve`` means that the message is to be read (``react``) and searched.
    """
    if now.is_hitl_active or now.question is None:
        return Decision("none")
    if not now.bot_is_active:
        return _once(now, "bot_inactive", by="inactive")
    if now.limit_reached:
        return Decision("limit")  # the database knows whether this month's notice was sent
    if not now.question.strip():
        if now.attachment:
            return Decision("answer", content=now.say(now.attachment), by=now.attachment)
        return _once(now, "text_only", by="empty")
    question = without_address(now.question)
    request = open_request(now.thread)
    if escalation := _escalation(now, question, request):
        return escalation
    if request is not None:
        return _continued(now, request, question)
    if asks_for_help(now.question):
        return Decision(
            "answer", content=now.say("help" if now.thread else "greeting"), by="small_talk"
        )
    if talk := small_talk(without_introduction(question)):
        return _small_talk(now, talk)
    return Decision("retrieve")


def react(now: Situation, kind: Kind, is_sure: bool = True) -> Decision:
    """Decide by the class of a message that ``decide`` left open; ``kind`` is a certain class.

    ``is_sure``: the class is so likely that the documents need not be asked first.
    """
    question = without_address(now.question or "")
    if kind in SMALL_TALK:
        return _small_talk(now, kind)
    if kind == "identity" and is_sure:
        return _plain_answer(now, "identity")
    if kind == "insult":
        return _plain_answer(now, "insult")
    if kind == "person":
        return _to_person(now, None) if now.hands_over_on_wish else without_person(now)
    if kind in REQUESTS and now.hitl_enabled and (kind == "status" or not is_question(question)):
        return begin_request(now, kind)
    return Decision("retrieve", kind=kind)  # a question about an action may be in the documents


def begin_request(now: Situation, kind: Kind) -> Decision:
    """Ask for the first missing detail of a request to act, or hand the request over."""
    return _next_step(now, Request(kind, without_address(now.question or ""), (), None))


def without_answer(now: Situation, question: str, classified: Classified | None = None) -> Decision:
    """Decide the reply when the documents hold no answer that is good enough.

    Nobody is called for what is more likely a courtesy or off the subject than a question.
    """
    if classified is not None and (milder := _milder(now, classified)):
        return milder
    content = now.fallback or now.say("not_found")
    if now.hitl_enabled and "no_answer" in now.hitl_triggers:
        detail = question[:500]
        return Decision(
            "escalate", content=content, reason="no_answer", detail=detail, by="no_answer"
        )
    return Decision("answer", content=content, by="no_answer")


def without_person(now: Situation) -> Decision:
    """Decide the reply to a wish for a person where the bot hands no conversation over for it."""
    fallback = now.fallback
    if fallback and not _OFFERS.search(fallback):
        content = now.say("no_person_fallback", fallback=fallback)
    else:
        content = now.say("no_person")
    return Decision("answer", content=content, by="user_request")


def with_care(now: Situation, kind: Kind, question: str, advice: str | None) -> Decision:
    """Decide the reply to a complaint, an emergency, or a wish for professional advice.

    ``advice`` is what the documents say about it, None if they say nothing.
    """
    phrase = now.say(kind if now.hitl_enabled else f"{kind}_alone")
    content = "\n\n".join(filter(None, (phrase, advice)))
    if not now.hitl_enabled:
        return Decision("answer", content=content, by=kind)
    reason: Reason = "complaint" if kind == "complaint" else "emergency"
    return Decision("escalate", content=content, reason=reason, detail=question[:500], by=kind)


def _milder(now: Situation, classified: Classified) -> Decision | None:
    if classified.kind == "offtopic":
        return Decision("answer", content=now.say("off_topic"), by="off_topic")
    if classified.kind in ("identity", "insult"):
        return _plain_answer(now, classified.kind)
    asked, question = classified.probabilities["question"], now.question or ""
    talks = classified.kind in SMALL_TALK or (
        classified.kind == "question"
        and (classified.of(SMALL_TALK) > asked or _only_acknowledges(question, asked))
    )
    if not talks or "?" in question:
        return None
    return _small_talk(now, max(SMALL_TALK, key=classified.probabilities.__getitem__))


def _only_acknowledges(text: str, asked: float) -> bool:
    """Return whether a statement begins with an "ok": "ok, nos vemos en la tienda"."""
    opens = _ACKNOWLEDGES.match(text) is not None
    return opens and not is_question(text) and asked < _PLAIN_QUESTION


def _small_talk(now: Situation, kind: Kind) -> Decision:
    """Answer a courtesy shortly, and the next one after that answer with nothing."""
    if kind in ("courtesy", "reaction") and _is_small_talk_of_bot(now.last_bot_text):
        return Decision("none", by="small_talk")
    return Decision("answer", content=now.say(kind), by="small_talk")


def _plain_answer(now: Situation, kind: Kind) -> Decision:
    """Answer who the bot is, or an insult; where people attend, one is offered."""
    phrase = f"{kind}_with_people" if now.hands_over_on_wish else kind
    return Decision("answer", content=now.say(phrase), by=kind)


def _continued(now: Situation, request: Request, answer: str) -> Decision:
    """Continue an open request with the end user's answer."""
    if stops(answer):
        return Decision("answer", content=now.say("request_stopped"), by="request")
    if "?" in answer or "¿" in answer:
        return Decision("retrieve", request=request)
    return _next_step(now, request.answered(answer))


def _next_step(now: Situation, request: Request) -> Decision:
    """Ask for the next detail of a request, or hand all of them to a person."""
    detail = request.next_detail()
    if detail is not None:
        return Decision("answer", content=now.say(f"ask_{detail}"), by="request")
    summary = request.summary(lambda one: _label(now, one))
    done = now.say("request_done", summary=summary)
    return Decision("escalate", content=done, reason="request", detail=summary[:500], by="request")


def _label(now: Situation, detail: Detail | None) -> str:
    return now.say(f"detail.{detail or 'request'}")


def _once(now: Situation, notice: str, by: str) -> Decision:
    if now.last_notice == notice:
        return Decision("none", by=by)
    return Decision("notice", content=notice, by=by)


def _escalation(now: Situation, question: str, request: Request | None) -> Decision | None:
    confirms = wants_person_confirmation(question) and _offered(now)
    is_wish = wants_person(question) or confirms
    if is_wish and now.hands_over_on_wish:
        return _to_person(now, request)
    if now.hitl_enabled and "keywords" in now.hitl_triggers and request is None:
        keyword = matched_keyword(question, now.keywords)
        if keyword:
            return Decision("escalate", reason="keywords", detail=keyword, by="keywords")
    return without_person(now) if is_wish else None


def _to_person(now: Situation, request: Request | None) -> Decision:
    detail = request.summary(lambda one: _label(now, one))[:500] if request else None
    return Decision("escalate", reason="user_request", detail=detail, by="user_request")


def _offered(now: Situation) -> bool:
    """Return whether the bot's last message offered a person."""
    last = now.last_bot_text
    return bool(last) and (
        last == now.fallback or last in wordings("replies", "insult_with_people")
    )


def _is_small_talk_of_bot(last: str | None) -> bool:
    return last is not None and any(
        last in wordings("replies", name) for name in ("courtesy", "thanks", "farewell", "reaction")
    )
