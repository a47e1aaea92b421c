"""What db/CONVENTIONS.md asks of a migration, held for every file, and shown to be able to refuse."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from neurant.installation.migrate import MIGRATIONS, migrate
from scripts.migration_lock import (
    ChangedMigration,
    check_migrations,
    lock_migrations,
    read_lock,
)
from scripts.schema_files import (
    BASELINE,
    ROOT,
    SCHEMA,
    UnfoldedMigration,
    assemble_baseline,
    assembled,
)
from tests.companies import make_company
from tests.database.made_up_release import MIGRATIONS_AFTER, edited_schema, released
from tests.database.migration_text import complaints

Database = Callable[[], str]
FILES = sorted(MIGRATIONS.glob("*.sql"))
HEAD = "-- migrate:up\n-- A test's.\n"
AS_OWNER = "set local role neurant_owner;\n{};\nreset role;\n-- migrate:down\n"
AS_MIGRATING_LOGIN = "{};\n-- migrate:down\n"
BACKFILL = "update public.users set phone = 'touched'"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_migration_keeps_the_conventions(path: Path) -> None:
    assert not complaints(path.read_text("utf-8"))


@pytest.mark.parametrize(
    "statement",
    [
        BACKFILL,
        "update public.users as u set phone = (select 'x')",
        "delete from public.users where not is_active",
        "insert into public.users (company_id) select id from public.companies",
        "with old as (select 1) update public.users set phone = 'x'",
        "merge into public.users u using public.companies c on true when matched then delete",
        "do $$ begin update public.users set phone = 'x'; end $$",
        "do $$ begin insert into public.users (company_id) select id from public.companies; end $$",
        "alter table public.users add foreign key (company_id, x) references public.chatbots",
        "alter table public.users validate constraint users_x_fkey",
    ],
)
def test_what_would_touch_no_row_is_refused(statement: str) -> None:
    assert "after `reset role;`" in " ".join(complaints(HEAD + AS_OWNER.format(statement)))
    assert not complaints(HEAD + AS_MIGRATING_LOGIN.format(statement))


@pytest.mark.parametrize(
    "statement",
    [
        "create function private.f() returns void language sql set search_path = '' as $$ update public.users set phone = 'x' $$",
        "create policy staff_update on public.users for update to authenticated using (true)",
        "grant update (phone), delete on public.users to neurant_router",
        "insert into public.plans (name) values ('free; delete from x')",
        "create trigger t after update or delete on public.users for each row execute function private.f()",
        "create table public.things (company_id uuid references public.companies (id))",
        "alter table public.users add foreign key (x) references public.chatbots not valid",
        "alter table public.users add column x uuid references public.plans",
        "alter table public.users validate constraint users_role_check",
    ],
)
def test_what_only_defines_is_not(statement: str) -> None:
    assert not complaints(HEAD + AS_OWNER.format(statement))


def test_an_index_on_a_growing_table_is_built_concurrently_and_alone() -> None:
    index = "create index {} messages_x_idx on public.messages (company_id, x)"
    assert "concurrently" in complaints(HEAD + AS_OWNER.format(index.format("")))[0]
    inside = HEAD + AS_MIGRATING_LOGIN.format(index.format("concurrently"))
    assert "transaction:false" in complaints(inside)[0]
    alone = inside.replace("migrate:up", "migrate:up transaction:false", 1)
    assert not complaints(alone)
    assert (
        "one statement" in complaints(alone.replace("-- A test's.", "-- A test's.\nselect 1;"))[0]
    )


@pytest.mark.parametrize(
    "text", ["select 1;\n", "-- migrate:up\nselect 1;\n-- migrate:down\n", HEAD + "select 1;\n"]
)
def test_a_file_of_another_shape_is_refused(text: str) -> None:
    assert complaints(text)


@pytest.mark.parametrize("name", MIGRATIONS_AFTER)
def test_the_made_up_migrations_keep_the_conventions_too(name: str) -> None:
    assert not complaints(MIGRATIONS_AFTER[name])


def test_no_released_migration_has_changed() -> None:
    tags = subprocess.run(
        ["git", "tag", "--list", "v*"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    new = check_migrations()
    assert not tags.stdout.split() or BASELINE in read_lock(), "run `make lock-migrations`"
    assert read_lock() or new == [BASELINE]


@pytest.fixture
def made_up(tmp_path: Path) -> tuple[Path, Path]:
    """The migrations of a made-up release, which are in its lock."""
    folder, lock = released(tmp_path / "migrations"), tmp_path / "migrations.lock"
    assert lock_migrations(folder, lock) == [BASELINE]
    return folder, lock


def test_until_the_release_the_baseline_is_assembled_anew_from_the_edited_schema_files(
    tmp_path: Path,
) -> None:
    folder, lock = released(tmp_path / "migrations"), tmp_path / "migrations.lock"
    schema = edited_schema(tmp_path / "schema")
    assert assemble_baseline(schema, folder, lock)
    assert (folder / BASELINE).read_text("utf-8") == assembled(schema)
    assert not assemble_baseline(schema, folder, lock)
    assert not lock.exists()


def test_until_the_release_a_second_migration_is_refused_with_what_to_do(tmp_path: Path) -> None:
    folder, lock = released(tmp_path / "migrations"), tmp_path / "migrations.lock"
    (folder / "29990101000000_early.sql").write_text(HEAD)
    with pytest.raises(UnfoldedMigration, match=r"29990101000000_early\.sql.*db/schema"):
        assemble_baseline(migrations=folder, lock=lock)


def test_a_released_baseline_is_not_assembled_any_more(
    made_up: tuple[Path, Path], tmp_path: Path
) -> None:
    before = (made_up[0] / BASELINE).read_bytes()
    assert not assemble_baseline(edited_schema(tmp_path / "schema"), *made_up)
    assert (made_up[0] / BASELINE).read_bytes() == before


@pytest.mark.parametrize("spoil", ["changed", "gone"])
def test_a_released_migration_that_has_changed_or_is_gone_is_named_with_what_to_do(
    made_up: tuple[Path, Path], spoil: str
) -> None:
    folder, lock = made_up
    baseline = folder / BASELINE
    if spoil == "gone":
        baseline.unlink()
    else:
        baseline.write_text(baseline.read_text("utf-8") + " ")
    before = lock.read_bytes()
    for act in (lambda: lock_migrations(folder, lock), lambda: assemble_baseline(SCHEMA, *made_up)):
        with pytest.raises(ChangedMigration) as raised:
            act()
        told = str(raised.value)
        assert f"{BASELINE} {'is gone' if spoil == 'gone' else 'has changed'}" in told
        assert "write a new migration" in told
    assert lock.read_bytes() == before


def test_the_next_release_locks_its_migrations_once_and_moves_no_other_line(
    made_up: tuple[Path, Path],
) -> None:
    folder, lock = made_up
    before = lock.read_text("utf-8")
    for name, text in MIGRATIONS_AFTER.items():
        (folder / name).write_text(text)
    assert check_migrations(folder, lock) == list(MIGRATIONS_AFTER)
    assert lock_migrations(folder, lock) == list(MIGRATIONS_AFTER)
    assert lock.read_text("utf-8").startswith(before)
    assert lock_migrations(folder, lock) == []


def test_a_backfill_touches_every_companys_rows_and_as_the_owner_none(
    fresh_database: Database, tmp_path: Path
) -> None:
    """Why the conventions refuse the second: it fails nowhere, and does nothing."""
    for text, touched in ((AS_MIGRATING_LOGIN, True), (AS_OWNER, False)):
        url = fresh_database()
        migrate(url)
        for name in ("acme", "rival"):
            make_company(url, name)
        folder = tmp_path / str(touched)
        shutil.copytree(MIGRATIONS, folder)
        (folder / "29990101000000_backfill.sql").write_text(HEAD + text.format(BACKFILL))
        assert migrate(url, folder) == ["29990101000000_backfill.sql"]
        with psycopg.connect(url) as db:
            counted = db.execute(
                "select count(distinct company_id) filter (where phone = 'touched'),"
                " count(*) filter (where phone is distinct from 'touched') from users"
            ).fetchone()
        assert counted == ((2, 0) if touched else (0, 8))
