"""A page that leads its own name to this machine (DNS rebinding) reads nothing of the platform."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurant.core.hosts import answered_names
from neurant.core.settings import Settings
from neurant.installation.embedded import Urls
from tests.console.running_web import serving, web_settings

pytest_plugins = ("tests.console.running_web",)
PATHS = (
    "/demo/mailbox", "/demo/mailbox/1.eml/html", "/console/login", "/signup", "/v1/openapi.json",
    "/v1/session", "/healthz", "/readyz", "/widget.js", "/webhooks/telegram/tg-account", "/",
)  # fmt: skip
OURS = (
    "127.0.0.1", "127.0.0.1:8000", "localhost", "LOCALHOST:8000", "localhost.", "[::1]:8000",
    "192.168.1.20:8000", "demo.localhost:8000", "mybox", "neurant-web:8000",
)  # fmt: skip
OTHERS = (
    "evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example",
    "127.0.0.1.nip.io:8000", "evil.localhost.example", "evil.example.", "127.0.0.1@evil.example",
    "evil.example#127.0.0.1", "1.2.3", "xn--e1awd7f.com", "a.b:80:80",
)  # fmt: skip


def settings(**given: object) -> Settings:
    return Settings(**{"public_url": None, **given})


@pytest.fixture(scope="module")
def demo(urls: Urls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    chosen = web_settings(urls.app, tmp_path_factory.mktemp("demo"), demo=True)
    with serving(chosen) as url, httpx.Client(base_url=url) as client:
        yield client


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("host", OTHERS[:3])
def test_the_demo_shows_nothing_to_a_foreign_name(demo: httpx.Client, path: str, host: str) -> None:
    answer = demo.get(path, headers={"host": host, "accept-language": "en"})
    assert answer.status_code == 421
    assert answer.json()["code"] == "unknown_host"
    assert demo.post(path, headers={"host": host}).status_code == 421


@pytest.mark.parametrize("host", OURS)
def test_the_demo_answers_to_the_names_of_this_machine(demo: httpx.Client, host: str) -> None:
    assert demo.get("/demo/mailbox", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "chosen", [settings(demo=True), settings(), settings(demo=True, public_url="https://a.example")]
)
def test_a_demo_or_a_platform_without_a_public_address_answers_to_no_other_name(
    chosen: Settings,
) -> None:
    is_ours = answered_names(chosen)
    assert all(is_ours(host) for host in OURS)
    assert [host for host in OTHERS if is_ours(host)] == []


def test_a_platform_with_a_public_address_answers_to_that_and_any_other_name() -> None:
    is_ours = answered_names(settings(public_url="https://chat.example"))
    assert all(is_ours(host) for host in ("chat.example", "www.shop.example:443", "127.0.0.1"))


def test_the_setting_names_who_is_answered() -> None:
    named = "chat.example, *.shop.example"
    is_ours = answered_names(settings(public_url="https://a.example", allowed_hosts=named))
    for host in ("chat.example", "CHAT.example:443", "www.shop.example", "a.example", "localhost"):
        assert is_ours(host), host
    for host in ("shop.example", "evilshop.example", "chat.example.evil.example", "b.example"):
        assert not is_ours(host), host
    assert answered_names(settings(demo=True, allowed_hosts="*"))("evil.example")
    assert answered_names(settings(host="box.lan.example"))("box.lan.example:8000")


@given(st.text(alphabet="abc.-:[]@/#%0129 \t", max_size=40))
def test_no_name_with_a_dot_that_is_no_address_is_answered(host: str) -> None:
    assert not answered_names(settings(demo=True))(f"{host}.example")
