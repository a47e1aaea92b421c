"""Every kind of integration and every way to authenticate can be set up over the API."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import httpx
import pytest

from tests.companies import Company

pytest_plugins = ("tests.console.running_web",)
SignIn = Callable[[Company, str], httpx.Client]


@pytest.mark.parametrize(
    "integration_type",
    [
        "google_docs", "google_sheets", "google_calendar", "google_gmail",
        "airtable", "mysql", "postgresql", "api_webhook",
    ],
)  # fmt: skip
@pytest.mark.parametrize("auth_type", ["api_key", "oauth2", "basic_auth", "bearer_token"])
def test_an_integration_keeps_its_kind_and_its_way_to_authenticate(
    sign_in: SignIn, acme: Company, integration_type: str, auth_type: str
) -> None:
    client = sign_in(acme, "owner")
    chosen = {"integration_type": integration_type, "auth_type": auth_type}
    made = client.post("/v1/integrations", json={"name": secrets.token_hex(6), **chosen})
    assert made.status_code == 201, made.text
    kept = client.get(f"/v1/integrations/{made.json()['id']}").json()
    assert {name: kept[name] for name in chosen} == chosen
    assert kept["sync_status"] == "pending"
    assert client.delete(f"/v1/integrations/{made.json()['id']}").status_code == 204
