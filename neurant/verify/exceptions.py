"""The columns for which a plausible value is not enough, and the rows that need a certain writer.

Keep this short: check constraints and foreign keys are satisfied without an entry here.
"""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from neurant.verify.catalog import Table
from neurant.verify.probe import Identity

if TYPE_CHECKING:
    from neurant.verify.rows import Fixture, RowSet

OMITTED: Any = object()
TOKEN = uuid.uuid4()  # the token of every lease
_FAR = datetime(2099, 1, 1, tzinfo=UTC)
_LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
Values = Callable[["Fixture", "RowSet"], dict[str, Any]]


def _person(fixture: Fixture, row_set: RowSet, name: str) -> Any:
    return fixture.people[row_set.company, name]["id"]


def _channel_account(fixture: Fixture, row_set: RowSet) -> dict[str, Any]:
    # A web channel needs no secret, and its messages do not wait in the outbox.
    return {"channel": "web"}


def _conversation(fixture: Fixture, row_set: RowSet) -> dict[str, Any]:
    session = fixture.rows["public.visitor_sessions"][row_set.name]
    return {
        "channel": "web",
        "end_user_id": str(session["id"]),
        "assigned_operator_id": OMITTED,  # a trigger on hitl_sessions sets it
    }


def _hitl_session(fixture: Fixture, row_set: RowSet) -> dict[str, Any]:
    opened = _LONG_AGO - timedelta(minutes=10)
    common = {"reason": "manual", "opened_at": opened, "taken_at": _LONG_AGO}
    if row_set.name == "lent":
        operator = _person(fixture, row_set, "operador")
        return common | {"status": "active", "operator_id": operator, "ended_by": OMITTED}
    return common | {"status": "resolved", "ended_at": _LONG_AGO}


def _chatbot_operator(fixture: Fixture, row_set: RowSet) -> dict[str, Any]:
    serving = row_set.name in ("operador", "former", "rival-twin")
    return {
        "operator_id": _person(fixture, row_set, "operador" if serving else "colleague"),
        "is_active": row_set.name != "former",
    }


def _hitl_transfer(fixture: Fixture, row_set: RowSet) -> dict[str, Any]:
    # The transfer goes to the operador in one row set, else to a person other than its sender.
    other = "owner" if row_set.person == "colleague" else "colleague"
    return {
        "to_user_id": _person(fixture, row_set, "operador" if row_set.name == "former" else other)
    }


_VALUES: dict[str, Values] = {
    "public.channel_accounts": _channel_account,
    "public.conversations": _conversation,
    "public.hitl_sessions": _hitl_session,
    "public.chatbot_operators": _chatbot_operator,
    "public.messages": lambda w, s: {
        "seq": OMITTED,  # the trigger number_message sets it, and channel_account_id
        "channel_account_id": OMITTED,
        "content": "verify manzana",
        "sender_type": "bot",
        "sender_id": OMITTED,
    },
    # The id is greater than every real one, so that a sealing within its limit never reaches it.
    "public.audit_unsealed": lambda w, s: {
        "audit_id": uuid.UUID(int=uuid.uuid4().int | (0xFFFF << 112))
    },
    "public.audit_salts": lambda w, s: {"salt": secrets.token_bytes(32)},
    # No slot is that of this backend, in which its own messages are counted.
    "public.usage_slots": lambda w, s: {"slot": (w.backend + 1 + w.serial() % 61) % 64},
    "public.conversations_archived": lambda w, s: {
        "assigned_operator_id": _person(w, s, "operador") if s.name == "lent" else OMITTED
    },
    "public.hitl_transfers_archived": lambda w, s: (
        _hitl_transfer(w, s) | {"kind": "escalation", "status": "accepted", "decided_at": _LONG_AGO}
    ),
    "public.hitl_sessions_archived": lambda w, s: {
        "status": "resolved",
        "reason": "manual",
        "ended_at": _LONG_AGO,
    },
    "public.outbox_archived": lambda w, s: {"status": "sent"},
    "public.messages_archived": lambda w, s: {"sender_type": "bot", "sender_id": OMITTED},
    "public.visitor_sessions": lambda w, s: {"expires_at": _FAR},
    # Proven domains, so that a second proof of the same domain is tried, and an unproven one.
    "public.sso_domains": lambda w, s: (
        {"proven_by": OMITTED, "proven_at": OMITTED}
        if s.name == "administrador"
        else {"proven_by": "dns", "proven_at": _LONG_AGO}
    ),
    # One of the sessions was opened by single sign-on.
    "public.login_sessions": lambda w, s: (
        {"expires_at": _FAR} | ({} if s.name == "former" else {"sso_connection_id": OMITTED})
    ),
    # The oracles of the searches look for this word.
    "public.chatbots": lambda w, s: {"description": "manzana"},
    "public.documents": lambda w, s: {
        "title": "manzana",
        "processing_status": "completed",
        "file_size_bytes": 1,
    },
    "public.document_chunks": lambda w, s: {"content": "manzana", "character_count": 7},
    "public.outbox": lambda w, s: {
        "seq": 1,
        "status": "sending",
        "claim_token": TOKEN,
        "claimed_until": _FAR,
    },
    "public.mails": lambda w, s: {
        "template": "verify.mail",
        "params_encrypted": b"verify",
        "claim_token": OMITTED,
        "claimed_until": OMITTED,
        "sent_at": OMITTED,
    },
    "public.reply_requests": lambda w, s: {
        "wanted_seq": 1,
        "claim_token": TOKEN,
        "claimed_until": _FAR,
    },
    "public.request_allowances": lambda w, s: {"tokens": 1},
    "public.language_model_usage": lambda w, s: {
        "month": _LONG_AGO.date(),
        "currency": "USD",
        "model": f"verify-{w.serial()}",
    },
    # A company may have only one pending request.
    "public.plan_requests": lambda w, s: (
        {} if s.name in ("owner", "rival") else {"status": "confirmed", "decided_at": _LONG_AGO}
    ),
    "public.chatbot_supervisors": lambda w, s: {"supervisor_id": _person(w, s, "supervisor")},
    "public.hitl_transfers": _hitl_transfer,
    # Only the owner may see one of the invitations: its role is not below an administrador's.
    "public.user_invitations": lambda w, s: (
        {"role": "administrador"} if s.name == "owner" else {"role": "operador"}
    ),
    "public.message_reactions": lambda w, s: {"reacted_by_end_user": OMITTED},
    # One of the responses is shared with the whole company.
    "public.canned_responses": lambda w, s: {"owner_id": OMITTED} if s.name == "former" else {},
    "public.api_keys": lambda w, s: {
        "role": "administrador" if s.name in ("owner", "administrador", "rival") else "supervisor",
        "scopes": w.scopes,
    },
}
# Tables to fill after another one although no foreign key requires it.
AFTER = {
    "public.login_sessions": {"public.sso_domains"},  # a new domain ends some sessions
    "public.conversations": {"public.visitor_sessions"},
    "public.messages": {"public.usage_slots"},  # otherwise a trigger inserts the first slot
}
# Their triggers depend on the writer: the row set's person writes them, or the visitor.
_WRITTEN_BY_A_PERSON = {"public.notes", "public.message_reactions"}
VISITED = "colleague"  # the row set whose end user is the visitor of the matrix


def values(fixture: Fixture, table: str, row_set: RowSet) -> dict[str, Any]:
    """Return the special values of a table's row; OMITTED leaves the column out."""
    made = _VALUES.get(table)
    found = dict(made(fixture, row_set)) if made else {}
    if "updated_at" in fixture.catalog.tables[table].columns:
        found.setdefault("updated_at", _LONG_AGO)
        found.setdefault("created_at", _LONG_AGO)
    return found


def unlimited(companies: Table) -> dict[str, Any]:
    """Return a plan whose limits allow every row."""
    limits = [
        name for name in companies.columns if name.startswith("max_") or name.endswith("_limit")
    ]
    return {"subscription_plan": "enterprise", **dict.fromkeys(limits, -1)}


def writer(fixture: Fixture, table: str, row_set: RowSet) -> Identity | None:
    """Return who must write the row; None: the administrator."""
    if table not in _WRITTEN_BY_A_PERSON:
        return None
    if table == "public.message_reactions" and row_set.name == VISITED:
        session = fixture.rows["public.visitor_sessions"][row_set.name]
        return Identity("visitor", json.dumps({"visitor": session["token_digest"].hex()}))
    claims = {
        "sub": str(fixture.logins[row_set.company, row_set.person]),
        "company_id": str(fixture.companies[row_set.company]),
    }
    return Identity("authenticated", json.dumps(claims))
