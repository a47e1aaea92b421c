"""The internal names of FastAPI that ``/v1`` needs and that FastAPI does not publish.

They may change with any version: ``pyproject.toml`` bounds the version, and
``tests/api/test_fastapi_adapter.py`` tests the behaviour that this module relies on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from fastapi._compat import ModelField, field_annotation_is_sequence
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Body, ParamTypes
from fastapi.routing import APIRoute, _effective_route_context_var

__all__ = [
    "ModelField", "is_json_body", "query_fields", "replace_validator", "served_route",
    "takes_several",
]  # fmt: skip


def served_route(route: APIRoute) -> Any:
    """Return the route that is served: FastAPI copies the routes of an included router."""
    return _effective_route_context_var.get() or route


def takes_several(field: ModelField) -> bool:
    """Return whether a parameter or part may occur more than once."""
    return field_annotation_is_sequence(field.field_info.annotation)


def query_fields(dependant: Dependant) -> Iterator[ModelField]:
    """Yield the query parameters of a route and of its dependencies."""
    for field in get_flat_params(dependant):
        if getattr(field.field_info, "in_", None) in (None, ParamTypes.query):
            yield field


def is_json_body(field: ModelField) -> bool:
    """Return whether the field is read from JSON; the values of Form and File are texts."""
    return type(field.field_info) is Body


def replace_validator(field: ModelField, make: Callable[[Any], Any]) -> None:
    """Validate the field with the result of ``make`` for its pydantic ``TypeAdapter``."""
    field._type_adapter = make(field._type_adapter)
