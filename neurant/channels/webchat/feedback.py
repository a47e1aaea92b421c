"""A visitor's feedback: reactions to the bot's answers, and the rating of the conversation."""

from __future__ import annotations

from uuid import UUID

from psycopg import errors as pg

from neurant.conversations.messages.schemas import ReactionIn
from neurant.core.db.pool import Connection, fetch_value
from neurant.core.db.tenancy import Visitor
from neurant.core.errors import NotFoundError

# Without the lock, two concurrent reactions would both be kept.
_ONE_AT_A_TIME = "select pg_advisory_xact_lock(hashtextextended(%(who)s || ' ' || %(message)s, 0))"
_FORGET = """
delete from public.message_reactions r where r.message_id = %(message)s and r.reacted_by_end_user
"""
_REACT = """
insert into public.message_reactions (company_id, message_id, reaction_type, comment)
values ((select private.company_id()), %(message)s, %(reaction_type)s, %(comment)s)
"""
_RATE = "select private.rate_conversation(%s, %s)"


async def react(
    connection: Connection, visitor: Visitor, message_id: UUID, reaction: ReactionIn
) -> None:
    """Set the visitor's reaction; it replaces an earlier one.

    Raises NotFoundError for a message that is not the bot's answer in the visitor's conversation.
    """
    given = {"message": message_id, **reaction.model_dump()}
    who = {"who": visitor.token_digest.hex(), "message": str(message_id)}
    await connection.execute(_ONE_AT_A_TIME, who)
    await connection.execute(_FORGET, given)
    try:
        await connection.execute(_REACT, given)
    except pg.InsufficientPrivilege:
        raise NotFoundError("not_found") from None


async def forget_reaction(connection: Connection, message_id: UUID) -> None:
    """Remove the visitor's reaction to a message, if there is one."""
    await connection.execute(_FORGET, {"message": message_id})


async def rate(connection: Connection, rating: int, comment: str | None) -> None:
    """Rate the visitor's conversation. Raises NotFoundError where there is none yet."""
    if await fetch_value(connection, _RATE, (rating, comment)) is None:
        raise NotFoundError("not_found")
