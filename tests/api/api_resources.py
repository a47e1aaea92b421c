"""What the operations of the API are tried with: one new thing for each try, and the bodies."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any
from uuid import UUID

import psycopg

from tests.companies import Company


class Place(Enum):
    """Where a thing lies, seen from an operador of acme."""

    SERVED = "of a bot that the operador serves"
    NOT_SERVED = "of another bot of the company"
    FOREIGN = "of another company"


Made = Mapping[str, Any]
Factory = Callable[[psycopg.Connection, Company, Place, str, Made], Any]


def unique_name() -> str:
    return secrets.token_hex(6)


def fetch_value(db: psycopg.Connection, query: str, *params: object) -> Any:
    row = db.execute(query, params).fetchone()
    assert row is not None
    return row[0]


def user_id(company: Company, caller: str) -> UUID:
    """The person behind a caller: a key's is its maker, the owner."""
    return company.people["owner" if caller.startswith("key_") else caller].id


def chatbot(
    db: psycopg.Connection, company: Company, place: Place, caller: str, made: Made
) -> UUID:
    bot = fetch_value(
        db,
        "insert into chatbots (company_id, name, system_prompt, created_by)"
        " values (%s, %s, 'Responde con calidez.', %s) returning id",
        company.id, f"Bot {unique_name()}", company.people["owner"].id,
    )  # fmt: skip
    db.execute(
        "insert into chatbot_supervisors (company_id, chatbot_id, supervisor_id, assigned_by)"
        " values (%s, %s, %s, %s)",
        (company.id, bot, company.people["supervisor"].id, company.people["owner"].id),
    )
    if place is not Place.NOT_SERVED:
        db.execute(
            "insert into chatbot_operators (company_id, chatbot_id, operator_id, assigned_by)"
            " values (%s, %s, %s, %s)",
            (company.id, bot, company.people["operador"].id, company.people["owner"].id),
        )
    return bot


def bot_of(db: psycopg.Connection, company: Company, place: Place, caller: str, made: Made) -> UUID:
    return made.get("chatbot_id") or chatbot(db, company, place, caller, made)


def account(
    db: psycopg.Connection, company: Company, place: Place, caller: str, made: Made
) -> UUID:
    return fetch_value(
        db,
        "insert into channel_accounts (company_id, chatbot_id, channel, routing_id, display_name)"
        " values (%s, %s, 'web', %s, 'Web') returning id",
        company.id, bot_of(db, company, place, caller, made), f"web-{unique_name()}",
    )  # fmt: skip


def conversation(
    db: psycopg.Connection, company: Company, place: Place, caller: str, made: Made
) -> UUID:
    bot = bot_of(db, company, place, caller, made)
    web = fetch_value(
        db,
        "insert into channel_accounts (company_id, chatbot_id, channel, routing_id, display_name)"
        " values (%s, %s, 'web', %s, 'Web') returning id",
        company.id, bot, f"web-{unique_name()}",
    )  # fmt: skip
    return fetch_value(
        db,
        "insert into conversations (company_id, chatbot_id, channel_account_id, channel, end_user_id)"
        " values (%s, %s, %s, 'web', %s) returning id",
        company.id, bot, web, unique_name(),
    )  # fmt: skip


def message(
    db: psycopg.Connection, company: Company, place: Place, caller: str, made: Made
) -> UUID:
    about = made.get("conversation_id") or conversation(db, company, place, caller, made)
    return fetch_value(
        db,
        "insert into messages (company_id, conversation_id, chatbot_id, channel_account_id, sender_type, content)"
        " select c.company_id, c.id, c.chatbot_id, c.channel_account_id, 'end_user', 'Hola'"
        " from conversations c where c.id = %s returning id",
        about,
    )


def bot_message(
    db: psycopg.Connection, company: Company, place: Place, caller: str, made: Made
) -> UUID:
    said = message(db, company, place, caller, made)
    return fetch_value(
        db,
        "insert into messages (company_id, conversation_id, chatbot_id, channel_account_id, sender_type, content)"
        " select m.company_id, m.conversation_id, m.chatbot_id, m.channel_account_id, 'bot', 'Hola'"
        " from messages m where m.id = %s returning id",
        said,
    )


def explained_message(
    db: psycopg.Connection, company: Company, place: Place, caller: str, made: Made
) -> UUID:
    """A message of the bot that says why it was written."""
    said = bot_message(db, company, place, caller, made)
    db.execute(
        "update messages set explanation = jsonb_build_object('turn', 'small_talk',"
        " 'decision', 'answer', 'reason', 'courtesy') where id = %s",
        (said,),
    )
    return said


def person(db: psycopg.Connection, company: Company, place: Place, caller: str, made: Made) -> UUID:
    email = f"{unique_name()}@{company.slug}.example"
    login = fetch_value(db, "insert into auth.users (email) values (%s) returning id", email)
    return fetch_value(
        db,
        "insert into users (company_id, auth_user_id, email, first_name, last_name, role)"
        " values (%s, %s, %s, 'Otra', 'Persona', 'operador') returning id",
        company.id, login, email,
    )  # fmt: skip


def invitation(
    db: psycopg.Connection, company: Company, place: Place, caller: str, made: Made
) -> UUID:
    return fetch_value(
        db,
        "insert into user_invitations (company_id, email, role, invited_by, token_digest)"
        " values (%s, %s, 'operador', %s, %s) returning id",
        company.id, f"{unique_name()}@nueva.example", company.people["owner"].id, secrets.token_bytes(32),
    )  # fmt: skip


def notification(
    db: psycopg.Connection, company: Company, place: Place, caller: str, made: Made
) -> UUID:
    return fetch_value(
        db,
        "insert into notifications (company_id, user_id, kind) values (%s, %s, 'ownership_received') returning id",
        company.id, user_id(company, caller),
    )  # fmt: skip


def canned(db: psycopg.Connection, company: Company, place: Place, caller: str, made: Made) -> UUID:
    return fetch_value(
        db,
        "insert into canned_responses (company_id, owner_id, shortcut, content)"
        " values (%s, %s, %s, 'Hola') returning id",
        company.id, user_id(company, caller), f"s-{unique_name()}",
    )  # fmt: skip


def document(
    db: psycopg.Connection, company: Company, place: Place, caller: str, made: Made
) -> UUID:
    return fetch_value(
        db,
        "insert into documents (company_id, chatbot_id, filename, original_filename, file_type,"
        " file_size_bytes, file_url, content_digest, uploaded_by, processing_status)"
        " values (%s, %s, %s, 'a.txt', 'txt', 1, %s, %s, %s, 'completed') returning id",
        company.id, made.get("chatbot_id"), unique_name(), f"companies/{unique_name()}", secrets.token_bytes(32),
        company.people["owner"].id,
    )  # fmt: skip


def template(
    db: psycopg.Connection, company: Company, place: Place, caller: str, made: Made
) -> UUID:
    return fetch_value(db, "select id from chatbot_templates order by id limit 1")


def colleague(
    db: psycopg.Connection, company: Company, place: Place, caller: str, made: Made
) -> UUID:
    """An operador of the bot."""
    someone = person(db, company, place, caller, made)
    db.execute(
        "insert into chatbot_operators (company_id, chatbot_id, operator_id, assigned_by)"
        " values (%s, %s, %s, %s)",
        (company.id, made["chatbot_id"], someone, company.people["owner"].id),
    )
    return someone


def own_user(
    db: psycopg.Connection, company: Company, place: Place, caller: str, made: Made
) -> UUID:
    """Whoever calls; elsewhere somebody else."""
    return (
        user_id(company, caller)
        if place is Place.SERVED
        else person(db, company, place, caller, made)
    )


def attended(
    db: psycopg.Connection, company: Company, place: Place, caller: str, made: Made
) -> UUID:
    """A conversation that the caller attends; of a bot that is not served, somebody else does."""
    about = conversation(db, company, place, caller, made)
    who = user_id(company, caller) if place is Place.SERVED else company.people["supervisor"].id
    db.execute(
        "insert into hitl_sessions (company_id, conversation_id, chatbot_id, status, reason, operator_id, taken_at)"
        " select c.company_id, c.id, c.chatbot_id, 'active', 'manual', %s, now() from conversations c where c.id = %s",
        (who, about),
    )
    return about


def takeover(
    db: psycopg.Connection, company: Company, place: Place, caller: str, made: Made
) -> UUID:
    about = attended(db, company, place, caller, made)
    return fetch_value(db, "select id from hitl_sessions where conversation_id = %s", about)


def transfer(
    db: psycopg.Connection, company: Company, place: Place, caller: str, made: Made
) -> UUID:
    """Somebody asks the caller to take over; of a bot that is not served, somebody else."""
    about = conversation(db, company, place, caller, made)
    asking = person(db, company, place, caller, made)
    to = (
        user_id(company, caller)
        if place is Place.SERVED
        else person(db, company, place, caller, made)
    )
    return fetch_value(
        db,
        "with s as (insert into hitl_sessions (company_id, conversation_id, chatbot_id, status, reason, operator_id,"
        " taken_at) select c.company_id, c.id, c.chatbot_id, 'active', 'manual', %s, now()"
        " from conversations c where c.id = %s returning *)"
        " insert into hitl_transfers (company_id, session_id, conversation_id, chatbot_id, from_user_id, to_user_id,"
        " reason) select company_id, id, conversation_id, chatbot_id, %s, %s, 'Pide ayuda' from s returning id",
        asking, about, asking, to,
    )  # fmt: skip


def archived(
    db: psycopg.Connection, company: Company, place: Place, caller: str, made: Made
) -> UUID:
    about = conversation(db, company, place, caller, made)
    db.execute(
        "update conversations set status = 'resolved', ended_at = now() where id = %s", (about,)
    )
    db.execute(
        "select private.move_conversations(%s, array[%s]::uuid[], '', '_archived', now())",
        (company.id, about),
    )
    return about


def contact(
    db: psycopg.Connection, company: Company, place: Place, caller: str, made: Made
) -> UUID:
    about = conversation(db, company, place, caller, made)
    return fetch_value(
        db,
        "select k.id from contacts k join conversations c on c.company_id = k.company_id"
        " and c.channel_account_id = k.channel_account_id and c.end_user_id = k.end_user_id where c.id = %s",
        about,
    )


def key(db: psycopg.Connection, company: Company, place: Place, caller: str, made: Made) -> UUID:
    return fetch_value(
        db,
        "insert into api_keys (company_id, name, prefix, key_digest, role, created_by)"
        " values (%s, 'CRM', 'na_key_', %s, 'supervisor', %s) returning id",
        company.id, secrets.token_bytes(32), company.people["owner"].id,
    )  # fmt: skip


def integration(
    db: psycopg.Connection, company: Company, place: Place, caller: str, made: Made
) -> UUID:
    return fetch_value(
        db,
        "insert into integrations (company_id, name, integration_type, created_by)"
        " values (%s, %s, 'airtable', %s) returning id",
        company.id, f"CRM {unique_name()}", company.people["owner"].id,
    )  # fmt: skip


def endpoint(
    db: psycopg.Connection, company: Company, place: Place, caller: str, made: Made
) -> UUID:
    return fetch_value(
        db,
        "insert into webhook_endpoints (company_id, url, events, secret_encrypted, created_by)"
        " values (%s, %s, '{conversation.started}', %s, %s) returning id",
        company.id, f"https://hooks.example/{unique_name()}", secrets.token_bytes(60),
        company.people["owner"].id,
    )  # fmt: skip


def connection(
    db: psycopg.Connection, company: Company, place: Place, caller: str, made: Made
) -> UUID:
    return fetch_value(
        db,
        "insert into sso_connections (company_id, name, issuer, client_id, client_secret_encrypted, created_by)"
        " values (%s, %s, %s, 'neurant', %s, %s) returning id",
        company.id, f"SSO {unique_name()}", f"https://login-{unique_name()}.example", secrets.token_bytes(60),
        company.people["owner"].id,
    )  # fmt: skip


def linked(db: psycopg.Connection, company: Company, place: Place, caller: str, made: Made) -> UUID:
    """Somebody whom the provider knows."""
    someone = person(db, company, place, caller, made)
    db.execute(
        "insert into external_identities (company_id, connection_id, subject, user_id)"
        " values (%s, %s, %s, %s)",
        (company.id, made["connection_id"], unique_name(), someone),
    )
    return someone


def claimed(db: psycopg.Connection, company: Company, place: Place, caller: str, made: Made) -> str:
    """A domain that a connection claims."""
    domain = f"{unique_name()}.example"
    db.execute(
        "insert into sso_domains (company_id, connection_id, domain, token) values (%s, %s, %s, %s)",
        (company.id, made["connection_id"], domain, unique_name()),
    )
    return domain


# By the name of the parameter, or of the operation and the parameter.
THINGS: dict[str, Factory] = {
    "chatbot_id": chatbot,
    "account_id": account,
    "conversation_id": conversation,
    "message_id": message,
    "PUT /v1/messages/{message_id}/reaction message_id": bot_message,
    "GET /v1/messages/{message_id}/explanation message_id": explained_message,
    "user_id": person,
    "PUT /v1/chatbots/{chatbot_id}/operators/{user_id} user_id": colleague,
    "DELETE /v1/chatbots/{chatbot_id}/operators/{user_id} user_id": colleague,
    "PATCH /v1/users/{user_id} user_id": own_user,
    "invitation_id": invitation,
    "notification_id": notification,
    "response_id": canned,
    "document_id": document,
    "template_id": template,
    "key_id": key,
    "contact_id": contact,
    "session_id": takeover,
    "transfer_id": transfer,
    "integration_id": integration,
    "endpoint_id": endpoint,
    "connection_id": connection,
    "DELETE /v1/sso-connections/{connection_id}/people/{user_id} user_id": linked,
    "domain": claimed,
    "POST /v1/conversations/{conversation_id}/resolve conversation_id": attended,
    "POST /v1/conversations/{conversation_id}/transfers conversation_id": attended,
    "GET /v1/archived-conversations/{conversation_id} conversation_id": archived,
    "GET /v1/archived-conversations/{conversation_id}/messages conversation_id": archived,
    "POST /v1/archived-conversations/{conversation_id}/restore conversation_id": archived,
}
# Hang on a bot: an operador knows them only where they serve it.
OF_A_BOT = {
    "chatbot_id", "account_id", "conversation_id", "message_id", "contact_id", "session_id",
    "transfer_id",
}  # fmt: skip
# Assigned to whoever calls, and so theirs while it is, whatever the bot.
ASSIGNED = {
    "GET /v1/hitl-sessions/{session_id}",
    "GET /v1/transfers/{transfer_id}",
    "POST /v1/conversations/{conversation_id}/resolve",
    "POST /v1/conversations/{conversation_id}/transfers",
}
OF_THE_PLATFORM = {"template_id"}
BODIES: dict[str, Callable[[Company, Made], Any]] = {
    "POST /v1/canned-responses": lambda c, m: {"shortcut": f"s-{unique_name()}", "content": "Hola"},
    "PATCH /v1/canned-responses/{response_id}": lambda c, m: {"content": "Adiós"},
    "PATCH /v1/channels/{account_id}": lambda c, m: {"display_name": "Web"},
    "POST /v1/chatbots/{chatbot_id}/channels": lambda c, m: {"channel": "web"},
    "POST /v1/chatbots": lambda c, m: {
        "name": f"Bot {unique_name()}",
        "system_prompt": "Responde con calidez.",
    },
    "PATCH /v1/chatbots/{chatbot_id}": lambda c, m: {"description": "Otra"},
    "POST /v1/chatbots/{chatbot_id}/preview": lambda c, m: {"message": "Hola"},
    "PUT /v1/chatbots/{chatbot_id}/supervisor": lambda c, m: {
        "user_id": str(c.people["supervisor"].id)
    },
    "PATCH /v1/company": lambda c, m: {"phone": "+57 300 123 4567"},
    "POST /v1/onboarding": lambda c, m: {"step": "plan"},
    "POST /v1/invitations": lambda c, m: {
        "email": f"{unique_name()}@nueva.example",
        "role": "operador",
    },
    "PATCH /v1/users/{user_id}": lambda c, m: {"phone": "+57 300 123 4567"},
    "POST /v1/users/{user_id}/role": lambda c, m: {"role": "supervisor"},
    "PUT /v1/users/{user_id}/permissions": lambda c, m: {"denied": ["documents.read"]},
    "POST /v1/sso-connections": lambda c, m: {
        "name": "Su proveedor",
        "issuer": f"https://login-{unique_name()}.example",
        "client_id": "neurant",
    },
    "PATCH /v1/sso-connections/{connection_id}": lambda c, m: {"name": "Otro"},
    "POST /v1/api-keys": lambda c, m: {
        "name": "CRM",
        "role": "supervisor",
        "scopes": ["chatbots.read"],
    },
    "PATCH /v1/api-keys/{key_id}": lambda c, m: {"name": "Otro"},
    "POST /v1/conversations/{conversation_id}/resolve": lambda c, m: {"notes": "Listo"},
    "POST /v1/conversations/{conversation_id}/assign": lambda c, m: {
        "user_id": str(c.people["operador"].id)
    },
    "POST /v1/conversations/{conversation_id}/transfers": lambda c, m: {
        "to_user_id": str(c.people["administrador"].id),
        "reason": "Pide una factura",
    },
    "POST /v1/chatbots/{chatbot_id}/conversation-imports": lambda c, m: {
        "conversations": [
            {
                "external_id": unique_name(),
                "channel": "web",
                "end_user_id": unique_name(),
                "messages": [
                    {
                        "external_id": "1",
                        "sender": "end_user",
                        "content": "Hola",
                        "sent_at": "2026-03-01T09:30:00Z",
                    }
                ],
            }
        ]
    },
    "POST /v1/integrations": lambda c, m: {
        "name": f"CRM {unique_name()}",
        "integration_type": "airtable",
    },
    "PATCH /v1/integrations/{integration_id}": lambda c, m: {"description": "Otra"},
    "PUT /v1/language-model": lambda c, m: {"is_active": False},
    "PATCH /v1/documents/{document_id}": lambda c, m: {"title": "Horarios"},
    "POST /v1/knowledge/search": lambda c, m: {"query": "horario", "chatbot_id": str(c.bot_id)},
    "POST /v1/conversations/{conversation_id}/messages": lambda c, m: {"content": "Hola"},
    "PUT /v1/messages/{message_id}/reaction": lambda c, m: {"reaction_type": "helpful"},
    "POST /v1/conversations/{conversation_id}/notes": lambda c, m: {"content": "Ojo"},
    "POST /v1/webhook-endpoints": lambda c, m: {
        "url": f"https://hooks.example/{unique_name()}",
        "events": ["conversation.started"],
    },
    "PATCH /v1/webhook-endpoints/{endpoint_id}": lambda c, m: {"is_active": False},
    "POST /v1/subscription/change": lambda c, m: {"plan": "starter"},
    "POST /v1/subscription/trial": lambda c, m: {"plan": "starter"},
    "POST /v1/subscription/checkout": lambda c, m: {"plan": "starter"},
}
MULTIPART: dict[str, Callable[[], Any]] = {
    "POST /v1/chatbots/{chatbot_id}/documents": lambda: {
        "file": (
            f"{unique_name()}.txt",
            f"Abrimos a las ocho. {unique_name()}".encode(),
            "text/plain",
        )
    },
    "POST /v1/documents": lambda: {
        "file": (
            f"{unique_name()}.txt",
            f"Abrimos a las nueve. {unique_name()}".encode(),
            "text/plain",
        )
    },
}
QUERIES: dict[str, Callable[[Company], dict[str, str]]] = {
    "GET /v1/knowledge/search": lambda c: {"query": "horario", "chatbot_id": str(c.bot_id)},
}
# Allowed, and then stopped by the state of things, of which one of these codes tells.
STOPPED_BY: dict[str, tuple[str, ...]] = {
    "DELETE /v1/subscription/change": ("billing.nothing_scheduled",),
    "POST /v1/messages/{message_id}/resend": ("conversations.not_resendable",),
    "GET /v1/documents/{document_id}/file": ("document_file_missing",),
    "POST /v1/documents/{document_id}/retry": ("document_not_failed",),
    "POST /v1/conversations/{conversation_id}/assign": ("conversations.invalid_target",),
    "POST /v1/conversations/{conversation_id}/transfers": (
        "conversations.invalid_target",
        "conversations.not_yours",
    ),
    "POST /v1/subscription/checkout": ("billing.by_hand",),
    "POST /v1/subscription/portal": ("billing.by_hand",),
    "POST /v1/subscription/trial": ("billing.nothing_to_try",),
}


def expected_if_visible(caller: str, place: Place) -> int | str:
    """Another person's profile: read by who may see the person, changed by nobody."""
    if place is Place.SERVED:
        return "allowed"
    return 404 if caller == "operador" else 403


def people_seen(caller: str, place: Place) -> int | str:
    """A supervisor sees supervisors and operadores, an operador only themselves."""
    return 404 if caller in ("operador", "key_operador") else "allowed"


def expected_if_searched(caller: str, place: Place) -> int | str:
    """A transfer is answered by whom it asks; who may see it is told that it is not theirs."""
    if place is Place.SERVED:
        return "allowed"
    return 404 if caller in ("operador", "key_operador") else 403


def searched(caller: str, place: Place) -> int | str:
    """Passages are searched for a bot that the caller knows."""
    return 404 if caller == "key_operador" else "allowed"


EXPECTED: dict[str, Callable[[str, Place], int | str]] = {
    "GET /v1/users/{user_id}": people_seen,
    "PATCH /v1/users/{user_id}": expected_if_visible,
    "GET /v1/knowledge/search": searched,
    "POST /v1/knowledge/search": searched,
    "POST /v1/transfers/{transfer_id}/accept": expected_if_searched,
    "POST /v1/transfers/{transfer_id}/reject": expected_if_searched,
}
