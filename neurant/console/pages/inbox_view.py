"""Convert rows of the database to the values that the inbox shows, in the reader's language."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from neurant.conversations.explanation import Explanation, in_words
from neurant.conversations.queries import Conversation, ListedConversation, StoredMessage
from neurant.conversations.system_lines import line_name, when
from neurant.core.clock import utc_now

Translate = Callable[..., str]
GROUPS = ("queue", "mine", "others", "bot", "resolved")
_ICONS = {"queue": "clock", "mine": "hand", "others": "users", "bot": "bot", "resolved": "check"}
_REASON_KINDS = {
    "user_request": "brand",
    "keywords": "info",
    "no_answer": "info",
    "manual": "line",
    "limit_reached": "warn",
    "request": "brand",
    "complaint": "warn",
    "emergency": "warn",
}
FIRST_RESPONSE = timedelta(minutes=2)  # target of the first answer; a longer wait is late
_WARN_AT = 0.6
_SAME_BREATH = timedelta(minutes=3)  # messages of one sender within this time form a group
_CONFIDENT, _UNSURE = 0.7, 0.45
_MAX_FACTS = 60
RESENDABLE = ("failed", "unknown")


@dataclass(frozen=True, slots=True)
class Row:
    """A conversation as the list shows it."""

    id: UUID
    name: str
    channel: str
    group: str
    last_message_at: datetime
    last_speaker: str | None
    last_text: str
    reason: str
    reason_kind: str
    operator: str
    waiting_since: datetime
    pressure: str


@dataclass(frozen=True, slots=True)
class Group:
    """The rows under one heading of the list."""

    name: str
    icon: str
    rows: list[Row]


@dataclass(frozen=True, slots=True)
class Message:
    """A message as the thread shows it."""

    id: UUID
    seq: int
    sender: str
    mine: bool
    name: str
    type: str
    text: str
    status: str
    problem: str | None
    can_resend: bool
    sources: list[dict[str, Any]]
    confidence: float | None
    confidence_level: int
    explanation: dict[str, Any] | None
    last_answer: bool
    created_at: datetime
    new_day: bool
    continues: bool


def customer_name(name: str | None, end_user_id: str, t: Translate) -> str:
    """Return the name from the channel, or a code that distinguishes visitors."""
    return name or t("console.thread.visitor", code=end_user_id[-4:].upper())


def system_line(t: Translate, content: str, name: str | None) -> str:
    """Return a system message in its wording for the staff, which differs from the visitor's."""
    who, key = name or t("console.thread.team"), line_name(content)
    for name in (f"console.system.{key}", f"system.{key}"):
        try:
            return t(name, name=who, when=when(content, t))
        except KeyError:
            continue
    return key


def pressure(since: datetime) -> str:
    """Return ``ok``, ``warn`` from 60 % of the target, or ``bad`` after it."""
    share = (utc_now() - since) / FIRST_RESPONSE
    return "bad" if share >= 1 else "warn" if share >= _WARN_AT else "ok"


def _group_of(row: ListedConversation) -> str:
    if row.is_hitl_active:
        return "mine" if row.is_mine else "others" if row.assigned_operator_id else "queue"
    just_resolved = row.last_line == "hitl_resolved"
    return "resolved" if row.status != "active" or just_resolved else "bot"


def _row(row: ListedConversation, t: Translate) -> Row:
    speaker = None
    if row.last_sender == "bot":
        speaker = "bot"
    elif row.last_sender == "human":
        speaker = "you" if row.last_is_mine else "human"
    since = row.hitl_activated_at or row.last_message_at
    reason = row.hitl_reason or "manual"
    group = _group_of(row)
    return Row(
        id=row.id,
        name=customer_name(row.end_user_name, row.end_user_id, t),
        channel=row.channel,
        group=group,
        last_message_at=row.last_message_at,
        last_speaker=speaker,
        last_text=row.last_text or "",
        reason=reason,
        reason_kind=_REASON_KINDS.get(reason, "line"),
        operator=row.operator or t("console.thread.team"),
        waiting_since=since,
        pressure=pressure(since) if group == "queue" else "ok",
    )


def grouped(rows: Iterable[ListedConversation], t: Translate) -> list[Group]:
    """Return the rows by heading, without empty groups."""
    shown = [_row(row, t) for row in rows]
    by_name = {name: [row for row in shown if row.group == name] for name in GROUPS}
    return [Group(name, _ICONS[name], rows) for name, rows in by_name.items() if rows]


def state_of(conversation: Conversation) -> str:
    """Return ``closed``, ``queued``, ``mine``, ``others`` or ``bot``."""
    if conversation.status != "active":
        return "closed"
    if not conversation.is_hitl_active:
        return "bot"
    if conversation.assigned_operator_id is None:
        return "queued"
    return "mine" if conversation.is_mine else "others"


def thread_view(
    conversation: Conversation, shown: int, *, can_take_over: bool, t: Translate
) -> dict[str, Any]:
    """Return the context for the header of a conversation and for the customer panel."""
    state = state_of(conversation)
    return {
        "id": conversation.id,
        "name": customer_name(conversation.end_user_name, conversation.end_user_id, t),
        "channel": conversation.channel,
        "bot_name": conversation.bot_name or t("console.thread.bot"),
        "state": state,
        "operator": conversation.operator or t("console.thread.team"),
        "reason": conversation.hitl_reason or "manual",
        "opened_at": conversation.hitl_activated_at or conversation.started_at,
        "started_at": conversation.started_at,
        "first_contact_at": conversation.first_contact_at,
        "message_count": conversation.message_count,
        "earlier": max(0, conversation.message_count - shown),
        "known": known_facts(conversation.context_data or {}, t),
        "thinking": state == "bot" and conversation.is_reply_owed,
        "can_take_over": can_take_over,
    }


def known_facts(context: dict[str, Any], t: Translate) -> list[tuple[str, str]]:
    """Return the facts that a conversation established, with the names that people read."""
    shown: list[tuple[str, str]] = []
    for fact, value in context.items():
        if words := ", ".join(_words(value)):
            shown.append((_fact_name(fact, t), words))
    return shown[:_MAX_FACTS]


def _words(value: Any) -> list[str]:
    """Return the texts and numbers of a fact, in order."""
    if isinstance(value, dict):
        return [word for part in value.values() for word in _words(part)]
    if isinstance(value, list):
        return [word for part in value for word in _words(part)]
    is_word = isinstance(value, str | int | float) and not isinstance(value, bool)
    return [str(value)] if is_word and str(value).strip() else []


def _fact_name(fact: str, t: Translate) -> str:
    try:
        return t(f"console.panel.fact.{fact}")
    except KeyError:
        return fact


def _explanation(stored: dict[str, Any] | None, t: Translate) -> dict[str, Any] | None:
    return in_words(Explanation.model_validate(stored), t) if stored else None


def _problem(message: StoredMessage, t: Translate) -> str | None:
    if message.status == "failed":
        if not message.last_error:
            return t("console.delivery.failed_plain")
        return t("console.delivery.failed", reason=_reason(message.last_error, t))
    if message.status in ("unknown", "cancelled"):
        return t(f"console.delivery.{message.status}")
    return None


def _reason(error: str, t: Translate) -> str:
    """Return our own reason in the reader's language, or the channel's text unchanged."""
    try:
        return t(f"errors.{error}")
    except KeyError:
        return error


def _level(confidence: float | None) -> int:
    if confidence is None or confidence < _UNSURE:
        return 1
    return 3 if confidence >= _CONFIDENT else 2


def thread_messages(
    messages: list[StoredMessage], customer: str, zone: Any, t: Translate
) -> list[Message]:
    """Return the messages of a thread, oldest first, with the breaks between days."""
    last_answer = max((m.seq for m in messages if m.sender == "bot"), default=0)
    shown: list[Message] = []
    before: StoredMessage | None = None
    for message in messages:
        day = message.created_at.astimezone(zone).date()
        new_day = before is None or before.created_at.astimezone(zone).date() != day
        continues = before is not None and not new_day and _continues(before, message)
        shown.append(_message(message, customer, last_answer, new_day, continues, t))
        before = message
    return shown


def _continues(before: StoredMessage, message: StoredMessage) -> bool:
    same = (before.sender, before.sender_name) == (message.sender, message.sender_name)
    return same and message.created_at - before.created_at < _SAME_BREATH


def _message(
    message: StoredMessage,
    customer: str,
    last_answer: int,
    new_day: bool,
    continues: bool,
    t: Translate,
) -> Message:
    text = message.content
    if message.sender == "system":
        text = system_line(t, text, message.sender_name)
    staff = message.sender_name or t("console.thread.team")
    return Message(
        id=message.id,
        seq=message.seq,
        sender=message.sender,
        mine=bool(message.is_mine),
        name=customer if message.sender == "end_user" else staff,
        type=message.type,
        text=text,
        status=message.status,
        problem=_problem(message, t),
        can_resend=message.status in RESENDABLE,
        sources=message.knowledge_sources or [],
        confidence=message.confidence,
        confidence_level=_level(message.confidence),
        explanation=_explanation(message.explanation, t),
        last_answer=message.seq == last_answer,
        created_at=message.created_at,
        new_day=new_day,
        continues=continues,
    )
