"""The words of the documents that a bot may use, kept in the process until a document changes."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from neurant.core.db.pool import Connection, fetch_all, fetch_one
from neurant.knowledge.repair import is_plain
from neurant.knowledge.spelling import NO_WORDS, Vocabulary, vocabulary_of

_MAX_KEPT_CHARS = 1_500_000  # of all companies; a small company's documents have 10,000

_USABLE = """
from public.documents d
where d.company_id = (select private.company_id()) and d.retired_at is null
  and d.processing_status = 'completed' and (d.chatbot_id is null or d.chatbot_id = %s)
"""
_STATE = f"""
select (select private.company_id()) as company_id, count(*) as documents,
  max(d.updated_at) as newest
{_USABLE}
"""
_WORDS = f"select d.words {_USABLE} and d.words is not null"


@dataclass(frozen=True, slots=True)
class _State:
    company_id: UUID | None
    documents: int
    newest: datetime | None


@dataclass(frozen=True, slots=True)
class _Row:
    words: str


_kept: OrderedDict[tuple[UUID | None, UUID], tuple[_State, int, Vocabulary]] = OrderedDict()


async def vocabulary_for(connection: Connection, chatbot_id: UUID, question: str) -> Vocabulary:
    """Return the words that a repair of the question needs: mostly none, else a bot's words."""
    return NO_WORDS if is_plain(question) else await bot_vocabulary(connection, chatbot_id)


async def bot_vocabulary(connection: Connection, chatbot_id: UUID) -> Vocabulary:
    """Return the words of a bot's documents, read again only after a document has changed."""
    state = await fetch_one(connection, _State, _STATE, (chatbot_id,))
    assert state is not None  # noqa: S101 - an aggregate gives one row
    key = (state.company_id, chatbot_id)
    if key in _kept and _kept[key][0] == state:
        _kept.move_to_end(key)
        return _kept[key][2]
    rows = await fetch_all(connection, _Row, _WORDS, (chatbot_id,))
    found = vocabulary_of([row.words for row in rows])
    _kept[key] = (state, sum(len(row.words) for row in rows), found)
    _kept.move_to_end(key)
    while sum(size for _, size, _ in _kept.values()) > _MAX_KEPT_CHARS and len(_kept) > 1:
        _kept.popitem(last=False)
    return found
