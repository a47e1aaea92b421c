"""The periodic reminders. (``plans/jobs.py`` marks expired invitations, because that
frees seats.)
"""

from __future__ import annotations

from neurant.core.db.pool import Pool
from neurant.core.logs import get_logger
from neurant.core.settings import Settings
from neurant.invitations.service import remind

log = get_logger(__name__)


async def run_reminders(pool: Pool, settings: Settings) -> int:
    """Send every reminder that is due; return how many. ``pool`` uses the worker's login.

    Each reminder has a transaction of its own with its mail, so that a crash loses no other
    reminder.
    """
    sent = 0
    while True:
        async with pool.connection() as connection, connection.transaction():
            if not await remind(connection, settings):
                break
        sent += 1
    if sent:
        log.info("invitations_reminded", count=sent)
    return sent
