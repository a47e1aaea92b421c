"""Read and fill the settings form of a bot, which works without a script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from starlette.datastructures import FormData

from neurant.chatbots.schemas import DAYS, TRIGGERS, ChatbotOut, ChatbotPatch

SPANS = range(1, 7)  # numbers of the intervals of a day; the page shows at least two

SHOWN = 2


def values_of(form: FormData) -> dict[str, str]:
    """Return the text fields of a form, stripped; an uploaded file is left out."""
    return {
        name: value.strip().replace("\r\n", "\n")
        for name, value in form.items()
        if isinstance(value, str)
    }


def read_settings(form: FormData) -> ChatbotPatch:
    """Return all settings of the form. Raises pydantic's ValidationError."""
    given = values_of(form)
    return ChatbotPatch.model_validate(
        {
            "name": given.get("name", ""),
            "description": given.get("description") or None,
            "avatar_url": given.get("avatar_url") or None,
            "system_prompt": given.get("system_prompt", ""),
            "personality_traits": {
                "tone": given.get("tone") or None,
                "language": given.get("language") or None,
                "persona": given.get("persona") or None,
                "address": given.get("address") or None,
                "style": given.get("style") or None,
            },
            "response_delay_ms": _milliseconds(given.get("response_delay", "")),
            "max_context_messages": given.get("max_context_messages", ""),
            "fallback_message": given.get("fallback_message") or None,
            "is_active": "is_active" in given,
            "working_hours": read_hours(given),
            "timezone": given.get("timezone", ""),
            "hitl_enabled": "hitl_enabled" in given,
            "hitl_triggers": [one for one in TRIGGERS if f"trigger-{one}" in given],
            "hitl_trigger_keywords": _keywords(given.get("keywords", "")),
            "auto_escalate_after_minutes": given.get("auto_escalate_after_minutes", ""),
        }
    )


def read_hours(given: Mapping[str, str]) -> dict[str, list[list[str]]]:
    """Return the intervals by day; a day without any is closed, and an empty form sets no hours."""
    hours: dict[str, list[list[str]]] = {}
    for day in DAYS:
        spans = [[given.get(f"{day}-from-{n}", ""), given.get(f"{day}-to-{n}", "")] for n in SPANS]
        # A time field cannot hold 24:00, so midnight as an end means the end of the day.
        chosen = [
            [start, "24:00" if end == "00:00" else end] for start, end in spans if start or end
        ]
        if chosen:
            hours[day] = chosen
    return hours


def _milliseconds(seconds: str) -> int | str:
    """Convert seconds to milliseconds; other text stays as it is, and validation refuses it."""
    try:
        return round(float(seconds.replace(",", ".")) * 1000)
    except (ValueError, OverflowError):
        return seconds


def _keywords(text: str) -> list[str]:
    words = (one.strip() for one in text.replace("\n", ",").split(","))
    return list(dict.fromkeys(one for one in words if one))


def wrong_fields(error: ValidationError) -> list[str]:
    """Return the names of the invalid settings, each once, in the form's order."""
    return list(dict.fromkeys(str(one["loc"][0]) for one in error.errors()))


def as_shown(form: FormData) -> dict[str, Any]:
    """Return the typed values, to show the form again with its errors."""
    given = values_of(form)
    return {
        "name": given.get("name", ""),
        "description": given.get("description", ""),
        "avatar_url": given.get("avatar_url", ""),
        "system_prompt": given.get("system_prompt", ""),
        "tone": given.get("tone", ""),
        "language": given.get("language", ""),
        "persona": given.get("persona", ""),
        "address": given.get("address", ""),
        "style": given.get("style", ""),
        "response_delay": given.get("response_delay", ""),
        "max_context_messages": given.get("max_context_messages", ""),
        "fallback_message": given.get("fallback_message", ""),
        "is_active": "is_active" in given,
        "hours": {
            day: [
                (given.get(f"{day}-from-{n}", ""), given.get(f"{day}-to-{n}", ""))
                for n in SPANS
                if n <= SHOWN or f"{day}-from-{n}" in given
            ]
            for day in DAYS
        },
        "timezone": given.get("timezone", ""),
        "hitl_enabled": "hitl_enabled" in given,
        "triggers": [one for one in TRIGGERS if f"trigger-{one}" in given],
        "keywords": given.get("keywords", ""),
        "auto_escalate_after_minutes": given.get("auto_escalate_after_minutes", ""),
    }


def saved(bot: ChatbotOut) -> dict[str, Any]:
    """Return the stored settings of a bot as its form shows them."""
    traits = bot.personality_traits
    return {
        "name": bot.name,
        "description": bot.description or "",
        "avatar_url": bot.avatar_url or "",
        "system_prompt": bot.system_prompt,
        "tone": traits.get("tone") or "friendly",
        "language": traits.get("language") or "",
        "persona": traits.get("persona") or "",
        "address": traits.get("address") or "",
        "style": traits.get("style") or "",
        "response_delay": f"{bot.response_delay_ms / 1000:g}",
        "max_context_messages": bot.max_context_messages,
        "fallback_message": bot.fallback_message or "",
        "is_active": bot.is_active,
        "hours": {day: _spans(bot.working_hours.get(day, [])) for day in DAYS},
        "timezone": bot.timezone,
        "hitl_enabled": bot.hitl_enabled,
        "triggers": bot.hitl_triggers,
        "keywords": ", ".join(bot.hitl_trigger_keywords),
        "auto_escalate_after_minutes": bot.auto_escalate_after_minutes,
    }


def _spans(intervals: Sequence[Sequence[str]]) -> list[tuple[str, str]]:
    # A time field cannot hold 24:00, so the end of the day is shown as midnight.
    shown = [(start, "00:00" if end == "24:00" else end) for start, end in intervals]
    return shown + [("", "")] * (SHOWN - len(shown))
