"""API keys over HTTP: shown once, only for what they were made for, never above their maker."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, get_args

import httpx
import psycopg
import pytest

from neurant.api_keys.schemas import Scope
from tests.companies import Company

pytest_plugins = ("tests.console.running_web",)
SignIn = Callable[[Company, str], httpx.Client]
PATH = "/v1/api-keys"


def make(
    client: httpx.Client, *scopes: str, role: str = "administrador", **more: Any
) -> dict[str, Any]:
    body = {"name": "CRM", "role": role, "scopes": scopes, **more}
    answer = client.post(PATH, json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


@pytest.fixture
def program(web_url: str) -> Iterator[Callable[[dict[str, Any]], httpx.Client]]:
    """A program that holds a key."""
    opened = []

    def hold(made: dict[str, Any]) -> httpx.Client:
        opened.append(
            httpx.Client(base_url=web_url, headers={"authorization": f"Bearer {made['key']}"})
        )
        return opened[-1]

    yield hold
    for client in opened:
        client.close()


@contextmanager
def changed(database: psycopg.Connection, person: uuid.UUID, change: str) -> Iterator[None]:
    before = database.execute(
        "select role::text, is_active, permissions::text from users where id = %s", (person,)
    ).fetchone()
    database.execute(f"update users set {change} where id = %s", (person,))
    try:
        yield
    finally:
        database.execute(
            "update users set role = %s, is_active = %s, permissions = %s where id = %s",
            (*before, person),
        )


def test_a_key_is_shown_once_and_only_its_digest_is_kept(
    sign_in: SignIn, acme: Company, rival: Company, database: psycopg.Connection
) -> None:
    client = sign_in(acme, "owner")
    made = make(client, "documents.read", expires_in_days=30)
    assert made["key"].startswith(made["prefix"])
    assert len(made["key"]) == len("na_key_") + 64
    stored = database.execute(
        "select key_digest, row_to_json(k)::text from api_keys k where id = %s", (made["id"],)
    ).fetchone()
    assert stored[0] == hashlib.sha256(made["key"].encode()).digest()
    assert made["key"] not in stored[1]
    shown = client.get(f"{PATH}/{made['id']}")
    assert (shown.json()["state"], shown.json()["scopes"]) == ("active", ["documents.read"])
    assert made["key"] not in shown.text
    assert made["key"] not in client.get(PATH).text
    audit = database.execute(
        "select details::text from audit_logs where resource_id = %s", (made["id"],)
    ).fetchone()
    assert made["key"] not in audit[0]
    assert sign_in(rival, "owner").get(f"{PATH}/{made['id']}").status_code == 404


def operations(client: httpx.Client) -> Iterator[tuple[str, str, str]]:
    """Every operation of the API, with the permission that it takes."""
    for path, methods in client.get("/v1/openapi.json").json()["paths"].items():
        for method, told in methods.items():
            if "x-permission" in told:
                yield told["x-permission"], method, re.sub(r"{[^}]+}", str(uuid.uuid4()), path)


def bringing(permission: str) -> set[str]:
    """The scopes that open it: a read comes with whatever changes the same."""
    of_it = permission.partition(".")[0]
    if permission != f"{of_it}.read":
        return {permission}
    return {scope for scope in get_args(Scope) if scope.startswith(f"{of_it}.")}


def test_a_key_that_may_change_something_may_read_the_same(
    sign_in: SignIn, acme: Company, program: Callable[[dict[str, Any]], httpx.Client]
) -> None:
    owner = sign_in(acme, "owner")
    made = make(owner, "invitations.manage")
    assert made["scopes"] == ["invitations.manage", "invitations.read"]
    person = {"email": f"{uuid.uuid4().hex}@nueva.example", "role": "operador"}
    invited = program(made).post("/v1/invitations", json=person)
    assert invited.status_code == 201, invited.text
    renewed = program(made).post(f"/v1/invitations/{invited.json()['id']}/renew")
    assert renewed.status_code == 200
    cancelled = program(made).post(f"/v1/invitations/{invited.json()['id']}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert make(owner, "documents.read")["scopes"] == ["documents.read"]
    assert make(owner, "data.export")["scopes"] == ["data.export"]


def test_a_scope_opens_exactly_its_endpoints(
    sign_in: SignIn, acme: Company, program: Callable[[dict[str, Any]], httpx.Client]
) -> None:
    owner, scopes = sign_in(acme, "owner"), set(get_args(Scope))
    table = {one["name"]: one for one in owner.get("/v1/permissions").json()["data"]}
    asked: dict[str, list[tuple[str, str]]] = {}
    for permission, method, path in operations(owner):
        asked.setdefault(permission, []).append((method, path))
    assert len(asked) > 20
    everything = program(make(owner, *scopes))
    for permission, calls in asked.items():
        if table[permission]["for_keys"] == "never":
            refused, opened = everything, None
        elif permission in scopes:
            refused = program(make(owner, *(scopes - bringing(permission))))
            opened = program(make(owner, permission))
        else:
            refused, opened = None, program(make(owner, "webhooks.read"))
        for method, path in calls:
            body: dict[str, Any] = {} if method == "get" else {"json": {}}
            if path.endswith("/documents") and method == "post":
                body = {"files": {"file": ("a.txt", b"")}}
            if refused:
                assert refused.request(method, path, **body).status_code == 403, path
            if opened:
                assert opened.request(method, path, **body).status_code not in (401, 403), path


def test_what_a_key_has_is_what_permissions_say(
    sign_in: SignIn, acme: Company, program: Callable[[dict[str, Any]], httpx.Client]
) -> None:
    client = program(make(sign_in(acme, "owner"), *get_args(Scope), role="operador"))
    told = {one["name"] for one in client.get("/v1/permissions").json()["data"] if one["mine"]}
    table = client.get("/v1/permissions").json()["data"]
    assert told == {
        one["name"]
        for one in table
        if one["reach"]["operador"] != "none" and one["for_keys"] != "never"
    }


def test_the_scopes_of_the_schema_are_those_of_the_database(
    sign_in: SignIn, acme: Company, database: psycopg.Connection
) -> None:
    known = {
        row[0]
        for row in database.execute("select name from permissions where for_keys = 'by_scope'")
    }
    assert set(get_args(Scope)) == known
    offered = sign_in(acme, "owner").get(f"{PATH}/scopes").json()["data"]
    assert {one["name"] for one in offered} == known
    for wrong in ("api_keys.manage", "nada"):
        body = {"name": "x", "role": "operador", "scopes": [wrong]}
        assert sign_in(acme, "owner").post(PATH, json=body).status_code == 422


def test_a_key_acts_as_its_maker_and_audit_says_so(
    sign_in: SignIn,
    acme: Company,
    program: Callable[[dict[str, Any]], httpx.Client],
    database: psycopg.Connection,
) -> None:
    made = make(
        sign_in(acme, "administrador"),
        "canned_responses.edit",
        "canned_responses.read",
        role="supervisor",
    )
    answer = program(made).post(
        "/v1/canned-responses",
        json={"shortcut": f"k-{uuid.uuid4().hex}", "content": "Hola"},
        headers={"x-request-id": "llave-1", "user-agent": "Programa"},
    )
    assert answer.status_code == 201, answer.text
    maker = acme.people["administrador"].id
    owner = database.execute(
        "select owner_id from canned_responses where id = %s", (answer.json()["id"],)
    ).fetchone()
    assert owner == (maker,)
    told = database.execute(
        "select user_id, user_role::text, details ->> 'by', details ->> 'key_id', request_id,"
        " ip_address is not null, user_agent is not null from audit_logs where resource_id = %s",
        (answer.json()["id"],),
    ).fetchall()
    assert told == [(maker, "supervisor", "api_key", made["id"], "llave-1", True, True)]


def test_a_key_is_never_above_its_maker_and_ends_with_them(
    sign_in: SignIn,
    acme: Company,
    program: Callable[[dict[str, Any]], httpx.Client],
    database: psycopg.Connection,
) -> None:
    maker = acme.people["administrador"].id
    client = program(make(sign_in(acme, "administrador"), "audit.read", "chatbots.read"))
    assert client.get("/v1/audit-logs").status_code == 200
    with changed(database, maker, "role = 'operador'"):
        assert client.get("/v1/audit-logs").status_code == 403
        assert client.get("/v1/chatbots").json()["data"] == []  # none is assigned to the maker
    denied = json.dumps({"audit.read": False})
    with changed(database, maker, f"permissions = '{denied}'"):
        assert client.get("/v1/audit-logs").status_code == 403
        assert client.get("/v1/chatbots").status_code == 200
    with changed(database, maker, "is_active = false"):
        assert client.get("/v1/chatbots").status_code == 401
        [state] = [
            one["state"]
            for one in sign_in(acme, "owner")
            .get(PATH, params={"state": "suspended"})
            .json()["data"]
        ][:1]
        assert state == "suspended"
    assert client.get("/v1/audit-logs").status_code == 200


def test_a_revoked_key_opens_nothing_and_cannot_be_taken_back(
    sign_in: SignIn,
    acme: Company,
    rival: Company,
    program: Callable[[dict[str, Any]], httpx.Client],
    database: psycopg.Connection,
) -> None:
    owner = sign_in(acme, "owner")
    made = make(owner, "chatbots.read")
    client = program(made)
    assert client.get("/v1/chatbots").status_code == 200
    assert sign_in(rival, "owner").delete(f"{PATH}/{made['id']}").status_code == 404
    assert sign_in(acme, "supervisor").delete(f"{PATH}/{made['id']}").status_code == 403
    assert owner.delete(f"{PATH}/{made['id']}").status_code == 204
    assert client.get("/v1/chatbots").status_code == 401
    first = owner.get(f"{PATH}/{made['id']}").json()["revoked_at"]
    assert owner.delete(f"{PATH}/{made['id']}").status_code == 204
    assert owner.get(f"{PATH}/{made['id']}").json()["revoked_at"] == first
    with database.transaction(force_rollback=True):
        claims = {
            "sub": str(acme.people["owner"].auth_user_id),
            "company_id": str(acme.id),
        }
        database.execute(
            "select set_config('role', 'authenticated', true),"
            " set_config('request.jwt.claims', %s, true)",
            (json.dumps(claims),),
        )
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            database.execute("update api_keys set revoked_at = null where id = %s", (made["id"],))


def test_a_key_is_renamed_by_who_saw_it_last(sign_in: SignIn, acme: Company) -> None:
    client = sign_in(acme, "owner")
    made = make(client, "chatbots.read")
    tag = client.get(f"{PATH}/{made['id']}").headers["etag"]
    renamed = client.patch(
        f"{PATH}/{made['id']}", json={"name": "Informe"}, headers={"if-match": tag}
    )
    assert (renamed.status_code, renamed.json()["name"]) == (200, "Informe")
    late = client.patch(f"{PATH}/{made['id']}", json={"name": "Otro"}, headers={"if-match": tag})
    assert late.status_code == 412
    for more in ({"role": "operador"}, {"scopes": ["audit.read"]}):
        assert client.patch(f"{PATH}/{made['id']}", json=more).status_code == 422


def test_the_page_makes_a_key_shows_it_once_and_revokes_it(
    sign_in: SignIn, acme: Company, program: Callable[[dict[str, Any]], httpx.Client]
) -> None:
    client, page = sign_in(acme, "administrador"), "/console/settings/api-keys"
    assert client.post(page, data={"name": "", "role": "operador"}).status_code == 422
    name = f"<i>{uuid.uuid4().hex}</i>"
    form = {"name": name, "role": "supervisor", "days": "30", "scope": ["chatbots.read"]}
    made = client.post(page, data=form)
    assert made.status_code == 201
    key = made.text.split('id="new-key"')[1].split(">")[1].split("<")[0]
    assert program({"key": key}).get("/v1/chatbots").status_code == 200
    listed = client.get(page).text
    assert key not in listed
    assert name not in listed  # it is text, never markup
    [known] = [one for one in client.get(PATH).json()["data"] if one["name"] == name]
    assert client.post(f"{page}/revoke", data={"key_id": known["id"]}).status_code == 303
    assert program({"key": key}).get("/v1/chatbots").status_code == 401
    assert sign_in(acme, "supervisor").get(page).status_code == 403
