"""The web process on a real port, and people of a company who are signed in to it."""

from __future__ import annotations

import asyncio
import base64
import itertools
import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest
import uvicorn
from argon2 import PasswordHasher
from pydantic import SecretStr

from neurant.auth import passwords
from neurant.auth.passwords import hash_password
from neurant.core.settings import Settings
from neurant.installation.embedded import Urls
from neurant.runtime.app import create_app
from neurant.runtime.front import Bounds, end_unread_connections, make_config
from tests.companies import Company, make_company
from tests.console.people import PASSWORD, Visitor, write

MASTER_KEY = SecretStr(base64.b64encode(os.urandom(32)).decode())  # what is sealed opens in tests


@pytest.fixture(scope="session", autouse=True)
def cheap_hashes() -> Iterator[None]:
    """Passwords are hashed a thousand times here: each for a thousandth of what it costs outside."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=64))
        yield


@pytest.fixture(scope="session")
def web_url(urls: Urls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a web process on the session's database."""
    with serving(web_settings(urls.app, tmp_path_factory.mktemp("web"))) as url:
        yield url


def web_settings(app_url: str, folder: Path, **more: object) -> Settings:
    """Settings of a web process that keeps its files in ``folder``."""
    (folder / "files").mkdir(exist_ok=True)
    return Settings(
        data_dir=folder / "data",
        app_database_url=app_url,
        master_key=MASTER_KEY,
        files_url=(folder / "files").as_uri(),
        log_level="warning",
        **more,
    )


@contextmanager
def serving(settings: Settings, bounds: Bounds | None = None) -> Iterator[str]:
    """A web process of these settings, behind the front that the product runs with."""
    listener = socket.create_server(("127.0.0.1", 0))
    end_unread_connections(listener)
    config = make_config(
        lambda: create_app(settings), settings, bounds, factory=True, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server._serve([listener])), daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    httpx.Client(transport=httpx.HTTPTransport(retries=20)).get(f"{url}/healthz")
    try:
        yield url
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.fixture
def nobody(web_url: str) -> Iterator[httpx.Client]:
    """A browser that nobody has signed in with."""
    with httpx.Client(base_url=web_url) as client:
        yield client


@pytest.fixture(scope="session")
def known_password(cheap_hashes: None) -> str:
    return hash_password(PASSWORD)


@pytest.fixture(scope="module")
def acme(urls: Urls, known_password: str) -> Company:
    return make_company(urls.admin, "acme", password_hash=known_password)


@pytest.fixture(scope="module")
def rival(urls: Urls, known_password: str) -> Company:
    return make_company(urls.admin, "rival", password_hash=known_password)


@pytest.fixture(scope="session")
def sign_in(web_url: str) -> Iterator[Callable[[Company, str], httpx.Client]]:
    """Signs somebody in; the same browser again for the same person."""
    opened: dict[str, httpx.Client] = {}

    def enter(company: Company, role: str) -> httpx.Client:
        email = company.people[role].email
        if email not in opened:
            client = httpx.Client(base_url=web_url)
            answer = client.post("/login", data={"email": email, "password": PASSWORD})
            assert answer.status_code == 303, answer.text
            opened[email] = client
        return opened[email]

    yield enter
    for client in opened.values():
        client.close()


_ADDRESSES = itertools.cycle(f"127.{a}.{b}.1" for a in range(100, 110) for b in range(1, 250))


@pytest.fixture
def visit(web_url: str) -> Iterator[Callable[[Company, str], Visitor]]:
    """A new visitor who writes something to a company's bot, each test's from its own address."""
    transport = httpx.HTTPTransport(local_address=next(_ADDRESSES), verify=False)
    with httpx.Client(base_url=web_url, transport=transport) as client:

        def write_to(company: Company, text: str) -> Visitor:
            path = f"/chat/{company.web}"
            token = client.post(f"{path}/session").json()["token"]
            conversation = write(client, path, token, text)
            return Visitor(token, conversation, client, path)

        yield write_to


@pytest.fixture
def database(urls: Urls) -> Iterator[psycopg.Connection]:
    """The database as its superuser, to look behind the scenes."""
    with psycopg.connect(urls.admin, autocommit=True) as connection:
        yield connection


@pytest.fixture
def text_file(tmp_path: Path) -> Callable[[str], Path]:
    """A text document."""

    def write_file(content: str) -> Path:
        path = tmp_path / f"{uuid.uuid4().hex}.txt"
        path.write_text(content, "utf-8")
        return path

    return write_file
