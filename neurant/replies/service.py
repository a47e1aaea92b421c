"""Making a due reply, from the lease to the fenced write.

There are three short transactions: read, search, write. A language model is asked between the last
two, while no connection is held. If the situation changed in between (an operator took over, the
end user wrote more, the lease ended), the last one detects it and writes nothing.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from neurant.core.clock import utc_now
from neurant.core.db.pool import Pool
from neurant.core.db.tenancy import Worker, tenant
from neurant.core.logs import get_logger
from neurant.core.realtime import Hub
from neurant.knowledge.answer import Answer, display_name
from neurant.knowledge.rank import Ranked
from neurant.language_models.model import Use
from neurant.language_models.service import LanguageModels, count
from neurant.replies import queries
from neurant.replies.consult import consult
from neurant.replies.decide import (
    Decision,
    Situation,
    begin_request,
    decide,
    react,
    with_care,
    without_answer,
)
from neurant.replies.explain import explained, explained_search
from neurant.replies.generate import ModelResult, Writer
from neurant.replies.intent import language_of
from neurant.replies.lookup import Finding, joined
from neurant.replies.queries import (
    Claim,
    ConversationRow,
    KnowledgeQuery,
    MessageRow,
    claim_replies,
    next_due,
)
from neurant.replies.queries import Reply as Reply  # the preview returns it as well
from neurant.replies.remember import established
from neurant.replies.requests import Said, open_request
from neurant.texts import Language
from neurant.understanding.kinds import CARE, REQUESTS
from neurant.understanding.turn import Turn

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


def thread_before(messages: Sequence[MessageRow], limit: int) -> list[Said]:
    """Return the texts before the open question, oldest first: at most ``limit`` messages.

    ``messages`` come newest first. What an operator wrote belongs to the company's side.
    """
    said = [one for one in messages if one.sender_type != "system" and _has_words(one)]
    start = next((at for at, one in enumerate(said) if one.sender_type != "end_user"), len(said))
    before = said[start : start + limit]
    return [Said(one.sender_type != "end_user", one.content) for one in reversed(before)]


def situation(row: ConversationRow, messages: Sequence[MessageRow]) -> Situation:
    """Return the situation that ``decide`` needs."""
    thread = thread_before(messages, row.max_context_messages)
    newest = next((one for one in messages if one.sender_type == "end_user"), None)
    attachment: Literal["location", "contact"] | None = None
    if newest is not None and newest.message_type in ("location", "contact"):
        attachment = "location" if newest.message_type == "location" else "contact"
    answers = attachment == "contact" and open_request(thread) is not None
    read = [one for one in messages if answers or _has_words(one) or one.sender_type != "end_user"]
    question, notice, last_bot = unanswered(read)
    if question is None and unanswered(messages)[0] is not None:
        question = ""  # nothing but places and contacts
    known = row.context_data or {}
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
        address=row.address,
        style=row.style,
        timezone=row.timezone,
        context=known | established(question or "", (), known),
        thread=thread,
        attachment=attachment,
    )


def _has_words(message: MessageRow) -> bool:
    """Return whether a message's content is a text that its author wrote."""
    return message.message_type not in ("location", "contact")


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
    decision, asked, use = decide(now), list[KnowledgeQuery](), None
    if claim.attempts > _MAX_ATTEMPTS and now.hitl_enabled and not now.is_hitl_active:
        decision = _failed_repeatedly(now)
    written = as_reply(decision)
    if decision.action == "retrieve":
        written, asked, use = await _read(
            pool, worker, models, row.chatbot_id, now, decision, started
        )
    written = replace(written, context=_facts(row, now, written))
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
        for query in asked if finished.outcome == "done" else ():
            await queries.log_query(connection, claim, finished.message_id, query)
        if use is not None:  # also of a reply that is dropped: the model was asked
            await count(connection, use)
    return finished.outcome


def _failed_repeatedly(now: Situation) -> Decision:
    return Decision(
        "escalate",
        content=without_answer(now, "").content,
        reason="no_answer",
        detail="reply failed repeatedly",
        by="failed",
    )


async def _read(
    pool: Pool,
    worker: Worker,
    models: LanguageModels | None,
    chatbot_id: UUID,
    now: Situation,
    decision: Decision,
    started: float,
) -> tuple[Reply, list[KnowledgeQuery], Use | None]:
    """Read the turn and make the reply that its class, the documents and the model allow."""

    def within_lease(writer: Writer) -> Writer:
        left = (_LEASE - _TO_WRITE).total_seconds() - (time.monotonic() - started)
        return writer.within(left)

    read = await consult(
        pool, worker, models, chatbot_id, now, decision, of_customer=True, adjusted=within_lease
    )
    elapsed = int((time.monotonic() - started) * 1000)
    queries_made = [_as_query(finding, elapsed) for finding in read.findings]
    if not read.findings:
        return as_reply(read.decision, elapsed), queries_made, None
    written = respond(now, read.decision, read.turn, read.findings, elapsed)
    written = with_model(written, read.result)
    return written, queries_made, read.result.use if read.result else None


def _facts(row: ConversationRow, now: Situation, written: Reply) -> dict[str, str]:
    """Return the facts that this turn adds to the conversation's context."""
    passages = written.explanation.passages if written.explanation else []
    cited = [one.section for one in passages if one.is_quoted and one.section]
    cited += [str(source["quote"]) for source in written.sources]
    return established(now.question or "", cited, row.context_data or {})


def with_model(written: Reply, result: ModelResult | None) -> Reply:
    """Return the reply with what a model used, and its name if the model wrote the text."""
    if result is None:
        return written
    model = result.model if result.answer is not None else written.model
    return replace(written, model=model, tokens=result.use.input_tokens + result.use.output_tokens)


def respond(
    now: Situation, decision: Decision, turn: Turn, findings: Sequence[Finding], elapsed: int
) -> Reply:
    """Return the reply to a turn whose questions were searched, with its explanation."""
    whole = joined(turn.text, findings)
    unknown = [one.asked for one in findings if one.verdict.answer is None]
    written = _response(now, decision, turn, whole, unknown, elapsed)
    kind = "question" if written.by in ("documents", "no_answer") else written.by
    explanation = explained_search(
        written.action, whole.searched, whole.ranked, whole.verdict, turn=kind
    )
    return replace(written, explanation=explanation)


def _response(
    now: Situation,
    decision: Decision,
    turn: Turn,
    whole: Finding,
    unknown: Sequence[str],
    elapsed: int,
) -> Reply:
    """Return the reply to ``whole``, the findings as one; ``unknown`` questions have no answer."""
    answer, confidence = whole.verdict.answer, whole.verdict.confidence
    found = answered(answer, whole.ranked, elapsed) if answer is not None else None
    if found and decision.kind in ("advice", "identity") and not turn.is_sure:
        return found
    if decision.kind == "identity":
        return as_reply(react(now, "identity"), elapsed)
    if decision.kind in CARE:
        said = with_care(now, decision.kind, turn.text, found.content if found else None)
        return replace(found or Reply(""), **_decided(said), processing_ms=elapsed)
    if decision.kind in REQUESTS and now.hitl_enabled:
        return found or as_reply(begin_request(now, decision.kind), elapsed)
    if decision.kind in REQUESTS:  # nobody can be called, so the documents say how to act
        known = found.content if found else None
        content = "\n\n".join(filter(None, (now.say("request_alone"), known)))
        return replace(found or Reply(""), action="answer", content=content, by="request")
    said = without_answer(now, turn.text, turn.classified)
    if decision.request is not None and decision.request.waits_for is not None:
        again = now.say(f"ask_{decision.request.waits_for}")
        content = f"{found.content if found else now.say('not_found')}\n\n{again}"
        return replace(found or Reply(""), action="answer", content=content, by="request")
    if found is None:
        rounded = None if confidence is None else round(confidence, 2)
        return replace(as_reply(said, elapsed), confidence=rounded)
    if not unknown:
        return found
    partly = [now.say("partly_found", question=question) for question in unknown]
    content = "\n\n".join([found.content or "", *partly])
    if said.action == "escalate":
        detail = "\n".join(unknown)[:500]
        return replace(found, action="escalate", content=content, reason="no_answer", detail=detail)
    return replace(found, content=content)


def _as_query(finding: Finding, elapsed: int) -> KnowledgeQuery:
    similarities = [
        one.candidate.similarity for one in finding.ranked if one.candidate.similarity is not None
    ]
    results = len(finding.ranked) if finding.verdict.answer else 0
    nearest = max(similarities, default=None)
    return KnowledgeQuery(finding.asked, results, nearest, finding.verdict.confidence, elapsed)


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
        by="documents",
    )


def as_reply(decision: Decision, elapsed: int | None = None) -> Reply:
    """Return the reply of a decision that needed no document."""
    return Reply(**_decided(decision), processing_ms=elapsed, explanation=explained(decision))


def _decided(decision: Decision) -> dict[str, Any]:
    """Return the fields of a reply that its decision determines."""
    return {
        "action": decision.action,
        "content": decision.content,
        "reason": decision.reason,
        "detail": decision.detail,
        "by": decision.by,
    }


async def _fail(pool: Pool, claim: Claim, error: Exception) -> None:
    wait = timedelta(seconds=min(2.0**claim.attempts, _MAX_RETRY_SECONDS))
    try:
        async with tenant(pool, Worker(claim.company_id)) as connection:
            await queries.fail_reply(connection, claim, f"{type(error).__name__}: {error}", wait)
    except Exception as second:
        # The lease ends by itself; then another worker makes the reply.
        log.warning("reply_not_returned", error=str(second))
