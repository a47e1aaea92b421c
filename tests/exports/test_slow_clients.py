"""Clients that read nothing, over real sockets: others export meanwhile, nothing stays open for
them in the database, and they are disconnected."""

from __future__ import annotations

import contextlib
import io
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit
from zipfile import ZipFile

import httpx
import psycopg
import pytest

from neurant.installation.embedded import Urls
from neurant.runtime.front import Bounds
from tests.companies import Company, make_company
from tests.console.people import PASSWORD
from tests.console.running_web import serving, web_settings

pytest_plugins = ("tests.console.running_web",)
PATH = "/v1/export"
BOUNDS = Bounds(window=3, tick=0.1)
_OPEN = """
select count(*) from pg_stat_activity
where usename = 'neurant_app' and state like 'idle in transaction%' and datname = current_database()
"""


@pytest.fixture(scope="module")
def url(urls: Urls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A web process whose clients may be slow for three seconds."""
    settings = web_settings(urls.app, tmp_path_factory.mktemp("slow"))
    with serving(settings, BOUNDS) as running:
        yield running


@pytest.fixture(scope="module")
def large(urls: Urls, known_password: str) -> Company:
    """A company whose export does not fit the buffers of a socket."""
    made = make_company(urls.admin, "acme", password_hash=known_password)
    with psycopg.connect(urls.admin) as db:
        db.execute(
            "insert into canned_responses (company_id, shortcut, content)"
            " select %s, 's-' || n, (select string_agg(md5(random()::text || n || i), '')"
            "   from generate_series(1, 60) i)"
            " from generate_series(1, 10000) n",
            (made.id,),
        )
    return made


def token_of(url: str, company: Company) -> str:
    body = {"email": company.people["owner"].email, "password": PASSWORD}
    answer = httpx.post(f"{url}/v1/session", json=body)
    return str(answer.json()["token"])


@contextlib.contextmanager
def unread(url: str, path: str, token: str) -> Iterator[socket.socket]:
    """A client with a tiny window that asks, reads the first bytes, and then nothing."""
    where = urlsplit(url)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.connect((where.hostname, where.port))
        client.sendall(
            f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        )
        client.settimeout(20)
        assert client.recv(16).startswith(b"HTTP/1.1 200")
        yield client


def is_eventually(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_others_export_while_a_company_reads_nothing_of_its_exports(
    url: str, large: Company, rival: Company, database: psycopg.Connection
) -> None:
    token, other = token_of(url, large), token_of(url, rival)

    def nothing_open() -> bool:
        return database.execute(_OPEN).fetchone() == (0,)

    def both_places_are_free() -> bool:
        def export() -> contextlib.AbstractContextManager[httpx.Response]:
            headers = {"authorization": f"Bearer {token}"}
            return httpx.stream("GET", f"{url}{PATH}", headers=headers, timeout=60)

        with export() as one, export() as another:
            return one.status_code == another.status_code == 200

    with unread(url, PATH, token) as first, unread(url, PATH, token) as second:
        refused = httpx.get(f"{url}{PATH}", headers={"authorization": f"Bearer {token}"})
        assert (refused.status_code, refused.json()["code"]) == (429, "exports.busy")
        assert int(refused.headers["retry-after"]) > 0
        begun = time.monotonic()
        answer = httpx.get(f"{url}{PATH}", headers={"authorization": f"Bearer {other}"})
        assert (answer.status_code, ZipFile(io.BytesIO(answer.content)).testzip()) == (200, None)
        assert time.monotonic() - begun < 20
        assert is_eventually(nothing_open, 10), "a transaction waits for a client"
        assert is_eventually(both_places_are_free, 60), "the places were not given back"
        for client in (first, second):  # both were ended: what comes is not the whole archive
            received = b""
            with contextlib.suppress(ConnectionError):
                while part := client.recv(1 << 20):
                    received += part
            assert not received.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize(
    "path", ["/console/inbox/stream", "/console/settings/audit/export?form=ndjson"]
)
def test_no_stream_holds_a_transaction_for_its_client(
    url: str, large: Company, database: psycopg.Connection, path: str
) -> None:
    with unread(url, path, token_of(url, large)):
        assert is_eventually(lambda: database.execute(_OPEN).fetchone() == (0,), 10)


def test_a_slow_client_that_reads_on_gets_the_whole_archive(url: str, large: Company) -> None:
    headers = {"authorization": f"Bearer {token_of(url, large)}"}
    received = b""
    with httpx.stream("GET", f"{url}{PATH}", headers=headers, timeout=60) as answer:
        for number, piece in enumerate(answer.iter_raw(65536)):
            received += piece
            if number % 20 == 0:
                time.sleep(0.05)  # its own pace
    made = ZipFile(io.BytesIO(received))
    assert made.testzip() is None
    assert made.namelist()[-1] == "manifest.json"
    assert made.read("tables/canned_responses.ndjson").count(b"\n") == 10_000


def test_a_document_is_sent_in_pieces_that_hold_nothing(
    url: str, large: Company, database: psycopg.Connection, tmp_path: Path
) -> None:
    token = token_of(url, large)
    headers = {"authorization": f"Bearer {token}"}
    text = b"\n".join(b"Horario %d" % n for n in range(400_000))
    taken = httpx.post(
        f"{url}/v1/chatbots/{large.bot_id}/documents",
        headers=headers,
        files={"file": ("largo.txt", text, "text/plain")},
    )
    assert taken.status_code == 202, taken.text
    path = f"/v1/documents/{taken.json()['id']}/file"
    with unread(url, path, token):
        assert is_eventually(lambda: database.execute(_OPEN).fetchone() == (0,), 10)
        whole = httpx.get(f"{url}{path}", headers=headers)
    assert whole.content == text
    assert int(whole.headers["content-length"]) == len(text)
