"""A login that only a provider made belongs to whoever has the mailbox, as soon as they show it.

Two orders: the provider names an address first and its owner signs up later, or the owner is there
first and a provider names the address.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from uuid import UUID

import httpx
import psycopg
import pytest

from neurant.installation.embedded import Urls
from tests.accounts.sent_mails import (
    PASSWORD,
    advance_one_hour,
    begin_sign_up,
    new_address,
    sent_mails,
    sign_in,
)
from tests.accounts.test_limited_sessions import limited_session
from tests.accounts.test_recovery import NEW, mailed_link, reset
from tests.companies import Company, make_company

pytest_plugins = ("tests.console.running_web",)
COMPANY = {"name": "Empresa propia", "industry": "health"}


@pytest.fixture
def db(urls: Urls) -> Iterator[psycopg.Connection]:
    with psycopg.connect(urls.admin, autocommit=True) as connection:
        yield connection


@pytest.fixture
def own(urls: Urls, known_password: str) -> Company:
    return make_company(urls.admin, "acme", password_hash=known_password)


def named_by_provider(
    db: psycopg.Connection, company: Company, email: str
) -> tuple[UUID, dict[str, str]]:
    """The login that a provider's answer makes or finds, and the headers of its session."""
    connection = "select private.admit_by_sso(c, %s, 'Ana', 'Ruiz', now()) from sso_connections c"
    db.execute(
        "insert into sso_connections (company_id, name, issuer, client_id, default_role, created_by)"
        " values (%s, 'ID', 'https://id.example', %s, 'operador', %s)",
        (company.id, secrets.token_hex(4), company.people["owner"].id),
    )
    db.execute(f"{connection} where c.company_id = %s", (email, company.id))
    found = db.execute("select id from auth.users where email = %s", (email,)).fetchone()
    assert found is not None
    db.execute(
        "insert into external_identities (company_id, connection_id, subject, user_id)"
        " select c.company_id, c.id, 'sub', u.id from sso_connections c, users u"
        " where c.company_id = %s and u.company_id = c.company_id and u.auth_user_id = %s",
        (company.id, found[0]),
    )
    token = limited_session(db, company, found[0])
    return found[0], {"authorization": f"Bearer {token}"}


def state(db: psycopg.Connection, login: UUID) -> tuple[object, ...]:
    row = db.execute(
        "select a.email_confirmed_at is not null, a.encrypted_password is not null,"
        " (select count(*) from auth_factors f where f.auth_user_id = a.id)"
        " from auth.users a where a.id = %s",
        (login,),
    ).fetchone()
    assert row is not None
    return row


def owns_the_login(nobody: httpx.Client, email: str, password: str) -> None:
    """Signs in and does what a person who is confirmed may do."""
    mine = sign_in(nobody, email, password)
    founded = nobody.post("/v1/companies", json=COMPANY, headers=mine)
    assert founded.status_code == 201, founded.text


def test_a_provider_confirms_no_address_and_its_session_founds_nothing(
    nobody: httpx.Client, db: psycopg.Connection, own: Company
) -> None:
    login, session = named_by_provider(db, own, new_address())
    assert state(db, login) == (False, False, 0)
    refused = nobody.post("/v1/companies", json=COMPANY, headers=session)
    assert refused.json()["code"] == "accounts.limited_session"


def test_the_owner_of_the_mailbox_signs_up_and_takes_the_login(
    nobody: httpx.Client, db: psycopg.Connection, own: Company
) -> None:
    email = new_address()
    login, session = named_by_provider(db, own, email)
    # What a session of the provider left before this was refused.
    db.execute("insert into auth_factors (auth_user_id, secret_encrypted, confirmed_at)"
               " values (%s, 'x', now())", (login,))  # fmt: skip
    begun = begin_sign_up(nobody, email).json()
    letter = sent_mails(db, email)[-1]
    assert letter.template == "accounts.verify_email"
    proof = {"verification_token": begun["verification_token"], "code": letter.params["code"]}
    done = nobody.post("/v1/accounts/verification", json=proof)
    assert done.status_code == 201, done.text
    assert state(db, login) == (True, True, 0)
    assert nobody.get("/v1/session", headers=session).status_code == 401
    owns_the_login(nobody, email, PASSWORD)


def test_the_owner_of_the_mailbox_resets_the_password_and_takes_the_login(
    nobody: httpx.Client, db: psycopg.Connection, own: Company
) -> None:
    email = new_address()
    login, session = named_by_provider(db, own, email)
    assert reset(nobody, mailed_link(nobody, db, email)).status_code == 204
    assert state(db, login) == (True, True, 0)
    assert nobody.get("/v1/session", headers=session).status_code == 401
    owns_the_login(nobody, email, NEW)


def test_an_invitation_s_link_makes_the_login_its_reader_s(
    nobody: httpx.Client, db: psycopg.Connection, own: Company, rival: Company
) -> None:
    email, link = new_address(), secrets.token_urlsafe()
    login, session = named_by_provider(db, own, email)
    db.execute(
        "insert into user_invitations (company_id, email, role, invited_by, token_digest)"
        " values (%s, %s, 'operador', %s, sha256(%s))",
        (rival.id, email, rival.people["owner"].id, link.encode()),
    )
    given = {"token": link, "first_name": "Ana", "password": PASSWORD, "accept_terms": True}
    accepted = nobody.post("/v1/invitations/accept", json=given)
    assert accepted.status_code == 201, accepted.text
    assert state(db, login) == (True, True, 0)
    assert nobody.get("/v1/session", headers=session).status_code == 401
    assert sign_in(nobody, email)


def test_a_login_that_has_its_owner_stays_as_it_is_when_a_provider_names_it(
    nobody: httpx.Client, db: psycopg.Connection, own: Company, rival: Company
) -> None:
    person = rival.people["operador"]
    before = db.execute(
        "select to_jsonb(a) from auth.users a where id = %s", (person.auth_user_id,)
    )
    kept = before.fetchone()
    login, session = named_by_provider(db, own, person.email)
    assert login == person.auth_user_id
    now = db.execute("select to_jsonb(a) from auth.users a where id = %s", (login,)).fetchone()
    assert now == kept
    assert [
        one["name"] for one in nobody.get("/v1/session", headers=session).json()["companies"]
    ] == [own.name]


def test_nobody_signs_up_over_a_login_that_has_its_owner(
    nobody: httpx.Client, db: psycopg.Connection, own: Company
) -> None:
    for confirmed in (None, "2026-01-01"):
        person = own.people["supervisor"]
        db.execute("update auth.users set email_confirmed_at = %s where id = %s",
                   (confirmed, person.auth_user_id))  # fmt: skip
        advance_one_hour(db)
        assert begin_sign_up(nobody, person.email, "otra-clave-larga-9").status_code == 202
        assert sent_mails(db, person.email)[-1].template == "accounts.already_registered"
    assert sign_in(nobody, person.email)


@pytest.mark.parametrize("is_confirmed", [True, False])
def test_a_company_erases_the_login_that_its_provider_made_and_no_other(
    db: psycopg.Connection, own: Company, *, is_confirmed: bool
) -> None:
    email = new_address()
    if is_confirmed:
        db.execute("select private.create_login(%s, 'hash', true)", (email,))
    login, _ = named_by_provider(db, own, email)
    user = db.execute("select id from users where auth_user_id = %s", (login,)).fetchone()
    claims = {"sub": str(own.people["owner"].auth_user_id), "company_id": str(own.id)}
    with db.transaction():
        db.execute(
            "select set_config('role', 'authenticated', true),"
            " set_config('request.jwt.claims', %s, true)",
            (json.dumps(claims),),
        )
        erased = db.execute("select private.erase_user(%s)", (user[0],)).fetchone()
    assert erased == ("erased",)
    left = db.execute("select count(*) from auth.users where id = %s", (login,)).fetchone()
    assert left == (int(is_confirmed),)


@pytest.mark.parametrize("is_confirmed", [True, False])
def test_an_erased_company_takes_the_login_that_its_provider_made_and_no_other(
    db: psycopg.Connection, own: Company, *, is_confirmed: bool
) -> None:
    email = new_address()
    if is_confirmed:
        db.execute("select private.create_login(%s, 'hash', true)", (email,))
    login, _ = named_by_provider(db, own, email)
    while db.execute("select private.erase_company(%s, true, 20)", (own.id,)).fetchone() != (0,):
        pass
    left = db.execute("select count(*) from auth.users where id = %s", (login,)).fetchone()
    assert left == (int(is_confirmed),)
    founder = own.people["owner"].auth_user_id
    gone = db.execute("select count(*) from auth.users where id = %s", (founder,)).fetchone()
    assert gone == (0,)
