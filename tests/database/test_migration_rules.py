"""What db/CONVENTIONS.md asks of a migration, held for every file, and shown to be able to refuse."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from neurant.installation.migrate import MIGRATIONS, migrate
from scripts.migration_lock import ChangedMigration, check_migrations, note_new_migrations
from tests.companies import make_company
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


@pytest.fixture
def copied(tmp_path: Path) -> tuple[Path, Path]:
    """The migrations and their lock, to be spoiled."""
    shutil.copytree(MIGRATIONS, tmp_path / "migrations")
    shutil.copy(MIGRATIONS.parent / "migrations.lock", tmp_path)
    return tmp_path / "migrations", tmp_path / "migrations.lock"


def test_every_migration_is_in_the_lock_and_none_has_changed() -> None:
    assert check_migrations() == [], "a new migration: run `make schema`"


def test_a_changed_and_a_missing_migration_are_named_with_what_to_do(
    copied: tuple[Path, Path],
) -> None:
    folder, lock = copied
    first, second = sorted(folder.iterdir())[:2]
    first.write_text(first.read_text("utf-8") + " ")
    second.unlink()
    before = lock.read_bytes()
    with pytest.raises(ChangedMigration) as raised:
        note_new_migrations(folder, lock)
    told = str(raised.value)
    assert f"{first.name} has changed" in told
    assert f"{second.name} is gone" in told
    assert "write a new migration" in told
    assert lock.read_bytes() == before


def test_a_new_migration_is_noted_once_and_moves_no_other_line(copied: tuple[Path, Path]) -> None:
    folder, lock = copied
    before = lock.read_text("utf-8")
    (folder / "29990101000000_new.sql").write_text(HEAD)
    assert check_migrations(folder, lock) == ["29990101000000_new.sql"]
    assert note_new_migrations(folder, lock) == ["29990101000000_new.sql"]
    assert lock.read_text("utf-8").startswith(before)
    assert note_new_migrations(folder, lock) == []


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
