"""An API key is as strong as the weaker of itself and its maker, and ends with either."""

from __future__ import annotations

import json
import secrets
from uuid import UUID

import psycopg
import pytest

from neurant.installation.embedded import Urls
from tests.companies import Company, make_company

ROLE = "select private.user_role()::text"


def make_key(urls: Urls, company: Company, role: str, maker: str = "owner") -> UUID:
    digest = secrets.token_bytes(32)
    with psycopg.connect(urls.app) as db:
        person = company.people[maker]
        become(db, {"sub": str(person.auth_user_id), "company_id": str(company.id)})
        row = db.execute(
            "insert into api_keys (company_id, name, prefix, key_digest, role, created_by, scopes)"
            " values (%s, 'CRM', 'na_x', %s, %s, %s, '{users.read}') returning id",
            (company.id, digest, role, person.id),
        ).fetchone()
        db.commit()
        entered = db.execute(
            "select key_id from private.enter_key(%s, 'users.read', '{}')", (digest,)
        )
        assert entered.fetchone() == row
    return row[0]


def become(db: psycopg.Connection, claims: dict[str, str]) -> None:
    db.execute("select set_config('role', 'authenticated', true)")
    db.execute("select set_config('request.jwt.claims', %s, true)", (json.dumps(claims),))


def ask(urls: Urls, key: UUID, company: UUID, query: str) -> object:
    with psycopg.connect(urls.app) as db:
        become(db, {"key_id": str(key), "company_id": str(company)})
        return db.execute(query).fetchone()[0]


def change(urls: Urls, query: str, *params: object) -> None:
    with psycopg.connect(urls.admin) as db:
        assert db.execute(query, params).rowcount == 1


def test_a_key_acts_for_its_company_and_no_other(urls: Urls) -> None:
    acme, rival = make_company(urls.admin, "acme"), make_company(urls.admin, "rival")
    key = make_key(urls, acme, "administrador")
    assert ask(urls, key, acme.id, "select array_agg(id) from companies") == [acme.id]
    assert ask(urls, key, rival.id, "select array_agg(id) from companies") is None
    assert ask(urls, key, acme.id, "select private.user_id()") == acme.people["owner"].id


def test_a_key_is_never_stronger_than_its_maker_is_now(urls: Urls) -> None:
    acme = make_company(urls.admin, "acme")
    key = make_key(urls, acme, "administrador", maker="administrador")
    assert ask(urls, key, acme.id, ROLE) == "administrador"
    maker = acme.people["administrador"].id
    change(urls, "update users set role = 'supervisor' where id = %s", maker)
    assert ask(urls, key, acme.id, ROLE) == "supervisor"
    change(urls, "update users set is_active = false where id = %s", maker)
    assert ask(urls, key, acme.id, ROLE) is None


@pytest.mark.parametrize("end", ["revoked_at = now()", "expires_at = now() - interval '1 second'"])
def test_a_key_that_ended_is_nobody_at_the_next_statement(urls: Urls, end: str) -> None:
    acme = make_company(urls.admin, "acme")
    key = make_key(urls, acme, "supervisor")
    assert ask(urls, key, acme.id, "select count(*) from users") > 0
    change(urls, f"update api_keys set {end} where id = %s", key)
    assert ask(urls, key, acme.id, "select count(*) from users") == 0


def test_only_owner_and_administrador_make_keys_and_nobody_reads_digests(urls: Urls) -> None:
    acme = make_company(urls.admin, "acme")
    for maker in ("supervisor", "operador"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            make_key(urls, acme, "supervisor", maker)
    key = make_key(urls, acme, "administrador")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        ask(urls, key, acme.id, "select key_digest from api_keys limit 1")


def test_no_key_is_an_owner(urls: Urls) -> None:
    acme = make_company(urls.admin, "acme")
    with pytest.raises(psycopg.errors.CheckViolation):
        make_key(urls, acme, "owner")
