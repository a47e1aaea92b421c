"""Invitations to strangers: how many a company sends, how many an address gets, and who wants none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs, urlsplit

import httpx
import psycopg
import pytest

from neurant.core.settings import Settings
from neurant.installation.embedded import Urls
from neurant.invitations.unsubscribe import refuse_link
from neurant.mail.message import words
from tests.accounts.sent_mails import new_address
from tests.companies import Company, make_company
from tests.team.waiting_mails import waiting_mails

pytest_plugins = ("tests.console.running_web",)
SignIn = Callable[..., httpx.Client]


@pytest.fixture(autouse=True)
def nothing_waits(database: psycopg.Connection) -> Iterator[None]:
    """What these tests queue is not left to those who count what waits."""
    [begun] = database.execute("select clock_timestamp()").fetchone()
    yield
    database.execute(
        "delete from mails where created_at >= %s - interval '3 days' and status = 'pending'"
        " and template in ('team.invitation', 'team.reminder')",
        (begun,),
    )


@pytest.fixture
def own(urls: Urls, known_password: str) -> Company:
    """A company of this test alone, on the plan that pays nothing, in its first week."""
    company = make_company(urls.admin, "acme", password_hash=known_password)
    with psycopg.connect(urls.admin) as db:
        db.execute("update companies set subscription_plan = 'free' where id = %s", (company.id,))
    return company


def invite(client: httpx.Client, email: str) -> httpx.Response:
    return client.post("/v1/invitations", json={"email": email, "role": "operador"})


def cancel(client: httpx.Client, made: httpx.Response) -> None:
    assert client.post(f"/v1/invitations/{made.json()['id']}/cancel").status_code == 200


def hours_pass(database: psycopg.Connection, hours: int, *, company: Company) -> None:
    database.execute(
        "update mails set created_at = created_at - make_interval(hours => %s) where company_id = %s",
        (hours, company.id),
    )


def test_a_company_that_invites_and_cancels_is_stopped_after_ten(
    sign_in: SignIn, own: Company, database: psycopg.Connection, rival: Company
) -> None:
    client = sign_in(own, "owner")
    for _ in range(10):
        made = invite(client, new_address())
        assert made.status_code == 201, made.text
        cancel(client, made)
    stopped = invite(client, last := new_address())
    assert (stopped.status_code, stopped.json()["code"]) == (429, "invitations.too_many_by_company")
    assert 0 < int(stopped.headers["retry-after"]) <= 86_400
    assert waiting_mails(database, last) == []
    renewed = client.post(f"/v1/invitations/{made.json()['id']}/renew")
    assert renewed.json()["code"] == "invitations.too_many_by_company"
    assert invite(sign_in(rival, "owner"), new_address()).status_code == 201
    hours_pass(database, 25, company=own)
    assert invite(client, last).status_code == 201


def test_who_pays_and_who_is_no_longer_new_may_send_more(
    own: Company, database: psycopg.Connection
) -> None:
    def allowed(changes: str) -> int:
        database.execute(f"update companies set {changes} where id = %s", (own.id,))
        return database.execute("select private.invitations_a_day(%s)", (own.id,)).fetchone()[0]

    grown = [
        allowed("subscription_plan = 'free'"),
        allowed("created_at = now() - interval '8 days'"),
        *(allowed(f"subscription_plan = '{plan}'") for plan in ("starter", "professional", "business", "enterprise")),
    ]  # fmt: skip
    assert grown == sorted(set(grown))
    assert grown[0] == 10


def test_many_companies_together_do_not_fill_one_mailbox(
    sign_in: SignIn, urls: Urls, known_password: str, database: psycopg.Connection
) -> None:
    victim = new_address("victim")
    clients = [
        sign_in(make_company(urls.admin, "acme", password_hash=known_password), "owner")
        for _ in range(3)
    ]
    outcomes = []
    for turn in range(12):
        client = clients[turn % 3]
        made = invite(client, victim)
        outcomes.append(made.status_code)
        if made.status_code == 201:
            cancel(client, made)
    assert outcomes == [201] * 10 + [429] * 2
    assert made.json()["code"] == "invitations.too_many_by_address"
    assert len(waiting_mails(database, victim)) == 10
    # A week holds twenty, however they are spread.
    database.execute(
        "update mails set created_at = created_at - interval '2 days' where to_address = %s",
        (victim,),
    )
    database.execute("update user_invitations set renewed_on = null where email = %s", (victim,))
    again = [invite(clients[turn % 3], victim) for turn in range(3)]
    assert [one.status_code for one in again] == [201] * 3


def test_companies_that_invite_one_address_at_once_do_not_pass_the_limit(
    sign_in: SignIn, urls: Urls, known_password: str, database: psycopg.Connection
) -> None:
    victim = new_address("victim")
    clients = [
        sign_in(make_company(urls.admin, "acme", password_hash=known_password), "owner")
        for _ in range(14)
    ]
    with ThreadPoolExecutor(7) as threads:
        told = [one.status_code for one in threads.map(lambda who: invite(who, victim), clients)]
    assert sorted(told) == [201] * 10 + [429] * 4
    assert len(waiting_mails(database, victim)) == 10


def refusal_of(database: psycopg.Connection, email: str) -> str:
    _, params = waiting_mails(database, email)[-1]
    return params["refuse_link"]


def test_whoever_wants_no_invitations_gets_none_until_they_change_their_mind(
    sign_in: SignIn,
    acme: Company,
    rival: Company,
    nobody: httpx.Client,
    database: psycopg.Connection,
) -> None:
    email = new_address("quiet")
    made = invite(sign_in(acme, "owner"), email)
    link = urlsplit(refusal_of(database, email))
    token = parse_qs(link.query)["of"][0]
    assert email.partition("@")[0] not in link.query
    # Opening the link (as mail scanners do) changes nothing.
    page = nobody.get(f"{link.path}?{link.query}")
    assert page.status_code == 200
    assert "No recibir más invitaciones" in page.text
    assert database.execute("select status from user_invitations where email = %s", (email,)).fetchone() == ("pending",)  # fmt: skip
    done = nobody.post(link.path, data={"of": token})
    assert done.status_code == 303
    assert "no recibirás más invitaciones" in nobody.get(done.headers["location"]).text
    seen = sign_in(acme, "owner").get(f"/v1/invitations/{made.json()['id']}").json()
    assert seen["status"] == "cancelled"
    for company in (acme, rival):
        refused = invite(sign_in(company, "owner"), email)
        assert (refused.status_code, refused.json()["code"]) == (409, "invitations.refused")
    assert len(waiting_mails(database, email)) == 1
    kept = database.execute("select * from mail_refusals").fetchall()
    assert not any(email in str(row) for row in kept)
    assert nobody.post(link.path, data={"of": token, "wants": "yes"}).status_code == 303
    assert invite(sign_in(rival, "owner"), email).status_code == 201


@pytest.mark.parametrize("change", [lambda t: "", lambda t: t[:-4] + "AAAA", lambda t: "AAAA" + t[4:], lambda t: "ñ", lambda t: t + "AAAA"])  # fmt: skip
def test_nobody_refuses_for_somebody_else(
    nobody: httpx.Client,
    acme: Company,
    sign_in: SignIn,
    database: psycopg.Connection,
    change: Callable[[str], str],
) -> None:
    email = new_address()
    assert invite(sign_in(acme, "owner"), email).status_code == 201
    token = parse_qs(urlsplit(refusal_of(database, email)).query)["of"][0]
    forged = change(token)
    before = database.execute("select count(*) from mail_refusals").fetchone()
    assert nobody.post("/invitation/refuse", data={"of": forged}).status_code == 404
    assert nobody.get("/invitation/refuse", params={"of": forged}).status_code == 404
    elsewhere = nobody.post(
        "/invitation/refuse", data={"of": token}, headers={"origin": "https://malo.example"}
    )
    assert elsewhere.status_code == 403
    assert database.execute("select count(*) from mail_refusals").fetchone() == before


def test_the_mail_says_how_and_one_that_was_queued_before_still_leaves() -> None:
    params = {
        "inviter": "Ana", "company": "Acme", "role": "operador", "until": "1 de mayo",
        "link": "https://a.example/invitation#x",
    }  # fmt: skip
    assert words("team.invitation", "es", params).refuse_link is None
    link = refuse_link(
        Settings(master_key="a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="), "eva@casa.example"
    )
    assert words("team.reminder", "es", params | {"refuse_link": link}).refuse_link == link


def test_a_reminder_that_may_not_leave_holds_no_other_back(
    urls: Urls, sign_in: SignIn, acme: Company, database: psycopg.Connection
) -> None:
    import asyncio

    from psycopg_pool import AsyncConnectionPool

    from neurant.invitations.jobs import run_reminders
    from tests.accounts.sent_mails import settings_of_tests

    full, free = new_address("full"), new_address("free")
    for email in (full, free):
        assert invite(sign_in(acme, "owner"), email).status_code == 201
    database.execute(
        "update user_invitations set sent_at = now() - interval '4 days' where email in (%s, %s)",
        (full, free),
    )
    database.execute(
        "insert into mails (id, to_address, template, language, status, sent_at)"
        " select gen_random_uuid(), %s, 'team.reminder', 'es', 'sent', now() from generate_series(1, 12)",
        (full,),
    )

    async def run() -> int:
        async with AsyncConnectionPool(urls.jobs, min_size=1, max_size=1, open=False) as pool:
            return await run_reminders(pool, settings_of_tests())

    assert asyncio.run(run()) >= 2
    assert [name for name, _ in waiting_mails(database, free)] == [
        "team.invitation",
        "team.reminder",
    ]
    count = "select count(*) from mails where to_address = %s"
    assert database.execute(count, (full,)).fetchone() == (13,)


@pytest.mark.parametrize("email", ["known", "unknown"])
def test_an_address_gets_thirty_mails_of_a_kind_a_day_whether_it_has_an_account_or_not(
    database: psycopg.Connection, acme: Company, email: str
) -> None:
    address = acme.people["owner"].email if email == "known" else new_address()
    allowed = 0
    for minute in range(0, 24 * 60, 7):
        [wait] = database.execute(
            "select private.allow_mail('reset', %s, now() + make_interval(mins => %s))",
            (address, minute),
        ).fetchone()
        allowed += wait == 0
    assert allowed == 30
    database.execute(
        "delete from account_brakes where key_digest = private.mail_key('reset', %s)", (address,)
    )
