"""The ten most used endpoints of the API, and the cost of authentication and tenant context.

100 companies and a million messages (``million.py``); the callers belong to the company that has a
tenth of everything. There is one web process, real HTTP over a kept-alive connection, and one
request at a time. After each request of an endpoint the same caller asks for a constant: a handler
of the same class, with the same ``needs``, that answers without a query. The ten are the requests
that the inbox and a connected program make all day (the list, a conversation, its messages, an
answer), those of every screen (bots, people, use, notifications), and those of an integration
(documents, search).
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

import psycopg

from bench.api_web import CONSTANT, FLOOR, Client, api_web_process, cpu_milliseconds
from bench.database import Database
from bench.figures import Figure, Figures
from bench.measurements.insert_message import take_conversations
from bench.million import million, scratch_copy, uuid_of
from bench.product import MODEL
from bench.sizes import ROWS, sized
from bench.support import Web, busy, empty_folder, percentile

CPU_GOAL_MS = 0.6
RATIO_GOAL = 20
ROUNDS = sized(300, tiny=1)
WARM_ROUNDS = sized(10, tiny=0)
BLOCKS, IN_BLOCK = sized((16, 150), tiny=(1, 3))
REFILL_AFTER = 1000  # requests; fewer than a plan allows, so that none is refused
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
  '{"limit": "messages", "level": 80, "used": 400, "allowed": 500}',
  now() - n * interval '1 hour'
from users u cross join generate_series(1, 200) n;
"""
# All vectors differ, so that no search finds two chunks at the price of one.
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
    """A caller, the requests of each endpoint with their status, and the milliseconds of each."""

    name: str
    client: Client
    asked: dict[str, list[tuple[int, bytes]]] = field(default_factory=dict)
    took: dict[str, list[float]] = field(default_factory=dict)


class Refill:
    """Refills the rate limit of every company before it is used up."""

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
    """Return a caller's requests by endpoint; an endpoint may have several."""

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


def prepare(database: Database) -> None:
    """Add sessions, a key, notifications and vectors to the copy."""
    with psycopg.connect(database.admin, autocommit=True) as db:
        db.execute(_CALLERS.encode())
        for part in _VECTORS.strip().split(";"):
            db.execute(part.encode(), {"model": MODEL} if "%" in part else None)
        # The product inserts chunks with their vectors. Here they were updated, so rewrite the table.
        db.execute("vacuum full document_chunks")
        db.execute("vacuum analyze document_chunks, notifications, login_sessions, companies")


def callers(database: Database, port: int) -> list[Caller]:
    """Return an owner and an operador with their sessions, and the owner's key.

    A key has no notifications.
    """
    newest = (
        "select id from conversations where company_id = %s and chatbot_id = %s"
        " order by last_message_at desc limit 200"
    )
    with psycopg.connect(database.admin) as db:
        found = db.execute(newest, (uuid_of("co1"), uuid_of("b1-2"))).fetchall()
        taken = {role: take_conversations(db, person) for role, person in PEOPLE.items()}
    made = []
    for name, token, role in (
        ("owner", "session-1", "owner"),
        ("operador", "session-4", "operador"),
        ("API key", "na_key_bench", "owner"),
    ):
        client, conversations = Client(port, token), [str(row[0]) for row in found]
        asked = requests_of(client, conversations, taken[role], key=name == "API key")
        made.append(Caller(name, client, asked))
    return made


def latencies(everybody: Sequence[Caller], refill: Refill, rounds: int) -> None:
    """Measure each caller's endpoints by turns, a constant after each, into ``Caller.took``."""
    for one in everybody:
        one.client.connect()
    for turn in range(-WARM_ROUNDS, rounds):
        for one in everybody:
            constant = one.client.request("GET", CONSTANT)
            for name, asked in one.asked.items():
                status, request = asked[turn % len(asked)]
                pair = one.client.timed(request, status), one.client.timed(constant)
                if turn >= 0:
                    for key, one_took in zip((name, "constant"), pair, strict=True):
                        one.took.setdefault(key, []).append(one_took)
            refill.after(2 * len(one.asked))


@dataclass(frozen=True)
class Added:
    """The CPU milliseconds of a request in web process and database: the floor, and ``needs``."""

    floor: tuple[float, float]
    needs: tuple[float, float]

    @property
    def both(self) -> float:
        return sum(self.needs) - sum(self.floor)


def added(database: Database, served: Web, caller: Caller, refill: Refill) -> Added:
    """Measure A/B/B/A blocks of the two constants; return the means of all requests."""
    caller.client.connect()
    ask = {path: caller.client.request("GET", path) for path in (FLOOR, CONSTANT)}
    spent: dict[str, list[tuple[float, float]]] = {FLOOR: [], CONSTANT: []}
    backends = backends_of(database)
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
    if backends_of(database) != backends:
        raise RuntimeError("another connection was made meanwhile, whose CPU was not counted")
    return Added(means(spent[FLOOR]), means(spent[CONSTANT]))


def means(blocks: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the means of web process and database over all blocks."""
    return statistics.fmean(web for web, _ in blocks), statistics.fmean(db for _, db in blocks)


def backends_of(database: Database) -> list[int]:
    """Return the database's backend processes that serve the web process."""
    with psycopg.connect(database.admin) as db:
        name = db.info.dbname
        return sorted(int(row[0]) for row in db.execute(_BACKENDS, (name,)))


def latency_figure(everybody: Sequence[Caller], before: str) -> Figure:
    """Return the slowest endpoint's p95, against the p95 of the constant of the same caller."""
    p95: dict[str, tuple[float, float]] = {}
    lines = []
    for one in everybody:
        constant = percentile(one.took["constant"], 0.95)
        for name, took in one.took.items():
            own = percentile(took, 0.95)
            lines.append(f"{one.name}, {name}: {percentile(took, 0.5):.2f} / {own:.2f}")
            if name != "constant":
                p95[f"{one.name}, {name}"] = own, constant
    worst = max(p95, key=lambda name: p95[name][0] / p95[name][1])
    slowest, constant = p95[worst]
    return Figure(
        id="api_endpoints",
        title=f"ten endpoints at {ROWS:,} messages, slowest, p95",
        measured=slowest,
        unit="ms",
        baseline="a constant with the same authentication, p95",
        baseline_measured=constant,
        ratio=slowest / constant,
        goal=RATIO_GOAL,
        details=f"{worst}; median / p95 ms of {ROUNDS} each: {'; '.join(lines)}; {before}",
    )


def cpu_figure(cpu: Mapping[str, Added], before: str) -> Figure:
    """Return the CPU that ``needs`` adds, for the caller for whom it adds most."""
    parts = []
    for name, one in cpu.items():
        web_ms, database_ms = (b - a for a, b in zip(one.floor, one.needs, strict=True))
        parts.append(
            f"{name} {one.both:.3f} (web {web_ms:.3f} + database {database_ms:.3f};"
            f" floor {one.floor[0]:.3f})"
        )
    most = max(cpu.values(), key=lambda one: one.both)
    return Figure(
        id="api_endpoints_cpu",
        title="authentication and tenant context, CPU of a request in web process and database",
        measured=most.both,
        unit="ms",
        baseline="the same request without them",
        baseline_measured=sum(most.floor),
        ratio=most.both / sum(most.floor),
        goal=CPU_GOAL_MS,
        goal_on="measured",
        details=f"a constant with needs less one without, {BLOCKS * IN_BLOCK} requests each in"
        f" A/B/B/A blocks: {'; '.join(parts)}; {before}",
    )


def measure() -> Figures:
    before = busy()
    with million() as database, scratch_copy(database) as copy, empty_folder() as folder:
        prepare(copy)
        refill = Refill(copy.admin)
        with api_web_process(copy.app, folder) as served:
            everybody = callers(copy, served.port)
            latencies(everybody, refill, ROUNDS)
            cpu = {one.name: added(copy, served, one, refill) for one in everybody}
    yield latency_figure(everybody, before)
    yield cpu_figure(cpu, before)
