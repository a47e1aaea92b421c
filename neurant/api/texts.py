"""Texts that people send: what PostgreSQL cannot keep is refused, and so said in the OpenAPI."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field


def is_storable(value: str) -> bool:
    """Whether PostgreSQL can keep this text."""
    return "\0" not in value and not any("\ud800" <= one <= "\udfff" for one in value)


def _storable(value: str) -> str:
    if not is_storable(value):
        raise ValueError("NUL and lone surrogates cannot be stored")
    return value


def formatted(name: str) -> Any:
    """What a field's text is beyond its length and pattern, said as its ``format``."""
    return Field(json_schema_extra={"format": name})


STORABLE = AfterValidator(_storable)
"""The last of an Annotated that has a pattern: after it, pydantic would not tell the pattern."""
Text = Annotated[str, STORABLE]
"""A text without NUL (PostgreSQL has none) and without half a character."""

EmailText = Annotated[Text, formatted("email")]
PasswordText = Annotated[Text, formatted("password")]
PersonName = Annotated[Text, formatted("person-name")]
"""Checked where they are used; their ``format`` tells what passes."""
