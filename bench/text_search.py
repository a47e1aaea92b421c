"""Spanish full-text search under row level security, against the same search without it.

Run: ``python bench/text_search.py`` (about 1 minute once loaded). Messages: what the inbox asks for,
as a member of the staff, against the same words looked up in the same index by a role that bypasses
RLS and filters by company itself, both reading the conversations again. Chunks: likewise.
"""

from __future__ import annotations

import statistics
import sys

import psycopg
from million import Loaded, claims, interleaved, million, transaction, uuid_of, without_rls
from support import busy, report

GOAL = 1.5
WORDS = ("garantía telev", "devolución factura", "tarj", "horario de la sede", "pedido 123450")
_CHUNK_WORDS = ("garantía televisor", "devolución factura")


def message_searches(company: str, operator: bool) -> tuple[str, str]:
    """The query under RLS, and the same without."""
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
    """The words of a question among the company's chunks, under RLS and without."""
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


def index_used(loaded: Loaded, person: int, query: str, words: str, index: str) -> bool:
    """Whether the statement inside the definer reads its index, as that person."""
    said: list[str] = []
    with psycopg.connect(loaded.admin) as db:
        db.add_notice_handler(lambda told: said.append(told.message_primary or ""))
        db.execute("load 'auto_explain'")
        db.execute(
            "set auto_explain.log_min_duration = 0; set auto_explain.log_nested_statements = on;"
            " set client_min_messages = log"
        )
        become = "select set_config('role', 'authenticated', true), set_config('request.jwt.claims', %s, true)"
        db.execute(become, (claims(1, person),))
        db.execute(query.replace("%", "%%").replace(":words", "%s").encode(), (words,))
    return any(f"on {index}" in plan for plan in said)


def measure(loaded: Loaded, rounds: int = 5) -> dict[str, list[float]]:
    """Each search's ratios, round by round. RuntimeError where an index is not used."""
    plain = without_rls(loaded)
    company = uuid_of("co1")
    ratios: dict[str, list[float]] = {}
    asked = [
        (f"messages «{words}», {role}", person, words, *message_searches(company, person == 4),
            "message_search_words_idx")
        for role, person in (("owner", 1), ("operador", 4))
        for words in WORDS
    ] + [
        (f"chunks «{words}», operador", 4, words, *chunk_searches(company), "document_chunks_words_idx")
        for words in _CHUNK_WORDS
    ]  # fmt: skip
    for name, person, words, ours, theirs, index in asked:
        # With few rows, reading the company's all is right.
        if loaded.rows >= 1_000_000 and not index_used(loaded, person, ours, words, index):
            raise RuntimeError(f"{index} does not serve {name}")
        who = claims(1, person)
        a, b, told = interleaved(
            loaded,
            transaction("authenticated", who, ours),
            transaction(plain, who, theirs),
            rounds=rounds,
            seconds=1,
            words=words,
        )
        ratios[name] = told
        print(f"     {name}: {a:.2f} ms under RLS, {b:.2f} ms without", flush=True)
    return ratios


def main() -> int:
    before = busy()
    with million() as loaded:
        medians = {name: statistics.median(told) for name, told in measure(loaded).items()}
    worst = max(medians, key=lambda name: medians[name])
    listed = "; ".join(f"{name} {ratio:.2f}" for name, ratio in medians.items())
    ok = report(
        "text_search",
        f"Spanish full-text search, {loaded.rows:,} messages / {loaded.rows * 12 // 100:,} chunks,"
        f" RLS : none, the worst search ({worst})",
        medians[worst],
        GOAL,
        f"company with a tenth of all; index used in each (EXPLAIN); pgbench, prepared, median of 5"
        f" interleaved rounds: {listed}; {before}",
    )
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
