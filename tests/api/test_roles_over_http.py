"""Every role at every endpoint, on what is its own, on what is out of its reach, and on another company's.

The operations are read off the OpenAPI document: one that is added must say here what it is tried with. What
is expected follows from shared facts only: the permission that the operation names, how far the role's reach
of it goes (``public.permissions``), and where the thing lies.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg
import pytest

from neurant.core.settings import Settings
from neurant.installation.embedded import Urls
from neurant.runtime.app import _make_api
from tests.api.api_resources import (
    ASSIGNED,
    BODIES,
    EXPECTED,
    MULTIPART,
    OF_A_BOT,
    OF_THE_PLATFORM,
    QUERIES,
    STOPPED_BY,
    THINGS,
    Place,
)
from tests.companies import Company, make_company

pytest_plugins = ("tests.console.running_web",)
ROLES = ("owner", "administrador", "supervisor", "operador")
KEYS = ("key_administrador", "key_supervisor", "key_operador")
# Only for a company of its own: it would end the others' tests. Tried where their rules are.
ELSEWHERE = {
    "POST /v1/language-model/test": ("language_models.none",),
    "POST /v1/company/ownership": "tests/team",
    "POST /v1/subscription/close": "tests/plans",
    "POST /v1/subscription/reopen": "tests/plans",
}


@dataclass(frozen=True)
class Operation:
    method: str
    path: str
    permission: str
    params: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


def operations() -> Iterator[Operation]:
    document = _make_api(Settings()).openapi()
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            if told.get("x-permission") and told.get("security") != []:
                names = tuple(
                    one["name"] for one in told.get("parameters", []) if one["in"] == "path"
                )
                yield Operation(method.upper(), path, told["x-permission"], names)


OPERATIONS = [one for one in operations() if one.name not in ELSEWHERE]


@pytest.fixture(scope="module")
def reach(urls: Urls) -> dict[str, dict[str, str]]:
    with psycopg.connect(urls.admin) as db:
        rows = db.execute(
            "select name, owner, administrador, supervisor, operador, for_keys from permissions"
        )
        return {
            name: dict(zip((*ROLES, "for_keys"), levels, strict=True)) for name, *levels in rows
        }


@pytest.fixture(scope="module")
def companies(urls: Urls, known_password: str) -> tuple[Company, Company]:
    return (
        make_company(urls.admin, "acme", password_hash=known_password),
        make_company(urls.admin, "rival", password_hash=known_password),
    )


@pytest.fixture(scope="module")
def callers(
    web_url: str,
    urls: Urls,
    companies: tuple[Company, Company],
    sign_in: Callable[[Company, str], httpx.Client],
) -> Iterator[dict[str, httpx.Client]]:
    """Everybody of acme: the four roles by their session, and keys with every scope."""
    acme, _ = companies
    found = {role: sign_in(acme, role) for role in ROLES}
    with psycopg.connect(urls.admin, autocommit=True) as db:
        db.execute("update plans set requests_per_minute = 1000000 where plan = 'enterprise'")
        for name in KEYS:
            token = f"na_key_{uuid.uuid4().hex}"
            db.execute(
                "insert into api_keys (company_id, name, prefix, key_digest, role, created_by, scopes)"
                " select %s, %s, 'na_key_', sha256(%s), %s, %s, array_agg(name) from permissions"
                " where for_keys = 'by_scope'",
                (acme.id, name, token.encode(), name.removeprefix("key_"), acme.people["owner"].id),
            )
            found[name] = httpx.Client(
                base_url=web_url, headers={"authorization": f"Bearer {token}"}
            )
    yield found
    for name in KEYS:
        found[name].close()
    # `neurant verify` compares with the plans as they are delivered.
    with psycopg.connect(urls.admin, autocommit=True) as db:
        db.execute("update plans set requests_per_minute = 3000 where plan = 'enterprise'")


def test_every_operation_says_what_it_is_tried_with() -> None:
    unknown = {one for operation in OPERATIONS for one in operation.params} - THINGS.keys()
    assert not unknown, "how is one of these made? tests/api/api_resources.py"
    assert not set(ELSEWHERE) - {one.name for one in operations()}


def request(
    client: httpx.Client, operation: Operation, ids: dict[str, Any], company: Company
) -> httpx.Response:
    path = operation.path.format(**{name: ids[name] for name in operation.params})
    options: dict[str, Any] = {"headers": {"x-request-id": "one"}}
    if operation.name in QUERIES:
        options["params"] = QUERIES[operation.name](company)
    if operation.name in MULTIPART:
        options["files"] = MULTIPART[operation.name]()
    elif operation.name in BODIES:
        options["json"] = BODIES[operation.name](company, ids)
    return client.request(operation.method, path, **options)


def make(
    db: psycopg.Connection, operation: Operation, company: Company, place: Place, caller: str
) -> dict[str, Any]:
    """What the operation is about, made for this one try."""
    made: dict[str, Any] = {}
    for name in operation.params:
        factory = THINGS.get(f"{operation.name} {name}") or THINGS[name]
        made[name] = factory(db, company, place, caller, made)
    return made


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: one.name)
def test_each_role_is_allowed_refused_or_shown_nothing(
    operation: Operation,
    callers: dict[str, httpx.Client],
    companies: tuple[Company, Company],
    reach: dict[str, dict[str, str]],
    database: psycopg.Connection,
    web_url: str,
) -> None:
    acme, rival = companies
    cells = 0
    with httpx.Client(base_url=web_url) as nobody:
        ids = make(database, operation, acme, Place.SERVED, "owner")
        assert request(nobody, operation, ids, acme).status_code == 401
    for caller, client in callers.items():
        level = reach_of(reach[operation.permission], caller)
        unknown = request(
            client, operation, {name: uuid.uuid4() for name in operation.params}, acme
        )
        for place in Place:
            if not operation.params and place is not Place.SERVED:
                continue
            company = rival if place is Place.FOREIGN else acme
            ids = make(database, operation, company, place, caller)
            answer = request(client, operation, ids, acme)
            expected = expect(caller, level, place, operation)
            told = f"{caller} {operation.name} {place.value} ({level}): {answer.status_code} {answer.text[:200]}"
            if expected == "allowed":
                if not answer.is_success:
                    assert answer.json()["code"] in STOPPED_BY.get(operation.name, ()), told
                assert str(rival.id) not in answer.text, told
                assert rival.slug not in answer.text, told
            else:
                assert answer.status_code == expected, told
            if expected == 404:
                assert (answer.status_code, answer.content) == (
                    unknown.status_code,
                    unknown.content,
                ), told
            cells += 1
    assert cells == len(callers) * (len(Place) if operation.params else 1)


def reach_of(levels: dict[str, str], caller: str) -> str:
    role = caller.removeprefix("key_")
    if caller.startswith("key_") and levels["for_keys"] == "never":
        return "none"
    return levels[role]


def expect(caller: str, level: str, place: Place, operation: Operation) -> int | str:
    """Allowed, 403 or 404."""
    if level == "none":
        return 403
    if place is Place.FOREIGN and not set(operation.params) <= OF_THE_PLATFORM:
        return 404
    if operation.name in EXPECTED:
        return EXPECTED[operation.name](caller, place)
    # A key's bots are those that its maker serves, and an owner serves none.
    served = place is Place.SERVED and (caller == "operador" or operation.name in ASSIGNED)
    if level == "bots" and set(operation.params) & OF_A_BOT and not served:
        return 404
    return "allowed"


def test_what_is_reported_of_roles_is_what_the_endpoints_hold(
    callers: dict[str, httpx.Client], reach: dict[str, dict[str, str]]
) -> None:
    """The page's matrix and these cells come from one table."""
    told = callers["owner"].get("/v1/permissions").json()
    text = json.dumps(told)
    assert all(name in text for name in reach)
