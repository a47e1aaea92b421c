"""The types of texts that clients send. A text that PostgreSQL cannot store is refused."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core.core_schema import CoreSchema, no_info_after_validator_function

from neurant.core.names import as_label, as_name
from neurant.core.person_names import plain_name


def is_storable(value: str) -> bool:
    """Return whether PostgreSQL can store this text."""
    try:
        value.encode()  # implemented in C, because a megabyte of text must not block the event loop
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return "\0" not in value


def _storable(value: str) -> str:
    if not is_storable(value):
        raise ValueError("NUL and lone surrogates cannot be stored")
    return value


def formatted(name: str) -> Any:
    """Set the ``format`` of a field, which names the rules beyond length and pattern."""
    return Field(json_schema_extra={"format": name})


class _Storable:
    """A check that PostgreSQL can store a text; JSON Schema cannot express lone surrogates."""

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
"""The last item of an Annotated: pydantic omits a pattern that follows it."""
Text = Annotated[str, STORABLE]
"""A text without NUL, which PostgreSQL cannot store, and without lone surrogates."""

EmailText = Annotated[str, formatted("mail-address"), STORABLE]
PasswordText = Annotated[str, formatted("password"), STORABLE]
PersonName = Annotated[str, formatted("person-name"), STORABLE]
"""These are validated where they are used; their ``format`` names the rules."""


def _after(check: Any) -> AfterValidator:
    # STORABLE reports a text that cannot be stored, with its own error.
    return AfterValidator(lambda value: check(value) if is_storable(value) else value)


IS_NAME = _after(as_name)
"""In an Annotated after ``formatted("name")``: the stored form of a name, or ``name_refused``."""
IS_LABEL = _after(as_label)
"""The same for a label (``label_refused``), which may contain the address of a site."""
IS_PERSON = _after(plain_name)
"""The same for a first or a last name (``accounts.bad_name``)."""
