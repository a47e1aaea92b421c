"""Integrations: secrets go in sealed only, counters follow the log, and only administrators see them."""

from __future__ import annotations

import json
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb

from neurant.installation.embedded import Urls
from tests.companies import Company, make_company


def as_staff(db: psycopg.Connection, company: Company, role: str) -> None:
    person = company.people[role]
    claims = {"sub": str(person.auth_user_id), "company_id": str(company.id)}
    db.execute("select set_config('role', 'authenticated', true)")
    db.execute("select set_config('request.jwt.claims', %s, true)", (json.dumps(claims),))


def add(urls: Urls, company: Company, role: str, config: dict[str, str]) -> UUID:
    with psycopg.connect(urls.app) as db:
        as_staff(db, company, role)
        return db.execute(
            "insert into integrations (company_id, name, integration_type, config, created_by)"
            " values (%s, 'CRM', 'api_webhook', %s, %s) returning id",
            (company.id, Jsonb(config), company.people[role].id),
        ).fetchone()[0]


@pytest.mark.parametrize("config", [{"api_key": "sk-1"}, {"sealed": "x", "api_key": "sk-1"}])
def test_a_secret_in_clear_is_refused(urls: Urls, config: dict[str, str]) -> None:
    acme = make_company(urls.admin, "acme")
    with pytest.raises(psycopg.errors.CheckViolation):
        add(urls, acme, "owner", config)


def test_nobody_of_the_staff_gets_a_sealed_secret_back(urls: Urls) -> None:
    acme = make_company(urls.admin, "acme")
    add(urls, acme, "owner", {"sealed": "AAAA"})
    for column in ("config", "api_key_encrypted", "oauth_token_encrypted"):
        with psycopg.connect(urls.app) as db:
            as_staff(db, acme, "owner")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                db.execute(f"select {column} from integrations")


def test_counters_follow_the_log_of_the_worker(urls: Urls) -> None:
    acme, rival = make_company(urls.admin, "acme"), make_company(urls.admin, "rival")
    integration = add(urls, acme, "administrador", {})
    log = (
        "insert into integration_logs (company_id, integration_id, request_type, endpoint, status,"
        " error_message) values (%s, %s, 'GET', '/x', %s, %s)"
    )
    with psycopg.connect(urls.jobs) as db:
        db.execute("select set_config('role', 'neurant_worker', true)")
        claims = json.dumps({"company_id": str(acme.id)})
        db.execute("select set_config('request.jwt.claims', %s, true)", (claims,))
        db.execute(log, (acme.id, integration, "success", None))
        db.execute(log, (acme.id, integration, "timeout", "30 s"))
    count = "select (total_requests, successful_requests, failed_requests, last_error)::text from integrations"
    for company, role, seen in (
        (acme, "owner", '(2,1,1,"30 s")'), (acme, "supervisor", None), (rival, "owner", None)
    ):  # fmt: skip
        with psycopg.connect(urls.app) as db:
            as_staff(db, company, role)
            row = db.execute(count).fetchone()
            assert (row and row[0]) == seen
