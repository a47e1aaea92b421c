"""The rules about bots that no constraint expresses, and the errors for refused statements."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

import psycopg

from neurant.chatbots import people_queries, queries
from neurant.chatbots.preview import Trial, begin_preview, finish_preview
from neurant.chatbots.schemas import ChatbotIn, ChatbotOut, ChatbotPatch, PreviewIn, PreviewOut
from neurant.core.db.pool import Connection
from neurant.core.errors import BadInputError, ConflictError, NotFoundError
from neurant.replies.consult import Consulted
from neurant.texts import Language

_NAME_KEY = "chatbots_name_key"
_NAMED = r"\b((?i:eres|soy|me llamo|te llamas|you are|i am|my name is)\s+)"
_SAYS_ITS_NAME = {"system_prompt": 5000, "fallback_message": 1000}


async def find(connection: Connection, chatbot_id: UUID, *, locked: bool = False) -> ChatbotOut:
    """Return a bot that the caller may see. Raises NotFoundError, the same for a foreign and an
    unknown bot.
    """
    found = await queries.get_chatbot(connection, chatbot_id, locked=locked)
    if found is None:
        raise NotFoundError("not_found")
    return found


async def create(connection: Connection, new: ChatbotIn) -> ChatbotOut:
    """Create a bot. Raises BadInputError (no prompt), ConflictError (unknown template, name taken).

    SQLSTATE NA002 means that the plan allows no more bots.
    """
    given = _given(new)
    if new.template_id is None and "system_prompt" not in given:
        raise BadInputError("chatbots.prompt_needed")
    traits = given.pop("personality_traits", {})
    try:
        made = await queries.insert_chatbot(
            connection,
            given,
            traits,
            new.template_id,
            new.placeholders.model_dump(exclude_unset=True),
        )
    except psycopg.errors.UniqueViolation as error:
        raise _taken(error, new.name) from None
    if made is None:
        raise ConflictError("chatbots.unknown_template")
    return await find(connection, made)


async def change(
    connection: Connection, chatbot_id: UUID, patch: ChatbotPatch, current: ChatbotOut
) -> None:
    """Change the given settings. Raises ConflictError.

    Traits that are left out stay. A new name replaces the old one in the texts that mention it.
    """
    changes = _given(patch)
    if not changes:
        return
    if current.retired_at is not None:
        raise ConflictError("chatbots.retired")
    if "personality_traits" in changes:
        merged = current.personality_traits | changes["personality_traits"]
        changes["personality_traits"] = {k: v for k, v in merged.items() if v is not None}
    changes |= _called_anew(current, changes)
    try:
        await queries.update_chatbot(connection, chatbot_id, changes)
    except psycopg.errors.UniqueViolation as error:
        raise _taken(error, patch.name) from None


def _called_anew(current: ChatbotOut, changes: dict[str, Any]) -> dict[str, Any]:
    """Return the texts in which the bot's old name is replaced by the new one.

    Only phrases that introduce the bot ("Eres Luz") change, because the same word elsewhere may
    mean the company or anything else. A text that the request also changes stays as given.
    """
    was = current.personality_traits.get("persona") or current.name
    traits = changes.get("personality_traits", current.personality_traits)
    now = traits.get("persona") or changes.get("name", current.name)
    renamed: dict[str, Any] = {}
    for field, longest in _SAYS_ITS_NAME.items():
        text = getattr(current, field)
        if was == now or not text or changes.get(field, text) != text:
            continue
        told = re.sub(rf"{_NAMED}{re.escape(was)}(?!\w)", lambda found: found[1] + now, text)
        if told != text and len(told) <= longest:
            renamed[field] = told
    return renamed


async def begin_trial(connection: Connection, chatbot_id: UUID, asked: PreviewIn) -> Trial:
    """Begin the preview of one message. Raises NotFoundError."""
    bot = await find(connection, chatbot_id)
    tried = _given(asked.settings)
    if "personality_traits" in tried:
        tried["personality_traits"] = bot.personality_traits | tried["personality_traits"]
    return await begin_preview(connection, bot.model_copy(update=tried), asked)


async def answer_trial(
    connection: Connection, trial: Trial, read: Consulted | None, language: Language
) -> PreviewOut:
    """Return the preview in the reader's ``language``; record that the company has tested a bot."""
    await connection.execute("select private.pass_onboarding('tested')")
    return await finish_preview(connection, trial, read, language)


async def assign_operator(connection: Connection, chatbot_id: UUID, user_id: UUID) -> None:
    """Assign an operador to a bot. Raises ConflictError if the person is no operador of
    the company.
    """
    try:
        await people_queries.assign_operator(connection, chatbot_id, user_id)
    except psycopg.errors.CheckViolation:
        # A person of another company gets the same answer: they are no operador of this one.
        raise ConflictError("chatbots.not_an_operator") from None


async def put_in_charge(connection: Connection, chatbot_id: UUID, user_id: UUID) -> None:
    """Put a supervisor in charge. Raises ConflictError if the person is no supervisor of
    the company.
    """
    try:
        await people_queries.put_in_charge(connection, chatbot_id, user_id)
    except psycopg.errors.CheckViolation:
        raise ConflictError("chatbots.not_a_supervisor") from None


def _given(patch: ChatbotPatch) -> dict[str, Any]:
    """Return the settings that a request contains, in the form of the database."""
    return patch.model_dump(
        mode="json", exclude_unset=True, exclude={"template_id", "placeholders"}
    )


def _taken(error: psycopg.errors.UniqueViolation, name: str) -> Exception:
    if error.diag.constraint_name == _NAME_KEY:
        return ConflictError("chatbots.name_taken", name=name)
    return error
