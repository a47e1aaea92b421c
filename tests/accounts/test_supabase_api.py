"""A Supabase project's token at our API: the person's own rights, in a company that is theirs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from neurant.installation.embedded import Urls
from tests.companies import Company, make_company
from tests.support.sso import Forgers, confirmed_company, domain, ec_key, forgers, sso_web

KEY = ec_key("one")


@pytest.fixture(scope="module")
def project() -> Iterator[str]:
    """The project's address: it publishes one key."""
    with forgers() as many:
        place = many.new()
        place.published = [KEY]
        _serve_keys(many)
        yield place.issuer


def _serve_keys(many: Forgers) -> None:
    [forger] = many.running.values()
    respond = forger.respond
    forger.respond = lambda path, body: (
        KeySet([KEY]).as_dict(private=False) if path.endswith("jwks.json") else respond(path, body)
    )


@pytest.fixture(scope="module")
def web(
    urls: Urls, project: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("supabase")
    with (
        sso_web(urls, folder, supabase_url=project) as url,
        httpx.Client(base_url=url, headers={"accept-language": "en"}) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def acme(urls: Urls) -> Company:
    return confirmed_company(urls.admin, "acme")


@pytest.fixture(scope="module")
def rival(urls: Urls) -> Company:
    return make_company(urls.admin, "rival")


def bearer(project: str, subject: object, **changed: Any) -> dict[str, str]:
    now = int(time.time())
    claims = {
        "iss": f"{project}/auth/v1", "aud": "authenticated", "role": "authenticated",
        "sub": str(subject), "iat": now, "exp": now + 600, "session_id": "their-session",
    } | changed  # fmt: skip
    token = jwt.encode({"alg": "ES256", "kid": "one"}, claims, KEY)
    return {"authorization": f"Bearer {token}"}


def test_a_person_has_the_rights_of_their_role_and_no_more(
    web: httpx.Client, project: str, acme: Company, urls: Urls
) -> None:
    new = {"shortcut": f"s{uuid4().hex[:8]}", "content": "Hola", "is_shared": True}
    for role, status in (("supervisor", 201), ("operador", 403)):
        headers = bearer(project, acme.people[role].auth_user_id)
        assert web.get("/v1/canned-responses", headers=headers).status_code == 200
        made = web.post("/v1/canned-responses", json=new, headers=headers)
        assert made.status_code == status, made.text
    with psycopg.connect(urls.admin) as db:
        sessions = db.execute(
            "select distinct session_id from audit_logs where company_id = %s"
            " and user_id = %s and resource_type = 'canned_responses'",
            (acme.id, acme.people["supervisor"].id),
        ).fetchall()
    assert sessions == [("their-session",)]


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"exp": int(time.time()) - 3600}, "tokens.expired"),
        ({"aud": "anon"}, "tokens.invalid"),
        ({"iss": "https://evil.example"}, "tokens.invalid"),
    ],
)
def test_a_wrong_token_is_reported_in_the_one_shape(
    web: httpx.Client, project: str, acme: Company, changed: dict[str, Any], code: str
) -> None:
    headers = bearer(project, acme.people["owner"].auth_user_id, **changed)
    refused = web.get("/v1/canned-responses", headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (401, code)
    assert refused.headers["content-type"] == "application/problem+json"


def test_somebody_unknown_or_deactivated_or_of_another_company_is_nobody(
    web: httpx.Client, project: str, acme: Company, rival: Company, urls: Urls
) -> None:
    person = acme.people["administrador"]
    known = bearer(project, person.auth_user_id)
    assert web.get("/v1/canned-responses", headers=known).status_code == 200
    with psycopg.connect(urls.admin) as db:
        db.execute(
            "update users set is_active = false where company_id = %s and id = %s",
            (acme.id, person.id),
        )
    for headers in (
        known,
        bearer(project, uuid4()),
        bearer(project, acme.people["owner"].auth_user_id) | {"x-company-id": str(rival.id)},
        bearer(project, acme.people["owner"].auth_user_id) | {"x-company-id": str(uuid4())},
    ):
        refused = web.get("/v1/canned-responses", headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (401, "tokens.nobody")
    odd = bearer(project, acme.people["owner"].auth_user_id) | {"x-company-id": "acme"}
    refused = web.get("/v1/canned-responses", headers=odd)
    assert (refused.status_code, refused.json()["code"]) == (400, "tokens.bad_company")


def test_of_several_companies_one_is_chosen(
    web: httpx.Client, project: str, acme: Company, rival: Company, urls: Urls
) -> None:
    person = rival.people["supervisor"]
    with psycopg.connect(urls.admin) as db:
        db.execute(
            "insert into users (company_id, auth_user_id, email, first_name, last_name, role)"
            " values (%s, %s, %s, 'Ana', 'Paz', 'operador')",
            (acme.id, person.auth_user_id, f"ana@{domain(acme)}"),
        )
    headers = bearer(project, person.auth_user_id)
    unsure = web.get("/v1/canned-responses", headers=headers)
    assert (unsure.status_code, unsure.json()["code"]) == (409, "tokens.choose_company")
    shared = {"shortcut": "de-rival", "content": "Hola", "is_shared": True}
    in_rival = headers | {"x-company-id": str(rival.id)}
    assert web.post("/v1/canned-responses", json=shared, headers=in_rival).status_code == 201
    in_acme = headers | {"x-company-id": str(acme.id)}
    seen = web.get("/v1/canned-responses", headers=in_acme)
    assert seen.status_code == 200
    assert "de-rival" not in seen.text


def test_a_company_that_enforces_its_own_provider_takes_no_other_token(
    web: httpx.Client, project: str, urls: Urls
) -> None:
    strict = confirmed_company(urls.admin, "strict")
    with psycopg.connect(urls.admin) as db:
        connection = db.execute(
            "insert into sso_connections (company_id, name, issuer, client_id, is_enforced,"
            " created_by) values (%s, 'ID', 'https://id.example', 'c', true, %s) returning id",
            (strict.id, strict.people["owner"].id),
        ).fetchone()[0]
        db.execute(
            "insert into sso_domains (company_id, connection_id, domain, token, proven_by, proven_at)"
            " values (%s, %s, %s, 't', 'host', now())",
            (strict.id, connection, domain(strict)),
        )
    for role, status in (("owner", 200), ("operador", 401)):
        headers = bearer(project, strict.people[role].auth_user_id)
        assert web.get("/v1/canned-responses", headers=headers).status_code == status
