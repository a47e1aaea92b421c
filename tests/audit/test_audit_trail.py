"""Where a request comes from: the console leaves session, request, address and browser."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_interface

import httpx
import psycopg

from neurant.core.db.tenancy import Trail
from tests.audit.reading import lines_since, newest
from tests.companies import Company
from tests.console.people import PASSWORD

pytest_plugins = ("tests.console.running_web",)
NETWORK = ip_interface("127.0.0.0/24")


def test_signing_in_and_out_is_reported_with_its_trail(
    web_url: str, database: psycopg.Connection, acme: Company, rival: Company
) -> None:
    owner, mark = acme.people["owner"], newest(database)
    with httpx.Client(base_url=web_url, headers={"user-agent": "Navegador"}) as browser:
        login = {"email": owner.email, "password": PASSWORD}
        browser.post("/login", data=login, headers={"x-request-id": "entrar-1"})
        browser.post("/logout", headers={"x-request-id": "salir-1"})
    came, left = lines_since(database, mark, acme.id)
    assert (came.action, left.action) == ("login", "logout")
    for line, request in ((came, "entrar-1"), (left, "salir-1")):
        assert (line.user_id, line.user_role, line.details["by"]) == (owner.id, "owner", "staff")
        assert line.request_id == request
        assert line.user_agent is not None
        assert len(line.user_agent) == 64  # a digest: a browser's name is somebody's
        assert line.ip_address == NETWORK
        assert line.session_id == str(line.resource_id)
        assert "127.0.0.1" not in str(line.details)
        assert len(line.details["address"]) == 64
    assert lines_since(database, mark, rival.id) == []


def test_a_wrong_password_is_reported_of_a_known_login_only(
    nobody: httpx.Client, database: psycopg.Connection, acme: Company
) -> None:
    person, mark = acme.people["administrador"], newest(database)
    nobody.post("/login", data={"email": person.email, "password": "no es"})
    nobody.post("/login", data={"email": "nadie@nada.example", "password": "no es"})
    [line] = lines_since(database, mark)
    assert (line.action, line.company_id, line.user_id) == ("login_denied", acme.id, person.id)
    assert line.ip_address == NETWORK


def test_what_is_done_in_the_console_carries_the_session(
    sign_in: Callable[[Company, str], httpx.Client], database: psycopg.Connection, acme: Company
) -> None:
    browser = sign_in(acme, "supervisor")
    mark = newest(database)
    browser.post(
        f"/v1/chatbots/{acme.bot_id}/documents",
        files={"file": ("a.txt", b"Abrimos los lunes.", "text/plain")},
        headers={"x-request-id": "subir-1"},
    )
    lines = lines_since(database, mark, acme.id)
    [line] = [one for one in lines if one.action == "upload_document"]
    assert (line.user_id, line.user_role) == (acme.people["supervisor"].id, "supervisor")
    assert line.request_id == "subir-1"
    sessions = database.execute(
        "select id::text from login_sessions where user_id = %s", (line.user_id,)
    ).fetchall()
    assert (line.session_id,) in sessions
    assert line.ip_address == NETWORK


def test_a_trail_carries_nothing_that_the_database_would_refuse() -> None:
    assert Trail(user_agent="a\0b", ip=None).as_json() == '{"user_agent": "ab"}'
