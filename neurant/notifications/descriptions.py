"""The presentation of a notification: its text, its icon and its link."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neurant.plans.limits import amount, plan_name
from neurant.texts import Language, catalogue, text

_SYMBOLS = {
    "customer": "clock",
    "transfer": "transfer",
    "conversation": "hand",
    "usage": "chart",
    "ownership": "star",
    "mail": "mail",
    "sso": "shield",
    "visitors": "chart",
}


def describe_notification(kind: str, details: Mapping[str, Any], language: Language) -> str:
    """Return the text of a notification; an unknown kind or parameter gets a generic text."""
    name = f"notifications.{kind}"
    if name not in catalogue("es"):
        return text("notifications.unknown", language)
    try:
        return text(name, language, **_params(details, language))
    except KeyError:
        return text("notifications.unknown", language)


def symbol(kind: str) -> str:
    """Return the icon of a kind."""
    return _SYMBOLS.get(kind.partition("_")[0], "card" if "plan" in kind else "info")


def target(kind: str, details: Mapping[str, Any]) -> str | None:
    """Return the page on which a person can act on the notification, None if there is none."""
    if "conversation_id" in details:
        return f"/console/inbox/{details['conversation_id']}"
    if kind == "visitors_full":
        return "/console/settings/company"
    if kind == "usage_alert" or "plan" in details:
        return "/console/plan"
    if kind.startswith("sso_"):
        return "/console/settings/sso"
    return None


def _params(details: Mapping[str, Any], language: Language) -> dict[str, Any]:
    params = dict(details)
    if "plan" in details:
        params["plan"] = plan_name(str(details["plan"]))
    if "limit" in details:
        params["limit"] = text(f"notifications.limit.{details['limit']}", language)
        for name in ("used", "allowed"):
            if isinstance(details.get(name), int):
                params[name] = amount(str(details["limit"]), details[name])
    if isinstance(details.get("limits"), list):
        names = (text(f"notifications.limit.{one}", language) for one in details["limits"])
        params["limits"] = ", ".join(names)
    return params
