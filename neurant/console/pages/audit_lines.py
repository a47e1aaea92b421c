"""Put lines of the audit log into words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from neurant.audit.schemas import AuditLogOut
from neurant.texts import Language, catalogue, text

_SYMBOLS = {
    "login": "right",
    "logout": "out",
    "login_denied": "alert",
    "denied": "lock",
    "create": "plus",
    "upload_document": "upload",
    "update": "edit",
    "delete": "trash",
    "erase": "trash",
    "assign": "users",
    "unassign": "users",
    "transfer": "transfer",
    "escalate_hitl": "hand",
    "resolve_hitl": "check",
    "export": "download",
    "integration_sync": "refresh",
}
_ALARMING = ("login_denied", "denied", "delete", "erase")


@dataclass(frozen=True, slots=True)
class DescribedLine:
    """A line of the audit log as the page shows it."""

    id: UUID
    created_at: datetime
    who: str
    role: str | None
    sentence: str
    changed: list[str]
    symbol: str
    is_alarming: bool
    network: str | None
    request_id: str | None
    resource_id: UUID | None


def describe_line(line: AuditLogOut, language: Language) -> DescribedLine:
    """Return a line in words: who did what."""
    return DescribedLine(
        id=line.id,
        created_at=line.created_at,
        who=_who(line, language),
        role=line.user_role,
        sentence=_sentence(line, language),
        changed=_changed(line.details, language) if line.action == "update" else [],
        symbol=_SYMBOLS.get(line.action, "info"),
        is_alarming=line.action in _ALARMING,
        network=str(line.ip_address) if line.ip_address else None,
        request_id=line.request_id,
        resource_id=line.resource_id,
    )


def thing(resource_type: str, language: Language) -> str:
    """Return the object of a line in words; a table without a word keeps its name."""
    name = f"audit_page.things.{resource_type}"
    return text(name, language) if name in catalogue("es") else resource_type


def _who(line: AuditLogOut, language: Language) -> str:
    by = str(line.details.get("by", "system"))
    if line.user_id is None:
        return text(f"audit_page.by.{by}", language)
    name = line.user_name or text("audit_page.erased", language)
    return text("audit_page.by_key", language, name=name) if by == "api_key" else name


def _sentence(line: AuditLogOut, language: Language) -> str:
    if line.action == "denied":
        operation = str(line.details.get("permission") or line.details.get("operation") or "")
        known = f"permissions.{operation}"
        told_operation = text(known, language) if known in catalogue("es") else operation
        return text("audit_page.actions.denied", language, operation=told_operation)
    about = thing(line.resource_type, language)
    return text(f"audit_page.actions.{line.action}", language, thing=about)


def _changed(details: dict[str, Any], language: Language) -> list[str]:
    """Return the names of the changed columns in words, including columns with hidden values."""
    shown = set(details.get("before") or {}) | set(details.get("after") or {})
    hidden = details.get("hidden")
    names = shown | set(hidden if isinstance(hidden, list) else [])
    return sorted({column(name, language) for name in names})


def column(name: str, language: Language) -> str:
    """Return a column in words; a column without a word keeps its name."""
    known = f"audit_page.columns.{name}"
    return text(known, language) if known in catalogue("es") else name.replace("_", " ")
