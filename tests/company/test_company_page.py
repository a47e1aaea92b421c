"""The company's page: what is typed as people write it is understood."""

from __future__ import annotations

import html
import re
from collections.abc import Callable

import httpx
import pytest

from tests.companies import Company

pytest_plugins = ("tests.console.running_web",)
PAGE = "/console/settings/company"


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("tienda-sol.co", "https://tienda-sol.co"),
        ("tienda.co/a", "https://tienda.co/a"),
        ("http://sol.co", "http://sol.co"),
        ("", None),
    ],
)
def test_an_address_needs_no_scheme(
    sign_in: Callable[[Company, str], httpx.Client], acme: Company, typed: str, stored: str | None
) -> None:
    owner = sign_in(acme, "owner")
    page, now = owner.get(PAGE).text, owner.get("/v1/company").json()
    etag = re.search(r'name="etag" value="([^"]*)"', page)
    assert etag is not None
    form = {name: now[name] or "" for name in ("name", "email", "phone", "timezone", "logo_url")}
    form |= {"industry": "health", "size": "2-10", "website": typed, "etag": html.unescape(etag[1])}
    answer = owner.post(PAGE, data=form)
    assert answer.status_code == 303, answer.text
    assert owner.get("/v1/company").json()["website"] == stored


@pytest.mark.parametrize("size", ["1", "2-10", "11-50", "51-200", "201-1000", "1001+"])
def test_a_company_keeps_the_size_that_it_chose(
    sign_in: Callable[[Company, str], httpx.Client], acme: Company, size: str
) -> None:
    owner = sign_in(acme, "owner")
    tag = {"if-match": owner.get("/v1/company").headers["etag"]}
    assert owner.patch("/v1/company", json={"size": size}, headers=tag).status_code == 200
    assert owner.get("/v1/company").json()["size"] == size
