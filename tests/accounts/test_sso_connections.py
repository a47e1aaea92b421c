"""Connections to identity providers: the owner's, of proven domains, with secrets that stay secret."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from neurant.accounts.queries import find_sso_instead
from neurant.accounts.sso.connections import change, create, normal_domain, remove, unlink
from neurant.accounts.sso.provider import providers
from neurant.accounts.sso.queries import SsoConnection, begin_attempt, find_offer, prove_by_host
from neurant.accounts.sso.schemas import SsoConnectionNew, SsoConnectionPatch
from neurant.accounts.sso.service import SsoError
from neurant.auth.codes import digest
from neurant.auth.sessions import find_session
from neurant.core.db.pool import make_pool
from neurant.core.db.tenancy import tenant
from neurant.core.errors import ConflictError, NeurantError, NotFoundError
from neurant.installation.embedded import Urls
from tests.companies import ROLES, Company
from tests.support.sso import (
    Desk,
    Forgers,
    confirmed_company,
    connect,
    domain,
    forgers,
    prove,
    sso_settings,
    sso_web,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def many() -> Iterator[Forgers]:
    with forgers() as running:
        yield running


@pytest.fixture
async def desk(urls: Urls) -> AsyncIterator[Desk]:
    settings = sso_settings(urls)
    async with (
        make_pool(urls.app, size=4, pooled=False) as pool,
        providers(settings) as known,
    ):
        yield Desk(pool, known, settings)


@pytest.fixture
def acme(urls: Urls) -> Company:
    return confirmed_company(urls.admin, "acme")


@pytest.fixture
def rival(urls: Urls) -> Company:
    return confirmed_company(urls.admin, "rival")


@pytest.fixture(scope="module")
def web(urls: Urls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with (
        sso_web(urls, tmp_path_factory.mktemp("sso-connections")) as url,
        httpx.Client(base_url=url) as client,
    ):
        yield client


def signed_in(urls: Urls, company: Company, role: str) -> dict[str, str]:
    """A session without a password, as if somebody had typed one."""
    token = uuid4().hex
    with psycopg.connect(urls.admin) as db:
        db.execute(
            "insert into login_sessions (company_id, user_id, token_digest, expires_at)"
            " values (%s, %s, %s, now() + interval '1 hour')",
            (company.id, company.people[role].id, digest(token)),
        )
    return {"authorization": f"Bearer {token}", "accept-language": "en"}


def new(company: Company, **more: Any) -> dict[str, Any]:
    return {
        "name": "Acme ID", "issuer": "https://id.example", "client_id": "c-1",
        "client_secret": "very-secret-indeed", "domains": [domain(company)],
    } | more  # fmt: skip


def admin(urls: Urls, query: str, *parameters: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(urls.admin) as db:
        cursor = db.execute(query, parameters)
        return cursor.fetchall() if cursor.description is not None else []


def test_owner_and_administradores_read_and_the_owner_alone_manages(
    web: httpx.Client, urls: Urls, acme: Company, rival: Company
) -> None:
    who = {role: signed_in(urls, acme, role) for role in ROLES}
    made = web.post("/v1/sso-connections", json=new(acme), headers=who["owner"])
    assert made.status_code == 201, made.text
    path = f"/v1/sso-connections/{made.json()['id']}"
    assert made.headers["location"] == path
    for role, status in zip(ROLES, (200, 200, 403, 403), strict=True):
        assert web.get("/v1/sso-connections", headers=who[role]).status_code == status
        assert web.get(path, headers=who[role]).status_code == status
        assert web.get(f"{path}/people", headers=who[role]).status_code == status
    for role in ROLES[1:]:
        for method, target, body in (
            ("POST", "/v1/sso-connections", new(acme, client_id="c-2")),
            ("PATCH", path, {"name": "x"}),
            ("POST", f"{path}/check", None),
            ("DELETE", f"{path}/people/{uuid4()}", None),
            ("DELETE", path, None),
        ):
            answer = web.request(method, target, json=body, headers=who[role])
            assert answer.status_code == 403, (role, method, target)
    stranger = signed_in(urls, rival, "owner")
    assert web.get("/v1/sso-connections", headers=stranger).json()["data"] == []
    for method, target in (
        ("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/check"), ("GET", "/people"),
        ("DELETE", f"/people/{acme.people['owner'].id}"),
    ):  # fmt: skip
        body = {"name": "mine"} if method == "PATCH" else None
        foreign = web.request(method, path + target, json=body, headers=stranger)
        unknown = web.request(
            method, f"/v1/sso-connections/{uuid4()}{target}", json=body, headers=stranger
        )
        assert foreign.status_code == unknown.status_code == 404
        told = [one.json() | {"request_id": ""} for one in (foreign, unknown)]
        assert told[0] == told[1]
    assert web.get(path, headers=who["owner"]).json()["name"] == "Acme ID"
    assert web.delete(path, headers=who["owner"]).status_code == 204
    assert web.get(path, headers=who["owner"]).status_code == 404


def test_the_secret_is_taken_and_never_given_back(
    web: httpx.Client, urls: Urls, acme: Company
) -> None:
    owner = signed_in(urls, acme, "owner")
    made = web.post("/v1/sso-connections", json=new(acme), headers=owner)
    path = made.headers["location"]
    changed = web.patch(path, json={"client_secret": "another-secret"}, headers=owner)
    listed = web.get("/v1/sso-connections", headers=owner)
    for answer in (made, changed, listed):
        assert "secret" not in answer.text
    refused = web.post("/v1/sso-connections", json=new(acme, issuer=7), headers=owner)
    assert refused.status_code == 422
    assert "very-secret-indeed" not in refused.text
    [(sealed,)] = admin(
        urls, "select client_secret_encrypted from sso_connections where company_id = %s", acme.id
    )
    assert b"secret" not in sealed
    audit = admin(
        urls,
        "select details from audit_logs where company_id = %s"
        " and resource_type = 'sso_connections' order by created_at",
        acme.id,
    )
    assert [one["hidden"] for (one,) in audit] == [["client_secret_encrypted"]] * 2
    assert "id.example" not in str(audit)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        asyncio.run(_read_secret(urls, acme))


async def _read_secret(urls: Urls, company: Company) -> None:
    async with (
        make_pool(urls.app, size=1, pooled=False) as pool,
        tenant(pool, company.staff("owner")) as db,
    ):
        await db.execute("select client_secret_encrypted from sso_connections")


@pytest.mark.parametrize(
    ("wrong", "status", "code"),
    [
        ({"issuer": "http://id.example"}, 422, "sso.provider_insecure"),
        ({"issuer": "https://user:pass@id.example"}, 422, "sso.provider_insecure"),
        ({"issuer": "ftp://id.example"}, 422, "invalid_fields"),
        ({"issuer": "https://id.example\n"}, 422, "invalid_fields"),
        ({"name": "  "}, 422, "invalid_fields"),
        ({"name": "a\0b"}, 422, "invalid_fields"),
        ({"name": "n" * 101}, 422, "invalid_fields"),
        ({"client_id": ""}, 422, "invalid_fields"),
        ({"client_secret": "a\0b"}, 422, "invalid_fields"),
        ({"default_role": "owner"}, 422, "invalid_fields"),
        ({"default_role": "administrador"}, 422, "invalid_fields"),
        ({"domains": ["gmail.com"]}, 409, "sso.domain_public"),
        ({"domains": ["GMAIL.com"]}, 409, "sso.domain_public"),
        ({"domains": ["no domain"]}, 422, "sso.bad_domain"),
        ({"domains": ["a@b.co"]}, 422, "sso.bad_domain"),
        ({"domains": ["x" * 64 + ".co"]}, 422, "sso.bad_domain"),
        ({"domains": ["127.0.0.1"]}, 422, "sso.bad_domain"),
        ({"company_id": str(uuid4())}, 422, "invalid_fields"),
    ],
)
def test_what_cannot_be_is_reported_and_nothing_is_made(
    web: httpx.Client, urls: Urls, acme: Company, wrong: dict[str, Any], status: int, code: str
) -> None:
    answer = web.post(
        "/v1/sso-connections", json=new(acme, **wrong), headers=signed_in(urls, acme, "owner")
    )
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert admin(urls, "select from sso_connections where company_id = %s", acme.id) == []


def test_two_connections_do_not_share_an_issuer_s_client(
    web: httpx.Client, urls: Urls, acme: Company
) -> None:
    owner = signed_in(urls, acme, "owner")
    assert web.post("/v1/sso-connections", json=new(acme), headers=owner).status_code == 201
    twice = web.post("/v1/sso-connections", json=new(acme, domains=[]), headers=owner)
    assert (twice.status_code, twice.json()["code"]) == (409, "sso.connection_exists")
    other = web.post(
        "/v1/sso-connections", json=new(acme, client_id="c-2", domains=[]), headers=owner
    )
    both = web.patch(other.headers["location"], json={"client_id": "c-1"}, headers=owner)
    assert (both.status_code, both.json()["code"]) == (409, "sso.connection_exists")


def test_a_change_of_what_somebody_else_changed_is_refused(
    web: httpx.Client, urls: Urls, acme: Company
) -> None:
    owner = signed_in(urls, acme, "owner")
    made = web.post("/v1/sso-connections", json=new(acme), headers=owner)
    path, tag = made.headers["location"], made.headers["etag"]
    first = web.patch(path, json={"name": "One"}, headers=owner | {"if-match": tag})
    assert first.status_code == 200
    late = web.patch(path, json={"name": "Two"}, headers=owner | {"if-match": tag})
    assert late.status_code == 412
    assert web.get(path, headers=owner).json()["name"] == "One"


async def claim(desk: Desk, company: Company, *domains: str, client_id: str = "c") -> SsoConnection:
    """A connection that claims domains, which nobody has proven."""
    asked = SsoConnectionNew(
        name="ID", issuer="https://id.example", client_id=client_id, domains=list(domains)
    )
    async with tenant(desk.pool, company.staff("owner")) as db:
        return await create(db, desk.settings, company.id, asked)


async def test_a_confirmed_mailbox_of_a_domain_proves_nothing(
    desk: Desk, urls: Urls, acme: Company
) -> None:
    made = await claim(desk, acme, domain(acme))
    assert [(one["domain"], one["proven_at"]) for one in made.claims] == [(domain(acme), None)]
    person = acme.people["operador"]
    assert await find_offer(desk.pool, domain(acme)) is None
    with pytest.raises(NotFoundError) as nowhere:
        await desk.go(person.email)
    assert nowhere.value.code == "sso.no_connection"
    enforce = SsoConnectionPatch(is_enforced=True)
    async with tenant(desk.pool, acme.staff("owner")) as db:
        await change(db, desk.settings, acme.id, made.id, enforce)
    assert await find_sso_instead(desk.pool, person.auth_user_id) is None
    prove(urls.admin, acme)
    assert await find_offer(desk.pool, domain(acme)) is not None
    assert await find_sso_instead(desk.pool, person.auth_user_id) == "ID"


async def test_people_of_a_domain_are_not_offered_a_stranger_s_provider(
    desk: Desk, urls: Urls, acme: Company, rival: Company
) -> None:
    await claim(desk, rival, domain(acme))
    assert await find_offer(desk.pool, domain(acme)) is None
    await claim(desk, acme, domain(acme))
    prove(urls.admin, acme)
    offered = await find_offer(desk.pool, domain(acme))
    assert offered is not None
    begun = await begin_attempt(desk.pool, domain(acme), b"s" * 32, b"b" * 32, "/", is_kept=False)
    assert begun is not None
    assert begun.company_id == acme.id


async def test_a_domain_that_another_company_has_proven_cannot_be_claimed(
    desk: Desk, urls: Urls, acme: Company, rival: Company
) -> None:
    await connect(desk.pool, desk.settings, acme, "https://id.example")
    with pytest.raises(ConflictError) as refused:
        await claim(desk, rival, domain(acme))
    assert refused.value.code == "sso.domain_taken"
    assert admin(urls, "select from sso_connections where company_id = %s", rival.id) == []


async def test_a_company_claims_a_domain_once_also_at_once(desk: Desk, acme: Company) -> None:
    ended = await asyncio.gather(
        *(claim(desk, acme, domain(acme), client_id=one) for one in ("one", "two")),
        return_exceptions=True,
    )
    refused = [one for one in ended if isinstance(one, BaseException)]
    assert [getattr(one, "code", one) for one in refused] == ["sso.domain_taken"]


async def test_of_two_companies_that_prove_a_domain_at_once_one_has_it(
    desk: Desk, urls: Urls, acme: Company, rival: Company
) -> None:
    shared = f"{uuid4().hex}.example"
    for company in (acme, rival):
        await claim(desk, company, shared)
    ended = await asyncio.gather(
        *(prove_by_host(desk.pool, company.slug, shared) for company in (acme, rival))
    )
    assert sorted(ended) == ["proven", "taken"]
    rows = "select from sso_domains where domain = %s and proven_at is not null"
    assert len(admin(urls, rows, shared)) == 1
    assert len(admin(urls, "select from sso_domains where domain = %s", shared)) == 2


async def test_a_company_that_left_holds_no_domain(
    desk: Desk, urls: Urls, acme: Company, rival: Company
) -> None:
    await connect(desk.pool, desk.settings, acme, "https://id.example")
    admin(urls, "update companies set subscription_status = 'cancelled' where id = %s", acme.id)
    made = await connect(
        desk.pool, desk.settings, rival, "https://id.example", domains=[f"@{domain(acme).upper()}"]
    )
    assert made.domains == [domain(acme)]
    assert await find_offer(desk.pool, domain(acme)) is not None


@pytest.mark.parametrize(
    ("typed", "normal"),
    [
        ("Empresa.CO", "empresa.co"),
        (" @empresa.co ", "empresa.co"),
        ("ñandú.example", "xn--and-6ma2c.example"),
        ("XN--AND-6MA2C.example", "xn--and-6ma2c.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
    ],
)
def test_a_domain_has_one_form(typed: str, normal: str) -> None:
    assert normal_domain(typed) == normal


async def came_in(desk: Desk, many: Forgers, company: Company, role: str, **more: Any) -> Any:
    """Somebody who is in by the company's provider: the connection, and a look at the session."""
    forger = many.new()
    connection = await connect(desk.pool, desk.settings, company, forger.issuer, **more)
    person = company.people[role]
    gone = await desk.go(person.email)
    arrived = await desk.come(company.id, gone, forger.answer(gone, email=person.email))

    async def is_in() -> bool:
        return await find_session(desk.pool, digest(arrived.token)) is not None

    assert await is_in()
    return connection, is_in, forger


@pytest.mark.parametrize("how", ["removed", "switched off", "unlinked", "domain given up"])
async def test_who_could_not_come_in_this_way_any_more_is_out(
    desk: Desk, many: Forgers, urls: Urls, acme: Company, rival: Company, how: str
) -> None:
    connection, is_in, _ = await came_in(desk, many, acme, "operador")
    _, rival_is_in, _ = await came_in(desk, many, rival, "operador")
    by_password = signed_in(urls, acme, "operador")["authorization"].split()[1]
    async with tenant(desk.pool, acme.staff("owner")) as db:
        if how == "removed":
            await remove(db, connection.id)
        elif how == "unlinked":
            await unlink(db, connection.id, acme.people["operador"].id)
        else:
            patch = (
                SsoConnectionPatch(is_active=False)
                if how == "switched off"
                else SsoConnectionPatch(domains=[])
            )
            await change(db, desk.settings, acme.id, connection.id, patch)
    assert not await is_in()
    assert await rival_is_in()
    assert await find_session(desk.pool, digest(by_password)) is not None
    actions = admin(
        urls,
        "select action::text from audit_logs where company_id = %s"
        " and resource_type = 'login_sessions' order by created_at",
        acme.id,
    )
    assert ("logout",) in actions


async def test_an_enforced_provider_ends_sessions_by_password_but_the_owner_s(
    desk: Desk, many: Forgers, urls: Urls, acme: Company, rival: Company
) -> None:
    connection, is_in, _ = await came_in(desk, many, acme, "supervisor")
    tokens = {
        (company.slug, role): signed_in(urls, company, role)["authorization"].split()[1]
        for company in (acme, rival)
        for role in ("owner", "operador")
    }
    async with tenant(desk.pool, acme.staff("owner")) as db:
        patch = SsoConnectionPatch(is_enforced=True)
        await change(db, desk.settings, acme.id, connection.id, patch)
    standing = {
        who for who, token in tokens.items() if await find_session(desk.pool, digest(token))
    }
    assert standing == set(tokens) - {(acme.slug, "operador")}
    assert await is_in()
    [(required,), (owner,), (other,)] = [
        admin(urls, "select private.sso_required(%s, %s)", company.id, company.people[role].id)[0]
        for company, role in ((acme, "operador"), (acme, "owner"), (rival, "operador"))
    ]
    assert (required, owner, other) == (connection.id, None, None)


def test_the_test_of_a_connection_says_what_is_wrong(
    web: httpx.Client, many: Forgers, urls: Urls, acme: Company
) -> None:
    forger = many.new()
    owner = signed_in(urls, acme, "owner")
    made = web.post("/v1/sso-connections", json=new(acme, issuer=forger.issuer), headers=owner)
    path = f"{made.headers['location']}/check"

    def told() -> tuple[bool, str]:
        found = web.post(path, headers=owner).json()
        return found["is_ok"], " ".join(one["detail"] or "ok" for one in found["checks"])

    assert told() == (True, "ok ok")
    forger.metadata = {"issuer": "https://other.example"}
    assert told() == (
        False,
        f"The provider calls itself “https://other.example”, but the configured issuer is “{forger.issuer}”."
        " They must be exactly the same.",
    )
    forger.metadata = {"jwks_uri": f"{forger.issuer}/me"}
    ok, why = told()
    assert not ok
    assert "no key set" in why
    forger.metadata = {}
    forger.say["/.well-known/openid-configuration"] = (503, b"")
    ok, why = told()
    assert not ok
    assert "HTTP 503" in why


async def test_an_attempt_outlives_neither_its_connection_nor_a_change_of_it(
    desk: Desk, many: Forgers, acme: Company
) -> None:
    connection, _, forger = await came_in(desk, many, acme, "operador")
    person = acme.people["operador"]
    gone = await desk.go(person.email)
    async with tenant(desk.pool, acme.staff("owner")) as db:
        off = SsoConnectionPatch(is_active=False)
        await change(db, desk.settings, acme.id, connection.id, off)
    with pytest.raises(SsoError) as refused:
        await desk.come(acme.id, gone, forger.answer(gone, email=person.email))
    assert refused.value.code == "sso.closed"
    with pytest.raises(NeurantError) as none:
        await desk.go(person.email)
    assert none.value.code == "sso.no_connection"
