"""Reads from a streaming replica are never older than the request; without it the primary serves."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest

from neurant.api import call as api_call
from neurant.api.replica import Replica
from neurant.core.db.pool import make_pool
from neurant.installation.embedded import RunningServer, Urls, _launch, start_supervised
from neurant.installation.install import Cluster, read_secrets
from neurant.installation.migrate import migrate, set_login_passwords
from tests.companies import Company, make_company
from tests.conftest import FAST
from tests.console.people import PASSWORD
from tests.console.running_web import serving, web_settings

pytest_plugins = ("tests.console.running_web",)
PATH = "/v1/canned-responses"


@dataclass
class Standby:
    """A replica of a server: its process, and where it is."""

    cluster: Cluster
    process: subprocess.Popen[bytes]
    port: int
    admin: str
    app: str

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)  # fast: without waiting for its clients
        self.process.wait(20)

    def start_again(self) -> None:
        self.process, _ = _launch(self.cluster, FAST, self.port, supervised=True)

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.admin, autocommit=True) as db:
            db.execute(statement)


@pytest.fixture(scope="module")
def primary(data_dir: Path) -> Iterator[RunningServer]:
    folder = data_dir / "primary"
    folder.mkdir()
    folder.chmod(0o711)
    running = start_supervised(folder, FAST | {"synchronous_commit": "on"})
    migrate(running.urls.admin)
    secret = read_secrets(folder)
    set_login_passwords(running.urls.admin, app=secret.app_password, jobs=secret.jobs_password)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def standby(primary: RunningServer) -> Iterator[Standby]:
    root = primary.cluster.root.parent / "standby"
    root.mkdir()
    if primary.cluster.account:
        os.chown(root, primary.cluster.account.uid, primary.cluster.account.gid)
    cluster, url = replace(primary.cluster, root=root), urlsplit(primary.urls.admin)
    run_as = cluster.run_as()
    subprocess.run(
        [
            cluster.programs / "pg_basebackup",
            *("-d", primary.urls.admin.replace("/neurant?", "/postgres?"), "-D", cluster.data),
            *("-R", "-X", "stream", "-c", "fast"),
        ],
        check=True,
        **run_as,
    )
    process, port = _launch(cluster, FAST, None, supervised=True)
    admin, app = (
        one.replace(f":{url.port}/", f":{port}/") for one in (primary.urls.admin, primary.urls.app)
    )
    running = Standby(cluster, process, port, admin, app)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def company(primary: RunningServer, known_password: str) -> Company:
    return make_company(primary.urls.admin, "acme", password_hash=known_password)


@pytest.fixture
def served_there(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A mark for every call that the replica served."""
    marks: list[str] = []
    plain = api_call._entered_there

    async def marked(*args: object) -> object:
        marks.append("replica")
        return await plain(*args)

    monkeypatch.setattr(api_call, "_entered_there", marked)
    return marks


@pytest.fixture
def client(
    primary: RunningServer, standby: Standby, company: Company, tmp_path: Path
) -> Iterator[httpx.Client]:
    settings = web_settings(primary.urls.app, tmp_path, replica_database_url=standby.app)
    with serving(settings) as url, httpx.Client(base_url=url) as opened:
        body = {"email": company.people["owner"].email, "password": PASSWORD}
        token = opened.post("/v1/session", json=body).json()["token"]
        opened.headers["authorization"] = f"Bearer {token}"
        yield opened


def make(client: httpx.Client, shortcut: str) -> str:
    answer = client.post(PATH, json={"shortcut": shortcut, "content": "Hola"})
    assert answer.status_code == 201, answer.text
    return f"{PATH}/{answer.json()['id']}"


def test_whoever_has_written_reads_it_although_the_replica_stands_still(
    client: httpx.Client, standby: Standby, served_there: list[str]
) -> None:
    standby.execute("select pg_wal_replay_pause()")
    try:
        path = make(client, "quieta")
        for _ in range(5):
            assert client.get(path).status_code == 200
        assert served_there == []
        client.delete(path)
        assert client.get(path).status_code == 404
    finally:
        standby.execute("select pg_wal_replay_resume()")


def test_what_is_replayed_is_read_from_the_replica_and_written_to_the_primary(
    client: httpx.Client, served_there: list[str]
) -> None:
    for turn in range(20):
        path = make(client, f"turno-{turn}")
        assert client.get(path).json()["shortcut"] == f"turno-{turn}"
        changed = client.patch(path, json={"content": f"Ahora {turn}"})
        assert client.get(path).json() == changed.json()
        assert client.head(path).status_code == 200
    assert len(served_there) > 30


def test_who_was_deactivated_reads_nothing_although_the_replica_does_not_know(
    client: httpx.Client, primary: RunningServer, standby: Standby, company: Company
) -> None:
    assert client.get(PATH).status_code == 200
    change = "update users set permissions = %s where company_id = %s and role = 'supervisor'"
    body = {"email": company.people["supervisor"].email, "password": PASSWORD}
    token = client.post("/v1/session", json=body).json()["token"]
    theirs = {"authorization": f"Bearer {token}"}
    assert client.get(PATH, headers=theirs).status_code == 200
    standby.execute("select pg_wal_replay_pause()")
    try:
        with psycopg.connect(primary.urls.admin) as db:
            db.execute(change, ('{"canned_responses.read": false}', company.id))
        assert client.get(PATH, headers=theirs).status_code == 403
    finally:
        standby.execute("select pg_wal_replay_resume()")


def test_every_list_can_be_read_where_nothing_can_be_written(
    client: httpx.Client, served_there: list[str]
) -> None:
    document = client.get("/v1/openapi.json").json()["paths"]
    paths = [path for path, operations in document.items() if "get" in operations]
    tried = [path for path in paths if "{" not in path and path.startswith("/v1/")]
    deadline = time.monotonic() + 60  # on a busy machine the replica lags behind for a while
    while len(served_there) < len(tried) // 2 and time.monotonic() < deadline:
        for path in tried:
            with client.stream("GET", path) as answer:  # some go on for ever
                assert answer.status_code < 500, path
    assert len(served_there) >= len(tried) // 2


def test_without_the_replica_the_primary_serves(
    client: httpx.Client, standby: Standby, served_there: list[str]
) -> None:
    standby.stop()
    try:
        path = make(client, "sola")
        for _ in range(10):
            assert client.get(path).status_code == 200
    finally:
        standby.start_again()


@pytest.mark.anyio
async def test_what_is_no_replica_of_ours_is_not_used(urls: Urls, primary: RunningServer) -> None:
    for there in (primary.urls.app, urls.app):
        async with (
            make_pool(there, size=2, pooled=True) as pool,
            await psycopg.AsyncConnection.connect(primary.urls.app, autocommit=True) as connection,
        ):
            replica = Replica(pool)
            assert not await replica.has(await replica.position_on(connection))
