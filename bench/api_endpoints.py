"""The ten most used endpoints of the API, and what authentication and tenant context add to one.

Run: ``python bench/api_endpoints.py`` (about 6 minutes once loaded). 100 companies and a million
messages (``million.py``); the callers are of the company that holds a tenth of everything. One web
process, real HTTP over a kept-alive connection, one request at a time; after each request of an
endpoint the same caller asks for a constant: a handler of the same class, with the same ``needs``,
that answers without a query. The ten: what the inbox and a connected program ask for all day (the
list, a conversation, its messages, an answer), what every screen has beside it (bots, people, use,
notifications), and what an integration reads (documents, search).
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import quote

import psycopg
from api_process import CONSTANT, FLOOR, Client, Web, cpu_milliseconds, web
from insert_message import prepare
from million import ROWS, Loaded, million, scratch_copy, uuid_of
from support import busy, empty_folder, percentile, report

from neurant.knowledge.embed import MODEL

CPU_GOAL_MS = 0.6
RATIO_GOAL = 20
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "300"))
BLOCKS, IN_BLOCK = 16, 150
REFILL_AFTER = 1000  # requests; less than a plan's number, so that none is ever refused
PEOPLE = {"owner": 1, "operador": 4}
QUESTIONS = ("garantía del televisor", "cuánto cuesta el envío a Bogotá", "devolución con factura")
_CALLERS = """
update companies set subscription_plan = 'enterprise', monthly_message_limit = -1,
  max_chatbots = -1, max_users = -1, max_integrations = -1, max_document_characters = -1,
  max_storage_mb = -1, max_hitl_concurrent = -1;
insert into login_sessions (company_id, user_id, token_digest, expires_at)
select md5('co1')::uuid, md5('u1-' || p)::uuid, sha256(('session-' || p)::bytea),
  now() + interval '1 day'
from unnest(array[1, 4]) p;
insert into api_keys (company_id, name, prefix, key_digest, role, created_by, scopes)
select md5('co1')::uuid, 'Bench', 'na_key_bench', sha256('na_key_bench'), 'administrador',
  md5('u1-1')::uuid, array_agg(p.name)
from permissions p where p.for_keys = 'by_scope';
insert into notifications (company_id, user_id, kind, details, created_at)
select u.company_id, u.id, 'usage_alert',
  '{"limit": "messages", "percent": 80, "used": 400, "allowed": 500}',
  now() - n * interval '1 hour'
from users u cross join generate_series(1, 200) n;
"""
# Each different, so that nothing is found twice at the price of once.
_VECTORS = """
set session_replication_role = replica;
update document_chunks c set embedding_model = %(model)s, embedding = (
  select array_agg(sin(n * (1 + abs(hashtext(c.id::text)) %% 9973)))::real[]::extensions.vector
  from generate_series(1, 384) n)
where c.company_id = md5('co1')::uuid;
set session_replication_role = default
"""
_BACKENDS = "select pid from pg_stat_activity where usename = 'neurant_app' and datname = %s"
_REFILL = "update public.request_allowances set tokens = 3000, refilled_at = clock_timestamp()"


@dataclass
class Caller:
    """Somebody who calls, with what they ask by its name: status and request."""

    name: str
    client: Client
    asked: dict[str, list[tuple[int, bytes]]] = field(default_factory=dict)
    told: dict[str, list[float]] = field(default_factory=dict)


class Refill:
    """Gives a company its minute again before it is used up."""

    def __init__(self, admin: str) -> None:
        self._db = psycopg.connect(admin, autocommit=True)
        self._count = 0

    def after(self, requests: int) -> None:
        self._count += requests
        if self._count >= REFILL_AFTER:
            self._db.execute(_REFILL)
            self._count = 0


def requests_of(
    client: Client, conversations: Sequence[str], taken: Sequence[str], *, key: bool
) -> dict[str, list[tuple[int, bytes]]]:
    """What one asks, by endpoint, several of a kind where it is not always the same."""

    def get(path: str) -> tuple[int, bytes]:
        return 200, client.request("GET", f"/v1/{path}")

    words = [quote(text) for text in QUESTIONS]
    body = json.dumps({"content": "Con gusto le ayudo con su pedido"}).encode()
    bot = uuid_of("b1-2")
    asked = {
        "list conversations": [get("conversations")],
        "get conversation": [get(f"conversations/{one}") for one in conversations],
        "list messages": [get(f"conversations/{one}/messages") for one in conversations],
        "post message": [
            (201, client.request("POST", f"/v1/conversations/{one}/messages", body))
            for one in taken
        ],
        "list chatbots": [get("chatbots")],
        "list documents": [get("documents")],
        "search knowledge": [get(f"knowledge/search?chatbot_id={bot}&query={q}") for q in words],
        "usage": [get("usage")],
        "list users": [get("users")],
    }
    return asked if key else asked | {"list notifications": [get("notifications")]}


@contextmanager
def callers(loaded: Loaded, served: Web) -> Iterator[list[Caller]]:
    """An owner and an operador with their sessions, and the owner's key (never told of anything)."""
    with psycopg.connect(loaded.admin) as db:
        seen = [
            str(row[0])
            for row in db.execute(
                "select id from conversations where company_id = %s and chatbot_id = %s"
                " order by last_message_at desc limit 200",
                (uuid_of("co1"), uuid_of("b1-2")),
            )
        ]
    taken = {role: prepare(loaded, person) for role, person in PEOPLE.items()}
    made = []
    for name, token, role in (
        ("owner", "session-1", "owner"),
        ("operador", "session-4", "operador"),
        ("API key", "na_key_bench", "owner"),
    ):
        client = Client(served.port, token)
        asked = requests_of(client, seen, taken[role], key=name == "API key")
        made.append(Caller(name, client, asked))
    yield made


def latencies(everybody: Sequence[Caller], refill: Refill, rounds: int) -> None:
    """Each caller's endpoints by turns, a constant after each, into ``Caller.told``."""
    for one in everybody:
        one.client.connect()
    for turn in range(-10, rounds):
        for one in everybody:
            constant = one.client.request("GET", CONSTANT)
            for name, asked in one.asked.items():
                status, request = asked[turn % len(asked)]
                pair = one.client.timed(request, status), one.client.timed(constant)
                if turn >= 0:
                    for key, took in zip((name, "constant"), pair, strict=True):
                        one.told.setdefault(key, []).append(took)
            refill.after(2 * len(one.asked))


@dataclass(frozen=True)
class Added:
    """CPU milliseconds of a request: web process and database, for the floor and for ``needs``."""

    floor: tuple[float, float]
    needs: tuple[float, float]

    @property
    def both(self) -> float:
        return sum(self.needs) - sum(self.floor)


def added(loaded: Loaded, served: Web, caller: Caller, refill: Refill) -> Added:
    """A/B/B/A blocks of the two constants; the means of all requests."""
    caller.client.connect()
    ask = {path: caller.client.request("GET", path) for path in (FLOOR, CONSTANT)}
    spent: dict[str, list[tuple[float, float]]] = {FLOOR: [], CONSTANT: []}
    backends = backends_of(loaded)
    for turn in range(-1, BLOCKS):
        for path in (FLOOR, CONSTANT) if turn % 2 == 0 else (CONSTANT, FLOOR):
            before = cpu_milliseconds([served.pid]), cpu_milliseconds(backends)
            for _ in range(IN_BLOCK):
                caller.client.timed(ask[path])
            after = cpu_milliseconds([served.pid]), cpu_milliseconds(backends)
            if turn >= 0:
                web_ms, database_ms = (b - a for a, b in zip(before, after, strict=True))
                spent[path].append((web_ms / IN_BLOCK, database_ms / IN_BLOCK))
        refill.after(IN_BLOCK)
    if backends_of(loaded) != backends:
        raise RuntimeError("another connection was made meanwhile, whose CPU was not counted")
    means = {
        path: tuple(statistics.fmean(one[side] for one in blocks) for side in (0, 1))
        for path, blocks in spent.items()
    }
    return Added(means[FLOOR], means[CONSTANT])


def backends_of(loaded: Loaded) -> list[int]:
    """The database's processes of the web process."""
    with psycopg.connect(loaded.admin) as db:
        name = db.info.dbname
        return sorted(int(row[0]) for row in db.execute(_BACKENDS, (name,)))


def told_latencies(everybody: Sequence[Caller], rows: int, before: str) -> bool:
    """Print each endpoint; report the slowest p95 : the p95 of the constant, same caller."""
    ratios: dict[str, float] = {}
    lines = []
    for one in everybody:
        floor = percentile(one.told["constant"], 0.95)
        for name, took in one.told.items():
            median, p95 = percentile(took, 0.5), percentile(took, 0.95)
            lines.append(f"{one.name}, {name}: {median:.2f} / {p95:.2f}")
            print(f"     {lines[-1]} ms ({p95 / floor:.1f} times the constant)", flush=True)
            if name != "constant":
                ratios[f"{one.name}, {name}"] = p95 / floor
    worst = max(ratios, key=lambda name: ratios[name])
    return report(
        "api_endpoints",
        f"ten endpoints at {rows:,} messages, slowest p95 : p95 of a constant with needs",
        ratios[worst],
        RATIO_GOAL,
        f"{worst}; median / p95 ms of {ROUNDS} each: {'; '.join(lines)}; {before}",
    )


def told_cpu(cpu: Mapping[str, Added], before: str) -> bool:
    """Report the CPU that ``needs`` adds, of the caller whose is most."""
    parts = []
    for name, one in cpu.items():
        web_ms, database_ms = (b - a for a, b in zip(one.floor, one.needs, strict=True))
        parts.append(
            f"{name} {one.both:.3f} (web {web_ms:.3f} + database {database_ms:.3f};"
            f" floor {one.floor[0]:.3f})"
        )
        print(f"     {parts[-1]}", flush=True)
    return report(
        "api_endpoints_cpu",
        "authentication + tenant context, CPU of a request in web process and database, ms",
        max(one.both for one in cpu.values()),
        CPU_GOAL_MS,
        f"a constant with needs less one without, {BLOCKS * IN_BLOCK} requests each in A/B/B/A"
        f" blocks: {'; '.join(parts)}; {before}",
    )


def main() -> int:
    before = busy()
    with million() as loaded, scratch_copy(loaded) as copy, empty_folder() as folder:
        with psycopg.connect(copy.admin, autocommit=True) as db:
            db.execute(_CALLERS.encode())
            for part in _VECTORS.strip().split(";"):
                db.execute(part.encode(), {"model": MODEL} if "%" in part else None)
            # Chunks lie as the product inserts them, with their vectors; here they were updated.
            db.execute("vacuum full document_chunks")
            db.execute("vacuum analyze document_chunks, notifications, login_sessions, companies")
        refill = Refill(copy.admin)
        with web(copy.app, folder) as served, callers(copy, served) as everybody:
            latencies(everybody, refill, ROUNDS)
            cpu = {one.name: added(copy, served, one, refill) for one in everybody}
    good = told_latencies(everybody, ROWS, before)
    return 0 if told_cpu(cpu, before) and good else 1


if __name__ == "__main__":
    sys.exit(main())
