"""What a plan has no room for is not offered: each page says so, and leads to the plan that has it."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import psycopg
import pytest

from neurant.installation.embedded import Urls
from tests.companies import Company, make_company

pytest_plugins = ("tests.console.running_web",)
SignIn = Callable[[Company, str], httpx.Client]
CHOOSE = 'href="/console/plan/choose/starter"'
NO_DOCUMENTS = "Tu plan no incluye documentos"
NO_PEOPLE = "En tu plan el bot responde solo, sin personas"
UPLOAD = 'id="upload"'
ASK = 'id="ask-person"'


@pytest.fixture
def free(urls: Urls, known_password: str, database: psycopg.Connection) -> Company:
    """A company on the free plan: no documents, nobody to take over, no Telegram."""
    made = make_company(urls.admin, "acme", password_hash=known_password)
    database.execute("select private.apply_plan(%s, 'free')", (made.id,))
    return made


def test_the_document_limit_is_shown_and_no_document_is_requested(
    sign_in: SignIn, free: Company, rival: Company
) -> None:
    page = sign_in(free, "owner").get("/console/knowledge").text
    assert (NO_DOCUMENTS in page, CHOOSE in page, UPLOAD in page) == (True, True, False)
    # Who may not choose a plan is led to where plans are told of.
    page = sign_in(free, "supervisor").get("/console/knowledge").text
    assert (NO_DOCUMENTS in page, CHOOSE in page, 'href="/console/plan"' in page) == (
        True,
        False,
        True,
    )
    page = sign_in(rival, "owner").get("/console/knowledge").text
    assert (NO_DOCUMENTS in page, UPLOAD in page) == (False, True)


def test_a_plan_whose_documents_are_full_says_how_full(
    sign_in: SignIn, free: Company, database: psycopg.Connection
) -> None:
    database.execute(
        "update companies set max_storage_mb = 5, max_document_characters = 50000,"
        " current_document_characters = 50000 where id = %s",
        (free.id,),
    )
    page = sign_in(free, "owner").get("/console/knowledge").text
    assert "tus documentos suman 50\N{NO-BREAK SPACE}000 caracteres" in page
    assert UPLOAD not in page


def test_the_checklist_counts_what_can_be_ticked(
    sign_in: SignIn, free: Company, rival: Company, database: psycopg.Connection
) -> None:
    client = sign_in(free, "owner")
    home = client.get("/console/home").text
    assert (NO_DOCUMENTS in home, CHOOSE in home) == (True, True)
    state = client.get("/v1/onboarding").json()
    assert (state["total"], state["has_document"]) == (4, False)
    assert f"{state['done']} de 4" in home
    database.execute(
        "insert into onboarding (company_id, tested_at, plan_seen_at) values (%s, now(), now())"
        " on conflict (company_id) do update set tested_at = now()",
        (free.id,),
    )
    done = client.get("/v1/onboarding").json()
    assert (done["done"], done["total"], done["is_hidden"]) == (4, 4, True)
    assert sign_in(rival, "owner").get("/v1/onboarding").json()["total"] == 5


def test_a_bot_s_page_keeps_the_handover_as_it_is_and_offers_neither_it_nor_telegram(
    sign_in: SignIn, free: Company, rival: Company, database: psycopg.Connection
) -> None:
    client, path = sign_in(free, "owner"), f"/console/bots/{free.bot_id}"
    page = client.get(path).text
    assert (NO_PEOPLE in page, CHOOSE in page) == (True, True)
    assert 'role="switch" name="hitl_enabled"' not in page
    assert "Tu plan no incluye este canal. Lo incluye el plan Starter." in page
    assert 'name="token"' not in page
    kept = "select hitl_enabled, hitl_triggers, auto_escalate_after_minutes from chatbots where id = %s"
    before = database.execute(kept, (free.bot_id,)).fetchone()
    inputs = dict(
        part.split('" value="', 1)
        for part in (one.split('">')[0] for one in page.split('<input type="hidden" name="')[1:])
        if part.startswith(("etag", "hitl", "trigger", "keywords", "auto_"))
    )
    assert inputs.keys() >= {"etag", "hitl_enabled", "auto_escalate_after_minutes"}
    inputs["etag"] = inputs["etag"].replace("&#34;", '"')
    form = {
        "name": "Otro", "system_prompt": "Responde con calidez.", "timezone": "America/Lima",
        "response_delay": "1.5", "max_context_messages": "10", "is_active": "on", **inputs,
    }  # fmt: skip
    saved = client.post(path, data=form)
    assert (saved.status_code, saved.headers["location"]) == (303, f"{path}?notice=saved")
    assert database.execute(kept, (free.bot_id,)).fetchone() == before
    delay = "select response_delay_ms from chatbots where id = %s"
    assert database.execute(delay, (free.bot_id,)).fetchone() == (1500,)
    assert 'value="1.5"' in client.get(path).text
    refused = client.post(path, data=form | {"response_delay": "pronto"})
    assert (refused.status_code, "Espera antes de responder" in refused.text) == (422, True)
    other = sign_in(rival, "owner").get(f"/console/bots/{rival.bot_id}").text
    assert (NO_PEOPLE in other, 'role="switch" name="hitl_enabled"' in other) == (False, True)
    assert 'name="token"' in other


def test_a_visitor_is_offered_a_person_only_where_one_could_come(
    nobody: httpx.Client, free: Company, rival: Company, database: psycopg.Connection
) -> None:
    assert ASK not in nobody.get(f"/chat/{free.web}").text
    assert ASK in nobody.get(f"/chat/{rival.web}").text
    for triggers, offered in (('["no_answer"]', False), ('["user_request"]', True)):
        database.execute(
            "update chatbots set hitl_triggers = %s where id = %s", (triggers, rival.bot_id)
        )
        assert (ASK in nobody.get(f"/chat/{rival.web}").text) is offered
    database.execute("update chatbots set hitl_enabled = false where id = %s", (rival.bot_id,))
    assert ASK not in nobody.get(f"/chat/{rival.web}").text
    database.execute("update chatbots set hitl_enabled = true where id = %s", (rival.bot_id,))


def test_the_first_steps_promise_neither(sign_in: SignIn, free: Company, rival: Company) -> None:
    page = sign_in(free, "owner").get("/onboarding/test").text
    assert (NO_PEOPLE in page, NO_DOCUMENTS in page) == (True, True)
    assert ("pídele una persona" in page, "Sube documentos" in page) == (False, False)
    page = sign_in(rival, "owner").get("/onboarding/test").text
    assert (NO_PEOPLE in page, NO_DOCUMENTS in page) == (False, False)
    assert ("pídele una persona" in page, "Sube documentos" in page) == (True, True)


def test_home_and_plan_tell_the_same_use_in_the_same_words(
    sign_in: SignIn, rival: Company, database: psycopg.Connection
) -> None:
    database.execute(
        "update companies set max_storage_mb = 5, current_storage_bytes = 1300000,"
        " max_document_characters = 50000, current_document_characters = 1234 where id = %s",
        (rival.id,),
    )
    client = sign_in(rival, "owner")
    home, plan = client.get("/console/home").text, client.get("/console/plan").text
    for told in ("1,2 MB de 5 MB", "1.234 de 50.000", "Espacio para archivos", "sin límite"):
        assert (told in home, told in plan) == (True, True), told
