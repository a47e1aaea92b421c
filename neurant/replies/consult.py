"""A turn that is read: its class, the findings of its questions, and the words of a model.

The real reply and the preview of the console consult the same things in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from neurant.core.db.pool import Pool
from neurant.core.db.tenancy import ApiKey, Staff, Worker, tenant
from neurant.knowledge.repair import is_plain
from neurant.knowledge.search import Prepared, prepared
from neurant.knowledge.spelling import NO_WORDS
from neurant.knowledge.vocabulary import bot_vocabulary
from neurant.language_models.client import Message
from neurant.language_models.service import LanguageModels
from neurant.replies.decide import Decision, Situation, react
from neurant.replies.generate import ModelResult, Voice, Writer, find_writer, write
from neurant.replies.lookup import Finding, joined, look_up
from neurant.replies.remember import completed
from neurant.texts import Language
from neurant.understanding.kinds import CARE, REQUESTS
from neurant.understanding.turn import Part, Prepare, Reading, Turn, read_turn

# Turns that end with a person; where there is none, the documents say how to reach the company.
_REACHING = CARE | REQUESTS
_HOW_TO_REACH: dict[Language, str] = {
    "es": "¿Cuál es el teléfono o el correo para contactarlos?",
    "en": "What is the phone number or e-mail address to contact you?",
}


@dataclass(frozen=True, slots=True)
class Consulted:
    """A turn that was read, and what the documents and the company's model answer to it.

    ``findings`` is empty where the class of the turn decides alone; ``result`` is None where no
    model was asked.
    """

    decision: Decision
    turn: Turn
    findings: tuple[Finding, ...] = ()
    result: ModelResult | None = None


async def consult(
    pool: Pool,
    principal: Worker | Staff | ApiKey,
    models: LanguageModels | None,
    chatbot_id: UUID,
    now: Situation,
    decision: Decision,
    *,
    of_customer: bool,
    adjusted: Callable[[Writer], Writer] = lambda writer: writer,
) -> Consulted:
    """Read the turn that ``decide`` left open, search its questions and ask the company's model.

    The caller holds no connection: the turn is embedded in a thread, and the model is another
    server. ``adjusted`` replaces instructions of the bot that are not saved.
    """
    question = completed(now.question or "", now.context)
    vocabulary = NO_WORDS
    if not is_plain(question):  # most questions need no look at the documents' words
        async with tenant(pool, principal) as connection:
            vocabulary = await bot_vocabulary(connection, chatbot_id)

    async def prepare(text: str) -> Prepared:
        return await prepared(principal.company_id, text, vocabulary, of_customer=of_customer)

    decision, turn = await understood(now, decision, question, prepare)
    if decision.action != "retrieve":
        return Consulted(decision, turn)
    async with tenant(pool, principal) as connection:
        findings = await look_up(connection, chatbot_id, turn)
        writer = await find_writer(connection, models, chatbot_id)
    if writer is None:
        return Consulted(decision, turn, findings)
    whole = joined(turn.text, findings)
    result = await _say(adjusted(writer), now, turn.text, whole)
    return Consulted(decision, turn, _with_result(findings, whole, result), result)


async def understood(
    now: Situation, decision: Decision, question: str, prepare: Prepare
) -> tuple[Decision, Turn]:
    """Read the turn that ``decide`` left open, and decide by its class.

    ``prepare`` waits for a thread, so the caller holds no connection. Where nobody can be called,
    the turn that would need a person also asks how to reach the company.
    """
    turn = await read_turn(question, now.earlier, prepare)
    if decision.request is None:
        decision = react(now, turn.kind, turn.is_sure)
    if decision.kind in _REACHING and not now.hitl_enabled and decision.action == "retrieve":
        text = _HOW_TO_REACH[now.language]
        reach = Part(text, (Reading(text, await prepare(text)),))
        turn = Turn(turn.text, turn.classified, (*turn.parts[:1], reach))
    return decision, turn


async def _say(writer: Writer, now: Situation, asked: str, whole: Finding) -> ModelResult | None:
    voice = Voice(
        bot_name=now.bot_name,
        company_name=now.company_name,
        persona=now.persona,
        manner=now.manner,
        language=now.language,
        system_prompt=writer.system_prompt,
        max_messages=writer.max_messages,
    )
    earlier = [Message("assistant" if one.by_bot else "user", one.text) for one in now.thread]
    verdict = whole.verdict
    return await write(writer, voice, earlier, asked, whole.ranked, verdict.confidence)


def _with_result(
    findings: Sequence[Finding], whole: Finding, result: ModelResult | None
) -> tuple[Finding, ...]:
    """Return the findings with the model's answer, or its judgement that there is none."""
    if result is None or (result.answer is None and not result.is_declined):
        return tuple(findings)
    if result.answer is None:
        return tuple(replace(one, verdict=replace(one.verdict, answer=None)) for one in findings)
    return (replace(whole, verdict=replace(whole.verdict, answer=result.answer)),)
