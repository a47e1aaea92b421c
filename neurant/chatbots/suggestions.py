"""Questions to begin a trial with, derived from the headings and lines of a bot's own documents.

No model writes them. Each is asked as a trial first, and only those that the bot answers from a
document are suggested, so a suggestion always shows an answer with its source.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from uuid import UUID

from neurant.chatbots import service
from neurant.chatbots.preview import finish_preview, read_preview
from neurant.chatbots.schemas import PreviewIn
from neurant.core.db.pool import Pool
from neurant.core.db.tenancy import Staff, tenant
from neurant.core.errors import RateLimitedError
from neurant.knowledge.openings import Opening, list_openings
from neurant.replies.intent import language_of
from neurant.texts import Language, text

SUGGESTED = 3
_TRIED = 8  # each trial costs an embedding and a search
_QUESTION = re.compile(r"¿[^¿?\n]{4,110}\?|^[A-Z][^¿?.\n]{4,110}\?$", re.MULTILINE)
_LABEL = re.compile(r"^[-*•\s]*([^\W\d_][^:.|?\n]{2,48}?)\s*[:|]\s+\S", re.MULTILINE)
_MAX_TOPIC = 60  # characters; a longer heading makes no readable question


async def suggest_questions(pool: Pool, staff: Staff, chatbot_id: UUID) -> list[str]:
    """Return up to three questions that the bot answers from its documents, best first.

    Each step has its own transaction, because an embedding must not hold a connection. Fewer are
    returned while too many questions of the company wait for an embedding.
    """
    async with tenant(pool, staff) as connection:
        openings = await list_openings(connection, chatbot_id)
    found: list[str] = []
    with suppress(RateLimitedError):
        for question in candidates(openings)[:_TRIED]:
            if len(found) < SUGGESTED and await _is_answered(pool, staff, chatbot_id, question):
                found.append(question)
    return found


def candidates(openings: Sequence[Opening]) -> list[str]:
    """Return questions about the passages, without repetition.

    Questions that a document itself asks come first, then its headings, then the labels of its
    lines ("Domicilio: $ 8.000"), then the titles of the documents.
    """
    if not openings:
        return []
    language = language_of(" ".join(one.content for one in openings[:5]))
    asked = [_QUESTION.findall(one.content) for one in openings]
    questions = [question.strip() for each in asked for question in each]
    topics = [_about(topic, language) for topic in _topics(openings)]
    return list(dict.fromkeys([*questions, *topics]))


def _topics(openings: Sequence[Opening]) -> Iterator[str]:
    titles = {one.document.casefold() for one in openings}
    for one in openings:
        heading = one.section_title
        if heading and len(heading) <= _MAX_TOPIC and heading.casefold() not in titles:
            yield heading
    for one in openings:
        yield from _LABEL.findall(one.content)
    yield from (one.document for one in openings if len(one.document) <= _MAX_TOPIC)


def _about(topic: str, language: Language) -> str:
    """Return a question about a heading, which begins in lower case inside the sentence."""
    bare = topic.strip("#*:.-_ \t")
    if bare.isupper() and len(bare) > 4:
        bare = bare.lower()
    elif bare[:2].istitle():
        bare = bare[0].lower() + bare[1:]
    return text("knowledge.ask_about", language, topic=bare)


async def _is_answered(pool: Pool, staff: Staff, chatbot_id: UUID, question: str) -> bool:
    async with tenant(pool, staff) as connection:
        trial = await service.begin_trial(connection, chatbot_id, PreviewIn(message=question))
    searched = await read_preview(pool, None, staff, trial)  # no tokens are spent on this
    async with tenant(pool, staff) as connection:
        told = await finish_preview(connection, trial, searched, "es")
    return told.action == "answer" and bool(told.sources)
