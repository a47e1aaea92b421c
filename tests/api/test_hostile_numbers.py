"""Numbers, texts and depths that Python, C or PostgreSQL cannot hold, in every field of the API."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest

from neurant.core.settings import Settings
from neurant.installation.embedded import Urls
from neurant.runtime.app import _make_api
from tests.api.api_resources import BODIES, Place
from tests.api.test_roles_over_http import OPERATIONS, Operation, make
from tests.channels.telegram.test_hostile_updates import MARK, RAW, paths, replaced
from tests.companies import Company, make_company

pytest_plugins = ("tests.console.running_web",)
DOCUMENT = _make_api(Settings()).openapi()
HUGE = ["9" * 400, "-" + "9" * 5000, "1e999", "NaN", "Infinity", "9223372036854775808", "٣", "1_0"]


@pytest.fixture(scope="module")
def company(urls: Urls, known_password: str) -> Company:
    return make_company(urls.admin, "acme", password_hash=known_password)


@pytest.fixture(scope="module")
def owner(company: Company, urls: Urls, sign_in: Any) -> Iterator[httpx.Client]:
    with psycopg.connect(urls.admin, autocommit=True) as db:
        db.execute("update plans set requests_per_minute = 1000000 where plan = 'enterprise'")
        yield sign_in(company, "owner")
        db.execute("update plans set requests_per_minute = 3000 where plan = 'enterprise'")


WITH_BODY = [one for one in OPERATIONS if one.name in BODIES]


@pytest.mark.parametrize("operation", WITH_BODY, ids=lambda one: one.name)
def test_no_value_in_a_body_is_a_fault(
    operation: Operation, owner: httpx.Client, company: Company, database: psycopg.Connection
) -> None:
    ids = make(database, operation, company, Place.SERVED, "owner")
    path = operation.path.format(**{name: ids[name] for name in operation.params})
    body = BODIES[operation.name](company, ids)
    schema = DOCUMENT["paths"][operation.path][operation.method.lower()]["requestBody"]
    named = str(schema["content"]["application/json"]["schema"].get("$ref", "")).rpartition("/")[2]
    fields = DOCUMENT["components"]["schemas"].get(named, {}).get("properties", {})
    body = {**dict.fromkeys(fields), **body} if fields else body
    places = paths(body)
    for number, raw in enumerate(RAW):
        # Each value in some places of each body; the bodies together see every value in each kind.
        for at in places[number % 9 :: 9]:
            told = json.dumps(replaced(body, at)).replace(f'"{MARK}"', raw)
            sent = told.encode("utf-8", "surrogatepass")
            headers = {"content-type": "application/json"}
            answer = owner.request(operation.method, path, content=sent, headers=headers)
            assert answer.status_code < 500, (at, raw[:30], answer.text)


def parameters() -> list[tuple[str, str]]:
    """Every query parameter of every GET without a path parameter."""
    found = []
    for path, methods in DOCUMENT["paths"].items():
        for one in methods.get("get", {}).get("parameters", []):
            if one["in"] == "query" and "{" not in path and "export" not in path:
                found.append((path, one["name"]))
    return found


@pytest.mark.parametrize(("path", "name"), parameters())
def test_no_value_of_a_query_parameter_is_a_fault(
    path: str, name: str, owner: httpx.Client
) -> None:
    for raw in [*HUGE, "\x00", "%00", "\ud800".encode("utf-8", "surrogatepass"), str(uuid.uuid4())]:
        answer = owner.get(path, params={name: raw})
        assert answer.status_code < 500, (raw, answer.text)
