"""The general job queue (procrastinate), which processes documents.

The transaction that needs a job defers it in SQL (``private.defer_job``); this module runs the
jobs. Their arguments contain only ids. The database chooses the next job
(``jobs.fetch_fair_job``) and counts how often a worker died during it (``jobs.worker_deaths``).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterable
from uuid import UUID

import procrastinate
from obstore.store import ObjectStore
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager
from psycopg import AsyncConnection

from neurant.core.db.connection import WatchedConnection, be_patient, connect, with_timeouts
from neurant.core.db.pool import Pool
from neurant.core.logs import get_logger
from neurant.knowledge.jobs import give_up_document, process_document
from neurant.knowledge.service import PROCESS_TASK

_TRIES = 4
_STALLED_AFTER = 30.0  # seconds without a heartbeat, after which a worker counts as dead
_RESCUE_EVERY = 15.0
_DEATHS = 2  # of workers, after which a job is a dead letter (jobs.count_worker_death)
_MAX_CONCURRENT_JOBS = 2  # concurrent jobs; at most one of each company

_FETCH = "select * from jobs.fetch_fair_job(%(queues)s, %(worker)s)"
_COUNT_DEATH = "select jobs.count_worker_death(%(job)s, %(worker)s) as deaths"
_JOB_PATIENCE = 60.0  # seconds for a statement; a long document's passages enter an index

log = get_logger(__name__)


class _FairJobs(JobManager):
    """The library's job manager, with the database choosing the next job fairly by company."""

    async def fetch_job(self, queues: Iterable[str] | None, worker_id: int) -> Job | None:
        """Return the next job for this worker, or None."""
        row = await self.connector.execute_query_one_async(
            _FETCH, queues=list(queues) if queues else None, worker=worker_id
        )
        return Job.from_row(row) if row["id"] is not None else None


class _Connector(procrastinate.PsycopgConnector):
    """A connector with queries through the pool (or a pooler) and LISTEN on a direct connection."""

    def __init__(self, *, pooled_url: str, direct_url: str) -> None:
        super().__init__(
            conninfo=with_timeouts(pooled_url),
            connection_class=WatchedConnection,
            min_size=1,
            max_size=3,
            kwargs={"prepare_threshold": None},
        )
        self._direct_url = direct_url

    @contextlib.asynccontextmanager
    async def _get_standalone_connection(
        self,
    ) -> AsyncGenerator[AsyncConnection, None]:
        async with await connect(self._direct_url, autocommit=True) as connection:
            yield connection


def make_job_app(
    pool: Pool, store: ObjectStore, pooled_url: str, direct_url: str
) -> procrastinate.App:
    """Return the queue's application with all tasks of the platform."""
    connector = _Connector(pooled_url=pooled_url, direct_url=direct_url)
    app = procrastinate.App(connector=connector)
    app.job_manager = _FairJobs(connector)
    retry = procrastinate.RetryStrategy(max_attempts=_TRIES - 1, exponential_wait=2)

    @app.task(name=PROCESS_TASK, retry=retry, pass_context=True)
    async def _process_document(
        context: procrastinate.JobContext, document_id: str, company_id: str
    ) -> None:
        company, document = UUID(company_id), UUID(document_id)
        be_patient(_JOB_PATIENCE)
        try:
            await process_document(pool, store, company, document)
        except BaseException:  # also when the worker stops, because nothing else would mark it
            if context.job.attempts >= _TRIES - 1:
                await give_up_document(pool, company, document, "document_not_read")
            raise

    return app


async def run_jobs(app: procrastinate.App, pool: Pool, stop: asyncio.Event) -> None:
    """Run jobs until ``stop``, then wait up to 10 seconds for the running ones."""
    async with app.open_async():
        worker = asyncio.create_task(
            app.run_worker_async(
                concurrency=_MAX_CONCURRENT_JOBS,
                install_signal_handlers=False,
                shutdown_graceful_timeout=10,
            )
        )
        rescuer = asyncio.create_task(_rescue(app, pool))
        stopping = asyncio.create_task(stop.wait())
        # A failure of one ends all of them, and the caller starts them again together.
        await asyncio.wait([worker, rescuer, stopping], return_when=asyncio.FIRST_COMPLETED)
        for task in (stopping, rescuer, worker):
            task.cancel()
        for outcome in await asyncio.gather(worker, rescuer, stopping, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome


async def _rescue(app: procrastinate.App, pool: Pool) -> None:
    """Requeue the jobs of dead workers once; after the second death a job is a dead letter.

    Otherwise a job that kills its worker would kill one worker after another.
    """
    while True:
        for job in await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=_STALLED_AFTER):
            row = await app.connector.execute_query_one_async(
                _COUNT_DEATH, job=job.id, worker=job.worker_id
            )
            deaths = row["deaths"]
            if deaths is not None:
                log.warning("job_rescued", job=job.id, task=job.task_name, deaths=deaths)
            if deaths is not None and deaths >= _DEATHS:
                await _bury(app, pool, job)
        await asyncio.sleep(_RESCUE_EVERY)


async def _bury(app: procrastinate.App, pool: Pool, job: Job) -> None:
    """Mark a job as failed for good, after its document has received the reason."""
    if job.task_name == PROCESS_TASK:
        given = job.task_kwargs
        company, document = UUID(str(given["company_id"])), UUID(str(given["document_id"]))
        await give_up_document(pool, company, document, "document_stopped_worker")
    with contextlib.suppress(ConnectorException):  # another worker has already done the same
        await app.job_manager.finish_job(job, Status.FAILED, delete_job=False)
