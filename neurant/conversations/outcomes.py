"""The outcomes of a conversation's functions as errors, and the announcement after a commit."""

from __future__ import annotations

from uuid import UUID

from fastapi import BackgroundTasks

from neurant.api.call import Call
from neurant.core.errors import ConflictError, NotFoundError
from neurant.core.realtime import Hub
from neurant.core.services import services_of


def raise_for_outcome(outcome: str) -> None:
    """Raise NotFoundError or ConflictError for an outcome that means failure."""
    match outcome:
        case "not_found":
            raise NotFoundError("not_found")
        case "closed":
            raise ConflictError("conversations.closed")
        case "taken_by_other":
            raise ConflictError("conversations.taken_by_other")
        case "not_open":
            raise ConflictError("conversations.not_open")
        case "not_yours":
            raise ConflictError("conversations.not_yours")
        case "invalid_target":
            raise ConflictError("conversations.invalid_target")
        case "already_requested":
            raise ConflictError("conversations.already_requested")
        case "not_resendable":
            raise ConflictError("conversations.not_resendable")
        case "in_conflict":
            raise ConflictError("conversations.in_conflict")
        case _:
            return


def announce(background: BackgroundTasks, call: Call, conversation_id: UUID) -> None:
    """Notify the viewers of the conversation and the workers after this call's commit."""
    background.add_task(
        _announce, services_of(call.request).hub, call.caller.company_id, conversation_id
    )


async def _announce(hub: Hub, company_id: UUID, conversation_id: UUID) -> None:
    hub.announce(
        company_id, conversation_id
    )  # a coroutine, so that it runs on the event loop: the hub is not thread-safe
    hub.announce_work()
