"""The sentence of the API documentation that says who may call an operation.

``public.permissions`` decides who may. The document is made without a database, so this module
repeats the table; ``tests/api/test_documentation.py`` holds the two equal.
"""

from __future__ import annotations

from typing import Any

ROLES = ("owner", "administrador", "supervisor", "operador")
_REACHES = {
    "below": "for people of lower roles",
    "juniors": "for supervisors and operadores",
    "colleagues": "for colleagues of the bots assigned to them",
    "bots": "for the bots assigned to them",
    "own": "for their own",
    "self": "for themselves",
}
# The reach of each role in the order of ROLES, whether the permission only reads, and whether API
# keys have it.
PERMISSIONS: dict[str, tuple[str, bool, str]] = {
    "company.read": ("all all all all", True, "always"),
    "company.edit": ("all all none none", False, "by_scope"),
    "company.transfer": ("all none none none", False, "never"),
    "company.close": ("all none none none", True, "never"),
    "billing.read": ("all all none none", True, "by_scope"),
    "billing.manage": ("all none none none", True, "never"),
    "users.read": ("all all juniors self", True, "by_scope"),
    "team.read": ("all all all colleagues", True, "by_scope"),
    "profile.edit": ("self self self self", False, "never"),
    "users.manage": ("below below none none", False, "by_scope"),
    "invitations.read": ("below below none none", True, "by_scope"),
    "invitations.manage": ("below below none none", False, "by_scope"),
    "notifications.read": ("self self self self", True, "never"),
    "api_keys.read": ("all all none none", True, "never"),
    "api_keys.manage": ("all all none none", False, "never"),
    "webhooks.read": ("all all none none", True, "by_scope"),
    "webhooks.manage": ("all all none none", False, "by_scope"),
    "integrations.read": ("all all none none", True, "by_scope"),
    "integrations.manage": ("all all none none", False, "by_scope"),
    "sso.read": ("all all none none", True, "never"),
    "sso.manage": ("all none none none", False, "never"),
    "language_models.read": ("all all all none", True, "by_scope"),
    "language_models.manage": ("all all none none", False, "by_scope"),
    "channels.read": ("all all all bots", True, "by_scope"),
    "channels.manage": ("all all none none", False, "by_scope"),
    "chatbots.read": ("all all all bots", True, "by_scope"),
    "chatbots.edit": ("all all all none", False, "by_scope"),
    "chatbots.retire": ("all all none none", False, "by_scope"),
    "chatbots.assign_operators": ("all all all none", False, "by_scope"),
    "chatbots.assign_supervisor": ("all all none none", False, "by_scope"),
    "templates.read": ("all all all all", True, "always"),
    "conversations.read": ("all all all bots", True, "by_scope"),
    "conversations.reply": ("all all all bots", False, "by_scope"),
    "conversations.transfer": ("all all all bots", False, "by_scope"),
    "conversations.assign": ("all all all none", False, "by_scope"),
    "conversations.import": ("all all none none", False, "by_scope"),
    "canned_responses.read": ("all all all all", True, "by_scope"),
    "canned_responses.edit": ("all all all own", False, "by_scope"),
    "documents.read": ("all all all all", True, "by_scope"),
    "documents.edit": ("all all all none", False, "by_scope"),
    "analytics.read": ("all all all bots", True, "by_scope"),
    "metrics.read": ("all all none none", True, "by_scope"),
    "audit.read": ("all all none none", True, "by_scope"),
    "data.export": ("all all none none", True, "by_scope"),
    "data.erase": ("all all none none", False, "by_scope"),
    "data.restore": ("all all none none", False, "by_scope"),
}


def callers_of(place: str, operation: dict[str, Any]) -> str:
    """Return who may call an operation of the document, in words and without a full stop."""
    if permission := operation.get("x-permission"):
        return callers_with(permission)
    security = operation.get("security")
    if security == []:
        return "everybody, without a credential"
    if security:
        return "everybody; a session that is sent along is used"
    if place.startswith("/chat/"):
        return "the visitor whose session token is sent as bearer token"
    return "every signed-in person, with a session (API keys are refused)"


def callers_with(permission: str) -> str:
    """Return the roles and API keys that have a permission, in words."""
    reaches, is_read, for_keys = PERMISSIONS[permission]
    parts: dict[str, list[str]] = {}
    for role, reach in zip(ROLES, reaches.split(), strict=True):
        if reach != "none":
            parts.setdefault(_REACHES.get(reach, ""), []).append(role)
    roles = "; ".join(
        _listed(names) + (f" ({reach})" if reach else "") for reach, names in parts.items()
    )
    keys = {
        "always": "; every API key",
        "by_scope": f"; API keys with the scope `{permission}`",
        "never": "; no API key",
    }[for_keys]
    paid = "" if is_read else ". Not in a company whose subscription is inactive or cancelled"
    return f"{roles}{keys} (permission `{permission}`){paid}"


def _listed(names: list[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
