"""The preview of a bot's answer, by the same rules as a real reply; nothing is written."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from psycopg.types.json import Jsonb

from neurant.chatbots.schemas import ChatbotOut, PreviewOut, PreviewSource
from neurant.conversations.system_lines import in_words
from neurant.core.db.pool import Connection, fetch_one
from neurant.knowledge.answer import judge
from neurant.knowledge.search import Prepared, search_within
from neurant.knowledge.spelling import Vocabulary
from neurant.knowledge.vocabulary import vocabulary_for
from neurant.replies.decide import Decision, Situation, decide, without_answer
from neurant.replies.intent import language_of, small_talk
from neurant.replies.service import answered
from neurant.texts import Language, text

_AROUND = """
select k.name as company_name, k.max_hitl_concurrent <> 0 as plan_has_people,
  private.is_open(%(hours)s, %(timezone)s, now()) as is_open,
  private.opens_at(%(hours)s, %(timezone)s, now()) as opens_at,
  private.opens_at(%(hours)s, %(timezone)s, now()) at time zone %(timezone)s as opens_there
from public.companies k
where k.id = (select private.company_id('chatbots.read'))
"""


@dataclass(frozen=True, slots=True)
class _Around:
    company_name: str
    plan_has_people: bool
    is_open: bool
    opens_at: datetime | None
    opens_there: datetime | None


@dataclass(frozen=True, slots=True)
class Trial:
    """A message to a bot, and the decision that needs no search in documents."""

    bot: ChatbotOut
    message: str
    around: _Around
    now: Situation
    decision: Decision
    vocabulary: Vocabulary
    started: float

    @property
    def is_searched(self) -> bool:
        """True if the answer is searched in documents, for which the message is embedded."""
        return self.decision.action == "retrieve"


async def begin_preview(
    connection: Connection, bot: ChatbotOut, message: str, last_bot_text: str | None
) -> Trial:
    """Return the decision of ``bot`` (saved or not) on ``message``, as far as no search
    is needed.
    """
    started = time.monotonic()
    around = await fetch_one(
        connection,
        _Around,
        _AROUND,
        {"hours": Jsonb(bot.working_hours), "timezone": bot.timezone},
    )
    assert around is not None  # noqa: S101 - the caller's own company
    now = _situation(bot, around, message, last_bot_text)
    vocabulary = await vocabulary_for(connection, bot.id, message)
    return Trial(bot, message, around, now, decide(now), vocabulary, started)


async def finish_preview(
    connection: Connection, trial: Trial, asked: Prepared | None
) -> PreviewOut:
    """Return the preview. ``asked``: the message prepared for the search if it is searched."""
    now, message, decision = trial.now, trial.message, trial.decision
    decided_by, sources, confidence = _decided_by(now, decision), [], None
    if asked is not None:
        ranked = await search_within(connection, trial.bot.id, asked)
        found = judge(message, ranked).answer
        if found is None:
            decision, decided_by = without_answer(now, message), "no_answer"
        else:
            reply = answered(found, ranked, 0)
            decision = Decision("answer", content=reply.content)
            sources, confidence = list(reply.sources), reply.confidence
    elapsed = int((time.monotonic() - trial.started) * 1000)
    return _preview_out(now, trial.around, decision, decided_by, sources, confidence, elapsed)


def _situation(
    bot: ChatbotOut, around: _Around, message: str, last_bot_text: str | None
) -> Situation:
    traits = bot.personality_traits
    language: Language = "en" if (traits.get("language") or language_of(message)) == "en" else "es"
    return Situation(
        company_name=around.company_name,
        bot_name=bot.name,
        bot_is_active=bot.is_active,
        limit_reached=False,  # a preview is not counted
        is_hitl_active=False,
        hitl_enabled=bot.hitl_enabled and around.plan_has_people,
        hitl_triggers=bot.hitl_triggers,
        keywords=bot.hitl_trigger_keywords,
        fallback_message=bot.fallback_message,
        question=message,
        last_notice=None,
        last_bot_text=last_bot_text,
        language=language,
        persona=traits.get("persona"),
        tone=traits.get("tone"),
    )


def _decided_by(now: Situation, decision: Decision) -> str:
    if decision.action == "escalate":
        return decision.reason or "user_request"
    if decision.action == "notice":
        return "inactive" if decision.content == "bot_inactive" else "empty"
    if decision.action == "answer":
        return "small_talk" if small_talk(now.question or "") else "user_request"
    return "documents"


def _preview_out(
    now: Situation,
    around: _Around,
    decision: Decision,
    decided_by: str,
    sources: list[dict[str, Any]],
    confidence: float | None,
    elapsed: int,
) -> PreviewOut:
    actions: dict[str, Literal["answer", "escalate", "notice"]] = {
        "answer": "answer",
        "escalate": "escalate",
    }
    line = None
    if decision.action == "escalate":
        line = text("system.hitl_queued", now.language)
        if around.opens_there is not None:
            back = in_words(around.opens_there, lambda name, **p: text(name, now.language, **p))
            line = text("system.hitl_closed", now.language, when=back)
    elif decision.action == "notice":
        line = text(f"system.{decision.content}", now.language)
    return PreviewOut(
        action=actions.get(decision.action, "notice"),
        decided_by=decided_by,
        text=None if decision.action == "notice" else decision.content,
        keyword=decision.detail if decided_by == "keywords" else None,
        system_line=line,
        sources=[
            PreviewSource(document=s["document"], page=s["page"], quote=s["quote"]) for s in sources
        ],
        confidence=confidence,
        is_open=around.is_open,
        opens_at=around.opens_at,
        processing_ms=elapsed,
    )
