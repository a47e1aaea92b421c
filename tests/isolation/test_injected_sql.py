"""What SQL that runs as the web process's login reaches: the threat model in db/README.md, tried."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta

import psycopg
import pytest

from neurant.installation.embedded import Urls
from tests.companies import Company, make_company

TOKEN = hashlib.sha256(b"of the attacker's choice").digest()


@pytest.fixture(scope="module")
def acme(urls: Urls) -> Company:
    return make_company(urls.admin, "acme", password_hash="$argon2id$kept")


def test_an_address_is_enough_to_act_as_the_person(urls: Urls, acme: Company) -> None:
    owner = acme.people["owner"]
    with psycopg.connect(urls.app) as db:
        found = db.execute("select * from private.login_lookup(%s)", (owner.email,)).fetchone()
        assert found is not None
        login, password_hash = found
        assert password_hash == "$argon2id$kept"
        opened = db.execute(
            "select company_id from private.open_session(%s, %s, '127.0.0.1', 'x', %s, null)",
            (login, TOKEN, timedelta(hours=1)),
        ).fetchone()
        assert opened == (acme.id,)
        claims = json.dumps({"sub": str(login), "company_id": str(acme.id)})
        db.execute("select set_config('request.jwt.claims', %s, true)", (claims,))
        db.execute("set local role authenticated")
        assert db.execute("select id from public.companies").fetchall() == [(acme.id,)]
        db.rollback()


def test_without_an_address_or_an_id_nobody_is_found(urls: Urls, acme: Company) -> None:
    with psycopg.connect(urls.admin) as db:
        tables = [
            row[0]
            for row in db.execute(
                "select c.oid::regclass::text from pg_class c join pg_namespace n"
                " on n.oid = c.relnamespace"
                " where n.nspname in ('public', 'private', 'auth', 'jobs') and c.relkind in ('r', 'v', 'p')"
            )
        ]
    assert len(tables) > 50
    with psycopg.connect(urls.app, autocommit=True) as db:
        for table in tables:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                db.execute(f"select count(*) from {table}")
        assert db.execute("select * from private.login_lookup('')").fetchall() == []
        assert db.execute("select * from private.login_lookup('%%')").fetchall() == []
        for role in ("authenticated", "visitor"):
            with db.transaction():
                db.execute(f"set local role {role}")
                for table in ("companies", "users", "conversations", "messages"):
                    try:
                        rows = db.execute(f"select count(*) from public.{table}").fetchone()
                    except psycopg.errors.InsufficientPrivilege:
                        break
                    assert rows == (0,)


@pytest.mark.parametrize("role", ["neurant_worker", "neurant_router", "neurant_owner", "postgres"])
def test_it_becomes_nobody_else(urls: Urls, role: str) -> None:
    with (
        psycopg.connect(urls.app, autocommit=True) as db,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        db.execute(f"set role {role}")
