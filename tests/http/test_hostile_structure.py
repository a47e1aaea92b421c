"""Small bodies of very many parts: others are served meanwhile, and answer and memory stay small."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import httpx
import psutil
import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute
from hypothesis import given
from hypothesis import strategies as st

from neurant.core.body_bounds import MAX_MEMBERS, check_members, list_fields
from neurant.core.errors import BadInputError
from neurant.installation.embedded import Urls
from neurant.runtime.app import _ROUTERS
from tests.companies import Company
from tests.console.people import PASSWORD
from tests.console.running_web import web_settings
from tests.support.platform import environment, free_port

pytest_plugins = ("tests.console.running_web",)
MEGABYTE = 1024 * 1024
JSON = {"content-type": "application/json"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
LINES = {"content-type": "application/x-ndjson"}


@dataclass
class Web:
    """A web process of its own, and how it fares while it is attacked."""

    url: str
    pid: int
    slowest: float = 0.0
    memory: int = 0
    before: int = field(default=0)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Ask for /healthz all the time, and measure the slowest answer and the memory."""
        process, done = psutil.Process(self.pid), threading.Event()
        self.slowest, self.before = 0.0, process.memory_info().rss
        self.memory = self.before

        def watch() -> None:
            with httpx.Client(base_url=self.url, timeout=60) as client:
                while not done.wait(0.01):
                    begun = time.monotonic()
                    assert client.get("/healthz").status_code == 200
                    self.slowest = max(self.slowest, time.monotonic() - begun)
                    self.memory = max(self.memory, process.memory_info().rss)

        watching = threading.Thread(target=watch)
        watching.start()
        try:
            yield
        finally:
            done.set()
            watching.join()


@pytest.fixture(scope="module")
def web(urls: Urls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    folder: Path = tmp_path_factory.mktemp("structure")
    settings = web_settings(urls.app, folder, jobs_database_url=urls.jobs)
    port = free_port()
    child = environment(settings, NEURANT_PORT=str(port), NEURANT_LOG_LEVEL="error")
    with (folder / "log").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "neurant", "serve"], env=child, stdout=out, stderr=out
        )
        try:
            url = f"http://127.0.0.1:{port}"
            with httpx.Client(transport=httpx.HTTPTransport(retries=30)) as client:
                assert client.get(f"{url}/healthz", timeout=30).status_code == 200
            yield Web(url, process.pid)
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture(scope="module")
def token(web: Web, acme: Company) -> dict[str, str]:
    body = {"email": acme.people["owner"].email, "password": PASSWORD}
    answer = httpx.post(f"{web.url}/v1/session", json=body, timeout=60)
    assert answer.status_code == 201, answer.text
    return {"authorization": f"Bearer {answer.json()['token']}"}


def unknown_keys(count: int) -> bytes:
    return b"{" + b",".join(b'"k%d":1' % number for number in range(count)) + b"}"


def attack(web: Web, path: str, body: bytes, headers: dict[str, str], most: int) -> httpx.Response:
    """The answer; the process stays responsive and takes at most ``most`` bytes more memory."""
    with web.watched():
        answer = httpx.post(f"{web.url}{path}", content=body, headers=headers, timeout=120)
    assert web.slowest < 1, web.slowest
    assert web.memory - web.before < most, web.memory - web.before
    assert len(answer.content) < 10_000
    return answer


@pytest.mark.parametrize("count", [1_900, 4_000, 79_999])
@pytest.mark.parametrize(
    "path",
    ["/v1/session", "/v1/accounts", "/v1/password-resets", "/v1/invitations/accept", "/chat/{}/session", "/chat/{}/messages"],
)  # fmt: skip
def test_unknown_keys_that_anybody_sends(web: Web, acme: Company, path: str, count: int) -> None:
    body = unknown_keys(count)
    answer = attack(web, path.format(acme.web), body, JSON, 40 * MEGABYTE)
    if "/chat/" in path and count == 1_900:  # a visitor's unknown keys are ignored
        assert answer.status_code in (201, 401, 422)
        return
    assert answer.status_code == (413 if len(body) > 65_536 else 422)
    if count == 4_000:
        assert answer.json()["code"] == "too_many_members"


def test_unknown_keys_that_a_member_sends(web: Web, token: dict[str, str]) -> None:
    body = unknown_keys(90_000)
    assert len(body) < MEGABYTE
    for path in ("/v1/canned-responses", "/v1/knowledge/search", "/v1/webhook-endpoints"):
        answer = attack(web, path, body, JSON | token, 40 * MEGABYTE)
        assert (answer.status_code, answer.json()["code"]) == (422, "too_many_members")


IMPORTS = {
    "keys": (
        b'{"conversations":[' + unknown_keys(1_450_000) + b"]}", JSON, "too_many_members"),
    "fewer keys": (
        b'{"conversations":[' + unknown_keys(190_000) + b"]}", JSON, "invalid_fields"),
    "context": (
        b'{"conversations":[{"context":' + unknown_keys(190_000) + b"}]}", JSON, "invalid_fields"),
    "messages": (
        b'{"conversations":[{"messages":[' + b",".join([b"{}"] * 90_000) + b"]}]}", JSON,
        "invalid_fields"),
    "escapes": (
        b'{"conversations":[{"external_id":"' + b"\\\\" * 9_000_000 + b'"}]}', JSON,
        "invalid_fields"),
    "blank lines": (b"\n" * 19_000_000, LINES, "conversations.import_bad_line"),
    "white space": (b" " * 19_000_000, LINES, "conversations.import_bad_line"),
    "empty objects": (b"{}\n" * 6_300_000, LINES, "conversations.import_bad_line"),
}  # fmt: skip


@pytest.mark.parametrize("name", IMPORTS)
def test_imports_of_very_many_parts(
    web: Web, acme: Company, token: dict[str, str], name: str
) -> None:
    body, kind, code = IMPORTS[name]
    path = f"/v1/chatbots/{acme.bot_id}/conversation-imports"
    answer = attack(web, path, body, kind | token, 8 * len(body) + 80 * MEGABYTE)
    assert (answer.status_code, answer.json()["code"]) == (422, code)


def test_a_form_and_a_query_of_thousands_of_fields_are_refused(
    web: Web, token: dict[str, str]
) -> None:
    form = urlencode([(f"k{number}", "1") for number in range(60_000)]).encode()
    answer = attack(web, "/login", form, FORM, 40 * MEGABYTE)
    assert answer.status_code == 413
    answer = attack(web, "/login", form[:200_000], FORM, 40 * MEGABYTE)
    assert (answer.status_code, answer.json()["code"]) == (422, "too_many_fields")
    query = "&".join(["a"] * 3_000)
    for path in ("/v1/conversations", "/login", "/chat/x/messages"):
        answer = httpx.get(f"{web.url}{path}?{query}", headers=token)
        if path != "/chat/x/messages":
            assert (answer.status_code, answer.json()["code"]) == (422, "too_many_fields")
        assert len(answer.content) < 10_000


def test_a_long_name_and_many_names_are_reported_shortly(nobody: httpx.Client) -> None:
    for body in ({"k" * 60_000: 1}, {f"k{number}": 1 for number in range(1_000)}):
        answer = nobody.post("/v1/session", json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_fields")
        assert len(answer.content) < 10_000


def test_every_refusal_is_reported_in_both_languages(nobody: httpx.Client) -> None:
    for language, words in (("es", "más de 2000 valores"), ("en", "more than 2000 values")):
        answer = nobody.post(
            "/v1/session", content=unknown_keys(4_000), headers=JSON | {"accept-language": language}
        )
        assert words in answer.json()["detail"]


def test_a_body_over_the_limit_for_anybody_is_reported_in_kilobytes(nobody: httpx.Client) -> None:
    answer = nobody.post("/v1/session", json={"email": "a" * 70_000, "password": "x"})
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert "64 kB" in answer.json()["detail"]


def test_a_long_text_full_of_commas_is_no_structure(web: Web, token: dict[str, str]) -> None:
    body = {"shortcut": uuid.uuid4().hex, "content": ",]}" * 3_000}
    answer = httpx.post(f"{web.url}/v1/canned-responses", json=body, headers=token)
    assert answer.status_code == 201, answer.text


def _routes(routers: Iterable[APIRouter]) -> Iterator[APIRoute]:
    for router in routers:
        for route in router.routes:
            if isinstance(route, APIRoute):
                yield route
            elif (inner := getattr(route, "original_router", None)) is not None:
                yield from _routes([inner])


def test_every_route_that_parses_a_body_bounds_it() -> None:
    bounding = {"ApiRoute", "PageRoute", "_VisitorRoute"}
    parsed = [route for route in _routes(_ROUTERS) if route.body_field is not None]
    assert len(parsed) > 80
    assert {type(route).__name__ for route in parsed} <= bounding


_values = st.recursive(
    st.none() | st.integers() | st.text(alphabet='",[]{}\\:aé\n'),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(alphabet='",]}\\k'), inner),
    max_leaves=40,
)


def _members(value: object) -> int:
    """How many commas and closing brackets the JSON text of a value has outside its strings."""
    if isinstance(value, dict | list):
        inner = list(value.values()) if isinstance(value, dict) else value
        return 1 + max(0, len(inner) - 1) + sum(_members(one) for one in inner)
    return 0


@given(value=_values)
def test_members_are_counted_exactly_whatever_the_strings_hold(value: object) -> None:
    counted = _members(value)
    for body in (json.dumps(value).encode(), json.dumps(value, ensure_ascii=False).encode()):
        check_members(body, counted)
        if counted:
            with pytest.raises(BadInputError):
                check_members(body, counted - 1)


@given(body=st.binary(max_size=300))
def test_what_is_no_json_is_counted_without_failing(body: bytes) -> None:
    with contextlib.suppress(BadInputError):
        check_members(body, 10)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-8-sig"])
def test_another_encoding_hides_no_members(encoding: str) -> None:
    text = '{"\u2241":' + unknown_keys(MAX_MEMBERS + 1).decode() + "}"
    with pytest.raises(BadInputError):
        check_members(text.encode(encoding))


def test_at_most_twenty_names_are_reported() -> None:
    told = list_fields(f"k{number}" for number in range(1_000))
    assert len(told.split(", ")) == 20
