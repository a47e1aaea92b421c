"""A plan that no payment page sells says whom to ask, if this installation has told."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from neurant.core.errors import SetupError
from neurant.core.settings import Settings
from neurant.installation.embedded import Urls
from tests.companies import Company, make_company
from tests.console.people import PASSWORD
from tests.console.running_web import serving, web_settings
from tests.plans.sql_as_role import query_as_admin

pytest_plugins = ("tests.console.running_web",)
CONTACT = "ventas@neurant.example"
PAGE = "/console/plan"


@pytest.fixture(scope="module")
def firm(urls: Urls, known_password: str) -> Company:
    made = make_company(urls.admin, "acme", password_hash=known_password)
    query_as_admin(urls, "select private.apply_plan(%s, 'starter')", made.id)
    query_as_admin(
        urls, "update companies set name = 'R&D «Ñandú»' where id = %s returning 1", made.id
    )
    return replace(made, name="R&D «Ñandú»")


@pytest.fixture
def with_contact(urls: Urls, firm: Company, tmp_path: Path) -> Iterator[httpx.Client]:
    """The owner, where the installation names a contact."""
    settings = web_settings(urls.app, tmp_path, billing_contact=CONTACT)
    with serving(settings) as url, httpx.Client(base_url=url) as client:
        email = firm.people["owner"].email
        client.post("/login", data={"email": email, "password": PASSWORD})
        yield client


def test_company_and_plan_are_in_the_subject(with_contact: httpx.Client, firm: Company) -> None:
    def mailto(plan: str) -> str:
        return f"mailto:{CONTACT}?subject={quote(f'{firm.name}: plan {plan} de NeurAnt')}"

    assert mailto("Enterprise") in html.unescape(with_contact.get(PAGE).text)
    considered = html.unescape(with_contact.get(f"{PAGE}/choose/professional").text)
    assert mailto("Professional") in considered
    assert "US$ 89" in considered
    assert with_contact.post(f"{PAGE}/choose", data={"plan": "professional"}).status_code == 303
    asked = html.unescape(with_contact.get(PAGE).text)
    assert "Pediste el plan Professional" in asked
    assert mailto("Professional") in asked
    unpriced = with_contact.get(f"{PAGE}/choose/enterprise").text
    assert "US$ 0" not in unpriced
    assert CONTACT in unpriced


def test_without_a_contact_the_page_says_who_has_to_be_asked(
    sign_in: Callable[[Company, str], httpx.Client], firm: Company
) -> None:
    client = sign_in(firm, "owner")
    for path in (PAGE, f"{PAGE}/choose/professional", f"{PAGE}/choose/business"):
        page = client.get(path).text
        assert "quien administra esta instalación" in page, path
        assert "mailto:" not in page


def test_a_contact_that_is_no_mail_address_is_refused_at_the_start() -> None:
    for wrong in ("ventas", "a@b c", "a@b?cc=x@y.example", "Ana <a@b.example>"):
        with pytest.raises(SetupError, match="not a mail address"):
            Settings(billing_contact=wrong)
