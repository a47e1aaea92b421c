"""The JSON endpoint that imports past conversations from another system."""

from __future__ import annotations

from typing import Annotated

from fastapi import Request

from neurant.api.call import Call, needs
from neurant.api.route import api_router
from neurant.core.db.connection import be_patient
from neurant.core.errors import NotFoundError
from neurant.imports import queries
from neurant.imports.reading import described_body, read_import
from neurant.imports.schemas import ChatbotId, ImportedConversation, ImportedOut, ImportOut, Outcome
from neurant.texts import Language, preferred_language, text

router = api_router("conversations")
_STATEMENT_SECONDS = 60.0  # one statement stores up to ten thousand messages
Importing = Annotated[Call, needs("conversations.import")]
_DONE: dict[str, Outcome] = {
    "imported": "imported",
    "extended": "extended",
    "unchanged": "unchanged",
}


@router.post(
    "/chatbots/{chatbot_id}/conversation-imports",
    openapi_extra={"requestBody": described_body()},
)
async def import_conversations(
    call: Importing, chatbot_id: ChatbotId, request: Request
) -> ImportOut:
    """Import past conversations of a bot; each is stored completely or refused with a reason.

    The owner and administradores may call it. Conversations are identified by ``external_id``: one
    that is sent again is ``unchanged``, or ``extended`` if it has more messages at its end.
    Imported conversations are closed: they trigger no message, reply or notification, and they do
    not count against the plan. A request has at most 1,000 conversations, 10,000 messages and 20 MB
    (413 otherwise). A body that does not match the schema is refused as a whole (400 or 422).
    """
    if not await queries.is_visible(call.connection, chatbot_id):
        raise NotFoundError("not_found")
    async with call.without_connection():
        conversations = await read_import(request)
    be_patient(_STATEMENT_SECONDS)
    stored = await queries.import_conversations(call.connection, chatbot_id, conversations)
    language = preferred_language(request.headers.get("accept-language"))
    told = [_imported_out(conversations[one.place - 1], one, language) for one in stored]
    counts = {
        name: sum(one.outcome == name for one in told) for name in (*_DONE.values(), "refused")
    }
    added = sum(one.messages_added for one in told)
    return ImportOut(messages_added=added, conversations=told, **counts)


def _imported_out(
    given: ImportedConversation, stored: queries.Stored, language: Language
) -> ImportedOut:
    outcome = _DONE.get(stored.outcome)
    refused = outcome is None
    return ImportedOut.model_validate(
        {
            "external_id": given.external_id,
            "outcome": outcome or "refused",
            "reason": stored.outcome if refused else None,
            "detail": text(f"imports.{stored.outcome}", language) if refused else None,
            "conversation_id": stored.conversation_id,
            "messages_added": stored.added,
        }
    )
