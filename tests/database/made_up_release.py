"""A made-up life after the first release: today's baseline as the released version, with rows in it,
and the migrations of the version after it.

Nothing is released yet, so the machinery for released versions is tried on this. The migrations are
written as db/CONVENTIONS.md asks, and ``EDITS`` are the same changes in the schema files.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import psycopg

from neurant.installation.migrate import MIGRATIONS, migrate
from neurant.verify.run import prepare
from scripts.schema_files import SCHEMA

MIGRATIONS_AFTER = {
    "29990101000000_nicknames.sql": """\
-- migrate:up
-- A person may have a nickname, which a function tells.
set local role neurant_owner;
alter table public.users add column nickname varchar(50);
comment on column public.users.nickname is 'How colleagues call this person.';
alter table public.users add constraint users_nickname_check check (nickname <> '') not valid;
grant update (nickname) on public.users to authenticated;
select private.audit_column('public.users', 'nickname', 'digest');
create function private.nickname(p_user uuid) returns text
language sql stable set search_path = '' as $$
  select u.nickname from public.users u where u.id = p_user
$$;
comment on function private.nickname(uuid) is 'The nickname of a colleague.';
grant execute on function private.nickname(uuid) to authenticated;
reset role;
-- migrate:down
""",
    "29990101000001_nicknames_valid.sql": """\
-- migrate:up
-- The check of nicknames holds for every row.
alter table public.users validate constraint users_nickname_check;
-- migrate:down
""",
    "29990101000002_messages_made_up_idx.sql": """\
-- migrate:up transaction:false
-- The index of messages by sender is built while people write.
create index concurrently messages_made_up_idx on public.messages (company_id, sender_type);
-- migrate:down
""",
    "29990101000003_nicknames_filled.sql": """\
-- migrate:up
-- Every person without a nickname gets the first name as one.
update public.users set nickname = left(first_name, 50) where nickname is null and first_name <> '';
-- migrate:down
""",
}
EDITS = {
    "21_people.sql": [
        (
            "  avatar_url text,\n",
            "  nickname varchar(50) constraint users_nickname_check check (nickname <> ''),\n"
            "  avatar_url text,\n",
        ),
        (
            "select private.audit_table('public.users', 'id',",
            "comment on column public.users.nickname is 'How colleagues call this person.';\n"
            "grant update (nickname) on public.users to authenticated;\n"
            "create function private.nickname(p_user uuid) returns text\n"
            "language sql stable set search_path = '' as $$\n"
            "  select u.nickname from public.users u where u.id = p_user\n"
            "$$;\n"
            "comment on function private.nickname(uuid) is 'The nickname of a colleague.';\n"
            "grant execute on function private.nickname(uuid) to authenticated;\n"
            "select private.audit_table('public.users', 'id',",
        ),
        (
            "  '{email,first_name,last_name,avatar_url,phone}'",
            "  '{email,first_name,last_name,avatar_url,phone,nickname}'",
        ),
    ],
    "45_messages.sql": [
        (
            "alter table public.messages enable",
            "create index messages_made_up_idx on public.messages (company_id, sender_type);\n"
            "alter table public.messages enable",
        )
    ],
}


def released(folder: Path) -> Path:
    """A folder with the migrations of the made-up release: what stands in the repository today."""
    shutil.copytree(MIGRATIONS, folder)
    return folder


def with_rows(url: str, folder: Path) -> None:
    """A database of the release, with two companies that have rows in their tables."""
    migrate(url, folder)
    with psycopg.connect(url) as db:
        prepare(db)


def edited_schema(folder: Path) -> Path:
    """The schema files with what the migrations after the release change."""
    shutil.copytree(SCHEMA, folder)
    for name, edits in EDITS.items():
        text = (folder / name).read_text("utf-8")
        for old, new in edits:
            assert text.count(old) == 1, f"{name}: {old!r}"
            text = text.replace(old, new)
        (folder / name).write_text(text, "utf-8")
    return folder
