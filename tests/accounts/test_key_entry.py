"""An API key that opens a transaction: until when it does, and how its last use is noted."""

from __future__ import annotations

import secrets

import psycopg
import pytest
from companies import Company, make_company

from neurant.database.embedded import Urls


@pytest.fixture
def acme(urls: Urls) -> Company:
    return make_company(urls.admin, "acme")


def make_key(urls: Urls, company: Company) -> bytes:
    """The digest of a key that has no end and was never used."""
    digest = secrets.token_bytes(32)
    with psycopg.connect(urls.admin) as db:
        db.execute(
            "insert into api_keys (company_id, name, prefix, key_digest, role, created_by, scopes)"
            " values (%s, 'CRM', 'na_x', %s, 'administrador', %s, '{users.read}')",
            (company.id, digest, company.people["owner"].id),
        )
    return digest


def enter(db: psycopg.Connection, digest: bytes) -> object:
    """The company that the key opens, or None."""
    row = db.execute("select (private.enter_key(%s, null, '{}')).company_id", (digest,)).fetchone()
    return row[0]


@pytest.mark.parametrize(
    ("state", "opens"),
    [
        ("expires_at = null", True),
        ("expires_at = now() + interval '1 second'", True),
        ("expires_at = now()", False),
        ("expires_at = now() - interval '1 second'", False),
        ("revoked_at = now()", False),
        ("revoked_at = now(), expires_at = now() + interval '1 day'", False),
    ],
)
def test_a_key_opens_its_company_until_the_moment_of_its_end(
    urls: Urls, acme: Company, state: str, opens: bool
) -> None:
    digest = make_key(urls, acme)
    with psycopg.connect(urls.admin) as db:  # one transaction: now() stands still
        db.execute(f"update api_keys set {state} where key_digest = %s", (digest,))
        assert enter(db, digest) == (acme.id if opens else None)
        assert enter(db, secrets.token_bytes(32)) is None


@pytest.mark.parametrize(
    ("last_use", "noted"),
    [
        ("null", True),
        ("now() - interval '61 seconds'", True),
        ("now() - interval '1 minute'", False),
        ("now() - interval '30 seconds'", False),
    ],
)
def test_the_last_use_is_noted_once_a_minute_and_of_this_key_alone(
    urls: Urls, acme: Company, last_use: str, noted: bool
) -> None:
    digest, other = make_key(urls, acme), make_key(urls, acme)
    query = "select last_used_at is not distinct from now() from api_keys where key_digest = %s"
    with psycopg.connect(urls.admin) as db:
        db.execute(
            f"update api_keys set last_used_at = {last_use} where key_digest = %s", (digest,)
        )
        assert enter(db, digest) == acme.id
        assert db.execute(query, (digest,)).fetchone() == (noted,)
        assert db.execute(query, (other,)).fetchone() == (False,)


def test_a_transaction_that_only_reads_is_opened_and_notes_nothing(
    urls: Urls, acme: Company
) -> None:
    digest = make_key(urls, acme)
    with psycopg.connect(urls.admin) as db:
        db.read_only = True
        assert enter(db, digest) == acme.id
        query = "select last_used_at from api_keys where key_digest = %s"
        assert db.execute(query, (digest,)).fetchone() == (None,)
