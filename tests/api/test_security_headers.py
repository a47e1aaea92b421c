"""What browsers are told about every answer, also about errors, files and streams."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from neurant.core.settings import Settings
from neurant.runtime.app import create_app
from tests.companies import Company

pytest_plugins = ("tests.console.running_web",)
EVERYWHERE = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "strict-origin-when-cross-origin",
    "cross-origin-opener-policy": "same-origin",
}


def paths(company: Company) -> list[str]:
    return ["/login", "/signup", f"/chat/{company.web}", "/widget.js", "/static/css/base.css",
            "/v1/openapi.json", "/v1/session", "/nothing-here", "/console/inbox"]  # fmt: skip


def test_every_answer_carries_the_headers(nobody: httpx.Client, acme: Company) -> None:
    for path in paths(acme):
        headers = nobody.get(path, timeout=60).headers
        assert {name: headers.get(name) for name in EVERYWHERE} == EVERYWHERE, path
        policy = headers["content-security-policy"]
        assert "object-src 'none'" in policy
        assert "base-uri 'none'" in policy
        denied = dict(part.split("=") for part in headers["permissions-policy"].split(", "))
        assert set(denied.values()) == {"()"}
        assert {"camera", "microphone", "geolocation", "payment", "usb"} <= set(denied)
        assert "clipboard-write" not in denied  # buttons copy


def test_only_what_sites_embed_may_be_loaded_by_them(nobody: httpx.Client, acme: Company) -> None:
    for path in paths(acme):
        embedded = path == "/widget.js" or path.startswith("/chat/")
        told = nobody.get(path, timeout=60).headers["cross-origin-resource-policy"]
        assert told == ("cross-origin" if embedded else "same-origin"), path


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("public_url", "told"),
    [
        ("https://chat.acme.example", "max-age=31536000; includeSubDomains"),
        ("http://chat.acme.example", None),
        (None, None),
    ],
)
async def test_browsers_that_come_by_https_are_instructed_to_stay(
    public_url: str | None, told: str | None
) -> None:
    app = create_app(Settings(public_url=public_url))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        for path in ("/v1/openapi.json", "/nothing-here", "/widget.js"):
            answer = await client.get(path)
            assert answer.headers.get("strict-transport-security") == told, path


def test_an_answers_own_word_stands(
    sign_in: Callable[..., httpx.Client], nobody: httpx.Client
) -> None:
    """A page whose address holds a secret sends no Referer at all."""
    assert nobody.get("/reset", params={"link": "x"}).headers["referrer-policy"] == "no-referrer"
