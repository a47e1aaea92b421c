"""A session that a company's single sign-on opened changes nothing of the login or outside it.

The attack: acme's provider names a person of rival. With that session the second step of the whole
login could be turned on, companies founded and invitations accepted as that person.
"""

from __future__ import annotations

import re
import secrets
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pyotp
import pytest

from neurant.accounts.service import FACTOR
from neurant.core.vault import Vault
from neurant.installation.embedded import Urls
from tests.accounts.sent_mails import PASSWORD, bearer, settings_of_tests, sign_in
from tests.companies import Company, make_company

pytest_plugins = ("tests.console.running_web",)
LISTED: dict[str, dict[str, str]] = tomllib.loads(
    Path(__file__).with_name("login_functions.toml").read_text()
)
OF_A_LOGIN = re.compile(
    r"\b(auth\.users|auth_accounts|auth_sessions|auth_factors|recovery_codes|login_challenges"
    r"|password_resets|sign_ups|login_sessions|account_brakes|auth_user_id|p_auth_user)\b"
)
LOGIN_TABLES = {
    "auth.users": "id", "public.auth_accounts": "auth_user_id", "public.auth_factors": "auth_user_id",
    "public.recovery_codes": "auth_user_id", "public.login_challenges": "auth_user_id",
    "public.password_resets": "auth_user_id", "public.users": "auth_user_id",
}  # fmt: skip


@dataclass(frozen=True)
class Victim:
    """Somebody of rival, whom acme's provider named; ``token`` is of the session that it opened."""

    login: UUID
    email: str
    token: str
    secret: str
    invitation: str
    acme: Company
    rival: Company

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"}


@pytest.fixture
def db(urls: Urls) -> Iterator[psycopg.Connection]:
    with psycopg.connect(urls.admin, autocommit=True) as connection:
        yield connection


def limited_session(db: psycopg.Connection, company: Company, login: UUID) -> str:
    """The token of a session as single sign-on opens it."""
    token = secrets.token_urlsafe(16)
    db.execute(
        "insert into login_sessions (company_id, user_id, token_digest, expires_at)"
        " select u.company_id, u.id, sha256(%s), now() + interval '1 day' from users u"
        " where u.company_id = %s and u.auth_user_id = %s",
        (token.encode(), company.id, login),
    )
    return token


@pytest.fixture
def victim(urls: Urls, db: psycopg.Connection, known_password: str) -> Victim:
    """With a second step begun and not confirmed, and an invitation of a third company."""
    acme = make_company(urls.admin, "acme", password_hash=known_password)
    rival = make_company(urls.admin, "rival", password_hash=known_password)
    third = make_company(urls.admin, "third", password_hash=known_password)
    person = rival.people["supervisor"]
    login, secret, invitation = person.auth_user_id, pyotp.random_base32(), secrets.token_urlsafe()
    db.execute("update auth.users set email_confirmed_at = now() where id = %s", (login,))
    db.execute(
        "insert into users (company_id, auth_user_id, email, first_name, last_name, role)"
        " values (%s, %s, %s, 'Ana', 'Ruiz', 'operador')",
        (acme.id, login, person.email),
    )
    sealed = Vault(settings_of_tests()).seal(FACTOR, login, secret)
    db.execute(
        "insert into auth_factors (auth_user_id, secret_encrypted) values (%s, %s)", (login, sealed)
    )
    db.execute(
        "insert into user_invitations (company_id, email, role, invited_by, token_digest)"
        " values (%s, %s, 'supervisor', %s, sha256(%s))",
        (third.id, person.email, third.people["owner"].id, invitation.encode()),
    )
    token = limited_session(db, acme, login)
    return Victim(login, person.email, token, secret, invitation, acme, rival)


def snapshot(db: psycopg.Connection, victim: Victim) -> dict[str, Any]:
    """Every row of the victim's login, and whatever of it lies outside acme."""
    found: dict[str, Any] = {}
    for table, column in LOGIN_TABLES.items():
        rows = db.execute(
            f"select to_jsonb(t) - '{{last_seen_at,last_login_at}}'::text[] from {table} t"
            f" where t.{column} = %s order by to_jsonb(t)::text",
            (victim.login,),
        )
        found[table] = rows.fetchall()
    outside = {
        "auth_sessions": "auth_user_id = %s and only_company_id is distinct from %s",
        "audit_logs": "user_id in (select id from users where auth_user_id = %s) and company_id <> %s",
    }
    for table, condition in outside.items():
        found[table] = db.execute(
            f"select t.id from {table} t where {condition} order by t.id",
            (victim.login, victim.acme.id),
        ).fetchall()
    # Nothing is counted as an attempt either: the person could be held back by it.
    found["attempts"] = db.execute("select sum(attempts) from account_brakes").fetchone()
    found["companies"] = db.execute(
        "select count(*) from companies where created_by = %s", (victim.login,)
    ).fetchone()
    return found


def arguments(victim: Victim, given: str) -> str:
    def digest(token: str) -> str:
        return f"'\\x{sha256(token.encode()).hexdigest()}'::bytea"

    return given.format(
        token=digest(victim.token),
        invitation=digest(victim.invitation),
        login=f"'{victim.login}'::uuid",
        rival=f"'{victim.rival.id}'::uuid",
        step=1,
    )


@pytest.mark.parametrize("name", sorted(LISTED["refused"]))
def test_the_database_refuses_a_limited_session(
    urls: Urls, db: psycopg.Connection, victim: Victim, name: str
) -> None:
    before = snapshot(db, victim)
    with psycopg.connect(urls.app) as app, pytest.raises(psycopg.Error) as refused:
        app.execute(f"select private.{name}({arguments(victim, LISTED['refused'][name])})")
    assert refused.value.sqlstate == "NA006"
    assert snapshot(db, victim) == before


@pytest.mark.parametrize("name", sorted(LISTED["refused"]))
def test_the_refusal_does_not_depend_on_the_plan_of_a_query(
    urls: Urls, victim: Victim, name: str
) -> None:
    plan = "-c enable_indexscan=off -c enable_bitmapscan=off -c enable_indexonlyscan=off"
    with psycopg.connect(urls.app, options=plan) as app, pytest.raises(psycopg.Error) as refused:
        app.execute(f"select private.{name}({arguments(victim, LISTED['refused'][name])})")
    assert refused.value.sqlstate == "NA006"


@pytest.mark.parametrize("name", sorted(LISTED["told"]))
def test_a_process_of_the_version_before_is_refused_by_the_session_that_it_tells(
    urls: Urls, db: psycopg.Connection, victim: Victim, name: str
) -> None:
    before = snapshot(db, victim)
    session = db.execute(
        "select id from auth_sessions where token_digest = sha256(%s)", (victim.token.encode(),)
    ).fetchone()
    with psycopg.connect(urls.app) as app:
        told = f'{{"session_id": "{session[0]}"}}'
        app.execute("select set_config('request.audit', %s, true)", (told,))
        with pytest.raises(psycopg.Error) as refused:
            app.execute(f"select private.{name}({arguments(victim, LISTED['told'][name])})")
    assert refused.value.sqlstate == "NA006"
    assert snapshot(db, victim) == before


@pytest.mark.parametrize("name", sorted(LISTED["in_company"]))
def test_what_a_limited_session_may_call_stays_inside_its_company(
    urls: Urls, db: psycopg.Connection, victim: Victim, name: str
) -> None:
    limited_session(db, victim.acme, victim.login)  # another of the same company may be ended
    own = "select private.open_session(%s, sha256(%s), null, null, '1 day', %s)"
    db.execute(own, (victim.login, secrets.token_bytes(8), victim.rival.id))
    before = snapshot(db, victim)
    with psycopg.connect(urls.app) as app:
        query = (
            f"select r::text from private.{name}({arguments(victim, LISTED['in_company'][name])}) r"
        )
        answer = str(app.execute(query).fetchall())
        app.commit()
    assert snapshot(db, victim) == before
    for foreign in (str(victim.rival.id), victim.rival.slug):
        assert foreign not in answer.replace(victim.email, "")


def test_every_function_that_acts_on_a_login_is_listed(db: psycopg.Connection) -> None:
    rows = db.execute(
        "select p.proname, pg_get_functiondef(p.oid) from pg_proc p"
        " where p.pronamespace = 'private'::regnamespace and p.prokind = 'f'"
    ).fetchall()
    acting = {name for name, source in rows if OF_A_LOGIN.search(source)}
    # What hands a session's token or a login on to one of these acts on a login, too.
    handed = re.compile(rf"private\.({'|'.join(sorted(acting - PRINCIPAL))})\(")
    acting |= {name for name, source in rows if handed.search(source)}
    listed = [name for part in LISTED.values() for name in part]
    assert len(listed) == len(set(listed))
    assert acting == set(listed)


PRINCIPAL = {"company_id", "user_id", "user_role", "write_audit", "caller"}  # called everywhere


def test_a_function_that_takes_a_session_refuses_or_stays_inside(db: psycopg.Connection) -> None:
    taking = {
        name
        for (name,) in db.execute(
            "select p.proname from pg_proc p where p.pronamespace = 'private'::regnamespace"
            " and has_function_privilege('neurant_app', p.oid, 'execute')"
            " and p.proname in (select unnest(%s::text[])) and p.prosrc ~ 'auth_sessions|own_login'"
            " and '{p_token_digest,p_session_digest}' && p.proargnames"
            " and not '{p_auth_user}' && p.proargnames",
            ([name for part in LISTED.values() for name in part],),
        )
    }
    assert taking <= LISTED["refused"].keys() | LISTED["in_company"].keys()


def test_what_is_listed_as_internal_is_granted_to_no_process(db: psycopg.Connection) -> None:
    granted = db.execute(
        "select p.proname from pg_proc p, unnest('{neurant_app,neurant_jobs,authenticated,"
        "neurant_worker,visitor}'::text[]) role where p.pronamespace = 'private'::regnamespace"
        " and p.proname = any (%s) and has_function_privilege(role, p.oid, 'execute')",
        ([*LISTED["internal"]],),
    ).fetchall()
    assert granted == []


COMPANY = {"name": "Empresa ajena", "industry": "health"}
CALLS: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("PUT", "/v1/account/password", {"current_password": PASSWORD, "new_password": "otra-clave-larga-9"}),
    ("POST", "/v1/account/two-step", {"password": PASSWORD}),
    ("POST", "/v1/account/two-step/confirm", {"code": "{code}"}),
    ("POST", "/v1/account/two-step/recovery-codes", {"password": PASSWORD, "code": "{code}"}),
    ("POST", "/v1/account/two-step/disable", {"password": PASSWORD, "code": "{code}"}),
    ("POST", "/v1/companies", COMPANY),
    ("POST", "/v1/invitations/accept", {"token": "{invitation}"}),
)  # fmt: skip


def filled(victim: Victim, body: dict[str, str]) -> dict[str, str]:
    code = pyotp.TOTP(victim.secret).now()
    return {
        name: value.format(code=code, invitation=victim.invitation) for name, value in body.items()
    }


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
def test_the_api_refuses_a_limited_session_and_changes_nothing(
    nobody: httpx.Client, db: psycopg.Connection, victim: Victim,
    method: str, path: str, body: dict[str, str],
) -> None:  # fmt: skip
    before = snapshot(db, victim)
    answer = nobody.request(method, path, json=filled(victim, body), headers=victim.headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "accounts.limited_session")
    assert snapshot(db, victim) == before


FORMS: tuple[tuple[str, dict[str, str]], ...] = (
    ("/console/account/password", {"current": PASSWORD, "new": "otra-clave-larga-9"}),
    ("/console/account/two-step", {"password": PASSWORD}),
    ("/console/account/two-step/confirm", {"code": "000000"}),
    ("/console/account/two-step/confirm", {"code": "{code}"}),
    ("/console/account/two-step/recovery-codes", {"password": PASSWORD, "code": "{code}"}),
    ("/console/account/two-step/disable", {"password": PASSWORD, "code": "{code}"}),
    ("/onboarding/company", COMPANY),
    ("/invitation", {}),
)


@pytest.mark.parametrize(("path", "form"), FORMS)
def test_the_pages_refuse_a_limited_session_and_show_no_secret(
    nobody: httpx.Client, db: psycopg.Connection, victim: Victim, path: str, form: dict[str, str]
) -> None:
    before = snapshot(db, victim)
    cookies = f"neurant_session={victim.token}; neurant_invitation={victim.invitation}"
    answer = nobody.post(path, data=filled(victim, form), headers={"cookie": cookies})
    assert answer.status_code == 403, answer.text
    assert "solo sirve dentro de esa empresa" in answer.text
    assert victim.secret not in answer.text.replace(" ", "")
    assert snapshot(db, victim) == before


def test_the_account_of_a_limited_session_tells_nothing_of_the_second_step(
    nobody: httpx.Client, victim: Victim
) -> None:
    told = nobody.get("/v1/account", headers=victim.headers).json()
    assert (told["is_limited"], told["two_step"], told["recovery_codes_left"]) == (True, None, 0)
    page = nobody.get(
        "/console/account", headers={"cookie": f"neurant_session={victim.token}"}
    ).text
    assert "two-step" not in page
    assert "/console/account/password" not in page


def test_the_person_s_own_session_does_all_of_it(
    nobody: httpx.Client, db: psycopg.Connection, victim: Victim
) -> None:
    mine = sign_in(nobody, victim.email)
    code = {"code": pyotp.TOTP(victim.secret).now()}
    done = nobody.post("/v1/account/two-step/confirm", json=code, headers=mine)
    assert done.status_code == 200, done.text
    mine = bearer(done)
    assert nobody.get("/v1/account", headers=mine).json()["two_step"] is True
    accepted = nobody.post(
        "/v1/invitations/accept", json={"token": victim.invitation}, headers=mine
    )
    assert accepted.status_code == 201, accepted.text
    founded = nobody.post("/v1/companies", json=COMPANY, headers=mine)
    assert founded.status_code == 201, founded.text


def test_a_limited_session_spends_no_code_of_the_login_to_pass_its_company_on(
    nobody: httpx.Client,
    db: psycopg.Connection,
    urls: Urls,
    victim: Victim,
    running_codes: Callable[..., Any],
) -> None:
    recovery = running_codes(victim)
    with db.transaction():
        give = "update users set role = %s, is_owner = %s where company_id = %s and id = %s"
        db.execute(give, ("administrador", False, victim.acme.id, victim.acme.people["owner"].id))
        member = db.execute(
            "select id from users where company_id = %s and auth_user_id = %s",
            (victim.acme.id, victim.login),
        ).fetchone()[0]
        db.execute(give, ("owner", True, victim.acme.id, member))
    before = snapshot(db, victim)
    heir = {"user_id": str(victim.acme.people["administrador"].id), "code": recovery}
    db.execute("update auth_sessions set created_at = now() - interval '1 hour'"
               " where auth_user_id = %s", (victim.login,))  # fmt: skip
    answer = nobody.post("/v1/company/ownership", json=heir, headers=victim.headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "accounts.sign_in_again")
    assert snapshot(db, victim) == before


@pytest.fixture
def running_codes(nobody: httpx.Client) -> Callable[[Victim], str]:
    """Turns the victim's second step on, as the victim; a recovery code."""

    def turn_on(victim: Victim) -> str:
        code = {"code": pyotp.TOTP(victim.secret).now()}
        mine = sign_in(nobody, victim.email)
        done = nobody.post("/v1/account/two-step/confirm", json=code, headers=mine)
        return str(done.json()["recovery_codes"][0])

    return turn_on
