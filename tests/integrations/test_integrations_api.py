"""Integrations and webhook endpoints over the API: secrets go in, and never come out again."""

from __future__ import annotations

import base64
import json
import secrets
import uuid
from collections.abc import Callable
from uuid import UUID

import httpx
import psycopg
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from neurant.installation.embedded import Urls
from tests.companies import Company, make_company
from tests.console.running_web import MASTER_KEY

pytest_plugins = ("tests.console.running_web",)
SignIn = Callable[[Company, str], httpx.Client]
PATH, HOOKS = "/v1/integrations", "/v1/webhook-endpoints"
SECRETS = {
    "api_key": "sk-secreto-1",
    "oauth_token": "oauth-secreto-2",
    "config": {"url": "https://crm.example.com/v2", "password": "secreto-3"},
}


def make(client: httpx.Client, **values: object) -> dict[str, object]:
    body = {"name": f"CRM {secrets.token_hex(6)}", "integration_type": "api_webhook", **values}
    answer = client.post(PATH, json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


def opened(database: psycopg.Connection, company: Company, row: UUID, sealed: bytes) -> str:
    wrapped = database.execute(
        "select wrapped_key from company_keys where company_id = %s", (company.id,)
    ).fetchone()[0]
    master = AESGCM(base64.b64decode(MASTER_KEY.get_secret_value()))
    key = master.decrypt(wrapped[:12], wrapped[12:], company.id.bytes)
    return AESGCM(key).decrypt(sealed[:12], sealed[12:], company.id.bytes + row.bytes).decode()


def test_secrets_are_sealed_for_their_row_and_in_no_answer(
    sign_in: SignIn, acme: Company, database: psycopg.Connection
) -> None:
    client = sign_in(acme, "owner")
    made = make(client, **SECRETS)
    answers = [json.dumps(made), client.get(f"{PATH}/{made['id']}").text, client.get(PATH).text]
    assert "secreto" not in "".join(answers)
    row = database.execute(
        "select api_key_encrypted, oauth_token_encrypted, config ->> 'sealed' from integrations"
        " where id = %s",
        (made["id"],),
    ).fetchone()
    told = [opened(database, acme, UUID(made["id"]), base64.b64decode(one)) for one in row]
    assert told[:2] == [SECRETS["api_key"], SECRETS["oauth_token"]]
    assert json.loads(told[2]) == SECRETS["config"]
    audited = database.execute(
        "select string_agg(details::text, '') from audit_logs where company_id = %s", (acme.id,)
    ).fetchone()[0]
    assert "secreto" not in audited


def test_a_patch_changes_what_it_names(
    sign_in: SignIn, acme: Company, database: psycopg.Connection
) -> None:
    client = sign_in(acme, "administrador")
    made = make(client, **SECRETS)
    path = f"{PATH}/{made['id']}"
    tag = {"if-match": client.get(path).headers["etag"]}
    changed = client.patch(path, json={"description": "El nuevo", "api_key": None}, headers=tag)
    assert (changed.status_code, changed.json()["name"]) == (200, made["name"])
    assert client.patch(path, json={"name": "Tarde"}, headers=tag).status_code == 412
    assert database.execute(
        "select api_key_encrypted is null, oauth_token_encrypted is null from integrations where id = %s",
        (made["id"],),
    ).fetchone() == (True, False)


@pytest.mark.parametrize("path", [PATH, HOOKS])
def test_only_who_manages_the_company_sees_them(
    sign_in: SignIn, acme: Company, rival: Company, path: str
) -> None:
    body = {"url": "https://crm.example.com/hooks", "events": ["message.received"]}
    owner = sign_in(acme, "owner")
    made = make(owner)["id"] if path == PATH else owner.post(path, json=body).json()["id"]
    for role in ("supervisor", "operador"):
        assert sign_in(acme, role).get(path).status_code == 403
        assert sign_in(acme, role).delete(f"{path}/{made}").status_code == 403
    stranger = sign_in(rival, "owner")
    for method in ("GET", "PATCH", "DELETE"):
        sent = {"json": {"is_active": False}} if method == "PATCH" else {}
        told = [
            stranger.request(method, f"{path}/{one}", headers={"x-request-id": "uno"}, **sent)
            for one in (made, uuid.uuid4())
        ]
        assert [one.status_code for one in told] == [404, 404]
        assert told[0].content == told[1].content
    assert made not in stranger.get(path).text
    assert owner.delete(f"{path}/{made}").status_code == 204
    assert owner.get(f"{path}/{made}").status_code == 404


@pytest.mark.parametrize(
    "url",
    [
        "http://crm.example.com/",
        "https://yo:clave@crm.example.com/",
        "https://127.0.0.1/",
        "https://localhost/",
        "https://[::1]/",
        "https://metadata/",
        "https://crm.example.com:99999/",
        "javascript:alert(1)",
        "https://crm.example.com/\n",
    ],
)
def test_an_address_that_must_not_be_called_is_refused(
    sign_in: SignIn, acme: Company, url: str
) -> None:
    client = sign_in(acme, "owner")
    hook = client.post(HOOKS, json={"url": url, "events": ["message.received"]})
    body = {"name": "X", "integration_type": "api_webhook", "config": {"url": url}}
    assert (hook.status_code, client.post(PATH, json=body).status_code) == (422, 422)


def test_the_plan_holds_and_one_that_is_off_takes_no_place(
    sign_in: SignIn, urls: Urls, known_password: str, database: psycopg.Connection
) -> None:
    company = make_company(urls.admin, "full", password_hash=known_password)
    database.execute("update companies set max_integrations = 1 where id = %s", (company.id,))
    client = sign_in(company, "owner")
    first = make(client)
    body = {"name": "Otro", "integration_type": "airtable"}
    refused = client.post(PATH, json=body)
    assert refused.status_code == 409
    assert refused.json()["code"].startswith("limit.")
    assert client.patch(f"{PATH}/{first['id']}", json={"is_active": False}).status_code == 200
    assert client.post(PATH, json=body).status_code == 201
    assert client.patch(f"{PATH}/{first['id']}", json={"is_active": True}).status_code == 409


def test_the_log_goes_with_its_integration_and_only_with_it(
    sign_in: SignIn, acme: Company, database: psycopg.Connection
) -> None:
    client = sign_in(acme, "owner")
    mine, other = make(client)["id"], make(client)["id"]
    for integration, status in ((mine, "success"), (mine, "timeout"), (other, "error")):
        database.execute(
            "insert into integration_logs (company_id, integration_id, request_type, endpoint, status)"
            " values (%s, %s, 'GET', '/x', %s)",
            (acme.id, integration, status),
        )
    logs = client.get(f"{PATH}/{mine}/logs").json()["data"]
    assert [one["status"] for one in logs] == ["timeout", "success"]
    assert len(client.get(f"{PATH}/{mine}/logs?status=timeout").json()["data"]) == 1
    assert client.delete(f"{PATH}/{mine}").status_code == 204
    assert len(client.get(f"{PATH}/{other}/logs").json()["data"]) == 1


def test_a_webhooks_secret_is_shown_once_and_can_be_made_anew(
    sign_in: SignIn, acme: Company, database: psycopg.Connection
) -> None:
    client = sign_in(acme, "owner")
    body = {"url": "https://crm.example.com/hooks", "events": ["message.sent", "message.sent"]}
    made = client.post(HOOKS, json=body).json()
    path = f"{HOOKS}/{made['id']}"
    assert made["events"] == ["message.sent"]
    assert made["secret"] not in client.get(path).text + client.get(HOOKS).text
    renewed = client.post(f"{path}/secret").json()["secret"]
    assert renewed.startswith("whsec_")
    assert renewed != made["secret"]
    sealed = database.execute(
        "select secret_encrypted from webhook_endpoints where id = %s", (made["id"],)
    ).fetchone()[0]
    assert opened(database, acme, UUID(made["id"]), sealed) == renewed
    database.execute(
        "insert into webhook_deliveries (company_id, endpoint_id, event, payload)"
        " values (%s, %s, 'message.sent', '{}')",
        (acme.id, made["id"]),
    )
    assert len(client.get(f"{path}/deliveries?status=pending").json()["data"]) == 1
    assert client.get(f"{path}/deliveries?status=failed").json()["data"] == []
