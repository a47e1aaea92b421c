"""What a request carries besides its address: its content and that one's type, and its headers."""

from __future__ import annotations

import json
import re
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurant.api import sql_errors
from neurant.core.settings import Settings
from tests.companies import Company

pytest_plugins = ("tests.console.running_web",)
PATH = "/v1/canned-responses"
CONSTRAINTS = Path(sql_errors.__file__).parents[1] / "verify" / "constraints.txt"
NAMES = re.findall(
    r"^\S+ (?:primary|unique|reference|check|exclusion) (\w+)", CONSTRAINTS.read_text(), re.M
)
REFUSED = ("23505", "23503", "23001", "23514", "23502")


@pytest.fixture(scope="module")
def document(web_url: str) -> dict[str, Any]:
    return httpx.get(f"{web_url}/v1/openapi.json", timeout=60).json()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            if path.startswith("/v1/"):
                yield method, re.sub(r"{[^}]+}", str(uuid.uuid4()), path), told


def taken(told: dict[str, Any]) -> set[str]:
    return set(told.get("requestBody", {}).get("content", {}))


def headers_of(told: dict[str, Any]) -> set[str]:
    return {one["name"] for one in told.get("parameters", ()) if one["in"] == "header"}


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "application/octet-stream", None]
)
def test_json_is_said_to_be_json_or_refused_whoever_calls(
    document: dict[str, Any], nobody: httpx.Client, kind: str | None
) -> None:
    headers = {"content-type": kind} if kind else {}
    tried = [one for one in operations(document) if taken(one[2]) == {"application/json"}]
    assert len(tried) > 40
    for method, path, _ in tried:
        answer = nobody.request(method, path, content=b'{"a": 1}', headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (415, "api.content_type_refused")
        assert answer.headers["content-type"] == "application/problem+json"


def test_a_form_is_a_form(nobody: httpx.Client) -> None:
    assert nobody.post("/v1/documents", json={"file": "no"}).status_code == 415


def test_no_content_at_all_is_a_missing_body(
    sign_in: Callable[[Company, str], httpx.Client], acme: Company
) -> None:
    answer = sign_in(acme, "owner").post(PATH)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_fields")


def test_json_by_another_name_is_json(
    sign_in: Callable[[Company, str], httpx.Client], acme: Company
) -> None:
    for kind in ("application/json; charset=utf-8", "Application/JSON", "application/x+json"):
        body = json.dumps({"shortcut": uuid.uuid4().hex, "content": "Hola"})
        answer = sign_in(acme, "owner").post(PATH, content=body, headers={"content-type": kind})
        assert answer.status_code == 201, answer.text


def test_content_where_none_is_taken_is_refused(
    document: dict[str, Any], sign_in: Callable[[Company, str], httpx.Client], acme: Company
) -> None:
    client = sign_in(acme, "operador")
    tried = [one for one in operations(document) if not taken(one[2])]
    assert len(tried) > 60
    for method, path, _ in tried:
        answer = client.request(method, path, json={"a": 1})
        assert (answer.status_code, answer.json()["code"]) == (422, "api.no_content_here"), path
    assert client.request("GET", PATH, json={}).status_code == 200
    assert client.request("GET", PATH, content=iter([b" {}"])).status_code == 200
    assert client.request("GET", PATH, content=iter([b"{", b"1"])).status_code == 422


def test_a_key_is_served_or_refused_and_never_ignored(
    document: dict[str, Any], nobody: httpx.Client
) -> None:
    served = 0
    for method, path, told in operations(document):
        if method == "get":
            continue
        if "Idempotency-Key" in headers_of(told):
            served += 1
            continue
        kind: dict[str, Any] = {"application/json": {"json": {}}}.get("".join(taken(told)), {})
        answer = nobody.request(method, path, headers={"idempotency-key": "k"}, **kind)
        assert (answer.status_code, answer.json()["code"]) == (422, "api.idempotency_not_here"), (
            path
        )
    assert served > 40


def test_a_form_is_the_same_with_another_boundary(
    sign_in: Callable[[Company, str], httpx.Client], acme: Company
) -> None:
    client, key = sign_in(acme, "owner"), {"idempotency-key": uuid.uuid4().hex}

    def send(content: bytes, boundary: str, name: str = "horario.txt") -> httpx.Response:
        kind = {"content-type": f"multipart/form-data; boundary={boundary}"}
        file = {"file": (name, content, "text/plain")}
        return client.post("/v1/documents", files=file, headers=key | kind)

    words = f"Abrimos a las ocho. {uuid.uuid4()}".encode()
    first, again = send(words, "one"), send(words, "two")
    assert (first.status_code, again.status_code) == (202, 202), first.text
    assert first.content == again.content
    assert again.headers["idempotency-replayed"] == "true"
    for other in (send(words + b"!", "one"), send(words, "one", "otro.txt")):
        assert (other.status_code, other.json()["code"]) == (422, "api.idempotency_key_reused")


def test_the_document_tells_the_headers_of_every_operation(document: dict[str, Any]) -> None:
    for method, path, told in operations(document):
        of_company = "x-permission" in told
        answers = told["responses"]
        done = next(one for code, one in answers.items() if code.startswith("2"))
        names = set(done.get("headers", {}))
        assert not of_company or {"RateLimit", "RateLimit-Policy"} <= names, path
        if of_company and method != "get":
            assert "Idempotency-Key" in headers_of(told)
            assert "Idempotency-Replayed" in names
        assert ("If-Match" in headers_of(told)) == (method == "patch") == ("412" in answers)
        assert method != "patch" or "ETag" in names
        assert "Retry-After" in answers["429"]["headers"]
        assert bool(taken(told)) == ("415" in answers), path
        assert not taken(told) or "400" in answers
    founding = document["paths"]["/v1/companies"]["post"]
    assert founding.get("security") is None
    assert "401" in founding["responses"]


def test_a_default_of_the_document_is_valid(document: dict[str, Any]) -> None:
    assert "default" not in document["components"]["schemas"]["PreviewIn"]["properties"]["settings"]


def test_every_patch_holds_to_if_match(
    document: dict[str, Any], sign_in: Callable[[Company, str], httpx.Client], acme: Company
) -> None:
    client = sign_in(acme, "owner")
    for path, methods in document["paths"].items():
        if "patch" not in methods or "{" in path:
            continue
        tag = client.get(path).headers["etag"]
        for wrong in ('"0"', 'W/"0"', f'"x{tag[1:]}', f'"{tag[1:-1]}-other"'):
            answer = client.patch(path, json={}, headers={"if-match": wrong})
            assert (answer.status_code, answer.json()["code"]) == (412, "api.changed_meanwhile")
        for no_tag in ("nothing", tag.strip('"'), "W/"):
            answer = client.patch(path, json={}, headers={"if-match": no_tag})
            assert (answer.status_code, answer.json()["code"]) == (412, "api.no_entity_tag")
        # A compressing proxy on the way weakens the tag or adds the coding to it.
        proxied = [f"W/{tag}", f'"{tag[1:-1]}-gzip"', f'W/"{tag[1:-1]}-br"', f'W/"0", W/{tag}']
        for right in (tag, f'"0", {tag}', "*", *proxied):
            answer = client.patch(path, json={}, headers={"if-match": right})
            assert (answer.status_code, answer.headers["etag"]) == (200, tag)


def test_a_change_of_ones_profile_is_not_lost(
    sign_in: Callable[[Company, str], httpx.Client], acme: Company, rival: Company
) -> None:
    client, path = sign_in(acme, "operador"), "/v1/account"
    tag = client.get(path).headers["etag"]
    changed = client.patch(path, json={"phone": "+57 1"}, headers={"if-match": tag})
    assert changed.status_code == 200
    late = client.patch(path, json={"phone": "+57 2"}, headers={"if-match": tag})
    assert late.status_code == 412
    assert client.get(path).json()["phone"] == "+57 1"
    assert sign_in(rival, "operador").get(path).json()["phone"] != "+57 1"


def test_who_is_nobody_is_shown_how_to_prove_their_identity(nobody: httpx.Client) -> None:
    for answer in (nobody.get(PATH), nobody.delete("/v1/session"), nobody.get("/v1/account")):
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


def test_an_address_with_a_slash_too_many_leads_nowhere(
    sign_in: Callable[[Company, str], httpx.Client], acme: Company
) -> None:
    for path in ("/v1/chatbots/", f"{PATH}/", "/login/"):
        for host, status in (("localhost", 404), ("evil.example", 421)):
            answer = sign_in(acme, "owner").get(path, headers={"host": host})
            assert answer.status_code == status, path
            assert "location" not in answer.headers


@given(st.sampled_from(REFUSED), st.sampled_from(NAMES), st.sampled_from(["name", "", None]))
def test_no_name_of_a_constraint_is_reported(state: str, name: str, column: str | None) -> None:
    told = sql_errors.error_from_sql(
        SimpleNamespace(
            sqlstate=state,
            diag=SimpleNamespace(
                constraint_name=name, column_name=column, source_function="ExecConstraints"
            ),
        )
    )
    assert told is not None
    for language in ("es", "en"):
        assert name not in told.detail(language)
        assert "{" not in told.detail(language)
        assert "()" not in told.detail(language)


def test_what_is_taken_is_reported_without_the_name_of_a_constraint(
    sign_in: Callable[[Company, str], httpx.Client], acme: Company
) -> None:
    client, body = sign_in(acme, "owner"), {"shortcut": uuid.uuid4().hex, "content": "Hola"}
    assert client.post(PATH, json=body).status_code == 201
    answer = client.post(PATH, json=body)
    assert (answer.status_code, answer.json()["code"]) == (409, "api.taken")
    assert not any(name in answer.text for name in NAMES)


@pytest.mark.parametrize("depth", [100, 480, 900, 5_000])
def test_nothing_is_too_deep_to_be_refused(nobody: httpx.Client, depth: int) -> None:
    body = '{"email": ' + "[" * depth + "]" * depth + ', "password": "x"}'
    answer = nobody.post("/v1/session", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)


def test_a_form_has_no_part_that_is_ignored(
    sign_in: Callable[[Company, str], httpx.Client], acme: Company
) -> None:
    owner, path = sign_in(acme, "owner"), f"/v1/chatbots/{acme.bot_id}/documents"
    one, two = ("a.txt", b"Abrimos a las ocho."), ("b.txt", b"Cerramos a las seis.")
    before = owner.get("/v1/documents").json()["data"]
    for files in ([("file", one), ("file", two)], [("file", one), ("other", two)]):
        answer = owner.post(path, files=files)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_fields")
        assert files[1][0] in answer.json()["detail"]
    assert owner.get("/v1/documents").json()["data"] == before


def test_a_key_of_idempotency_comes_once(
    sign_in: Callable[[Company, str], httpx.Client], acme: Company
) -> None:
    headers = [("idempotency-key", "one"), ("idempotency-key", "two")]
    answer = sign_in(acme, "owner").post(
        PATH, json={"shortcut": "doble", "content": "x"}, headers=headers
    )
    assert answer.json()["code"] == "api.idempotency_key_malformed"


def test_nobody_holds_a_connection_by_sending_slowly(
    sign_in: Callable[[Company, str], httpx.Client], acme: Company, web_url: str
) -> None:
    """More imports are begun than there are connections, and everybody else is served."""
    token = sign_in(acme, "owner").cookies["neurant_session"]
    head = (
        f"POST /v1/chatbots/{acme.bot_id}/conversation-imports HTTP/1.1\r\nhost: x\r\n"
        f"authorization: Bearer {token}\r\ncontent-type: application/json\r\n"
        "content-length: 100\r\n\r\n{"
    )
    url = httpx.URL(web_url)
    with ExitStack() as opened:
        for _ in range(2 * Settings.model_fields["database_pool_size"].default):
            slow = opened.enter_context(socket.create_connection((url.host, url.port)))
            slow.sendall(head.encode())
        assert httpx.get(f"{web_url}/readyz").json() == {"status": "ready"}
        assert sign_in(acme, "owner").get(PATH, timeout=5).status_code == 200


def test_a_key_that_opens_nothing_is_distinguished_from_a_session(nobody: httpx.Client) -> None:
    dead = {"authorization": "Bearer na_key_0000"}
    for path, code in (("/v1/company", "tokens.bad_key"), ("/v1/account", "tokens.no_key_here")):
        answer = nobody.get(path, headers=dead)
        assert (answer.status_code, answer.json()["code"]) == (401, code)


def test_a_large_body_of_somebody_unknown_is_refused_before_it_is_read(
    acme: Company, web_url: str
) -> None:
    url = httpx.URL(web_url)
    for path, kind in (
        (f"/v1/chatbots/{acme.bot_id}/conversation-imports", "application/json"),
        (f"/v1/chatbots/{acme.bot_id}/documents", "multipart/form-data; boundary=x"),
    ):
        head = (
            f"POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer nobody\r\n"
            f"content-type: {kind}\r\ncontent-length: 10000000\r\n\r\n"
        )
        with socket.create_connection((url.host, url.port), timeout=10) as connection:
            connection.sendall(head.encode())  # and nothing of the body
            assert connection.recv(100).startswith(b"HTTP/1.1 401 "), path
