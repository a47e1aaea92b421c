"""The OpenAPI document says in words what each operation, parameter and field is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from neurant.api.callers import PERMISSIONS, ROLES, callers_with
from neurant.core.settings import Settings
from neurant.installation.embedded import Urls
from neurant.runtime.app import _make_api
from neurant.texts import catalogue

DOCUMENT: dict[str, Any] = _make_api(Settings()).openapi()
CODE = re.compile(r"`+([a-z_]+(?:\.[a-z_]+)*)`+")
REFUSAL = re.compile(r"\b([45]\d\d)\s+((?:`+[a-z_.]+`+(?:,\s+|\s+or\s+)?)+)")
STOP_WORDS = {"a", "an", "the", "of", "this", "that", "is", "in", "its", "for"}


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def properties() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for name, schema in DOCUMENT["components"]["schemas"].items():
        for field, told in schema.get("properties", {}).items():
            yield name, field, told


def says_something(name: str, description: str | None) -> bool:
    """Whether a description has three words, one of which the name does not have."""
    words = re.findall(r"[\w'/-]+", (description or "").lower())
    own = {*re.split(r"[_-]", name.lower()), *STOP_WORDS}
    return len(words) >= 3 and bool(set(words) - own)


def test_every_operation_has_a_summary_of_one_sentence() -> None:
    wrong = [
        f"{name}: {operation.get('summary')}"
        for name, operation in operations()
        if not re.fullmatch(r"[A-Z][^.?!]{8,100}", operation.get("summary") or "")
    ]
    assert wrong == []


def test_no_two_operations_share_a_summary() -> None:
    counts = Counter(operation["summary"] for _, operation in operations())
    assert [summary for summary, count in counts.items() if count > 1] == []


def test_every_description_says_who_may_call_and_what_is_refused() -> None:
    wrong = [
        name
        for name, operation in operations()
        if not re.search(r"Who may call it: \w.{8,}?[.]", operation["description"], re.DOTALL)
        or not re.search(r"Refuses: \S.{8,}?[.]", operation["description"], re.DOTALL)
    ]
    assert wrong == []


def test_an_operation_with_a_permission_names_the_roles_that_have_it() -> None:
    wrong = [
        name
        for name, operation in operations()
        if (permission := operation.get("x-permission"))
        and callers_with(permission) not in operation["description"]
    ]
    assert wrong == []


def test_the_documented_permissions_are_those_of_the_database(urls: Urls) -> None:
    with psycopg.connect(urls.admin) as db:
        rows = db.execute(
            f"select name, {', '.join(ROLES)}, is_read, for_keys from public.permissions"
        ).fetchall()
    assert {
        name: (" ".join(reaches), is_read, for_keys) for name, *reaches, is_read, for_keys in rows
    } == PERMISSIONS


def test_every_documented_refusal_names_its_codes_and_every_code_exists() -> None:
    codes = {name.removeprefix("errors.") for name in catalogue("en") if name.startswith("errors.")}
    wrong = []
    for name, operation in operations():
        for status, answer in operation["responses"].items():
            if status[0] in "45" and not CODE.search(answer["description"]):
                wrong.append(f"{name}: {status} names no code")
            if status[0] in "45d":
                named = [one for one in CODE.findall(answer["description"]) if "." in one]
                wrong += [f"{name}: {status} {one}?" for one in named if one not in codes]
        for status, named in REFUSAL.findall(operation["description"]):
            answer = operation["responses"][status]["description"]
            wrong += [f"{name}: {one}?" for one in CODE.findall(named) if one not in codes]
            wrong += [f"{name}: {status} lacks {one}" for one in CODE.findall(named)
                      if f"`{one}`" not in answer]  # fmt: skip
    assert wrong == []


def test_every_parameter_is_described() -> None:
    wrong = [
        f"{name}: {one['name']}"
        for name, operation in operations()
        for one in operation.get("parameters", [])
        if not says_something(one["name"], one.get("description"))
    ]
    assert wrong == []


def test_every_field_of_every_body_is_described() -> None:
    wrong = [
        f"{schema}.{field}: {told.get('description')}"
        for schema, field, told in properties()
        if not says_something(field, told.get("description"))
    ]
    assert wrong == []


def test_every_schema_and_every_success_is_described() -> None:
    wrong = [
        name
        for name, schema in DOCUMENT["components"]["schemas"].items()
        if not says_something(name, schema.get("description"))
    ] + [
        f"{name}: {status}"
        for name, operation in operations()
        for status, answer in operation["responses"].items()
        if not says_something("successful_response", answer["description"])
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("name", "description", "is_enough"),
    [
        ("created_at", "When the key was created", True),
        ("created_at", None, False),
        ("created_at", "The created at", False),
        ("email", "An address", False),
        ("chatbot_id", "The id of the chatbot", False),
    ],
)
def test_a_description_that_repeats_the_name_is_not_enough(
    name: str, description: str | None, is_enough: bool
) -> None:
    assert says_something(name, description) is is_enough
