"""Everything of a company in one archive: whole, its own, without secrets, also when it is closed."""

from __future__ import annotations

import io
import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import httpx
import psycopg

from neurant.installation.embedded import Urls
from tests.companies import Company, make_company

pytest_plugins = ("tests.console.running_web",)
SignIn = Callable[[Company, str], httpx.Client]
PATH = "/v1/export"
SECRET_COLUMNS = ("digest", "encrypted", "secret", "password", "token", "embedding")


def archive(client: httpx.Client) -> ZipFile:
    answer = client.get(PATH)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip")
    made = ZipFile(io.BytesIO(answer.content))
    assert made.testzip() is None
    return made


def rows(made: ZipFile, table: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in made.read(f"tables/{table}.ndjson").splitlines()]


def test_it_holds_all_that_is_the_companys_and_nothing_of_another(
    sign_in: SignIn, acme: Company, rival: Company, text_file: Callable[[str], Path]
) -> None:
    for company in (acme, rival):
        with text_file("Abrimos los lunes.").open("rb") as file:
            taken = sign_in(company, "owner").post(
                f"/v1/chatbots/{company.bot_id}/documents",
                files={"file": ("../../etc/Horarios.txt", file, "text/plain")},
            )
        assert taken.status_code == 202, taken.text
    client = sign_in(acme, "administrador")
    key = client.post(
        "/v1/api-keys", json={"name": "x", "role": "operador", "scopes": ["team.read"]}
    ).json()["key"]
    made = archive(client)
    manifest = json.loads(made.read("manifest.json"))
    assert made.namelist()[-1] == "manifest.json"
    assert [one["id"] for one in rows(made, "companies")] == [str(acme.id)]
    for name in made.namelist():
        if name.startswith("tables/"):
            told = rows(made, name.removeprefix("tables/").removesuffix(".ndjson"))
            assert len(told) == manifest["rows"][name[7:-7]]
            assert {one["company_id"] for one in told if "company_id" in one} <= {str(acme.id)}
    assert {one["id"] for one in rows(made, "users")} == {
        str(one.id) for one in acme.people.values()
    }
    [schedule] = [name for name in made.namelist() if name.endswith("/Horarios.txt")]
    assert made.read(schedule) == b"Abrimos los lunes."
    assert ".." not in schedule
    everything = b"".join(made.read(name) for name in made.namelist())
    assert str(rival.id).encode() not in everything
    assert rival.slug.encode() not in everything
    assert key.encode() not in everything


def test_no_secret_is_in_it(sign_in: SignIn, acme: Company, database: psycopg.Connection) -> None:
    made = archive(sign_in(acme, "owner"))
    kept = {
        (table, column)
        for table, column in database.execute(
            "select table_name, column_name from information_schema.columns"
            " where table_schema = 'public'"
        )
        if any(word in column for word in SECRET_COLUMNS)
    }
    told = {
        (name[7:-7], column)
        for name in made.namelist()
        if name.startswith("tables/")
        for row in rows(made, name[7:-7])[:1]
        for column in row
    }
    digests_of_audit = {("audit_seals", "row_digest")}
    harmless = {
        column
        for _, column in kept
        if column.endswith(("tokens_used", "_tokens", "_model", "_dimensions"))
    }
    assert {one for one in told & kept if one[1] not in harmless} <= digests_of_audit
    for table in ("company_keys", "login_sessions", "outbox", "idempotency_keys"):
        assert f"tables/{table}.ndjson" not in made.namelist()


def test_a_closed_or_unpaid_company_takes_its_data_and_that_is_in_audit(
    urls: Urls, sign_in: SignIn, database: psycopg.Connection, known_password: str
) -> None:
    company = make_company(urls.admin, "acme", password_hash=known_password)
    client = sign_in(company, "owner")
    database.execute(
        "update companies set subscription_status = 'inactive' where id = %s", (company.id,)
    )
    assert rows(archive(client), "chatbots")[0]["name"] == company.bot_name
    told = database.execute(
        "select user_id, resource_type, details ->> 'format' from audit_logs"
        " where company_id = %s and action = 'export'",
        (company.id,),
    ).fetchall()
    assert told == [(company.people["owner"].id, "companies", "zip")]


def test_only_who_may_export_does(sign_in: SignIn, acme: Company) -> None:
    for role in ("supervisor", "operador"):
        assert sign_in(acme, role).get(PATH).status_code == 403
        assert sign_in(acme, role).get("/console/settings/data").status_code == 403
        assert sign_in(acme, role).get("/console/settings/data/export").status_code == 403
    page = sign_in(acme, "administrador").get("/console/settings/data")
    assert 'href="/console/settings/data/export"' in page.text
    assert sign_in(acme, "administrador").get("/console/settings/data/export").status_code == 200


def test_a_file_that_is_gone_is_reported_and_stops_nothing(
    sign_in: SignIn, acme: Company, database: psycopg.Connection
) -> None:
    lost = database.execute(
        "insert into documents (company_id, chatbot_id, filename, original_filename, file_type,"
        " file_size_bytes, file_url, content_digest, uploaded_by)"
        " values (%s, %s, 'perdido.txt', 'perdido.txt', 'txt', 5, 'x', %s, %s) returning id",
        (acme.id, acme.bot_id, secrets.token_bytes(32), acme.people["owner"].id),
    ).fetchone()[0]
    made = archive(sign_in(acme, "owner"))
    assert json.loads(made.read("manifest.json"))["missing_files"] == [f"files/{lost}/perdido.txt"]
