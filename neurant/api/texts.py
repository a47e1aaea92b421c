"""Texts that people send: what PostgreSQL cannot keep is refused, and so said in the OpenAPI."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator


def _storable(value: str) -> str:
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("NUL and lone surrogates cannot be stored")
    return value


Text = Annotated[str, AfterValidator(_storable)]
"""A text without NUL (PostgreSQL has none) and without half a character."""
