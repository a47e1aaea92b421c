"""The worker process: replies, deliveries and general jobs, against one database URL."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any

import procrastinate

from neurant.accounts.jobs import forget_old
from neurant.accounts.sso.domains import recheck_domains
from neurant.accounts.sso.jobs import run_domain_mails
from neurant.analytics.jobs import count_knowledge_uses, record_metrics, run_rollup
from neurant.api.idempotency import drop_old_keys
from neurant.audit.jobs import sealing
from neurant.channels import deliver
from neurant.channels.telegram.outbound import TIMEOUT
from neurant.channels.webchat.jobs import forget_limits
from neurant.conversations.jobs import drain_all
from neurant.core import stopping
from neurant.core.db.pool import Pool, make_pool, require_url
from neurant.core.lease_worker import run_queue
from neurant.core.logs import configure_logging, get_logger
from neurant.core.object_store import open_store
from neurant.core.outbound_http import make_client
from neurant.core.realtime import Hub
from neurant.core.scheduler import Periodic, keep_running
from neurant.core.settings import Settings
from neurant.invitations.jobs import run_reminders
from neurant.knowledge import search
from neurant.knowledge.reader_limits import log_limits
from neurant.language_models.service import language_models
from neurant.mail import deliver as mail
from neurant.mail.queries import drop_old_mails
from neurant.plans.billing import make_biller
from neurant.plans.jobs import run_billing, run_monthly, run_periodic
from neurant.plans.mails import run_plan_mails
from neurant.replies.service import Desk
from neurant.retention.jobs import run_archiving, run_closing
from neurant.runtime.jobs import make_job_app, run_jobs
from neurant.runtime.startup import ready_to_start
from neurant.understanding import classify

_SHARES = 2  # concurrent replies of all companies, as a multiple of one company's
_MAX_CONCURRENT_DELIVERIES = 16
_AFTER_CRASH = 1.0
_OFTEN = 2.0  # seconds; until then a search reads new messages directly
_MINUTE = 60.0
_HOUR = 3600.0
_GRACE = 7.0  # seconds to finish running work; the supervisor waits a little longer
_LAST_SECONDS = 12.0  # from the first signal to the end of the process, even if something hangs

log = get_logger(__name__)


async def run_worker(settings: Settings) -> None:
    """Work until SIGTERM, SIGINT or SIGHUP, then finish running work within 12 seconds."""
    configure_logging(settings, "worker")
    url = require_url(settings.jobs_database_url, "NEURANT_JOBS_DATABASE_URL")
    settings = ready_to_start(settings, url)
    stop = asyncio.Event()

    def ask() -> None:
        stopping.end_at_the_latest(_LAST_SECONDS)
        stop.set()

    for number in stopping.stop_numbers():
        asyncio.get_running_loop().add_signal_handler(number, ask)
    await work(settings, stop)


def _warm() -> None:
    """Load the models now, so that the first question does not wait for them."""
    search.warm()
    classify.warm()


async def work(settings: Settings, stop: asyncio.Event) -> None:
    """Work until ``stop`` is set."""
    url = require_url(settings.jobs_database_url, "NEURANT_JOBS_DATABASE_URL")
    direct = settings.listen_database_url
    direct_url = direct.get_secret_value() if direct else url
    warming = asyncio.create_task(asyncio.to_thread(_warm))
    pool = make_pool(url, size=settings.database_pool_size, pooled=direct_url != url)
    async with (
        pool,
        make_client(settings, seconds=TIMEOUT) as client,
        language_models(settings) as models,
        Hub(direct_url).running() as hub,
    ):
        delivery_context = deliver.DeliveryContext(pool, hub, settings, client)
        mail_context = mail.open_mail_context(pool, settings)
        await warming
        log.info("worker_ready")
        probing = asyncio.create_task(log_limits(settings.data_dir))
        job_app = make_job_app(pool, open_store(settings), url, direct_url)
        desk = Desk(pool, hub, settings.worker_concurrency, models)
        replies = run_queue(
            "replies",
            hub,
            desk.claim,
            desk.work,
            desk.next_due,
            _SHARES * settings.worker_concurrency,
            stop,
        )
        deliveries = run_queue(
            "outbox",
            hub,
            lambda free: deliver.claim(delivery_context, free),
            lambda claimed: deliver.deliver(delivery_context, claimed),
            lambda: deliver.next_due(delivery_context),
            _MAX_CONCURRENT_DELIVERIES,
            stop,
        )
        mails = run_queue(
            "mails",
            hub,
            lambda free: mail.claim(mail_context, free),
            lambda claimed: mail.deliver(mail_context, claimed),
            lambda: mail.next_due(mail_context),
            mail.MAX_CONCURRENT_MAILS,
            stop,
        )
        jobs = _keep_running_jobs(job_app, pool, stop)
        clockwork = keep_running(periodic_jobs(pool, settings), stop)
        await _until_stopped([replies, deliveries, mails, jobs, clockwork], stop)
        probing.cancel()
        await asyncio.wait([probing])


def periodic_jobs(pool: Pool, settings: Settings) -> list[Periodic]:
    """Return the periodic jobs. Two workers may run them at the same time."""
    biller = make_biller(settings)
    billing = [Periodic("billing", _MINUTE, partial(run_billing, pool, biller))] if biller else []
    return [
        Periodic("changed messages", _OFTEN, partial(drain_all, pool)),
        Periodic("documents used", _MINUTE, partial(count_knowledge_uses, pool)),
        Periodic("statistics", _MINUTE, partial(run_rollup, pool), patience=2 * _MINUTE),
        Periodic("measures", _MINUTE, partial(record_metrics, pool)),
        Periodic("months", _MINUTE, partial(run_monthly, pool)),
        Periodic("plans", _MINUTE, partial(run_periodic, pool)),
        Periodic("audit", _MINUTE, sealing(pool, settings)),
        Periodic("visitors' limits", _MINUTE, partial(forget_limits, pool)),
        Periodic("idle conversations", _MINUTE, partial(run_closing, pool)),
        Periodic("reminders", _MINUTE, partial(run_reminders, pool, settings)),
        Periodic("mails about plans", _MINUTE, partial(run_plan_mails, pool, settings)),
        Periodic("idempotency keys", _HOUR, partial(drop_old_keys, pool)),
        Periodic("old mail", _HOUR, partial(drop_old_mails, pool)),
        Periodic("archives", _HOUR, partial(run_archiving, pool), patience=_HOUR / 4),
        Periodic("old logins", _HOUR, partial(forget_old, pool)),
        Periodic("sso domains", 10 * _MINUTE, partial(recheck_domains, pool, settings)),
        Periodic("mails about sso domains", _MINUTE, partial(run_domain_mails, pool, settings)),
        *billing,
    ]


async def _until_stopped(parts: Sequence[Coroutine[Any, Any, None]], stop: asyncio.Event) -> None:
    """Run the parts until ``stop`` or until one fails, then give them time to finish."""
    tasks = [asyncio.create_task(part) for part in parts]
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    _, late = await asyncio.wait(tasks, timeout=_GRACE)
    for task in (*late, stopping):
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome


async def _keep_running_jobs(app: procrastinate.App, pool: Pool, stop: asyncio.Event) -> None:
    """Run the job queue, and restart it when the library gives up after losing the database."""
    while not stop.is_set():
        try:
            await run_jobs(app, pool, stop)
        except Exception as error:
            log.warning("jobs_interrupted", error=f"{type(error).__name__}: {error}")
            await asyncio.sleep(_AFTER_CRASH)
