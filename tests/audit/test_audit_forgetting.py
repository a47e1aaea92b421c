"""Once a person or a company is erased, no line of audit holds a word that they wrote, or their name."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from uuid import UUID, uuid4

import psycopg
import pytest

from neurant.installation.embedded import Urls
from tests.audit.reading import acting, claims_of
from tests.companies import Company, make_company

NAME, PHONE = "Hermenegilda", "600111222"
TEXT = f"Le atiende {NAME}, móvil {PHONE}"
FREE_TEXT = (
    "update users set first_name = %(name)s, last_name = %(name)s, phone = %(phone)s where id = %(person)s",
    "insert into canned_responses (company_id, owner_id, shortcut, content) values (%(c)s, %(person)s, lower(%(name)s), %(text)s)",
    "insert into documents (company_id, filename, original_filename, file_type, file_size_bytes, file_url, content_digest,"
    " uploaded_by, title, description, tags, category) values (%(c)s, %(name)s, %(name)s || '.txt', 'txt', 1, %(name)s,"
    " %(secret)s, %(person)s, %(text)s, %(text)s, array[%(text)s], %(name)s)",
    "update companies set name = %(text)s, slug = %(slug)s, email = %(mail)s, phone = %(phone)s,"
    " website = 'https://' || %(name)s || '.example', logo_url = 'https://x.example/' || %(name)s where id = %(c)s",
    "insert into api_keys (company_id, name, prefix, key_digest, role, created_by)"
    " values (%(c)s, 'clave de ' || %(name)s, 'p', %(secret)s, 'supervisor', %(person)s)",
    "insert into integrations (company_id, name, integration_type, description, settings, created_by)"
    " values (%(c)s, %(name)s, 'airtable', %(text)s, jsonb_build_object('a', %(text)s::text), %(person)s)",
    "insert into webhook_endpoints (company_id, url, events, secret_encrypted, created_by)"
    " values (%(c)s, 'https://x.example/' || %(name)s, array[%(name)s], %(secret)s, %(person)s)",
    "update chatbots set name = %(text)s, description = %(text)s, system_prompt = %(text)s, avatar_url = 'https://x.example/' || %(name)s,"
    " fallback_message = %(text)s, personality_traits = jsonb_build_object('a', %(text)s::text),"
    " hitl_trigger_keywords = array[%(name)s] where company_id = %(c)s",
    "update channel_accounts set display_name = %(text)s, status_detail = %(text)s where company_id = %(c)s",
    "insert into user_invitations (company_id, email, first_name, invited_by, token_digest)"
    " values (%(c)s, %(address)s, %(name)s, %(owner)s, %(secret)s)",
)  # fmt: skip


@pytest.fixture
def db(urls: Urls) -> Iterator[psycopg.Connection]:
    with psycopg.connect(urls.admin, autocommit=True) as connection:
        yield connection


@pytest.fixture
def two(urls: Urls) -> tuple[Company, Company]:
    return make_company(urls.admin, "acme"), make_company(urls.admin, "rival")


def plant(urls: Urls, company: Company, role: str) -> None:
    """The person's name, number and words wherever people write, by a browser of that name."""
    person = company.people[role]
    known = {
        "c": company.id, "person": person.id, "owner": company.people["owner"].id, "name": NAME,
        "phone": PHONE, "text": TEXT, "slug": f"hermenegilda-{uuid4().hex}", "mail": f"{NAME.lower()}@x.example",
        "address": person.email,
    }  # fmt: skip
    claims = {"sub": str(person.auth_user_id), "company_id": str(company.id)}
    with psycopg.connect(urls.admin, cursor_factory=psycopg.ClientCursor) as db:
        # Written with every right, told to audit as this person's.
        db.execute(
            "select set_config('request.jwt.claims', %s, true), set_config('request.audit', %s, true)",
            (json.dumps(claims), json.dumps({"ip": "203.0.113.77", "user_agent": f"{NAME}fox"})),
        )
        for statement in FREE_TEXT:
            assert db.execute(statement, {**known, "secret": secrets.token_bytes(32)}).rowcount


def lines(db: psycopg.Connection, company: Company, *marks: str) -> list[str]:
    """The lines of the company's audit that hold any of these, in any column."""
    return [
        line
        for (line,) in db.execute(
            "select a::text from audit_logs a where a.company_id = %s", (company.id,)
        )
        if any(mark.lower() in line.lower() for mark in marks)
    ]


def salts(db: psycopg.Connection, company: Company, subjects: list[UUID]) -> set[bytes | None]:
    query = "select salt from audit_salts where company_id = %s and subject = any (%s)"
    return {salt for (salt,) in db.execute(query, (company.id, subjects))}


def test_audit_never_holds_what_people_write(
    urls: Urls, db: psycopg.Connection, two: tuple[Company, Company]
) -> None:
    for company in two:
        plant(urls, company, "operador")
        assert lines(db, company, NAME, PHONE, company.slug, "203.0.113.77") == []
        assert len(lines(db, company, "name")) > 5  # that it changed is told


def test_an_erased_person_is_in_no_line_not_even_in_those_of_the_erasure(
    urls: Urls, db: psycopg.Connection, two: tuple[Company, Company]
) -> None:
    acme, rival = two
    for company in two:
        plant(urls, company, "operador")
    person = acme.people["operador"]
    invited = [
        one for (one,) in db.execute(
            "select id from user_invitations where company_id = %s", (acme.id,))
    ]  # fmt: skip
    assert None not in salts(db, acme, [person.id, *invited])
    with acting(urls.app, "authenticated", claims_of(acme, "owner")) as owner:
        assert owner.execute("select private.erase_user(%s)", (person.id,)).fetchone() == (
            "erased",
        )
    assert lines(db, acme, NAME, PHONE, person.email) == []
    assert invited
    assert salts(db, acme, [person.id, *invited]) == {None}
    assert None not in salts(db, rival, [rival.people["operador"].id])


def test_an_erased_company_is_in_no_line_not_even_in_those_of_the_erasure(
    urls: Urls, db: psycopg.Connection, two: tuple[Company, Company]
) -> None:
    acme, rival = two
    for company in two:
        plant(urls, company, "owner")
    slug = db.execute("select slug from companies where id = %s", (acme.id,)).fetchone()[0]
    while db.execute("select private.erase_company(%s, true)", (acme.id,)).fetchone()[0]:
        pass
    addresses = [person.email for person in acme.people.values()]
    assert lines(db, acme, NAME, PHONE, slug, acme.slug, *addresses) == []
    assert lines(db, acme, "delete")
    left = "select count(*) from audit_salts where company_id = %s and salt is not null"
    assert db.execute(left, (acme.id,)).fetchone() == (0,)
    assert db.execute(left, (rival.id,)).fetchone()[0] > 0
