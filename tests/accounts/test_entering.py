"""A key or a session opens a transaction: until when it does, and how its last use is noted."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import psycopg
import pytest

from neurant.installation.embedded import Urls
from tests.companies import Company, make_company


@dataclass(frozen=True)
class Means:
    """What somebody shows to enter: its table, its columns, and how it is shown."""

    make: str
    enter: str
    table: str
    digest: str
    used: str


KEY = Means(
    make="insert into api_keys (company_id, created_by, key_digest, name, prefix, role, scopes)"
    " values (%s, %s, %s, 'CRM', 'na_x', 'administrador', '{users.read}')",
    enter="select (private.enter_key(%s, null, '{}')).company_id",
    table="api_keys", digest="key_digest", used="last_used_at",
)  # fmt: skip
SESSION = Means(
    make="insert into login_sessions (company_id, user_id, token_digest, expires_at)"
    " values (%s, %s, %s, now() + interval '1 day')",
    enter="select (private.enter_session(%s, null, '{}')).company_id",
    table="login_sessions", digest="token_digest", used="last_seen_at",
)  # fmt: skip
both = pytest.mark.parametrize("means", [KEY, SESSION], ids=["key", "session"])


@pytest.fixture
def acme(urls: Urls) -> Company:
    return make_company(urls.admin, "acme")


def made(urls: Urls, company: Company, means: Means) -> bytes:
    """The digest of a new one of the owner's."""
    digest = secrets.token_bytes(32)
    with psycopg.connect(urls.admin) as db:
        db.execute(means.make, (company.id, company.people["owner"].id, digest))
    return digest


def enter(db: psycopg.Connection, means: Means, digest: bytes) -> object:
    """The company that it opens, or None."""
    return db.execute(means.enter, (digest,)).fetchone()[0]


@pytest.mark.parametrize(
    ("means", "state", "opens"),
    [
        (KEY, "expires_at = null", True),
        (KEY, "revoked_at = now()", False),
        (KEY, "revoked_at = now(), expires_at = now() + interval '1 day'", False),
        *(
            case
            for means in (KEY, SESSION)
            for case in (
                (means, "expires_at = now() + interval '1 second'", True),
                (means, "expires_at = now()", False),
                (means, "expires_at = now() - interval '1 second'", False),
            )
        ),
    ],
)
def test_it_opens_its_company_until_the_moment_of_its_end(
    urls: Urls, acme: Company, means: Means, state: str, opens: bool
) -> None:
    digest = made(urls, acme, means)
    with psycopg.connect(urls.admin) as db:  # one transaction: now() stands still
        db.execute(f"update {means.table} set {state} where {means.digest} = %s", (digest,))
        assert enter(db, means, digest) == (acme.id if opens else None)
        assert enter(db, means, secrets.token_bytes(32)) is None


@both
@pytest.mark.parametrize(
    ("ago", "noted"), [("61 seconds", True), ("1 minute", False), ("30 seconds", False)]
)
def test_the_last_use_is_noted_once_a_minute_and_of_this_one_alone(
    urls: Urls, acme: Company, means: Means, ago: str, noted: bool
) -> None:
    digest, other = made(urls, acme, means), made(urls, acme, means)
    query = f"select {means.used} = now() from {means.table} where {means.digest} = %s"
    with psycopg.connect(urls.admin) as db:
        db.execute(
            f"update {means.table} set {means.used} = now() - %s::interval"
            f" where {means.digest} = any (%s)",
            (ago, [digest, other]),
        )
        assert enter(db, means, digest) == acme.id
        assert db.execute(query, (digest,)).fetchone() == (noted,)
        assert db.execute(query, (other,)).fetchone() == (False,)


def test_the_first_use_of_a_key_is_noted(urls: Urls, acme: Company) -> None:
    digest = made(urls, acme, KEY)
    with psycopg.connect(urls.admin) as db:
        enter(db, KEY, digest)
        query = "select last_used_at = now() from api_keys where key_digest = %s"
        assert db.execute(query, (digest,)).fetchone() == (True,)


@both
def test_a_transaction_that_only_reads_is_opened_and_notes_nothing(
    urls: Urls, acme: Company, means: Means
) -> None:
    digest = made(urls, acme, means)
    with psycopg.connect(urls.admin) as db:
        long_ago = f"update {means.table} set {means.used} = now() - interval '30 minutes' where {means.digest} = %s"
        db.execute(long_ago, (digest,))
    with psycopg.connect(urls.admin) as db:
        db.read_only = True
        assert enter(db, means, digest) == acme.id
        query = f"select {means.used} < now() from {means.table} where {means.digest} = %s"
        assert db.execute(query, (digest,)).fetchone() == (True,)


@both
def test_a_use_that_another_request_is_noting_is_not_waited_for(
    urls: Urls, acme: Company, means: Means
) -> None:
    digest = made(urls, acme, means)
    with psycopg.connect(urls.admin) as noting, psycopg.connect(urls.admin) as asking:
        noting.execute(
            f"update {means.table} set {means.used} = now() - interval '30 minutes' where {means.digest} = %s",
            (digest,),
        )
        noting.commit()
        enter(noting, means, digest)  # holds the row until it ends
        asking.execute("set lock_timeout = '5s'")
        assert enter(asking, means, digest) == acme.id
