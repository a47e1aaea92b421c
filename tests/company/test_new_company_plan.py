"""The host sets the plan of new companies, however they are created."""

from __future__ import annotations

import secrets
from pathlib import Path

import httpx
import psycopg
import pytest

from neurant.core.errors import SetupError
from neurant.core.settings import Settings
from neurant.installation.embedded import Urls
from tests.accounts.sent_mails import PASSWORD
from tests.accounts.test_company_create import create
from tests.companies import Company, make_company
from tests.console.running_web import serving, web_settings

pytest_plugins = ("tests.console.running_web",)
PLAN = (
    "select c.subscription_plan::text, c.subscription_status::text, c.max_users = p.max_users"
    " and c.max_document_characters = p.max_document_characters, c.subscription_ends_at is null"
    " from companies c join plans p on p.plan = c.subscription_plan where c.slug = %s"
)


def found_one(url: str, owner: Company, database: psycopg.Connection) -> tuple[str, httpx.Client]:
    """Found another company over the API as the owner of ``owner``; its short name."""
    person = owner.people["owner"]
    database.execute(
        "update auth.users set email_confirmed_at = now() where id = %s", (person.auth_user_id,)
    )
    client = httpx.Client(base_url=url)
    client.post("/login", data={"email": person.email, "password": PASSWORD})
    made = client.post(
        "/v1/companies", json={"name": f"Nueva {secrets.token_hex(4)}", "industry": "retail"}
    )
    assert made.status_code == 201, made.text
    return made.json()["slug"], client


def test_a_company_begins_on_the_plan_of_the_host_and_is_asked_for_no_plan(
    urls: Urls, tmp_path: Path, known_password: str, database: psycopg.Connection
) -> None:
    acme = make_company(urls.admin, "acme", password_hash=known_password)
    settings = web_settings(urls.app, tmp_path, new_company_plan="business")
    with serving(settings) as url:
        slug, client = found_one(url, acme, database)
        assert database.execute(PLAN, (slug,)).fetchone() == ("business", "active", True, True)
        assert client.get("/v1/onboarding").json()["next_step"] == "bot"
        assert client.get("/onboarding").headers["location"] == "/onboarding/bot"
        page = client.get("/onboarding/plan").text
        assert ("Tu plan: Business" in page, "gratis" in page) == (True, False)


def test_without_the_setting_a_company_begins_free_and_is_asked(
    web_url: str, urls: Urls, known_password: str, database: psycopg.Connection
) -> None:
    rival = make_company(urls.admin, "rival", password_hash=known_password)
    slug, client = found_one(web_url, rival, database)
    assert database.execute(PLAN, (slug,)).fetchone() == ("free", "active", True, True)
    assert client.get("/v1/onboarding").json()["next_step"] == "plan"


@pytest.mark.parametrize(
    ("arguments", "environment", "plan"),
    [
        ((), {"NEURANT_NEW_COMPANY_PLAN": "enterprise"}, "enterprise"),
        (("--plan", "starter"), {"NEURANT_NEW_COMPANY_PLAN": "enterprise"}, "starter"),
        ((), {}, "free"),
    ],
)
def test_the_command_creates_on_the_same_plan_unless_it_names_another(
    urls: Urls,
    database: psycopg.Connection,
    arguments: tuple[str, ...],
    environment: dict[str, str],
    plan: str,
) -> None:
    slug = f"por-comando-{secrets.token_hex(4)}"
    email = f"eva@{slug}.example"
    done = create(urls, "Acme", "--email", email, "--slug", slug, *arguments, **environment)
    assert done.returncode == 0, done.stderr
    assert database.execute(PLAN, (slug,)).fetchone() == (plan, "active", True, True)


def test_an_unknown_plan_is_refused_with_the_names_of_the_plans() -> None:
    with pytest.raises(SetupError) as refused:
        Settings(new_company_plan="gold")
    for language in ("es", "en"):
        told = refused.value.detail(language)
        assert ("gold" in told, "starter" in told, "NEURANT_NEW_COMPANY_PLAN" in told) == (
            True,
            True,
            True,
        )
