"""A backup that was restored is verified like the database that it was made of."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from neurant.installation.migrate import migrate
from neurant.verify.command import verify
from neurant.verify.definitions import normal
from tests.support.postgres_programs import find_program


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("((a IS NULL) OR (b = c)) OR (d = e)", "(a IS NULL) OR (b = c) OR (d = e)"),
        ("((a AND b) AND (c AND d))", "a AND b AND c AND d"),
        ("(NOT ((a OR b) OR c))", "NOT (a OR b OR c)"),
        # These brackets say something.
        ("(a OR b) AND c", "(a OR b) AND c"),
        ("a OR (b AND c)", "a OR (b AND c)"),
        ("a OR (b OR c) AND d", "a OR (b OR c) AND d"),
        ("f(a OR b) OR (c OR d)::text OR e", "f(a OR b) OR (c OR d)::text OR e"),
        ("NOT (a OR b) OR c", "NOT (a OR b) OR c"),
        ("(a = ') OR (') OR (b)", "(a = ') OR (') OR (b)"),
    ],
)
def test_only_brackets_that_say_nothing_are_left_out(written: str, told: str) -> None:
    head, tail = "CREATE TRIGGER t BEFORE UPDATE ON x FOR EACH ROW", "EXECUTE FUNCTION f('()')"
    assert normal(f"{head} WHEN ({written}) {tail}") == f"{head} WHEN ({told}) {tail}"
    assert normal(f"{head} {tail}") == f"{head} {tail}"


def test_a_restored_backup_is_verified(fresh_database: Callable[[], str], tmp_path: Path) -> None:
    dump, restore = find_program("pg_dump"), find_program("pg_restore")
    if dump is None or restore is None:
        pytest.skip("no pg_dump and pg_restore of this version")
    first, second, file = fresh_database(), fresh_database(), tmp_path / "backup"
    migrate(first)
    for program, url, options in (
        (dump, first, ["--format=custom", f"--file={file}"]),
        (restore, second, ["--exit-on-error", "--single-transaction", str(file)]),
    ):
        given = psycopg.conninfo.conninfo_to_dict(url)
        environment = {**os.environ, "PGPASSWORD": str(given.pop("password", ""))}
        place = psycopg.conninfo.make_conninfo("", **given)
        subprocess.run([program, *options, "-d", place], env=environment, check=True)
    # Rights on the database itself are in no dump of its contents (docs/operations.md).
    with psycopg.connect(second, autocommit=True) as db:
        name = sql.Identifier(db.info.dbname)
        db.execute(sql.SQL("revoke temporary on database {} from public").format(name))
    report = verify(second)
    assert not report.wrong, "\n".join(report.lines("en"))
