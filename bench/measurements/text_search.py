"""Spanish full-text search under row level security, against the same search without it.

Messages: the inbox's search by a member of the staff, against the same words looked up in the same
index by a role that bypasses RLS and filters by company itself, both reading the conversations again.
Chunks: likewise.
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from bench.database import Database
from bench.figures import Figure, Figures
from bench.million import become, claims, million, transaction, uuid_of, without_rls
from bench.pgbench import Compared, latencies
from bench.sizes import ROWS, sized
from bench.support import busy, median

ROUNDS = sized(5, tiny=1)
GOAL = 1.5
WORDS = (
    "garantía telev",
    "devolución factura",
    "tarj",
    "horario de la sede",
    "pedido 123450",
)
_CHUNK_WORDS = ("garantía televisor", "devolución factura")
_INDEX_ROWS = 1_000_000  # with fewer rows, reading all rows of a company can be faster
_MESSAGES, _CHUNKS = "message_search_words_idx", "document_chunks_words_idx"


@dataclass(frozen=True)
class Search:
    """One search of one person: the query under RLS, the query without, and the index of both."""

    name: str
    person: int
    words: str
    ours: str
    plain: str
    index: str


def message_searches(company: str, operator: bool) -> tuple[str, str]:
    """Return the query under RLS, and the same query without."""
    scope = ""
    if operator:
        bots = f"array(select o.chatbot_id from public.chatbot_operators o where o.company_id = '{company}' and o.operator_id = '{uuid_of('u1-4')}')"
        mine = f"array(select x.id from public.conversations x where x.company_id = '{company}' and x.assigned_operator_id = '{uuid_of('u1-4')}')"
        scope = f"where f.chatbot_id = any ({bots}) or f.id = any ({mine})"
    read = (
        "select c.id, c.end_user_name, c.last_message_at from found f join public.conversations c"
    )
    newest = "order by c.last_message_at desc, c.id desc limit 61"
    ours = (
        f"with found as materialized (select s.conversation_id from private.search_conversations(:words) s)"
        f" {read} on c.company_id = (select private.company_id()) and c.id = f.conversation_id {newest}"
    )
    plain = (
        "with found as materialized (select f.id, f.chatbot_id from ("
        " select s.conversation_id as id, s.chatbot_id from public.message_search s"
        f" where s.company_id = '{company}' and s.search @@ private.typed_query(:words, private.word_key('{company}'))"
        " union select s.conversation_id, s.chatbot_id from public.conversation_search s"
        f" where s.company_id = '{company}' and s.person like (private.like_patterns(:words))[1]"
        f" and s.person like all (private.like_patterns(:words))) f {scope})"
        f" {read} on c.company_id = '{company}' and c.id = f.id {newest}"
    )
    return ours, plain


def chunk_searches(company: str) -> tuple[str, str]:
    """Return the word search among the company's chunks, under RLS and without."""
    read = "select k.id, k.content, f.lexical from found f join public.document_chunks k"
    ours = (
        f"with found as materialized (select * from private.search_chunks('{uuid_of('b1-1')}', :words, null, 'none', 20))"
        f" {read} on k.company_id = (select private.company_id()) and k.id = f.chunk_id order by f.lexical desc"
    )
    terms = "(select string_agg(quote_literal(w), ' | ')::tsquery from unnest(to_tsvector('private.spanish', :words)) as x (w, p, g))"
    plain = (
        "with found as materialized ("
        f" select c.id, ts_rank(c.search, {terms}, 1) as lexical from public.document_chunks c"
        f" join public.documents d on d.company_id = c.company_id and d.id = c.document_id"
        f" where c.company_id = '{company}' and c.search @@ {terms} and d.retired_at is null"
        f" and d.processing_status = 'completed' and (d.chatbot_id is null or d.chatbot_id = '{uuid_of('b1-1')}')"
        " order by lexical desc limit 20)"
        f" {read} on k.company_id = '{company}' and k.id = f.id order by f.lexical desc"
    )
    return ours, plain


def searches() -> list[Search]:
    """Return every search that is measured."""
    company = uuid_of("co1")
    of_messages = [
        Search(
            f"messages «{words}», {role}",
            person,
            words,
            *message_searches(company, operator=person == 4),
            _MESSAGES,
        )
        for role, person in (("owner", 1), ("operador", 4))
        for words in WORDS
    ]
    return of_messages + [
        Search(f"chunks «{words}», operador", 4, words, *chunk_searches(company), _CHUNKS)
        for words in _CHUNK_WORDS
    ]


def uses_index(database: Database, search: Search) -> bool:
    """Return whether the statement inside the definer reads its index, as that person."""
    plans: list[str] = []
    with psycopg.connect(database.admin) as db:
        db.add_notice_handler(lambda notice: plans.append(notice.message_primary or ""))
        db.execute("load 'auto_explain'")
        db.execute(
            "set auto_explain.log_min_duration = 0; set auto_explain.log_nested_statements = on;"
            " set client_min_messages = log"
        )
        become(db, "authenticated", claims(1, search.person))
        query = search.ours.replace("%", "%%").replace(":words", "%s")
        db.execute(query.encode(), (search.words,))
    return any(f"on {search.index}" in plan for plan in plans)


def compare(database: Database) -> dict[str, Compared]:
    """Measure both sides of each search. Raises RuntimeError if an index is not used."""
    plain = without_rls(database)
    compared: dict[str, Compared] = {}
    for search in searches():
        has_index = uses_index(database, search)
        if ROWS >= _INDEX_ROWS and not has_index:
            raise RuntimeError(f"{search.index} does not serve {search.name}")
        who = claims(1, search.person)
        compared[search.name] = latencies(
            database.app,
            transaction("authenticated", who, search.ours),
            transaction(plain, who, search.plain),
            ROUNDS,
            search.words,
        )
    return compared


def measure() -> Figures:
    before = busy()
    with million() as database:
        compared = compare(database)
    worst = max(compared, key=lambda name: compared[name].ratio)
    listed = "; ".join(f"{name} {one.ratio:.2f}" for name, one in compared.items())
    yield Figure(
        id="text_search",
        title=f"Spanish full-text search among {ROWS:,} messages and {ROWS * 12 // 100:,} chunks"
        " under row level security, worst search",
        measured=median(compared[worst].ours),
        unit="ms",
        baseline="the same index, filtered by company, without row level security",
        baseline_measured=median(compared[worst].baseline),
        ratio=compared[worst].ratio,
        goal=GOAL,
        details=f"{worst}; company with a tenth of all; index used in each (EXPLAIN); pgbench,"
        f" prepared, median of {ROUNDS} interleaved rounds: {listed}; {before}",
    )
