"""``neurant proxy-check`` through real proxies that do the right thing, and each wrong one."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from neurant.core.settings import Settings
from neurant.runtime import proxy_check
from neurant.runtime.app import create_app
from neurant.runtime.proxy_check import HEADER, PATH, check_proxy, ticket
from tests.support.platform import free_port, serving

pytest_plugins = ("tests.support.fixtures",)
pytestmark = pytest.mark.anyio


def proxied(upstream: str, rule: Callable[[str | None, str], str | None]) -> object:
    """A reverse proxy whose X-Forwarded-For is what the rule makes of the client's and the peer."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        peer = request.client.host if request.client else ""
        value = rule(request.headers.get("x-forwarded-for"), peer)
        headers = {HEADER: request.headers.get(HEADER, "")}
        if value is not None:
            headers["X-Forwarded-For"] = value
        async with httpx.AsyncClient(base_url=upstream) as http:
            answer = await http.get(request.url.path, headers=headers)
        await Response(answer.content, answer.status_code)(scope, receive, send)

    return app


@asynccontextmanager
async def platform(
    settings: Callable[..., Settings],
    trusted: str,
    rule: Callable[[str | None, str], str | None] | None,
) -> AsyncIterator[Settings]:
    """A web process, behind a proxy where there is a rule; its settings with the public address."""
    port, outside = free_port(), free_port()
    chosen = settings(
        port=port,
        public_url=f"http://127.0.0.1:{outside if rule else port}",
        trusted_proxies=trusted,
        log_level="error",
    )
    async with serving(create_app(chosen), port, lifespan="on") as url:
        if rule is None:
            yield chosen
            return
        async with serving(proxied(url, rule), outside):
            yield chosen


def appended(given: str | None, peer: str) -> str:
    return f"{given}, {peer}" if given else peer


RULES = {
    "appends": appended,
    "replaces": lambda _given, peer: peer,
    "passes on": lambda given, _peer: given,
    "removes": lambda _given, _peer: None,
    "prepends": lambda given, peer: f"{peer}, {given}" if given else peer,
    "none": None,
}


@pytest.mark.parametrize(
    ("trusted", "rule", "found"),
    [
        ("127.0.0.0/8", "replaces", "right"),
        ("127.0.0.1", "passes on", "forgeable"),
        ("127.0.0.1", "prepends", "forgeable"),
        ("127.0.0.1", "removes", "nameless"),
        ("", "appends", "untrusted"),
        ("", "replaces", "untrusted"),
        ("", "removes", "untrusted"),
        ("", "passes on", "unchanged"),
        ("203.0.113.7", "passes on", "unchanged"),
        ("*", "passes on", "forgeable"),
        ("*", "appends", "right"),
        ("", "none", "direct"),
        ("127.0.0.1", "none", "forgeable"),
    ],
)
async def test_each_way_to_set_up_a_proxy_is_distinguished(
    settings: Callable[..., Settings], trusted: str, rule: str, found: str
) -> None:
    async with platform(settings, trusted, RULES[rule]) as chosen:
        assert await check_proxy(chosen) == found


@pytest.mark.parametrize(
    ("trusted", "rule", "status", "told"),
    [
        ("", "passes on", 1, "NEURANT_TRUSTED_PROXIES"),
        ("127.0.0.1", "passes on", 1, "X-Forwarded-For"),
        ("127.0.0.1", "replaces", 0, "Correcto"),
        ("", "none", 0, "no hay ningún proxy"),
    ],
)
async def test_the_command_says_there_is_no_proxy_only_where_there_is_none(
    settings: Callable[..., Settings], trusted: str, rule: str, status: int, told: str
) -> None:
    async with platform(settings, trusted, RULES[rule]) as chosen:
        environment = {
            **os.environ,
            "NEURANT_PUBLIC_URL": chosen.base_url(),
            "NEURANT_TRUSTED_PROXIES": trusted,
            "NEURANT_MASTER_KEY": chosen.master_key.get_secret_value(),
        }
        command = [sys.executable, "-m", "neurant", "proxy-check"]
        done = await anyio.run_process(command, env=environment, check=False)
    said = done.stdout.decode()
    assert (done.returncode, told in said) == (status, True), said + done.stderr.decode()
    assert ("no hay ningún proxy" in said) == (rule == "none")


async def test_nobody_else_is_shown_what_arrives(
    settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with platform(settings, "", None) as chosen:
        good = ticket(chosen)
        monkeypatch.setattr(proxy_check, "_GOOD_FOR", -1)
        old = ticket(chosen)
        async with httpx.AsyncClient(base_url=chosen.base_url()) as http:
            assert (await http.get(PATH, headers={HEADER: old})).status_code == 404
            monkeypatch.setattr(proxy_check, "_GOOD_FOR", 60)
            assert (await http.get(PATH, headers={HEADER: good})).status_code == 200
            for forged in (
                "",
                "1",
                "..",
                good[:-1],
                f"9{good}",
                ("²." + good).encode(),
                b"\xff.\xfe.\xff",
            ):
                answer = await http.get(PATH, headers={HEADER: forged})
                assert answer.status_code == 404, forged
