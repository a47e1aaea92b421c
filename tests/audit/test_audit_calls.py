"""Audit over HTTP: found by what it tells, verified part by part, taken as a file."""

from __future__ import annotations

import csv
import io
import json
import uuid
from collections.abc import Callable
from typing import get_args

import httpx
import psycopg
import pytest

from neurant.audit.schemas import Action
from neurant.console.pages.audit_lines import column, thing
from neurant.installation.embedded import Urls
from neurant.texts import LANGUAGES, catalogue
from tests.companies import Company, make_company

pytest_plugins = ("tests.console.running_web",)
SignIn = Callable[[Company, str], httpx.Client]
PATH, PAGE = "/v1/audit-logs", "/console/settings/audit"


def rename(client: httpx.Client, request_id: str) -> dict[str, str]:
    """Something that audit tells: a canned response made."""
    answer = client.post(
        "/v1/canned-responses",
        json={"shortcut": f"a-{uuid.uuid4().hex}", "content": "Hola"},
        headers={"x-request-id": request_id},
    )
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_lines_are_found_by_each_filter_and_only_ones_own(
    sign_in: SignIn, acme: Company, rival: Company
) -> None:
    request_id = f"r-{uuid.uuid4().hex[:12]}"
    made = rename(sign_in(acme, "supervisor"), request_id)
    rename(sign_in(rival, "supervisor"), request_id)
    client = sign_in(acme, "owner")
    [line] = client.get(PATH, params={"request_id": request_id}).json()["data"]
    assert (line["action"], line["resource_type"]) == ("create", "canned_responses")
    assert (line["resource_id"], line["user_role"]) == (made["id"], "supervisor")
    assert line["user_name"] == "Supervisor Acme"
    assert None not in (line["session_id"], line["ip_address"], line["user_agent"])
    for name in ("action", "resource_type", "resource_id", "user_id"):
        found = client.get(PATH, params={name: line[name], "limit": 200}).json()["data"]
        assert line["id"] in {one["id"] for one in found}
        assert {one[name] for one in found} == {line[name]}
    moment = line["created_at"]
    since = {one["id"] for one in client.get(PATH, params={"since": moment}).json()["data"]}
    until = {one["id"] for one in client.get(PATH, params={"until": moment}).json()["data"]}
    assert line["id"] in since
    assert line["id"] not in until
    assert not since & until
    for role in ("supervisor", "operador"):
        assert sign_in(acme, role).get(PATH).status_code == 403


def test_every_action_and_thing_has_its_words(database: psycopg.Connection) -> None:
    known = {
        row[0] for row in database.execute("select unnest(enum_range(null::audit_action_enum))")
    }
    assert set(get_args(Action)) == known
    audited = {
        row[0]
        for row in database.execute(
            "select tgrelid::regclass::text from pg_trigger where tgname = 'audit_rows'"
        )
    }
    for language in LANGUAGES:
        words = catalogue(language)
        assert {f"audit_page.actions.{action}" for action in known} <= set(words)
        assert [name for name in audited if thing(name, language) == name] == []


def test_what_changed_is_reported_in_words(database: psycopg.Connection) -> None:
    common = [
        "users",
        "user_invitations",
        "companies",
        "chatbots",
        "canned_responses",
        "documents",
        "api_keys",
    ]
    arguments = [
        row[0]
        for row in database.execute(
            "select convert_from(decode(replace(encode(tgargs, 'hex'), '00', '0a'), 'hex'), 'utf8')"
            " from pg_trigger where tgname = 'audit_rows' and tgrelid::regclass::text = any (%s)",
            (common,),
        )
    ]
    assert len(arguments) == len(common)
    # subject, shown, digested, hidden, left out
    named = {
        name
        for told in arguments
        for names in told.split("\n")[1:4]
        for name in names.strip("{}").split(",")
        if name
    }
    for language in LANGUAGES:
        words = catalogue(language)
        assert [name for name in named if f"audit_page.columns.{name}" not in words] == []
    assert (column("is_active", "es"), column("is_active", "en")) == ("activo", "active")
    assert column("made_up_today", "es") == "made up today"


def test_the_chain_is_verified_part_by_part_and_a_changed_row_is_found(
    urls: Urls, sign_in: SignIn, database: psycopg.Connection, known_password: str, rival: Company
) -> None:
    company = make_company(urls.admin, "acme", password_hash=known_password)
    client = sign_in(company, "owner")
    first = client.get(f"{PATH}/verification").json()
    assert (first["ok"], first["sealed"], first["checked_to"]) == (True, 0, None)
    for number in range(3):
        rename(client, f"c-{number}")
    with psycopg.connect(urls.jobs, autocommit=True) as jobs:
        while jobs.execute("select private.seal_audit(1000)").fetchone()[0]:
            pass
    whole = client.get(f"{PATH}/verification", params={"after": 0}).json()
    assert whole["ok"], whole
    assert (whole["checked_from"], whole["checked_to"]) == (1, whole["sealed"])
    part = client.get(f"{PATH}/verification", params={"after": 1, "limit": 2}).json()
    assert (part["ok"], part["checked_from"], part["next_after"]) == (True, 2, 3)
    with psycopg.connect(urls.admin) as db:
        db.execute("set session_replication_role = replica")  # by hand, past the triggers
        db.execute(
            "update audit_logs set user_role = 'operador' where company_id = %s and id ="
            " (select audit_id from audit_seals where company_id = %s and seq = 2)",
            (company.id, company.id),
        )
    told = client.get(f"{PATH}/verification").json()
    assert [(one["kind"], one["seq"]) for one in told["problems"]] == [("row_changed", 2)]
    assert not told["ok"]
    assert client.get(f"{PATH}/verification", params={"after": 2}).json()["ok"]
    assert sign_in(rival, "owner").get(f"{PATH}/verification").json()["ok"]
    assert sign_in(company, "supervisor").get(f"{PATH}/verification").status_code == 403


def test_the_page_tells_it_in_sentences_and_never_as_markup(
    sign_in: SignIn, acme: Company, database: psycopg.Connection
) -> None:
    request_id = f"r-{uuid.uuid4().hex[:12]}"
    rename(sign_in(acme, "supervisor"), request_id)
    client = sign_in(acme, "administrador")
    database.execute(
        "update users set first_name = '<b>=x' where id = %s", (acme.people["supervisor"].id,)
    )
    try:
        page = " ".join(client.get(PAGE, params={"request_id": request_id}).text.split())
        assert "&lt;b&gt;=x Acme</b> creó una respuesta rápida" in page
        assert page.count('class="item audit-line"') == 1
        file = client.get(f"{PAGE}/export", params={"request_id": request_id})
        [row] = csv.DictReader(io.StringIO(file.content.decode("utf-8-sig")))
        assert row["user_name"] == "<b>=x Acme"
        assert json.loads(row["details"])["by"] == "staff"
    finally:
        database.execute(
            "update users set first_name = 'Supervisor' where id = %s",
            (acme.people["supervisor"].id,),
        )
    lines = client.get(f"{PAGE}/export", params={"request_id": request_id, "form": "ndjson"})
    assert [json.loads(line)["request_id"] for line in lines.text.splitlines()] == [request_id]
    assert client.get(PAGE, params={"person": "nadie", "since": "ayer"}).status_code == 200
    for role in ("supervisor", "operador"):
        assert sign_in(acme, role).get(PAGE).status_code == 403
        assert sign_in(acme, role).get(f"{PAGE}/export").status_code == 403
    told = database.execute(
        "select details ->> 'format' from audit_logs where company_id = %s and action = 'export'"
        " and user_id = %s order by id desc limit 2",
        (acme.id, acme.people["administrador"].id),
    ).fetchall()
    assert told == [("ndjson",), ("csv",)]


@pytest.mark.parametrize("name", ["=1+1", "+57", "-1", "@x", "\tx"])
def test_no_cell_of_the_file_is_a_formula(name: str) -> None:
    from neurant.console.pages.audit import _harmless

    assert _harmless(name) == f"'{name}"
    assert _harmless("Ana") == "Ana"
