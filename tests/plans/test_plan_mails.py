"""What is told of a plan is a mail, too: to owner and administradores, once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from neurant.core.db.pool import make_pool
from neurant.core.settings import Settings
from neurant.installation.embedded import Urls
from neurant.mail.message import words
from neurant.plans.mails import MAILED, run_plan_mails
from neurant.texts import LANGUAGES
from tests.companies import make_company
from tests.plans.sql_as_role import call_as, limit, query_as_admin

pytestmark = pytest.mark.anyio
MAILS = "select to_address, template from mails where company_id = %s order by template, to_address"
PARAMS = {
    "name": "Ana", "company": "Acme", "link": "https://x.example", "plan": "Free",
    "until": "3 nov 2026", "limits": "los bots", "limit": "los bots", "level": "80", "used": "8",
    "allowed": "10",
}  # fmt: skip


def mail_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    import base64

    key = base64.b64encode(b"k" * 32).decode()
    return Settings(data_dir=tmp_path_factory.mktemp("mail"), master_key=key)


async def test_every_transition_and_alert_is_one_mail_each(
    urls: Urls, tmp_path_factory: pytest.TempPathFactory
) -> None:
    acme, rival = make_company(urls.admin, "acme"), make_company(urls.admin, "rival")
    limit(urls, acme, max_chatbots=1)
    query_as_admin(urls, "select private.apply_plan(%s, 'starter')", acme.id)
    both = sorted(acme.people[role].email for role in ("owner", "administrador"))
    with psycopg.connect(urls.app) as db:
        db.execute("select private.set_past_due(%s)", (acme.id,))
    with psycopg.connect(urls.jobs) as db:
        db.execute("select private.raise_usage_alerts()")
        db.execute(
            "select private.end_subscriptions(%s)", (datetime.now(UTC) + timedelta(days=15),)
        )
    call_as(urls, acme, "owner", "select private.close_company()")
    settings = mail_settings(tmp_path_factory)
    async with make_pool(urls.jobs, size=2, pooled=False) as pool:
        await run_plan_mails(pool, settings)
        first = query_as_admin(urls, MAILS, acme.id)
        assert await run_plan_mails(pool, settings) == 0
    templates = {template for _, template in first}
    assert {
        "plans.past_due", "plans.usage_alert", "plans.subscription_inactive",
        "plans.company_closed",
    } == templates  # fmt: skip
    for template in templates:
        told = [to for to, one in first if one == template]
        assert told[:2] == both, template
    assert query_as_admin(urls, MAILS, acme.id) == first
    assert all("acme" in to for to, _ in first)
    assert not [one for _, one in query_as_admin(urls, MAILS, rival.id) if "past_due" in one]


async def test_who_was_invited_in_english_is_notified_in_english(
    urls: Urls, tmp_path_factory: pytest.TempPathFactory
) -> None:
    acme = make_company(urls.admin, "acme")
    owner, invited = acme.people["owner"], acme.people["administrador"]
    query_as_admin(
        urls,
        "insert into user_invitations (company_id, email, role, invited_by, token_digest, status,"
        " accepted_at, accepted_by_user_id, sent_at, expires_at, language) values (%s, %s,"
        " 'administrador', %s, sha256(gen_random_uuid()::text::bytea), 'accepted', now(), %s, now(),"
        " now() + interval '7 days', 'en') returning 1",
        acme.id,
        invited.email,
        owner.id,
        invited.id,
    )
    with psycopg.connect(urls.app) as db:
        db.execute("select private.set_past_due(%s)", (acme.id,))
    async with make_pool(urls.jobs, size=2, pooled=False) as pool:
        await run_plan_mails(pool, mail_settings(tmp_path_factory))
    told = "select to_address, language from mails where company_id = %s order by language"
    assert query_as_admin(urls, told, acme.id) == [(invited.email, "en"), (owner.email, "es")]


@pytest.mark.parametrize("kind", MAILED)
async def test_every_kind_has_its_words_in_every_language(kind: str) -> None:
    for language in LANGUAGES:
        assert words(f"plans.{kind}", language, PARAMS).subject
