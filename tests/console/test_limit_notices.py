"""Where a plan's limit stops a person, the page and the API say which, how much is used, and what helps."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import httpx
import psycopg
import pytest

from neurant.installation.embedded import Urls
from tests.companies import Company, make_company
from tests.console.people import Visitor

pytest_plugins = ("tests.console.running_web",)

SignIn = Callable[[Company, str], httpx.Client]
Visit = Callable[[Company, str], Visitor]
HTMX = {"HX-Request": "true"}
ENGLISH = {"Accept-Language": "en"}
LIMIT_STORAGE = "update companies set max_storage_mb = %s where id = %s"
LIMIT_PEOPLE = "update companies set max_hitl_concurrent = %s where id = %s"


@pytest.fixture
def full(urls: Urls, known_password: str) -> Company:
    """A company of its own, whose limits the test sets."""
    return make_company(urls.admin, "full", password_hash=known_password)


def upload(client: httpx.Client, company: Company, size: int, **headers: str) -> httpx.Response:
    file = (f"{uuid.uuid4().hex}.txt", (uuid.uuid4().hex + " hola\n").encode() * (size // 38))
    return client.post(
        f"/v1/chatbots/{company.bot_id}/documents", files={"file": file}, headers=headers
    )


def test_a_file_that_does_not_fit_is_refused_with_use_limit_and_next_plan(
    sign_in: SignIn, full: Company, rival: Company, database: psycopg.Connection
) -> None:
    database.execute(LIMIT_STORAGE, (5, full.id))
    client = sign_in(full, "supervisor")
    assert upload(client, full, 4_000_000).status_code == 202
    refused = upload(client, full, 2_000_000)
    assert refused.status_code == 409
    assert refused.json()["code"] == "limit.next.max_storage_mb"
    spanish = refused.json()["detail"]
    assert "4 MB" in spanish
    assert "5 MB" in spanish
    assert "plan Professional" in spanish
    english = upload(client, full, 2_000_000, **ENGLISH).json()["detail"]
    assert "your plan allows 5 MB" in english
    kept = "select count(*) from documents where company_id = %s"
    assert database.execute(kept, (full.id,)).fetchone() == (1,)
    assert upload(sign_in(rival, "supervisor"), rival, 2_000_000).status_code == 202


def test_the_form_without_script_says_it_too(
    sign_in: SignIn, full: Company, tmp_path: Path, database: psycopg.Connection
) -> None:
    database.execute(LIMIT_STORAGE, (0, full.id))
    path = tmp_path / "a.txt"
    path.write_text("Abrimos a las ocho.")
    with path.open("rb") as file:
        answer = sign_in(full, "owner").post(
            "/console/knowledge/documents",
            data={"chatbot_id": str(full.bot_id)},
            files={"file": (path.name, file)},
        )
    assert answer.status_code == 409
    assert "Tu plan no incluye documentos" in answer.text
    assert "plan Starter" in answer.text


def test_a_plan_that_is_the_largest_says_whom_to_ask(
    sign_in: SignIn, full: Company, visit: Visit, database: psycopg.Connection
) -> None:
    database.execute(LIMIT_PEOPLE, (25, full.id))
    database.execute(
        "update companies set current_hitl_count = 25 where id = %s", (full.id,)
    )  # as if 25 were attended
    visitor = visit(full, "hola")
    path = f"/console/inbox/{visitor.conversation_id}/take"
    answer = sign_in(full, "operador").post(path, headers=HTMX)
    assert answer.status_code == 409
    assert "que permite tu plan a la vez (25 de 25)" in answer.text
    assert "quien administra esta instalación" in answer.text


def test_whoever_takes_one_too_many_is_shown_the_limit_and_keeps_the_draft(
    sign_in: SignIn, full: Company, visit: Visit, database: psycopg.Connection
) -> None:
    database.execute(LIMIT_PEOPLE, (1, full.id))
    client = sign_in(full, "operador")
    first, second = visit(full, "hola"), visit(full, "hola")
    inbox = "/console/inbox/{}"
    taken = client.post(f"{inbox.format(first.conversation_id)}/take", headers=HTMX)
    assert taken.status_code == 200
    where = inbox.format(second.conversation_id)
    refused = client.post(f"{where}/take", headers=HTMX)
    assert refused.status_code == 409
    assert "que permite tu plan a la vez (1 de 1)" in refused.text
    assert "plan Professional" in refused.text
    english = client.post(f"{where}/take", headers=HTMX | ENGLISH)
    assert "your plan allows at a time (1 of 1)" in english.text
    form = {"message_id": str(uuid.uuid4()), "text": "lo que ya escribí"}
    answer = client.post(f"{where}/messages", data=form, headers=HTMX)
    assert answer.status_code == 409
    assert "lo que ya escribí" in answer.text
    assert "Tu borrador quedó guardado" in answer.text
    client.post(f"{inbox.format(first.conversation_id)}/resolve", headers=HTMX)
    assert client.post(f"{where}/messages", data=form, headers=HTMX).status_code == 200


def test_the_script_of_the_page_shows_what_the_api_says(sign_in: SignIn, full: Company) -> None:
    """The page's script tells ``detail``; this holds that it still does."""
    script = sign_in(full, "owner").get("/console/knowledge").text
    sources = [part.split('"')[0] for part in script.split('src="')[1:]]
    client = sign_in(full, "owner")
    assert any("detail" in client.get(source).text for source in sources if "knowledge" in source)
