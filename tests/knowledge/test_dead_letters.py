"""A document whose worker dies twice is a dead letter with a reason; the others are read."""

from __future__ import annotations

import json
from uuid import UUID

import psycopg
import pytest

from neurant.core.object_store import open_store
from neurant.knowledge import jobs as document_jobs
from neurant.knowledge.service import document_error, store_document
from tests.knowledge import bombs
from tests.support.platform import (
    WorkerProcess,
    eventually,
    rows,
    taught,
    teach,
    worker_process,
    working,
)
from tests.support.stage import Stage

pytest_plugins = ("tests.support.fixtures",)
pytestmark = [pytest.mark.anyio, pytest.mark.platform]

STATE = "select processing_status::text, processing_error, chunk_count from documents where id = %s"
JOBS = """
select j.status::text, j.attempts, coalesce(d.deaths, 0)
from jobs.procrastinate_jobs j left join jobs.worker_deaths d on d.job_id = j.id
where j.args ->> 'document_id' = %s
"""
TEXT = "Domicilios\n\nLos domicilios cuestan 7300 pesos.\n"


def heartbeats_are_old(admin: str) -> None:
    """As if the thirty seconds had passed after which a silent worker counts as dead."""
    with psycopg.connect(admin) as db:
        db.execute(
            "update jobs.procrastinate_workers set last_heartbeat = now() - interval '1 hour'"
        )


async def killed_while_it_reads(stage: Stage, worker: WorkerProcess, document: UUID) -> None:
    admin = stage.urls.admin

    async def reads() -> bool:
        return (await rows(admin, JOBS, (str(document),)))[0][0] == "doing"

    await eventually(reads, 60)
    worker.kill()
    heartbeats_are_old(admin)


async def test_a_document_that_killed_two_workers_is_a_dead_letter_and_others_go_on(
    stage: Stage,
) -> None:
    admin = stage.urls.admin
    with psycopg.connect(admin) as db:
        # The row that a reader needs is held, so that the worker is surely at it when it is killed.
        document = await teach(stage.web, stage.acme, "acme.txt", TEXT)
        db.execute("select from documents where id = %s for update", (document,))
        with worker_process(stage.web.settings) as worker:
            await killed_while_it_reads(stage, worker, document)
            worker.start()

            async def given_back() -> bool:
                return (await rows(admin, JOBS, (str(document),)))[0][1:] == (1, 1)

            await eventually(given_back, 60)
            await killed_while_it_reads(stage, worker, document)
            db.rollback()
            other = await teach(stage.web, stage.rival, "rival.txt", TEXT)
            worker.start()

            async def dead() -> bool:
                return (await rows(admin, STATE, (document,)))[0][0] == "failed"

            async def read() -> bool:
                return (await rows(admin, STATE, (other,)))[0][0] == "completed"

            await eventually(dead, 60)
            await eventually(read, 60)
    [(_, error, chunks)] = await rows(admin, STATE, (document,))
    assert json.loads(error) == {
        "code": "document_stopped_worker",
        "params": {"filename": "acme.txt"},
    }
    assert "«acme.txt»" in document_error(error, "es")
    assert chunks == 0
    assert await rows(admin, JOBS, (str(document),)) == [("failed", 2, 2)]


async def test_one_death_is_forgiven_and_a_person_may_ask_again_after_two(stage: Stage) -> None:
    admin = stage.urls.admin
    document = await teach(stage.web, stage.acme, "acme.txt", TEXT)
    for deaths in (1, 2):
        with psycopg.connect(admin) as db:  # as two workers at once find it
            db.execute("set search_path = jobs")
            [job] = db.execute(
                "update procrastinate_jobs set status = 'doing', worker_id = null returning id"
            ).fetchone()
        counted = []
        for _ in range(2):
            [found] = await rows(admin, "select jobs.count_worker_death(%s, null)", (job,))
            counted.append(found[0])
        # A second rescuer finds a job that was given back, or counts a dead one without harm.
        assert counted == ([1, None] if deaths == 1 else [2, 3])
    async with working(stage.web.settings):

        async def dead() -> bool:
            return (await rows(admin, STATE, (document,)))[0][0] == "failed"

        await eventually(dead)
        with psycopg.connect(admin) as db:
            claims = {
                "sub": str(stage.acme.people["owner"].auth_user_id),
                "company_id": str(stage.acme.id),
            }
            db.execute(
                "select set_config('role', 'authenticated', true),"
                " set_config('request.jwt.claims', %s, true)",
                (json.dumps(claims),),
            )
            db.execute(
                "select private.defer_job('process_document', jsonb_build_object('document_id',"
                " %s::text))",
                (str(document),),
            )

        async def read() -> bool:
            return (await rows(admin, STATE, (document,)))[0][0] == "completed"

        await eventually(read)


async def test_a_document_that_no_try_could_read_says_so(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> bytes:
        raise OSError("the store is away")

    monkeypatch.setattr(document_jobs, "read_file", away)
    document = await teach(stage.web, stage.acme, "acme.txt", TEXT)
    admin = stage.urls.admin
    with psycopg.connect(admin) as db:  # the last try
        db.execute("set search_path = jobs")
        db.execute("update procrastinate_jobs set attempts = 3")
    async with working(stage.web.settings):

        async def failed() -> bool:
            return (await rows(admin, STATE, (document,)))[0][0] == "failed"

        await eventually(failed)
    [(_, error, _)] = await rows(admin, STATE, (document,))
    assert json.loads(error)["code"] == "document_not_read"


async def test_a_bomb_fails_alone_while_the_worker_lives_and_answers(stage: Stage) -> None:
    web = stage.web
    bomb = await store_document(
        web.pool, open_store(web.settings), web.settings, stage.rival.staff("owner"),
        stage.rival.bot_id, "bomba.pdf", bombs.forms_that_call_each_other(),
    )  # fmt: skip
    await teach(web, stage.acme, "acme.txt", TEXT)
    admin = stage.urls.admin
    with worker_process(web.settings) as worker:
        await taught(web, stage.acme, 90)

        async def failed() -> bool:
            return (await rows(admin, STATE, (bomb,)))[0][0] == "failed"

        await eventually(failed, 90)
        assert worker.process.poll() is None
    [(_, error, _)] = await rows(admin, STATE, (bomb,))
    assert json.loads(error)["code"] in ("document_needs_memory", "document_takes_too_long")
