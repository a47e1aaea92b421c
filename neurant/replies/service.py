"""Making a due reply, from the lease to the fenced write.

There are three short transactions: read, search, write. A language model is asked between the last
two, while no connection is held. If the situation changed in between (an
operator took over, the end user wrote more, the lease ended), the last one detects it and writes
nothing.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import dropwhile
from uuid import UUID

from neurant.core.clock import utc_now
from neurant.core.db.pool import Pool
from neurant.core.db.tenancy import Worker, tenant
from neurant.core.logs import get_logger
from neurant.core.realtime import Hub
from neurant.knowledge.answer import Answer, Verdict, display_name, judge
from neurant.knowledge.rank import Ranked
from neurant.knowledge.search import search
from neurant.language_models.client import Message
from neurant.language_models.model import Use
from neurant.language_models.service import LanguageModels, count
from neurant.replies import queries
from neurant.replies.decide import Decision, Situation, decide, without_answer
from neurant.replies.generate import Said, Voice, Writer, find_writer, write
from neurant.replies.intent import language_of
from neurant.replies.queries import (
    Claim,
    ConversationRow,
    KnowledgeQuery,
    MessageRow,
    Reply,
    claim_replies,
    next_due,
)
from neurant.texts import Language

GENERATOR = "extractive"
_MAX_ATTEMPTS = 5
_LEASE = timedelta(seconds=20)
_TO_WRITE = timedelta(seconds=3)  # of the lease, after a language model's answer
_LISTEN = timedelta(seconds=1.5)
_MAX_RETRY_SECONDS = 60.0

log = get_logger(__name__)


def unanswered(messages: Sequence[MessageRow]) -> tuple[str | None, str | None, str | None]:
    """Return the open question, the newest notice since the last answer, the bot's last message.

    ``messages`` come newest first.
    """
    asked: list[str] = []
    notice: str | None = None
    for message in messages:
        if message.sender_type == "system":
            notice = notice or message.content
        elif message.sender_type == "end_user":
            asked.append(message.content)
        else:
            break
    last_bot = next((m.content for m in messages if m.sender_type == "bot"), None)
    question = "\n".join(filter(None, reversed(asked))) if asked else None
    return question, notice, last_bot


def situation(row: ConversationRow, messages: Sequence[MessageRow]) -> Situation:
    """Return the situation that ``decide`` needs."""
    question, notice, last_bot = unanswered(messages)
    configured = row.language if row.language in ("es", "en") else None
    language: Language = "en" if (configured or language_of(question or "")) == "en" else "es"
    return Situation(
        company_name=row.company_name,
        bot_name=row.bot_name,
        bot_is_active=row.bot_is_active,
        limit_reached=row.limit_reached,
        is_hitl_active=row.is_hitl_active,
        hitl_enabled=row.hitl_enabled,
        hitl_triggers=row.hitl_triggers,
        keywords=row.keywords or (),
        fallback_message=row.fallback_message,
        question=question,
        last_notice=notice,
        last_bot_text=last_bot,
        language=language,
        persona=row.persona,
        tone=row.tone,
    )


@dataclass
class Desk:
    """The replies that this worker makes, at most ``share`` of one company at a time."""

    pool: Pool
    hub: Hub
    share: int
    models: LanguageModels | None = None
    _running: list[UUID] = field(default_factory=list)

    async def claim(self, free: int) -> list[Claim]:
        """Lease up to ``free`` due replies of companies that have not used their share."""
        claims = await claim_replies(self.pool, free, _LEASE, self.share, self._running)
        self._running += [claim.company_id for claim in claims]
        return claims

    async def next_due(self) -> datetime | None:
        """Return when the next reply is due; None if a due reply waits for its company's share."""
        due = await next_due(self.pool)
        is_full = any(count >= self.share for count in Counter(self._running).values())
        return None if due is not None and is_full and due <= utc_now() else due

    async def work(self, claim: Claim) -> None:
        """Make a leased reply."""
        try:
            await reply(self.pool, self.hub, claim, self.models)
        finally:
            self._running.remove(claim.company_id)


async def reply(pool: Pool, hub: Hub, claim: Claim, models: LanguageModels | None = None) -> str:
    """Make a due reply and return its outcome.

    The outcome is that of the write, or ``gone``, ``listening`` or ``failed``.
    """
    try:
        outcome = await _reply(pool, claim, models)
    except Exception as error:
        log.exception("reply_failed", conversation=str(claim.conversation_id))
        await _fail(pool, claim, error)
        outcome = "failed"
    hub.announce(claim.company_id, claim.conversation_id)
    hub.announce_work()
    return outcome


async def _reply(pool: Pool, claim: Claim, models: LanguageModels | None) -> str:
    started = time.monotonic()
    worker = Worker(claim.company_id)
    async with tenant(pool, worker) as connection:
        found = await queries.read_conversation(connection, claim.conversation_id)
    if found is None:
        return "gone"
    row, messages = found
    now = situation(row, messages)
    decision, query, use = decide(now), None, None
    if claim.attempts > _MAX_ATTEMPTS and now.hitl_enabled and not now.is_hitl_active:
        decision = Decision("escalate", reason="no_answer", detail="reply failed repeatedly")
    written = _as_reply(decision)
    if decision.action == "retrieve" and now.question:
        written, query, use = await _from_documents(
            pool, worker, models, row.chatbot_id, now, now.question, messages, started
        )
    if written.reason == "no_answer" and claim.attempts == 1:
        # People often explain themselves in the next message, so wait before calling a person.
        async with tenant(pool, worker) as connection:
            await queries.fail_reply(connection, claim, "no answer yet", _LISTEN)
            if use is not None:
                await count(connection, use)
        return "listening"
    async with tenant(pool, worker) as connection:
        finished = await queries.finish_reply(
            connection, claim, row.fence, messages[0].seq if messages else 0, written
        )
        if query is not None and finished.outcome == "done":
            await queries.log_query(connection, claim, finished.message_id, query)
        if use is not None:  # also of a reply that is dropped: the model was asked
            await count(connection, use)
    return finished.outcome


async def _from_documents(
    pool: Pool,
    worker: Worker,
    models: LanguageModels | None,
    chatbot_id: UUID,
    now: Situation,
    question: str,
    messages: Sequence[MessageRow],
    started: float,
) -> tuple[Reply, KnowledgeQuery, Use | None]:
    ranked = await search(pool, worker, chatbot_id, question)
    verdict = judge(question, ranked)
    said = None
    if models is not None:
        async with tenant(pool, worker) as connection:
            writer = await find_writer(connection, models, chatbot_id)
        if writer is not None:
            left = (_LEASE - _TO_WRITE).total_seconds() - (time.monotonic() - started)
            hurried = writer.within(left)
            said = await say(hurried, now, history(messages), question, ranked, verdict)
    found = answer_of(said, verdict)
    elapsed = int((time.monotonic() - started) * 1000)
    similarities = [r.candidate.similarity for r in ranked if r.candidate.similarity is not None]
    query = KnowledgeQuery(
        question, len(ranked) if found else 0, max(similarities, default=None), elapsed
    )
    if found is None:
        written = _as_reply(without_answer(now, question), elapsed)
    else:
        written = answered(found, ranked, elapsed)
    return _with_model(written, said), query, said.use if said else None


async def say(
    writer: Writer,
    now: Situation,
    earlier: Sequence[Message],
    question: str,
    ranked: Sequence[Ranked],
    verdict: Verdict,
) -> Said | None:
    """Return what the company's model says; None where there is nothing to answer from."""
    voice = Voice(
        bot_name=now.bot_name,
        company_name=now.company_name,
        persona=now.persona,
        tone=now.tone,
        language=now.language,
        system_prompt=writer.system_prompt,
        max_messages=writer.max_messages,
    )
    return await write(writer, voice, earlier, question, ranked, verdict.confidence)


def answer_of(said: Said | None, verdict: Verdict) -> Answer | None:
    """Return the model's answer, or that of the documents where no model gave or declined one."""
    if said is None or (said.answer is None and not said.is_declined):
        return verdict.answer
    return said.answer


def history(messages: Sequence[MessageRow]) -> list[Message]:
    """Return what was said before the open question, oldest first, as a model reads it.

    ``messages`` come newest first. Notices of the system are nobody's words.
    """
    newest_first = dropwhile(lambda one: one.sender_type in ("end_user", "system"), messages)
    said = [one for one in newest_first if one.sender_type != "system" and one.content]
    return [
        Message("user" if one.sender_type == "end_user" else "assistant", one.content)
        for one in reversed(said)
    ]


def _with_model(written: Reply, said: Said | None) -> Reply:
    """Return the reply with what a model used, and its name if the model wrote the text."""
    if said is None:
        return written
    model = said.model if said.answer is not None else written.model
    return replace(written, model=model, tokens=said.use.input_tokens + said.use.output_tokens)


def answered(found: Answer, ranked: Sequence[Ranked], elapsed: int) -> Reply:
    """Return the bot's reply with a quote from the documents and its source."""
    documents = {r.candidate.chunk_id: r.candidate.document_id for r in ranked}
    sources = [
        {
            "document": display_name(source.document),
            "page": source.page,
            "quote": source.quote,
            "chunk_id": str(source.chunk_id),
            "document_id": str(documents[source.chunk_id]),
        }
        for source in found.sources
    ]
    return Reply(
        "answer",
        content=found.text,
        sources=sources,
        confidence=round(found.confidence, 2),
        model=GENERATOR,
        processing_ms=elapsed,
    )


def _as_reply(decision: Decision, elapsed: int | None = None) -> Reply:
    return Reply(
        decision.action,
        content=decision.content,
        processing_ms=elapsed,
        reason=decision.reason,
        detail=decision.detail,
    )


async def _fail(pool: Pool, claim: Claim, error: Exception) -> None:
    wait = timedelta(seconds=min(2.0**claim.attempts, _MAX_RETRY_SECONDS))
    try:
        async with tenant(pool, Worker(claim.company_id)) as connection:
            await queries.fail_reply(connection, claim, f"{type(error).__name__}: {error}", wait)
    except Exception as second:
        # The lease ends by itself; then another worker makes the reply.
        log.warning("reply_not_returned", error=str(second))
