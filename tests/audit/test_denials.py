"""Whatever refuses somebody known, route or page, audit tells who, from where, what and with which thing."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import httpx
import psycopg
import pytest

from neurant.installation.embedded import Urls
from tests.audit.reading import acting, claims_of, lines_since, newest
from tests.companies import Company, make_company

pytest_plugins = ("tests.console.running_web",)
SignIn = Callable[[Company, str], httpx.Client]


def denied(
    client: httpx.Client,
    db: psycopg.Connection,
    company: Company,
    method: str,
    path: str,
    **more: Any,
) -> tuple[str, str | None, uuid.UUID | None]:
    """Operation, permission and thing of the one line that a refusal leaves."""
    mark, request_id = newest(db), f"r-{uuid.uuid4().hex[:12]}"
    headers = {"x-request-id": request_id, "user-agent": "a test", **more.pop("headers", {})}
    answer = client.request(method, path, headers=headers, **more)
    assert answer.status_code == 403, answer.text
    [line] = [one for one in lines_since(db, mark) if one.action == "denied"]
    assert (line.company_id, line.request_id) == (company.id, request_id)
    assert None not in (line.user_id, line.user_role, line.ip_address, line.user_agent)
    assert line.session_id is not None or line.details["by"] == "api_key"
    return line.details["operation"], line.details.get("permission"), line.resource_id


def test_what_a_handler_refuses_is_reported_with_the_thing_that_was_attempted(
    sign_in: SignIn, acme: Company, database: psycopg.Connection
) -> None:
    owner, boss = acme.people["owner"].id, sign_in(acme, "administrador")
    told = denied(
        boss, database, acme, "POST", f"/v1/users/{owner}/role", json={"role": "operador"}
    )
    assert told == ("POST /v1/users/{user_id:uuid}/role", "users.manage", owner)
    other = denied(boss, database, acme, "PATCH", f"/v1/users/{owner}", json={"first_name": "X"})
    assert other == ("PATCH /v1/users/{user_id:uuid}", "profile.edit", owner)
    body = {"email": f"{uuid.uuid4().hex}@x.co", "role": "administrador"}
    told = denied(boss, database, acme, "POST", "/v1/invitations", json=body)
    assert told == ("POST /v1/invitations", "invitations.manage", None)
    operador = sign_in(acme, "operador")
    told = denied(operador, database, acme, "DELETE", f"/v1/webhook-endpoints/{owner}")
    assert told == (
        "DELETE /v1/webhook-endpoints/{endpoint_id:uuid}", "webhooks.manage", owner,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("path", "permission"),
    [
        ("/console/settings/audit", "audit.read"),
        ("/console/settings/audit/export", "audit.read"),
        ("/console/settings/api-keys", "api_keys.read"),
    ],
)
@pytest.mark.parametrize("htmx", [{}, {"hx-request": "true"}])
def test_a_page_that_is_refused_is_reported_too(
    sign_in: SignIn, acme: Company, database: psycopg.Connection, path: str, permission: str,
    htmx: dict[str, str],
) -> None:  # fmt: skip
    told = denied(sign_in(acme, "operador"), database, acme, "GET", path, headers=htmx)
    assert told == (f"GET {path}", permission, None)


def test_a_form_of_a_page_that_is_refused_is_reported_with_its_thing(
    sign_in: SignIn, acme: Company, database: psycopg.Connection
) -> None:
    owner, boss = acme.people["owner"].id, sign_in(acme, "administrador")
    path = f"/console/team/{owner}/active"
    told = denied(boss, database, acme, "POST", path, data={"active": ""})
    assert told[0] == "POST /console/team/{user_id}/active"
    assert told[2] == owner


def test_who_is_nobody_leaves_no_line_and_what_is_missing_is_no_denial(
    nobody: httpx.Client, sign_in: SignIn, acme: Company, rival: Company,
    database: psycopg.Connection,
) -> None:  # fmt: skip
    mark = newest(database)
    cross = {"sec-fetch-site": "cross-site"}
    assert nobody.post("/logout", headers=cross).status_code == 403
    theirs = f"/v1/users/{rival.people['owner'].id}"
    assert sign_in(acme, "owner").get(theirs).status_code == 404
    assert [one for one in lines_since(database, mark) if one.action == "denied"] == []


def test_a_key_whose_scopes_leave_everything_out_is_reported_by_its_maker(
    nobody: httpx.Client, sign_in: SignIn, acme: Company, database: psycopg.Connection
) -> None:
    made = sign_in(acme, "owner").post(
        "/v1/api-keys",
        json={"name": uuid.uuid4().hex, "role": "supervisor", "scopes": ["documents.read"]},
    )
    assert made.status_code == 201, made.text
    nobody.headers["authorization"] = f"Bearer {made.json()['key']}"
    told = denied(nobody, database, acme, "GET", "/v1/audit-logs")
    assert told == ("GET /v1/audit-logs", "audit.read", None)


def test_pages_asked_for_without_end_are_429_and_no_line_is_lost_or_added(
    urls: Urls, sign_in: SignIn, known_password: str, database: psycopg.Connection
) -> None:
    company = make_company(urls.admin, "acme", password_hash=known_password)
    client, mark = sign_in(company, "operador"), newest(database)
    database.execute(
        "update plans set requests_per_minute = 20 where plan ="
        " (select subscription_plan from companies where id = %s) returning plan",
        (company.id,),
    )
    try:
        statuses = [client.get("/console/settings/audit").status_code for _ in range(60)]
    finally:
        database.execute(
            "update plans p set requests_per_minute = n.requests from (values ('starter', 300),"
            " ('professional', 600), ('business', 1200), ('enterprise', 3000)) as n (plan, requests)"
            " where p.plan::text = n.plan"
        )
    lines = [one for one in lines_since(database, mark, company.id) if one.action == "denied"]
    assert set(statuses) == {403, 429}
    assert len(lines) == statuses.count(403) < 40


def test_who_has_an_address_finds_its_lines_as_the_operating_page_says(
    urls: Urls, sign_in: SignIn, acme: Company, rival: Company, database: psycopg.Connection
) -> None:
    denied(sign_in(acme, "operador"), database, acme, "GET", "/v1/audit-logs")
    person = acme.people["operador"].id
    query = (
        "select count(*) from public.audit_logs where user_id = %(user)s and action = 'denied'"
        " and details ->> 'address' = private.audit_digest_of(%(user)s, %(address)s)"
    )
    for company, address, found in ((acme, "127.0.0.1", True), (acme, "203.0.113.9", False), (rival, "127.0.0.1", False)):  # fmt: skip
        with acting(urls.app, "authenticated", claims_of(company, "owner")) as owner:
            [count] = owner.execute(query, {"user": person, "address": address}).fetchone()
        assert (count > 0) == found
