"""The preview of a bot's answer, by the same rules as a real reply; nothing is written."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Literal

from psycopg.types.json import Jsonb

from neurant.chatbots.schemas import ChatbotOut, PreviewOut, PreviewSource
from neurant.conversations.explanation import Explanation, ExplanationOut, explanation_out
from neurant.conversations.system_lines import in_words
from neurant.core.db.pool import Connection, fetch_one
from neurant.knowledge.answer import judge
from neurant.knowledge.search import Prepared, search_within
from neurant.knowledge.spelling import Vocabulary
from neurant.knowledge.vocabulary import bot_vocabulary
from neurant.replies.decide import Decision, Situation, decide, without_answer
from neurant.replies.explain import explained, explained_search
from neurant.replies.intent import language_of
from neurant.replies.remember import established
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
    vocabulary = await bot_vocabulary(connection, bot.id)
    return Trial(bot, message, around, now, decide(now), vocabulary, started)


async def finish_preview(
    connection: Connection, trial: Trial, asked: Prepared | None, language: Language
) -> PreviewOut:
    """Return the preview, with the explanation in the reader's ``language``.

    ``asked``: the message prepared for the search if it is searched.
    """
    now, message, decision = trial.now, trial.message, trial.decision
    sources: list[dict[str, Any]] = []
    explanation = explained(decision)
    if asked is not None:
        ranked = await search_within(connection, trial.bot.id, asked)
        verdict = judge(message, ranked)
        if verdict.answer is None:
            decision = without_answer(now, message)
        else:
            reply = answered(verdict.answer, ranked, 0)
            decision, sources = Decision("answer", content=reply.content), list(reply.sources)
        explanation = explained_search(decision, message, ranked, verdict)
    elapsed = int((time.monotonic() - trial.started) * 1000)
    told = explanation_out(explanation, partial(_in_language, language))
    return _preview_out(now, trial.around, decision, told, sources, elapsed)


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
        address=traits.get("address"),
        style=traits.get("style"),
        timezone=bot.timezone,
        context=established(message, (), {}),
    )


def _decided_by(explanation: Explanation) -> str:
    """Return the rule that decided: the answer of documents, their silence, or the kind of turn."""
    if explanation.threshold is None:
        return explanation.turn
    return "documents" if explanation.reason == "documents" else "no_answer"


def _preview_out(
    now: Situation,
    around: _Around,
    decision: Decision,
    explanation: ExplanationOut,
    sources: list[dict[str, Any]],
    elapsed: int,
) -> PreviewOut:
    actions: dict[str, Literal["answer", "escalate", "notice"]] = {
        "answer": "answer",
        "escalate": "escalate",
    }
    line, decided_by = None, _decided_by(explanation)
    if decision.action == "escalate":
        line = text("system.hitl_queued", now.language)
        if around.opens_there is not None:
            back = in_words(around.opens_there, partial(_in_language, now.language))
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
        confidence=explanation.confidence,
        is_open=around.is_open,
        opens_at=around.opens_at,
        processing_ms=elapsed,
        explanation=explanation,
    )


def _in_language(language: Language, name: str, /, **params: object) -> str:
    return text(name, language, **params)
