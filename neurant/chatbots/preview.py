"""The preview of a bot's answer, by the same rules as a real reply; nothing is written."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, Literal

from psycopg.types.json import Jsonb

from neurant.chatbots.schemas import ChatbotOut, PreviewOut, PreviewSource, PromptMessage
from neurant.conversations.explanation import Explanation, ExplanationOut, explanation_out
from neurant.conversations.system_lines import in_words
from neurant.core.db.pool import Connection, Pool, fetch_one
from neurant.core.db.tenancy import ApiKey, Staff, tenant
from neurant.knowledge.answer import Verdict, judge
from neurant.knowledge.rank import Found
from neurant.knowledge.search import prepared, search_within
from neurant.knowledge.spelling import Vocabulary
from neurant.knowledge.vocabulary import bot_vocabulary
from neurant.language_models.client import Message
from neurant.language_models.service import LanguageModels, count
from neurant.replies.decide import Decision, Situation, decide, without_answer
from neurant.replies.explain import explained, explained_search
from neurant.replies.generate import Said, find_writer
from neurant.replies.intent import language_of
from neurant.replies.remember import established
from neurant.replies.service import answer_of, answered, say
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


@dataclass(frozen=True, slots=True)
class Searched:
    """The passages for the message of a trial, and the answer of the company's language model."""

    ranked: Found
    verdict: Verdict
    said: Said | None


async def search_preview(
    pool: Pool, models: LanguageModels | None, principal: Staff | ApiKey, trial: Trial
) -> Searched | None:
    """Search the documents and ask the model; None for a trial that needs neither.

    The caller holds no connection: the message is embedded in a thread, and the model is another
    server.
    """
    if not trial.is_searched:
        return None
    question = await prepared(principal.company_id, trial.message, trial.vocabulary)
    async with tenant(pool, principal) as connection:
        ranked = await search_within(connection, trial.bot.id, question)
        writer = await find_writer(connection, models, trial.bot.id) if models else None
    verdict, said = judge(trial.message, ranked), None
    if writer is not None:
        tried = replace(
            writer,
            system_prompt=trial.bot.system_prompt,
            max_messages=trial.bot.max_context_messages,
        )
        before = trial.now.last_bot_text
        earlier = [Message("assistant", before)] if before else []
        said = await say(tried, trial.now, earlier, trial.message, ranked, verdict)
    return Searched(ranked, verdict, said)


async def finish_preview(
    connection: Connection, trial: Trial, searched: Searched | None, language: Language
) -> PreviewOut:
    """Return the preview, with the explanation in the reader's ``language``.

    ``searched``: what was found if the trial is searched.
    """
    now, message, decision = trial.now, trial.message, trial.decision
    sources: list[dict[str, Any]] = []
    explanation, said = explained(decision), None
    if searched is not None:
        ranked, verdict, said = searched.ranked, searched.verdict, searched.said
        found = answer_of(said, verdict)
        if found is None:
            decision = without_answer(now, message)
        else:
            reply = answered(found, ranked, 0)
            decision, sources = Decision("answer", content=reply.content), list(reply.sources)
        explanation = explained_search(decision, message, ranked, verdict)
    if said is not None:
        await count(connection, said.use)
    elapsed = int((time.monotonic() - trial.started) * 1000)
    told = explanation_out(explanation, partial(_in_language, language))
    return _preview_out(now, trial.around, decision, told, sources, elapsed, said)


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
    said: Said | None,
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
        prompt=_prompt(said),
        model=said.model if said else None,
        model_failure=said.failure if said else None,
        processing_ms=elapsed,
        explanation=explanation,
    )


def _in_language(language: Language, name: str, /, **params: object) -> str:
    return text(name, language, **params)


def _prompt(said: Said | None) -> list[PromptMessage] | None:
    if said is None or not said.messages:
        return None
    return [PromptMessage(role=one.role, content=one.content) for one in said.messages]
