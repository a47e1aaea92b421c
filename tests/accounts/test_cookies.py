"""With https a session's cookie is bound to the host; without, it is what a laptop's demo can keep."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
from fastapi import Request, Response

from neurant.auth.cookies import (
    COOKIE,
    cookie_name,
    drop_secret_cookie,
    keep_secret_cookie,
    read_cookie,
    safe_next,
)
from neurant.core.settings import Settings

AskedFor = Callable[..., Request]


@pytest.fixture
def asked() -> AskedFor:
    def request(scheme: str, public_url: str | None = None, cookie: str = "") -> Request:
        settings = Settings(public_url=public_url)
        scope = {
            "type": "http",
            "scheme": scheme,
            "server": ("x.example", 80),
            "path": "/",
            "query_string": b"",
            "headers": [(b"cookie", cookie.encode())],
            "app": SimpleNamespace(
                state=SimpleNamespace(services=SimpleNamespace(settings=settings))
            ),
        }
        return Request(scope)

    return request


@pytest.mark.parametrize(("scheme", "public"), [("https", None), ("http", "https://x.example")])
def test_with_https_the_cookie_is_secure_and_of_this_host_alone(
    asked: AskedFor, scheme: str, public: str | None
) -> None:
    response = Response()
    keep_secret_cookie(asked(scheme, public), response, COOKIE, "token", 60)
    cookie = response.headers["set-cookie"]
    assert cookie.startswith("__Host-neurant_session=token;")
    for part in ("Secure", "HttpOnly", "Path=/", "SameSite=lax"):
        assert part in cookie
    assert "Domain" not in cookie
    planted = asked(scheme, public, "neurant_session=planted")
    assert read_cookie(planted) is None
    assert read_cookie(asked(scheme, public, "__Host-neurant_session=token")) == "token"
    gone = Response()
    drop_secret_cookie(planted, gone, COOKIE)
    for part in ('__Host-neurant_session="";', "Max-Age=0", "Path=/", "Secure"):
        assert part in gone.headers["set-cookie"]


def test_without_https_it_has_its_plain_name(asked: AskedFor) -> None:
    assert cookie_name(asked("http"), COOKIE) == "neurant_session"


@pytest.mark.parametrize("target", ["//[", "/\\x", "//x", "https://x", "", "javascript:x", "/a\nb"])
def test_nobody_is_led_elsewhere(target: str) -> None:
    assert safe_next(target) == "/console/inbox"
