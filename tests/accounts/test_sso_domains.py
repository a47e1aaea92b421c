"""A domain is a company's once the DNS or the host says so, and as long as the record stays there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neurant.accounts.queries import find_sso_instead
from neurant.accounts.sso import domains
from neurant.accounts.sso.dns import record_name, record_value
from neurant.accounts.sso.jobs import run_domain_mails
from neurant.accounts.sso.provider import providers
from neurant.accounts.sso.queries import find_offer
from neurant.core.db.pool import make_pool
from neurant.core.db.tenancy import tenant
from neurant.core.errors import ConflictError, NeurantError, NotFoundError
from neurant.installation.embedded import Urls
from tests.accounts.test_sso_connections import claim, new, signed_in
from tests.companies import ROLES, Company
from tests.support.dns_server import DnsServer, reply, running_dns
from tests.support.sso import Desk, confirmed_company, domain, prove, sso_settings, sso_web

pytestmark = pytest.mark.anyio
DAY = timedelta(days=1)
START = datetime(2031, 5, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def dns() -> Iterator[DnsServer]:
    with running_dns() as running:
        yield running


@pytest.fixture(autouse=True)
def empty_dns(dns: DnsServer) -> None:
    dns.answers, dns.say = {}, None


@pytest.fixture
async def desk(urls: Urls, dns: DnsServer) -> AsyncIterator[Desk]:
    told = sso_settings(urls, dns_servers=dns.address)
    async with (
        make_pool(urls.app, size=4, pooled=False) as pool,
        providers(told) as known,
    ):
        yield Desk(pool, known, told)


@pytest.fixture
def acme(urls: Urls) -> Company:
    return confirmed_company(urls.admin, "acme")


@pytest.fixture
def rival(urls: Urls) -> Company:
    return confirmed_company(urls.admin, "rival")


@pytest.fixture(scope="module")
def web(
    urls: Urls, tmp_path_factory: pytest.TempPathFactory, dns: DnsServer
) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("sso-domains")
    with (
        sso_web(urls, folder, dns_servers=dns.address) as url,
        httpx.Client(base_url=url, timeout=30) as client,
    ):
        yield client


def rows(urls: Urls, query: str, *parameters: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(urls.admin) as db:
        cursor = db.execute(query, parameters)
        return cursor.fetchall() if cursor.description is not None else []


def claim_id(urls: Urls, company: Company) -> object:
    [(found,)] = rows(urls, "select id from sso_domains where company_id = %s", company.id)
    return found


def check(urls: Urls, company: Company, found: str, now: datetime) -> str:
    """What the worker notes of the company's claim at a moment."""
    with psycopg.connect(urls.jobs) as jobs:
        said = jobs.execute(
            "select private.note_sso_domain_check(%s, %s, %s, %s)",
            (company.id, claim_id(urls, company), found, now),
        )
        return str(said.fetchone()[0])


def is_proven(urls: Urls, company: Company) -> bool:
    return bool(
        rows(
            urls,
            "select from sso_domains where company_id = %s and proven_at is not null",
            company.id,
        )
    )


def notifications_of(urls: Urls, company: Company) -> list[tuple[str, str]]:
    """Whom the company's notifications of domains went to."""
    return rows(
        urls,
        "select n.kind, u.role::text from notifications n join users u on u.company_id = n.company_id"
        " and u.id = n.user_id where n.company_id = %s and n.kind like 'sso%%' order by 1, 2",
        company.id,
    )


def test_the_owner_proves_a_domain_by_the_record_that_the_api_shows(
    web: httpx.Client, urls: Urls, dns: DnsServer, acme: Company
) -> None:
    owner = signed_in(urls, acme, "owner")
    made = web.post("/v1/sso-connections", json=new(acme), headers=owner).json()
    [shown] = made["domain_proofs"]
    assert (shown["domain"], shown["state"], shown["proven_by"]) == (domain(acme), "pending", None)
    assert shown["record_name"] == f"_neurant-challenge.{domain(acme)}"
    assert shown["record_value"].startswith("neurant-verification=")
    path = f"/v1/sso-connections/{made['id']}/domains/{domain(acme)}/check"
    missing = web.post(path, headers=owner)
    assert (missing.status_code, missing.json()["state"]) == (200, "pending")
    assert missing.json()["last_check"] == "absent"
    dns.say = lambda query: None
    dns.answers = {shown["record_name"]: [f'"{shown["record_value"]}"']}
    assert web.post(path, headers=owner).json()["last_check"] == "unreachable"
    dns.say = None
    found = web.post(path.replace(domain(acme), domain(acme).upper()), headers=owner)
    assert (found.status_code, found.json()["state"]) == (200, "proven"), found.text
    assert (found.json()["proven_by"], found.json()["last_check"]) == ("dns", "found")
    offered = web.get("/login/sso/offer", params={"email": f"ana@{domain(acme)}"})
    assert offered.json() == {"name": "Acme ID"}
    [actor] = rows(
        urls,
        "select l.user_id from audit_logs l where l.company_id = %s and l.action = 'update'"
        " and l.resource_type = 'sso_domains'",
        acme.id,
    )
    assert actor == (acme.people["owner"].id,)


def test_the_owner_alone_asks_for_a_check_of_the_company_s_own_domain(
    web: httpx.Client, urls: Urls, dns: DnsServer, acme: Company, rival: Company
) -> None:
    owner = signed_in(urls, acme, "owner")
    made = web.post("/v1/sso-connections", json=new(acme), headers=owner).json()
    path = f"/v1/sso-connections/{made['id']}/domains/{domain(acme)}/check"
    before = len(dns.asked)
    for role in ROLES[1:]:
        assert web.post(path, headers=signed_in(urls, acme, role)).status_code == 403
    assert web.post(path, headers=signed_in(urls, rival, "owner")).status_code == 404
    other = path.replace(domain(acme), "other.example")
    assert web.post(other, headers=owner).status_code == 404
    assert len(dns.asked) == before
    keyed = web.post(path, headers=owner | {"idempotency-key": "check-1-of-this"})
    again = web.post(path, headers=owner | {"idempotency-key": "check-1-of-this"})
    assert keyed.json() == again.json()
    assert len(dns.asked) == before + 1


def test_the_page_shows_the_record_and_checks_it(
    web: httpx.Client, urls: Urls, dns: DnsServer, acme: Company
) -> None:
    owner = signed_in(urls, acme, "owner")
    made = web.post("/v1/sso-connections", json=new(acme), headers=owner).json()
    [shown] = made["domain_proofs"]
    cookie = {"cookie": f"neurant_session={owner['authorization'].removeprefix('Bearer ')}"}
    page = web.get("/console/settings/sso", headers=cookie).text
    assert shown["record_name"] in page
    assert shown["record_value"] in page
    form = {"domain": domain(acme)}
    where = f"/console/settings/sso/{made['id']}/domain"
    absent = web.post(where, data=form, headers=cookie)
    assert absent.headers["location"].startswith("/console/settings/sso?done=absent")
    dns.answers = {shown["record_name"]: [f'"{shown["record_value"]}"']}
    proven = web.post(where, data=form, headers=cookie)
    assert "done=proven" in proven.headers["location"]
    assert "Comprobado" in web.get(proven.headers["location"], headers=cookie).text
    assert web.post(where, data={"domain": "x"}, headers=cookie).status_code in (404, 422)


async def test_a_domain_that_the_record_proves_for_another_is_taken(
    desk: Desk, urls: Urls, dns: DnsServer, acme: Company, rival: Company
) -> None:
    for company in (acme, rival):
        await claim(desk, company, domain(acme))
    tokens = rows(urls, "select token from sso_domains where domain = %s", domain(acme))
    assert len(set(tokens)) == 2
    dns.answers = {record_name(domain(acme)): [f'"{record_value(one)}"' for (one,) in tokens]}
    assert check(urls, acme, "found", START) == "proven"
    assert check(urls, rival, "found", START) == "taken"
    assert (is_proven(urls, acme), is_proven(urls, rival)) == (True, False)
    for days in (1, 5):
        check(urls, acme, "absent", START + days * DAY)
    assert check(urls, rival, "found", START + 6 * DAY) == "proven"


async def test_another_company_s_token_in_the_dns_proves_nothing(
    desk: Desk, urls: Urls, dns: DnsServer, acme: Company, rival: Company
) -> None:
    made = await claim(desk, acme, domain(acme))
    await claim(desk, rival, domain(acme))
    [(token,)] = rows(urls, "select token from sso_domains where company_id = %s", rival.id)
    dns.answers = {record_name(domain(acme)): [f'"{record_value(token)}"']}
    async with tenant(desk.pool, acme.staff("owner")) as db:
        found = await domains.find_claim(db, made.id, domain(acme))
    outcome = await domains.check_now(desk.pool, desk.settings, acme.id, found, None, None)
    assert outcome == "absent"
    assert not is_proven(urls, acme)


async def test_no_connection_is_held_while_the_dns_is_asked(
    urls: Urls, desk: Desk, dns: DnsServer, acme: Company
) -> None:
    made = await claim(desk, acme, domain(acme))
    idle: list[int] = []

    def counted(query: Any) -> bytes:
        idle.append(
            rows(urls, "select count(*) from pg_stat_activity where state like 'idle in trans%%'"
                       " and usename = 'neurant_app' and query like '%%sso%%'")[0][0]
        )  # fmt: skip
        return reply(query).to_wire()

    dns.say = counted
    async with tenant(desk.pool, acme.staff("owner")) as db:
        found = await domains.find_claim(db, made.id, domain(acme))
    await domains.check_now(desk.pool, desk.settings, acme.id, found, None, None)
    assert idle == [0]


async def test_the_worker_looks_again_each_day_and_a_lost_record_ends_it_after_three(
    desk: Desk, urls: Urls, dns: DnsServer, acme: Company
) -> None:
    await claim(desk, acme, domain(acme))
    [(token,)] = rows(urls, "select token from sso_domains where company_id = %s", acme.id)
    dns.answers = {record_name(domain(acme)): [f'"{record_value(token)}"']}
    assert check(urls, acme, "found", datetime.now(UTC)) == "proven"
    due = "update sso_domains set check_due_at = now() where company_id = %s"
    async with make_pool(urls.jobs, size=2, pooled=False) as pool:

        async def turn() -> None:
            rows(urls, due, acme.id)
            before = len(dns.asked)
            await domains.recheck_domains(pool, desk.settings)
            await domains.recheck_domains(pool, desk.settings)  # nothing is due any more
            assert dns.asked[before:].count(record_name(domain(acme))) >= 1

        await turn()
        assert is_proven(urls, acme)
        dns.answers = {}
        await turn()
        assert is_proven(urls, acme)
        assert notifications_of(urls, acme) == [
            ("sso_domain_failing", "administrador"),
            ("sso_domain_failing", "owner"),
        ]
        dns.say = lambda query: None
        rows(urls, "update sso_domains set failing_since = now() - interval '4 days'"
                   " where company_id = %s", acme.id)  # fmt: skip
        await turn()
        assert is_proven(urls, acme)  # no answer is no proof that the record is gone
        dns.say = None
        await turn()
        assert not is_proven(urls, acme)
        assert [one for one in notifications_of(urls, acme) if one[0] == "sso_domain_unproven"] == [
            ("sso_domain_unproven", "administrador"),
            ("sso_domain_unproven", "owner"),
        ]
        assert await find_offer(desk.pool, domain(acme)) is None
        await run_domain_mails(pool, desk.settings)
    mailed = rows(
        urls, "select to_address, template from mails where company_id = %s order by 1, 2", acme.id
    )
    people = (acme.people["administrador"].email, acme.people["owner"].email)
    assert mailed == [
        (email, template)
        for email in people
        for template in ("sso.domain_failing", "sso.domain_unproven")
    ]


async def test_two_workers_do_not_ask_for_one_domain_twice(
    desk: Desk, urls: Urls, dns: DnsServer, acme: Company
) -> None:
    await claim(desk, acme, domain(acme))
    check(urls, acme, "found", datetime.now(UTC))
    rows(urls, "update sso_domains set check_due_at = now() where company_id = %s", acme.id)
    before = len(dns.asked)
    async with make_pool(urls.jobs, size=4, pooled=False) as pool:
        await asyncio.gather(*(domains.recheck_domains(pool, desk.settings) for _ in range(4)))
    assert dns.asked[before:].count(record_name(domain(acme))) == 1


async def test_sessions_and_enforcement_end_with_the_proof(
    desk: Desk, urls: Urls, acme: Company
) -> None:
    made = await claim(desk, acme, domain(acme))
    prove(urls.admin, acme)
    person = acme.people["operador"]
    rows(urls, "update sso_connections set is_enforced = true where id = %s", made.id)
    rows(
        urls,
        "insert into login_sessions (company_id, user_id, token_digest, expires_at,"
        " sso_connection_id) values (%s, %s, sha256(%s), now() + interval '1 day', %s)",
        acme.id, person.id, acme.slug.encode(), made.id,
    )  # fmt: skip
    mine = "select count(*) from auth_sessions where token_digest = sha256(%s)"
    assert rows(urls, mine, acme.slug.encode()) == [(1,)]
    assert await find_sso_instead(desk.pool, person.auth_user_id) == "ID"
    rows(urls, "update sso_domains set proven_by = 'dns' where company_id = %s", acme.id)
    now = datetime.now(UTC)
    assert check(urls, acme, "absent", now) == "failing"
    assert check(urls, acme, "absent", now + 2 * DAY) == "failing"
    assert rows(urls, mine, acme.slug.encode()) == [(1,)]
    assert check(urls, acme, "absent", now + 3 * DAY) == "lost"
    assert rows(urls, mine, acme.slug.encode()) == [(0,)]
    assert await find_sso_instead(desk.pool, person.auth_user_id) is None


async def test_what_the_host_proved_is_not_looked_up(
    desk: Desk, urls: Urls, dns: DnsServer, acme: Company, rival: Company
) -> None:
    await claim(desk, acme, domain(acme))
    await domains.prove_domain(desk.settings, acme.slug, f" @{domain(acme).upper()}")
    rows(urls, "update sso_domains set check_due_at = now() where company_id = %s", acme.id)
    before = len(dns.asked)
    async with make_pool(urls.jobs, size=1, pooled=False) as pool:
        await domains.recheck_domains(pool, desk.settings)
    assert record_name(domain(acme)) not in dns.asked[before:]
    for days in (0, 10):
        assert check(urls, acme, "absent", START + days * DAY) == "absent"
    assert is_proven(urls, acme)
    for slug, claimed, error, code in (
        ("no-such-company", domain(acme), NotFoundError, "sso.no_such_company"),
        (rival.slug, domain(rival), ConflictError, "sso.domain_not_claimed"),
        (acme.slug, "no domain", NeurantError, "sso.bad_domain"),
    ):
        with pytest.raises(error) as refused:
            await domains.prove_domain(desk.settings, slug, claimed)
        assert refused.value.code == code


def test_the_host_s_command_proves_a_domain(
    urls: Urls, acme: Company, web: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from neurant.cli.main import app

    owner = signed_in(urls, acme, "owner")
    web.post("/v1/sso-connections", json=new(acme), headers=owner)
    monkeypatch.setenv("NEURANT_APP_DATABASE_URL", urls.app)
    done = CliRunner().invoke(app, ["sso", "prove-domain", acme.slug, domain(acme)])
    assert done.exit_code == 0, done.output
    assert domain(acme) in done.output
    assert is_proven(urls, acme)


async def test_nobody_but_our_processes_says_what_is_proven(urls: Urls, acme: Company) -> None:
    for role in ("authenticated", "visitor", "neurant_worker"):
        for name in ("note_sso_domain_check", "prove_sso_domain", "take_sso_domain"):
            [(may,)] = rows(
                urls,
                "select bool_or(has_function_privilege(%s, p.oid, 'execute')) from pg_proc p"
                " where p.proname = %s",
                role,
                name,
            )
            assert may is False
    [(may,)] = rows(
        urls, "select has_any_column_privilege('authenticated', 'sso_domains', 'insert, update')"
    )
    assert may is False


STEPS = st.lists(
    st.tuples(st.sampled_from(("found", "absent", "unreachable")), st.integers(1, 60)), max_size=12
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS)
def test_a_domain_is_proven_from_a_find_until_it_is_absent_for_three_days(
    urls: Urls, one_claim: Company, steps: list[tuple[str, int]]
) -> None:
    """The state machine against a model: hours pass between checks."""
    rows(
        urls,
        "update sso_domains set proven_by = null, proven_at = null, failing_since = null"
        " where company_id = %s",
        one_claim.id,
    )
    now, proven, since = START, False, None
    for found, hours in steps:
        now += timedelta(hours=hours)
        if found == "found":
            proven, since = True, None
        elif found == "absent" and proven:
            since = since or now
            if now - since >= 3 * DAY:
                proven, since = False, None
        check(urls, one_claim, found, now)
        assert rows(
            urls,
            "select proven_at is not null, failing_since from sso_domains where company_id = %s",
            one_claim.id,
        ) == [(proven, since)]


@pytest.fixture
def one_claim(urls: Urls, web: httpx.Client, acme: Company) -> Company:
    """A company with one claim."""
    owner = signed_in(urls, acme, "owner")
    assert web.post("/v1/sso-connections", json=new(acme), headers=owner).status_code == 201
    return acme
