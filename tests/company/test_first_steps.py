"""The steps of a new company: a plan with documents to try, the first documents, a true trial page."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from pathlib import Path

import anyio
import httpx
import psycopg
import pytest

from neurant.core.db.pool import make_pool
from neurant.core.object_store import open_store
from neurant.core.settings import Settings
from neurant.installation.embedded import Urls
from neurant.knowledge.jobs import process_document
from tests.accounts.sent_mails import PASSWORD
from tests.companies import Company, make_company
from tests.console.running_web import serving, web_settings

pytest_plugins = ("tests.console.running_web",)
SignIn = Callable[[Company, str], httpx.Client]
STATE = "select subscription_plan::text, subscription_status::text from companies where id = %s"
DOCUMENTS = (
    "select id, original_filename, title, file_type, chatbot_id, processing_status::text"
    " from documents where company_id = %s and retired_at is null order by created_at"
)
HOTEL = """# Horario del restaurante

El desayuno se sirve de 7:00 a 10:30 en el primer piso.

# Piscina

La piscina está abierta de 9:00 a 20:00 todos los días.
"""


@pytest.fixture
def new(urls: Urls, known_password: str, database: psycopg.Connection) -> Company:
    """A company on the free plan that has only begun its set-up, and has a bot."""
    made = make_company(urls.admin, "acme", password_hash=known_password)
    database.execute("select private.apply_plan(%s, 'free')", (made.id,))
    database.execute("insert into onboarding (company_id) values (%s)", (made.id,))
    return made


@pytest.fixture
def taught(new: Company, database: psycopg.Connection) -> Company:
    """The same company, on a plan with documents that it has accepted."""
    database.execute("select private.apply_plan(%s, 'starter')", (new.id,))
    database.execute("update onboarding set plan_seen_at = now() where company_id = %s", (new.id,))
    return new


def checked(page: str) -> str:
    """The value of the chosen plan."""
    return next(
        re.search(r'value="(\w+)"', one)[1]
        for one in re.findall(r"<input[^>]*type=\"radio\"[^>]*>", page)
        if "checked" in one
    )


def readable(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", unescape(page)))


def paste(client: httpx.Client, bot: object, content: str, title: str = "") -> httpx.Response:
    data = {"chatbot_id": str(bot), "content": content, "title": title}
    return client.post("/onboarding/documents", data=data, files={"file": ("", b"")})


def test_a_trial_of_the_smallest_plan_with_documents_is_the_default(
    sign_in: SignIn, new: Company, rival: Company, database: psycopg.Connection
) -> None:
    client = sign_in(new, "owner")
    page = client.get("/onboarding/plan").text
    assert checked(page) == "starter"
    assert "Probar Starter 14 días gratis" in page
    assert "Recomendado" in page
    begun = client.post("/onboarding/plan", data={"plan": "starter"})
    assert (begun.status_code, begun.headers["location"]) == (303, "/onboarding")
    assert database.execute(STATE, (new.id,)).fetchone() == ("starter", "trialing")
    assert client.get("/onboarding").headers["location"] == "/onboarding/documents"
    assert database.execute(STATE, (rival.id,)).fetchone() == ("enterprise", "active")
    again = client.get("/onboarding/plan").text
    assert (checked(again), "Tu plan: Starter" in again) == ("starter", True)


def test_the_step_tells_what_a_plan_lacks_from_the_catalogue(
    sign_in: SignIn, new: Company, database: psycopg.Connection
) -> None:
    client = sign_in(new, "owner")
    told = readable(client.get("/onboarding/plan").text)
    assert "Respuestas al mes: 500 · Bots: 1 · Personas: 2" in told
    assert "No incluye: documentos, atención de personas, integraciones." in told
    database.execute(
        "update plans set monthly_message_limit = 700, max_integrations = 4 where plan = 'free'"
    )
    try:
        told = readable(client.get("/onboarding/plan").text)
    finally:
        database.execute(
            "update plans set monthly_message_limit = 500, max_integrations = 0 where plan = 'free'"
        )
    assert "Respuestas al mes: 700 · Bots: 1 · Personas: 2 · Integraciones: 4" in told
    assert "No incluye: documentos, atención de personas." in told


def test_the_free_plan_stays_a_choice_and_an_unknown_plan_is_none(
    sign_in: SignIn, new: Company, database: psycopg.Connection
) -> None:
    client = sign_in(new, "owner")
    for wrong in ("gold", "business", "'"):
        refused = client.post("/onboarding/plan", data={"plan": wrong})
        assert (refused.status_code, 'role="alert"' in refused.text) == (422, True), wrong
    assert client.post("/onboarding/plan", data={"plan": "free"}).status_code == 303
    assert database.execute(STATE, (new.id,)).fetchone() == ("free", "active")
    assert client.get("/onboarding").headers["location"] == "/onboarding/test"


def test_only_the_owner_is_offered_a_trial(
    sign_in: SignIn, new: Company, database: psycopg.Connection
) -> None:
    client = sign_in(new, "administrador")
    page = client.get("/onboarding/plan").text
    assert (checked(page), "días gratis" in page) == ("free", False)
    assert "no puede responder con la información de tu empresa" in page
    assert client.post("/onboarding/plan", data={"plan": "starter"}).status_code == 422
    assert database.execute(STATE, (new.id,)).fetchone() == ("free", "active")


def test_without_trials_the_step_shows_the_plan_and_its_limits(
    urls: Urls, new: Company, tmp_path: Path
) -> None:
    with serving(web_settings(urls.app, tmp_path, trial_days=0)) as url:
        client = httpx.Client(base_url=url)
        email = new.people["owner"].email
        client.post("/login", data={"email": email, "password": PASSWORD})
        page = client.get("/onboarding/plan").text
    assert (checked(page), "días gratis" in page) == ("free", False)
    assert "No incluye:" in page


def test_a_pasted_text_becomes_a_document_of_the_bot(
    sign_in: SignIn, taught: Company, rival: Company, database: psycopg.Connection
) -> None:
    client = sign_in(taught, "owner")
    done = paste(client, taught.bot_id, HOTEL)
    assert (done.status_code, done.headers["location"]) == (
        303,
        f"/onboarding/test?bot={taught.bot_id}",
    )
    [row] = database.execute(DOCUMENTS, (taught.id,)).fetchall()
    assert row[1:] == (
        *("Horario del restaurante, Piscina.md", "Horario del restaurante, Piscina", "txt"),
        *(taught.bot_id, "pending"),
    )
    assert paste(client, taught.bot_id, "Precio: $ 9.", "Tarifas 24/7").status_code == 303
    named = database.execute(DOCUMENTS, (taught.id,)).fetchall()[1]
    assert named[1:3] == ("Tarifas 24-7.txt", "Tarifas 24/7")
    foreign = paste(sign_in(rival, "owner"), taught.bot_id, "De otra empresa.")
    assert foreign.status_code == 303
    assert foreign.headers["location"] == "/onboarding/bot"


def test_a_refused_text_keeps_what_was_typed_and_says_what_to_do(
    sign_in: SignIn, taught: Company, database: psycopg.Connection
) -> None:
    client = sign_in(taught, "owner")
    nothing = paste(client, taught.bot_id, "  \n ")
    assert (nothing.status_code, "Elige un archivo o pega un texto." in nothing.text) == (422, True)
    wrong = paste(client, taught.bot_id, "Abrimos a las 8.", "***")
    assert wrong.status_code == 422
    assert "Abrimos a las 8.</textarea>" in wrong.text
    assert paste(client, taught.bot_id, "Abrimos a las 8.").status_code == 303
    twice = paste(client, taught.bot_id, "Abrimos a las 8.")
    assert (twice.status_code, "ya está en los documentos" in twice.text) == (409, True)
    database.execute("update companies set max_storage_mb = 1 where id = %s", (taught.id,))
    full = paste(client, taught.bot_id, "palabra " * 150_000)
    assert (full.status_code, "El archivo no cabe" in full.text) == (409, True)
    assert len(database.execute(DOCUMENTS, (taught.id,)).fetchall()) == 1


def test_a_file_and_a_text_are_taken_together(
    sign_in: SignIn, taught: Company, database: psycopg.Connection
) -> None:
    client = sign_in(taught, "owner")
    data = {"chatbot_id": str(taught.bot_id), "content": "Abrimos a las 8.", "title": "Horario"}
    files = [
        ("file", ("precios.txt", b"Corte: $ 30.000")),
        ("file", ("sedes.md", b"# Sedes\nUna.")),
    ]
    assert client.post("/onboarding/documents", data=data, files=files).status_code == 303
    names = [row[1] for row in database.execute(DOCUMENTS, (taught.id,)).fetchall()]
    assert names == ["precios.txt", "sedes.md", "Horario.txt"]


def test_the_step_can_be_skipped_and_come_back_to(sign_in: SignIn, taught: Company) -> None:
    client = sign_in(taught, "owner")
    assert client.get("/onboarding").headers["location"] == "/onboarding/documents"
    skipped = client.post("/onboarding/skip", data={"step": "documents"})
    assert skipped.status_code == 303
    assert client.get("/onboarding").headers["location"] == "/onboarding/test"
    page = client.get("/onboarding/test").text
    assert "todavía no sabe nada de tu empresa" in page
    assert f'href="/onboarding/documents?bot={taught.bot_id}"' in page
    home = client.get("/console/home").text
    assert "Tu bot todavía no sabe nada de tu empresa" in home
    assert 'href="/onboarding/documents"' in home
    assert client.get("/onboarding/documents").status_code == 200
    sign_in(taught, "operador").get("/console/home")
    assert sign_in(taught, "operador").get("/onboarding/documents").status_code == 403
    assert paste(sign_in(taught, "operador"), taught.bot_id, "Hola a todos.").status_code == 403


@pytest.fixture
def read(urls: Urls, web_files: Path) -> Callable[[Company], None]:
    """Reads the waiting documents of a company, as the worker does."""

    async def run(company: Company) -> None:
        with psycopg.connect(urls.admin) as admin:
            waiting = admin.execute(
                "select id from documents where company_id = %s and processing_status = 'pending'",
                (company.id,),
            ).fetchall()
        settings = Settings(files_url=web_files.as_uri())
        async with make_pool(urls.jobs, size=2, pooled=False) as jobs:
            for (document,) in waiting:
                await process_document(jobs, open_store(settings), company.id, document)

    return lambda company: anyio.run(run, company)


@pytest.fixture
def web_files(tmp_path: Path) -> Path:
    return tmp_path / "files"


def test_the_trial_page_is_true_in_every_state_and_suggests_only_answered_questions(
    urls: Urls,
    taught: Company,
    tmp_path: Path,
    read: Callable[[Company], None],
    database: psycopg.Connection,
) -> None:
    with serving(web_settings(urls.app, tmp_path)) as url:
        client = httpx.Client(base_url=url, timeout=30)
        email = taught.people["owner"].email
        client.post("/login", data={"email": email, "password": PASSWORD})
        path, part = "/onboarding/test", f"/onboarding/test/documents?bot={taught.bot_id}"
        page = client.get(path).text
        assert "todavía no sabe nada de tu empresa" in page
        assert ("responde con tus documentos" in page, "data-working" in page) == (False, False)
        paste(client, taught.bot_id, HOTEL)
        for reading in (client.get(path).text, client.get(part).text):
            assert "Leyendo Horario del restaurante, Piscina.md" in reading
            assert "todavía no conoce este documento" in reading
            assert ("data-working" in reading, "suggestions" in reading) == (True, False)
        read(taught)
        ready = client.get(part).text
        assert "ya responde con tus documentos" in ready
        questions = [unescape(one) for one in re.findall(r'name="message" value="([^"]+)"', ready)]
        assert "¿Qué información tienes sobre piscina?" in questions
        for question in questions:
            answer = client.post(path, data={"bot": str(taught.bot_id), "message": question}).text
            assert "<q>" in answer, question
            assert "Respondió con tus documentos" in answer
        database.execute(
            "update documents set processing_status = 'failed', chunk_count = null,"
            ' processing_error = \'{"code": "document_empty", "params": {"filename": "x"}}\''
            " where company_id = %s",
            (taught.id,),
        )
        failed = client.get(path).text
        assert "No pudimos leer Horario del restaurante, Piscina.md" in failed
        assert "Sube un archivo que tenga texto" in failed
        assert "Agregar otro documento" in failed
        assert "ya responde con tus documentos" not in failed
        assert client.get("/v1/onboarding").json()["has_document"] is False
        document = database.execute(DOCUMENTS, (taught.id,)).fetchone()[0]
        again = {"document_id": str(document), "back": f"{path}?bot={taught.bot_id}"}
        tried = client.post("/console/knowledge/retry", data=again)
        assert (tried.status_code, tried.headers["location"]) == (303, again["back"])
        away = client.post("/console/knowledge/retry", data=again | {"back": "//rival.example"})
        assert "rival" not in away.headers["location"]


def test_the_steps_of_another_companys_bot_are_nobodys(
    sign_in: SignIn, taught: Company, rival: Company
) -> None:
    client, bot = sign_in(rival, "owner"), str(taught.bot_id)
    for path in ("test", "documents"):
        answer = client.get(f"/onboarding/{path}", params={"bot": bot})
        assert answer.headers["location"] == "/onboarding/bot"
    assert client.get("/onboarding/test/documents", params={"bot": bot}).status_code == 204
    asked = client.post("/onboarding/test", data={"bot": bot, "message": "hola"})
    assert asked.status_code == 404
    assert client.post("/onboarding/test", data={"bot": "x", "message": "hola"}).status_code == 404


def test_the_knowledge_page_takes_a_pasted_text(
    sign_in: SignIn, taught: Company, database: psycopg.Connection
) -> None:
    client = sign_in(taught, "supervisor")
    assert 'id="paste"' in client.get("/console/knowledge").text
    data = {"chatbot_id": str(taught.bot_id), "content": "Abrimos a las 8.", "title": "Horario"}
    done = client.post("/console/knowledge/documents", data=data, files={"file": ("", b"")})
    assert (done.status_code, done.headers["location"]) == (303, "/console/knowledge")
    assert [row[1] for row in database.execute(DOCUMENTS, (taught.id,))] == ["Horario.txt"]
    again = client.post("/console/knowledge/documents", data=data, files={"file": ("", b"")})
    assert again.status_code == 409
    assert 'value="Horario"' in again.text
    assert "Abrimos a las 8.</textarea>" in again.text
    cross = client.post(
        "/console/knowledge/documents", data=data, headers={"sec-fetch-site": "cross-site"}
    )
    assert cross.status_code == 403
