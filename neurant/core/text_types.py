"""Texts that people send: what PostgreSQL cannot keep is refused, and so said in the OpenAPI."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core.core_schema import CoreSchema, no_info_after_validator_function

from neurant.core.names import as_label, as_name
from neurant.core.person_names import plain_name


def is_storable(value: str) -> bool:
    """Whether PostgreSQL can keep this text."""
    try:
        value.encode()  # in C: a text of a megabyte must not take the event loop's time
    except UnicodeEncodeError:  # half a character
        return False
    return "\0" not in value


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


def _after(check: Any) -> AfterValidator:
    # What cannot be stored is told as that, by STORABLE.
    return AfterValidator(lambda value: check(value) if is_storable(value) else value)


IS_NAME = _after(as_name)
"""In an Annotated, after ``formatted("name")``: the text as a name is kept, or ``name_refused``."""
IS_LABEL = _after(as_label)
"""The same for a label (``label_refused``), which may hold the address of a site."""
IS_PERSON = _after(plain_name)
"""The same for a first or a last name (``accounts.bad_name``)."""
