"""Erasure: audit stays, and nobody can tell any more of whom it speaks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from uuid import UUID

import psycopg
import pytest

from neurant.installation.embedded import Urls
from tests.audit.reading import acting, claims_of, lines_since, newest
from tests.companies import Company, make_company

SHRED = "select private.shred_audit_subject(%s, %s)"


@pytest.fixture
def db(urls: Urls) -> Iterator[psycopg.Connection]:
    with psycopg.connect(urls.admin) as connection:
        yield connection


@pytest.fixture
def acme(urls: Urls) -> Company:
    return make_company(urls.admin, "acme")


def digest_of(urls: Urls, company: Company, subject: UUID, value: str) -> str | None:
    with acting(urls.app, "authenticated", claims_of(company, "owner")) as owner:
        row = owner.execute("select private.audit_digest_of(%s, %s)", (subject, value)).fetchone()
    return row[0]


def test_a_manager_finds_a_person_by_the_address_until_it_is_shredded(
    urls: Urls, db: psycopg.Connection, acme: Company
) -> None:
    person, other = acme.people["supervisor"], acme.people["operador"]
    made = [one for one in lines_since(db, UUID(int=0), acme.id) if one.resource_id == person.id]
    kept = made[0].details["after"]["email"]
    assert digest_of(urls, acme, person.id, person.email) == kept
    assert digest_of(urls, acme, other.id, person.email) not in (None, kept)
    before = [one.id for one in lines_since(db, UUID(int=0), acme.id)]
    db.execute(SHRED, (acme.id, person.id))
    db.commit()
    assert digest_of(urls, acme, person.id, person.email) is None
    assert digest_of(urls, acme, other.id, other.email) is not None
    assert [one.id for one in lines_since(db, UUID(int=0), acme.id)] == before
    salt = "select salt from audit_salts where subject = %s"
    assert db.execute(salt, (person.id,)).fetchone() == (None,)


def test_no_new_digest_is_made_of_the_erased(db: psycopg.Connection, acme: Company) -> None:
    """The row itself is deleted after the salt, and its line must not start a new salt."""
    person = acme.people["supervisor"]
    db.execute(SHRED, (acme.id, person.id))
    mark = newest(db)
    db.execute("delete from users where id = %s", (person.id,))
    [line] = lines_since(db, mark, acme.id)
    assert line.details["before"]["email"] == line.details["before"]["first_name"] == "erased"
    assert person.email not in json.dumps(line.details)


def test_the_invitations_of_a_person_go_too(db: psycopg.Connection, acme: Company) -> None:
    person, owner = acme.people["operador"], acme.people["owner"]
    invited = "insert into user_invitations (company_id, email, invited_by, token_digest) values (%s, %s, %s, sha256(%s)) returning id"
    mine, other = (
        db.execute(invited, (acme.id, mail, owner.id, mail.encode())).fetchone()[0]
        for mail in (person.email, f"x{person.email}")
    )
    db.execute(SHRED, (acme.id, person.id))
    salts: dict[UUID, bytes | None] = dict(db.execute("select subject, salt from audit_salts where company_id = %s", (acme.id,)).fetchall())  # fmt: skip
    assert salts[mine] is None
    assert salts[other] is not None


def test_two_people_of_one_name_have_different_digests(
    db: psycopg.Connection, acme: Company
) -> None:
    """A digest of a name alone would be found by trying names."""
    digest = "select private.personal_digest(%s, %s, 'Ana')"
    one, two = (
        db.execute(digest, (acme.id, acme.people[role].id)).fetchone()
        for role in ("owner", "operador")
    )
    assert one != two
    assert db.execute(digest, (acme.id, acme.people["owner"].id)).fetchone() == one


def test_audit_outlives_its_users_and_its_company(
    urls: Urls, db: psycopg.Connection, acme: Company
) -> None:
    rival = make_company(urls.admin, "rival")
    before = [one.id for one in lines_since(db, UUID(int=0), acme.id)]
    db.execute("select private.shred_audit_company(%s)", (acme.id,))
    # As an erasure does, table by table; here the database drops what hangs on a company.
    for table in ("channel_accounts", "chatbot_operators", "chatbots", "users"):
        db.execute(f"delete from {table} where company_id = %(id)s", {"id": acme.id})
    db.execute("delete from companies where id = %s", (acme.id,))
    db.commit()
    after = lines_since(db, UUID(int=0), acme.id)
    assert [one.id for one in after][: len(before)] == before
    assert after[-1].resource_type == "companies"
    assert after[-1].action == "delete"
    assert after[-1].details["before"]["email"] == "erased"
    left = "select count(*) from audit_salts where company_id = %s and salt is not null"
    assert db.execute(left, (acme.id,)).fetchone() == (0,)
    assert db.execute(left, (rival.id,)).fetchone()[0] > 0
