"""The preview of a bot's answer, by the same rules as a real reply; nothing is written."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Literal

from psycopg.types.json import Jsonb

from neurant.chatbots.schemas import (
    ChatbotOut,
    PreviewIn,
    PreviewOut,
    PreviewSource,
    PromptMessage,
)
from neurant.conversations.explanation import ExplanationOut, explanation_out
from neurant.conversations.system_lines import in_words
from neurant.core.db.pool import Connection, Pool, fetch_one
from neurant.core.db.tenancy import ApiKey, Staff
from neurant.language_models.service import LanguageModels, count
from neurant.replies.consult import Consulted, consult
from neurant.replies.decide import Decision, Situation, decide
from neurant.replies.explain import explained
from neurant.replies.generate import ModelResult, Writer
from neurant.replies.intent import language_of
from neurant.replies.remember import established
from neurant.replies.requests import Said
from neurant.replies.service import Reply, as_reply, respond, with_model
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
    """A message to a bot, and the decision about it as far as it need not be read."""

    bot: ChatbotOut
    around: _Around
    now: Situation
    decision: Decision
    started: float


async def begin_preview(connection: Connection, bot: ChatbotOut, asked: PreviewIn) -> Trial:
    """Return the decision of ``bot`` (saved or not) on a message, as far as it need not be read."""
    started = time.monotonic()
    around = await fetch_one(
        connection,
        _Around,
        _AROUND,
        {"hours": Jsonb(bot.working_hours), "timezone": bot.timezone},
    )
    assert around is not None  # noqa: S101 - the caller's own company
    now = _situation(bot, around, asked)
    return Trial(bot, around, now, decide(now), started)


async def read_preview(
    pool: Pool, models: LanguageModels | None, principal: Staff | ApiKey, trial: Trial
) -> Consulted | None:
    """Read the message, search for it and ask the model; None for a trial that needs none of it.

    The caller holds no connection.
    """
    if trial.decision.action != "retrieve":
        return None

    def adjusted(writer: Writer) -> Writer:
        return replace(
            writer,
            system_prompt=trial.bot.system_prompt,
            max_messages=trial.bot.max_context_messages,
        )

    bot, now, decision = trial.bot.id, trial.now, trial.decision
    return await consult(
        pool, principal, models, bot, now, decision, of_customer=False, adjusted=adjusted
    )


async def finish_preview(
    connection: Connection, trial: Trial, read: Consulted | None, language: Language
) -> PreviewOut:
    """Return the preview, with the explanation in the reader's ``language``.

    ``read``: the message as it was read, if it had to be.
    """
    elapsed = int((time.monotonic() - trial.started) * 1000)
    result = read.result if read else None
    if read is None:
        reply = as_reply(trial.decision)
    elif read.findings:
        reply = respond(trial.now, read.decision, read.turn, read.findings, elapsed)
        reply = with_model(reply, result)
    else:
        reply = as_reply(read.decision)
    if result is not None:
        await count(connection, result.use)
    said = explanation_out(
        reply.explanation or explained(trial.decision), partial(_in_language, language)
    )
    return _preview_out(trial.now, trial.around, reply, said, elapsed, result)


def _situation(bot: ChatbotOut, around: _Around, asked: PreviewIn) -> Situation:
    traits, message = bot.personality_traits, asked.message
    language: Language = "en" if (traits.get("language") or language_of(message)) == "en" else "es"
    before = [Said(one.sender == "bot", one.text) for one in asked.earlier]
    if asked.last_bot_text is not None:
        before.append(Said(True, asked.last_bot_text))
    thread = before[-bot.max_context_messages :]
    last_bot_text = next((one.text for one in reversed(thread) if one.by_bot), None)
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
        thread=thread,
    )


def _preview_out(
    now: Situation,
    around: _Around,
    reply: Reply,
    explanation: ExplanationOut,
    elapsed: int,
    result: ModelResult | None,
) -> PreviewOut:
    actions: dict[str, Literal["answer", "escalate", "notice"]] = {
        "answer": "answer",
        "escalate": "escalate",
    }
    line = None
    if reply.action == "escalate":
        line = text("system.hitl_queued", now.language)
        if around.opens_there is not None:
            back = in_words(around.opens_there, partial(_in_language, now.language))
            line = text("system.hitl_closed", now.language, when=back)
    elif reply.action == "notice":
        line = text(f"system.{reply.content}", now.language)
    return PreviewOut(
        action=actions.get(reply.action, "notice"),
        decided_by=reply.by,
        text=None if reply.action == "notice" else reply.content,
        keyword=reply.detail if reply.by == "keywords" else None,
        system_line=line,
        sources=[
            PreviewSource(document=s["document"], page=s["page"], quote=s["quote"])
            for s in reply.sources
        ],
        confidence=explanation.confidence,
        is_open=around.is_open,
        opens_at=around.opens_at,
        prompt=_prompt(result),
        model=result.model if result else None,
        model_failure=result.failure if result else None,
        processing_ms=elapsed,
        explanation=explanation,
    )


def _in_language(language: Language, name: str, /, **params: object) -> str:
    return text(name, language, **params)


def _prompt(result: ModelResult | None) -> list[PromptMessage] | None:
    if result is None or not result.messages:
        return None
    return [PromptMessage(role=one.role, content=one.content) for one in result.messages]
