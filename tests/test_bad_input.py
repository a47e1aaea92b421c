"""Bad input of every kind gets a clear error in the reader's language, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
import pytest
from pydantic import SecretStr

from neurant.auth.passwords import hash_password
from neurant.core.settings import Settings
from neurant.installation.embedded import Urls
from neurant.runtime.app import create_app
from tests.companies import Company, make_company, open_visitor
from tests.support.platform import free_port, serving

pytestmark = pytest.mark.anyio

PASSWORD = "una contraseña larga"
FREE_ATTEMPTS = 5  # private.brake_keys


@pytest.fixture(scope="module")
def acme(urls: Urls) -> Company:
    return make_company(urls.admin, "acme", password_hash=hash_password(PASSWORD))


@pytest.fixture
async def web(urls: Urls, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(
        data_dir=tmp_path,
        app_database_url=SecretStr(urls.app),
        max_document_bytes=200_000,
        log_level="error",
    )
    async with (
        serving(create_app(settings), free_port(), lifespan="on") as base,
        httpx.AsyncClient(base_url=base, timeout=30) as client,
    ):
        yield client


def stored(urls: Urls, company: Company) -> list[int]:
    """How much of everything that could be written is there."""
    tables = ("messages", "conversations", "inbound_events", "documents", "reply_requests")
    with psycopg.connect(urls.admin) as db:
        return [
            db.execute(f"select count(*) from {t} where company_id = %s", (company.id,)).fetchone()[
                0
            ]
            for t in tables
        ]


def problem(answer: httpx.Response, status: int) -> str:
    """The person's text of a well-formed error."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert body["code"]
    assert body["request_id"] == answer.headers["x-request-id"]
    return body["detail"]


BODIES = {
    "not json": b"{",
    "an array": b"[]",
    "no update_id": b'{"message": {}}',
    "a message without chat": b'{"update_id": 1, "message": {"text": "hola"}}',
    "text that is a number": b'{"update_id": 1, "message": {"chat": {"id": "x"}, "message_id": 1, "text": "a"}}',
    "deeply nested": b"[" * 100_000,
    "not utf-8": b'{"update_id": 1, "message": "\xff\xfe"}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_a_malformed_update_is_refused_and_nothing_is_written(
    web: httpx.AsyncClient, urls: Urls, acme: Company, body: bytes
) -> None:
    before = stored(urls, acme)
    answer = await web.post(
        f"/webhooks/telegram/{acme.telegram}",
        content=body,
        headers={"x-telegram-bot-api-secret-token": acme.telegram_secret},
    )
    assert "Telegram" in problem(answer, 400)
    assert stored(urls, acme) == before


async def test_whose_body_cannot_be_read_must_prove_itself_first(
    web: httpx.AsyncClient, acme: Company
) -> None:
    headers = {"x-telegram-bot-api-secret-token": "wrong"}
    url = f"/webhooks/telegram/{acme.telegram}"
    problem(await web.post(url, content=b"{", headers=headers), 401)
    problem(await web.post("/webhooks/telegram/nobody-here", content=b"{"), 404)


async def test_sixty_guesses_side_by_side_are_slowed_down_like_one_after_another(
    web: httpx.AsyncClient, urls: Urls
) -> None:
    company = make_company(urls.admin, "guessed", password_hash=hash_password(PASSWORD))
    guess = {"email": company.people["owner"].email, "password": "adivino"}
    answers = await asyncio.gather(*(web.post("/v1/session", json=guess) for _ in range(60)))
    statuses = [answer.status_code for answer in answers]
    assert statuses.count(401) == FREE_ATTEMPTS
    assert statuses.count(429) == 60 - FREE_ATTEMPTS


def update(text: str) -> str:
    chat = {"id": 99, "type": "private"}
    message = {"message_id": uuid4().int % 10**9, "chat": chat, "date": 1, "text": text}
    return json.dumps({"update_id": uuid4().int % 10**9, "message": message})


@pytest.mark.parametrize("secret", [None, "", "wrong", "ñ"])
async def test_a_wrong_signature_is_refused(
    web: httpx.AsyncClient, urls: Urls, acme: Company, secret: str | None
) -> None:
    before = stored(urls, acme)
    headers = {} if secret is None else {b"x-telegram-bot-api-secret-token": secret.encode()}
    answer = await web.post(
        f"/webhooks/telegram/{acme.telegram}", content=update("hola"), headers=headers
    )
    problem(answer, 401)
    assert stored(urls, acme) == before


async def test_another_companys_secret_does_not_open_this_one(
    web: httpx.AsyncClient, urls: Urls, acme: Company
) -> None:
    rival = make_company(urls.admin, "rival")
    headers = {"x-telegram-bot-api-secret-token": rival.telegram_secret}
    answer = await web.post(
        f"/webhooks/telegram/{acme.telegram}", content=update("hola"), headers=headers
    )
    problem(answer, 401)
    assert stored(urls, rival) == [0] * 5


async def test_an_unknown_bot_is_not_found(web: httpx.AsyncClient) -> None:
    problem(await web.post("/webhooks/telegram/nobody-here", content=update("hola")), 404)
    problem(await web.post("/webhooks/fax/nobody-here", content=b"x"), 404)
    problem(await web.post("/chat/nobody-here/session"), 404)
    for page in ("/chat/nobody-here", "/chat/%00abcdefgh", "/chat/x"):
        assert (await web.get(page)).status_code == 404


@pytest.mark.parametrize("path", ["/webhooks/telegram/some-bot-id", "/chat/some-bot-id/messages"])
async def test_a_body_of_10_mb_is_refused_before_it_is_read(
    web: httpx.AsyncClient, path: str
) -> None:
    assert "MB" in problem(await web.post(path, content=b"x" * 10_000_000), 413)


async def test_text_that_cannot_be_stored_is_kept_visible_from_telegram(
    web: httpx.AsyncClient, urls: Urls, acme: Company
) -> None:
    answer = await web.post(
        f"/webhooks/telegram/{acme.telegram}",
        content=update("a\x00b\ud800c"),
        headers={"x-telegram-bot-api-secret-token": acme.telegram_secret},
    )
    assert answer.status_code == 200
    with psycopg.connect(urls.admin) as db:
        newest = (
            "select content from messages where company_id = %s order by created_at desc limit 1"
        )
        assert db.execute(newest, (acme.id,)).fetchone() == ("a\ufffdb\ufffdc",)


TEXTS = {
    "empty": ("", "Escribe un mensaje"),
    "only spaces": (" \n\t ", "Escribe un mensaje"),
    "NUL": ("a\x00b", "caracteres"),
    "a lone surrogate": ("a\ud800b", "caracteres"),
    "too long": ("x" * 4001, "4001"),
}


@pytest.mark.parametrize(("words", "told"), TEXTS.values(), ids=TEXTS)
async def test_a_visitor_is_shown_what_is_wrong_with_a_message(
    web: httpx.AsyncClient, urls: Urls, acme: Company, words: str, told: str
) -> None:
    token, _ = open_visitor(urls.admin, acme)
    before = stored(urls, acme)
    answer = await web.post(
        f"/chat/{acme.web}/messages",
        content=json.dumps({"client_id": str(uuid4()), "text": words}),
        headers={"authorization": f"Bearer {token}", "content-type": "application/json"},
    )
    assert told in problem(answer, 422)
    assert stored(urls, acme) == before


async def test_the_error_speaks_the_readers_language(
    web: httpx.AsyncClient, urls: Urls, acme: Company
) -> None:
    token, _ = open_visitor(urls.admin, acme)
    answer = await web.post(
        f"/chat/{acme.web}/messages",
        json={"client_id": str(uuid4()), "text": ""},
        headers={"authorization": f"Bearer {token}", "accept-language": "en-GB,en;q=0.8"},
    )
    assert problem(answer, 422).startswith("Write a message")


@pytest.mark.parametrize(
    "body", [{}, {"text": "x"}, {"client_id": "7", "text": "x"}, [], "x", None]
)
async def test_a_message_of_the_wrong_shape_names_the_fields(
    web: httpx.AsyncClient, urls: Urls, acme: Company, body: object
) -> None:
    token, _ = open_visitor(urls.admin, acme)
    answer = await web.post(
        f"/chat/{acme.web}/messages", json=body, headers={"authorization": f"Bearer {token}"}
    )
    problem(answer, 422)


async def test_a_visitor_without_a_valid_session_is_shown_a_request_to_reload(
    web: httpx.AsyncClient, urls: Urls, acme: Company
) -> None:
    expired, digest = open_visitor(urls.admin, acme)
    with psycopg.connect(urls.admin) as db:
        db.execute(
            "update visitor_sessions set expires_at = now() where token_digest = %s", (digest,)
        )
    message = {"client_id": str(uuid4()), "text": "hola"}
    for authorization in (None, "Bearer", "Bearer nobody", "Basic x", f"Bearer {expired}"):
        headers = {"authorization": authorization} if authorization else {}
        problem(await web.post(f"/chat/{acme.web}/messages", json=message, headers=headers), 401)
        problem(await web.get(f"/chat/{acme.web}/stream", headers=headers), 401)


async def test_a_visitor_cannot_read_another_chats_stream(
    web: httpx.AsyncClient, urls: Urls, acme: Company
) -> None:
    rival = make_company(urls.admin, "rival")
    token, _ = open_visitor(urls.admin, acme)
    headers = {"authorization": f"Bearer {token}"}
    problem(await web.get(f"/chat/{rival.web}/stream", headers=headers), 401)
    message = {"client_id": str(uuid4()), "text": "hola"}
    problem(await web.post(f"/chat/{rival.web}/messages", json=message, headers=headers), 401)
    assert stored(urls, rival) == [0] * 5


async def bearer(
    web: httpx.AsyncClient, company: Company, role: str = "supervisor"
) -> dict[str, str]:
    credentials = {"email": company.people[role].email.upper(), "password": PASSWORD}
    answer = await web.post("/v1/session", json=credentials)
    assert answer.status_code == 201, answer.text
    return {"authorization": f"Bearer {answer.json()['token']}"}


FILES = {
    "an empty file": ("a.txt", b"", 422),
    "a program named pdf": ("a.pdf", b"\x7fELF\x02\x01\x01" + bytes(100), 422),
    "a pdf named docx": ("a.docx", b"%PDF-1.7\n%%EOF", 415),
    "a picture": ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(50), 415),
    "a file that is too large": ("a.txt", b"x" * 200_001, 413),
    "a name that is too long": ("x" * 300 + ".txt", b"hola", 422),
}


@pytest.mark.parametrize(("name", "data", "status"), FILES.values(), ids=FILES)
async def test_a_file_that_is_no_document_is_refused(
    web: httpx.AsyncClient, urls: Urls, acme: Company, name: str, data: bytes, status: int
) -> None:
    headers, before = await bearer(web, acme), stored(urls, acme)
    url = f"/v1/chatbots/{acme.bot_id}/documents"
    answer = await web.post(url, files={"file": (name, data)}, headers=headers)
    problem(answer, status)
    assert stored(urls, acme) == before


async def test_an_unknown_bot_and_another_companys_bot_are_refused_alike(
    web: httpx.AsyncClient, urls: Urls, acme: Company
) -> None:
    rival, headers = make_company(urls.admin, "rival"), await bearer(web, acme)
    told = [
        problem(
            await web.post(
                f"/v1/chatbots/{bot}/documents", files={"file": ("a.txt", b"hola")}, headers=headers
            ),
            404,
        )
        for bot in (rival.bot_id, uuid4())
    ]
    assert told[0] == told[1]


async def test_an_operador_may_not_add_documents_and_a_supervisor_may(
    web: httpx.AsyncClient, acme: Company
) -> None:
    url, file = f"/v1/chatbots/{acme.bot_id}/documents", {"file": ("a.txt", b"Precio: 10")}
    problem(await web.post(url, files=file, headers=await bearer(web, acme, "operador")), 403)
    allowed = await web.post(url, files=file, headers=await bearer(web, acme))
    assert allowed.status_code == 202
    again = await web.post(url, files=file, headers=await bearer(web, acme))
    assert "ya está" in problem(again, 409)


async def test_an_unexpected_path_or_method_answers_in_our_shape(web: httpx.AsyncClient) -> None:
    problem(await web.get("/v1/nothing-here"), 404)
    problem(await web.delete("/v1/chatbots"), 405)
    problem(await web.get("/v1/chatbots"), 401)


async def test_no_other_account_of_the_machine_can_read_the_files(
    web: httpx.AsyncClient, acme: Company, tmp_path: Path
) -> None:
    url, file = f"/v1/chatbots/{acme.bot_id}/documents", {"file": ("b.txt", b"Secreto: 11")}
    assert (await web.post(url, files=file, headers=await bearer(web, acme))).status_code == 202
    assert list((tmp_path / "files").rglob("*"))
    assert (tmp_path / "files").stat().st_mode & 0o077 == 0
