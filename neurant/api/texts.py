"""Texts that people send: what PostgreSQL cannot keep is refused, and so said in the OpenAPI."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core.core_schema import CoreSchema, no_info_after_validator_function


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


class _Storable:
    """Refuses what PostgreSQL cannot keep. JSON Schema has no word for half a character."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return no_info_after_validator_function(_storable, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        told = handler(schema)
        return told if "format" in told else told | {"not": {"pattern": "\\x00"}}


STORABLE = _Storable()
"""The last of an Annotated: after it, pydantic would not tell a pattern."""
Text = Annotated[str, STORABLE]
"""A text without NUL (PostgreSQL has none) and without half a character."""

EmailText = Annotated[str, formatted("mail-address"), STORABLE]
PasswordText = Annotated[str, formatted("password"), STORABLE]
PersonName = Annotated[str, formatted("person-name"), STORABLE]
"""Checked where they are used; their ``format`` tells what passes."""
