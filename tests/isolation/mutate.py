"""``make mutate``: break the schema in every way we can think of, and see whether anybody notices.

Each mutant lives in a savepoint of one transaction, is met by the matrix (behaviour: somebody tries)
and by the gates (the catalog is read), and is rolled back. Two scores, because a committed list
notices any change: what only a gate kills is printed too. A survivor of both is a bug of the suite.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psycopg

from neurant.database.embedded import start_supervised
from neurant.database.migrate import migrate
from neurant.database.verify.run import Matrix, cells, gates, prepare
from tests.isolation.mutants import Mutant, mutants, sample

# Nobody who serves traffic can make what such a function would be misled by: no behaviour to see.
LISTS_ONLY = {"search_path removed"}

HEART = frozenset({"public.conversations", "public.messages", "public.users"})


@dataclass(frozen=True)
class Fate:
    """What killed a mutant, in a few words each; empty: nothing did."""

    mutant: Mutant
    behaviour: str
    gate: str


def judge(matrix: Matrix, mutant: Mutant) -> Fate:
    """Break, try, read, roll back."""
    with matrix.connection.transaction(force_rollback=True):
        # A policy that calls itself runs until the stack is full, each time.
        matrix.connection.execute("select set_config('statement_timeout', '20s', true)")
        for statement in mutant.statements:
            matrix.connection.execute(statement.encode())
        behaviour = _behaviour(matrix, mutant)
        return Fate(mutant, behaviour, _gate(matrix))


def _behaviour(matrix: Matrix, mutant: Mutant) -> str:
    """First what is near, then what most things touch; all of it only for what survives that."""
    rounds: list[frozenset[str] | None] = [mutant.near]
    if mutant.kind not in LISTS_ONLY:
        rounds += [HEART, None]
    for only in rounds:
        try:
            with matrix.connection.transaction(force_rollback=True):
                for cell in cells(matrix, only, columns=only is mutant.near):
                    if not cell.ok:
                        return f"{cell.principal} {cell.operation} {cell.object}: {cell.found}"
        except psycopg.Error as error:
            return f"the matrix cannot run: {error}"
    return ""


def _gate(matrix: Matrix) -> str:
    return next((f"{cell.object}: {cell.found}" for cell in gates(matrix) if not cell.ok), "")


def report(fates: list[Fate], seconds: float) -> bool:
    """Print scores, what only a gate killed, and survivors; whether all were killed."""
    survivors = [fate for fate in fates if not fate.behaviour and not fate.gate]
    for kind, count in Counter(fate.mutant.kind for fate in fates).items():
        of_kind = [fate for fate in fates if fate.mutant.kind == kind]
        print(
            f"  {kind:<32} {count:>4} mutants, {sum(bool(f.behaviour) for f in of_kind):>4} killed"
            f" by behaviour, {sum(bool(f.gate) for f in of_kind):>4} by a gate"
        )
    only_gate = [fate for fate in fates if fate.gate and not fate.behaviour]
    print(f"only a gate killed {len(only_gate)}:")
    for fate in only_gate:
        print(f"  {fate.mutant.kind}: {fate.mutant.what} ({fate.gate[:100]})")
    total = len(fates)
    behaviour = sum(bool(fate.behaviour) for fate in fates)
    print(
        f"mutants: {total}; killed: {total - len(survivors)} ({100 * (1 - len(survivors) / total):.1f} %);"
        f" by behaviour alone: {behaviour} ({100 * behaviour / total:.1f} %); {seconds:.0f} s"
    )
    for fate in survivors:
        print(f"SURVIVED {fate.mutant.kind}: {fate.mutant.what}")
    return not survivors


def work(url: str, found: list[Mutant]) -> list[Fate]:
    """The fates of a share of the mutants, on a database of its own."""
    with psycopg.connect(url) as db, db.transaction(force_rollback=True):
        matrix = prepare(db, thorough=True)
        wrong = [cell for cell in (*cells(matrix), *gates(matrix)) if not cell.ok]
        assert not wrong, f"not green to begin with: {wrong[:3]}"
        fates = []
        for mutant in found:
            fates.append(judge(matrix, mutant))
            print(
                "." if fates[-1].behaviour else "g" if fates[-1].gate else "S", end="", flush=True
            )
        return fates


def main() -> None:
    """500 mutants (or argv[1]; 0: all) on a server of our own, two at a time."""
    fast = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    with tempfile.TemporaryDirectory(prefix="neurant-mutate-") as folder:
        Path(folder).chmod(0o711)
        server = start_supervised(Path(folder), fast)
        try:
            admin = server.urls.admin
            migrate(admin)
            with psycopg.connect(admin) as db:
                found = mutants(db)
            count = int(sys.argv[1]) if len(sys.argv) > 1 else 500
            print(f"{len(found)} mutants can be made; trying {count or len(found)}")
            found = sample(found, count or len(found))
            second = admin.replace("/neurant?", "/second?")
            with psycopg.connect(admin.replace("/neurant?", "/postgres?"), autocommit=True) as db:
                db.execute("create database second template neurant")
            started = time.monotonic()
            with ProcessPoolExecutor(2) as both:
                fates = [
                    fate
                    for share in both.map(work, (admin, second), (found[::2], found[1::2]))
                    for fate in share
                ]
            print()
            fine = report(fates, time.monotonic() - started)
        finally:
            server.stop()
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
