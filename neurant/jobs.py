"""The general job queue (procrastinate): documents now; mail and periodic work as they come.

Jobs are deferred in SQL (``private.defer_job``), in the transaction that asks for them; this is
the side that runs them. Arguments carry ids only.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from uuid import UUID

import procrastinate
from obstore.store import ObjectStore
from psycopg import AsyncConnection

from neurant.database.connection import WatchedConnection, be_patient, connect, with_timeouts
from neurant.database.pool import Pool
from neurant.knowledge.jobs import process_document
from neurant.knowledge.service import PROCESS_TASK
from neurant.logs import get_logger

_TRIES = 4
_STALLED_AFTER = 30.0  # seconds without a heartbeat: the worker is dead
_RESCUE_EVERY = 15.0
_JOB_PATIENCE = 60.0  # seconds for one statement: a long document's passages enter an index

log = get_logger(__name__)


class _Connector(procrastinate.PsycopgConnector):
    """Queries through the pool (which may be a pooler's), LISTEN on a direct connection."""

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
    """The queue's application with every task of ours."""
    app = procrastinate.App(connector=_Connector(pooled_url=pooled_url, direct_url=direct_url))
    retry = procrastinate.RetryStrategy(max_attempts=_TRIES - 1, exponential_wait=2)

    @app.task(name=PROCESS_TASK, retry=retry)
    async def _process_document(document_id: str, company_id: str) -> None:
        be_patient(_JOB_PATIENCE)
        await process_document(pool, store, UUID(company_id), UUID(document_id))

    return app


async def run_jobs(app: procrastinate.App, stop: asyncio.Event) -> None:
    """Run jobs until ``stop``, then let those that run finish."""
    async with app.open_async():
        worker = asyncio.create_task(
            app.run_worker_async(
                concurrency=2, install_signal_handlers=False, shutdown_graceful_timeout=10
            )
        )
        rescuer = asyncio.create_task(_rescue(app))
        stopping = asyncio.create_task(stop.wait())
        # Whichever fails ends them all, to be started again together by our caller.
        await asyncio.wait([worker, rescuer, stopping], return_when=asyncio.FIRST_COMPLETED)
        for task in (stopping, rescuer, worker):
            task.cancel()
        for outcome in await asyncio.gather(worker, rescuer, stopping, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome


async def _rescue(app: procrastinate.App) -> None:
    """Give the jobs of dead workers back to the queue."""
    while True:
        for job in await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=_STALLED_AFTER):
            log.warning("job_rescued", job=job.id, task=job.task_name)
            await app.job_manager.retry_job(job)
        await asyncio.sleep(_RESCUE_EVERY)
