"""How often documents and passages are quoted: appended by each answer, exact after a drain."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from neurant.analytics.jobs import count_knowledge_uses
from neurant.core.db.pool import make_pool
from neurant.installation.embedded import Urls
from tests.analytics.facts import add_conversation
from tests.companies import Company, make_company

NOON = datetime(2026, 5, 4, 17, tzinfo=UTC)


@pytest.fixture
def db(urls: Urls) -> Iterator[psycopg.Connection]:
    with psycopg.connect(urls.admin, autocommit=True) as connection:
        yield connection


def add_document(db: psycopg.Connection, company: Company, chunks: int) -> tuple[UUID, list[UUID]]:
    document = db.execute(
        "insert into documents (company_id, filename, original_filename, file_type,"
        " file_size_bytes, file_url, content_digest, uploaded_by) values"
        " (%s, 'a.txt', 'a.txt', 'txt', 1, 'x', %s, %s) returning id",
        (company.id, secrets.token_bytes(32), company.people["owner"].id),
    ).fetchone()[0]
    made = [
        db.execute(
            "insert into document_chunks (company_id, document_id, content, chunk_index,"
            " character_count) values (%s, %s, 'x', %s, 1) returning id",
            (company.id, document, number),
        ).fetchone()[0]
        for number in range(chunks)
    ]
    return document, made


def answer(
    db: psycopg.Connection, company: Company, sources: Any, at: datetime, **columns: Any
) -> UUID:
    conversation = columns.pop("conversation", None) or add_conversation(
        db, company, company.bot_id, NOON
    )
    sender = columns.pop("sender", "bot")
    return db.execute(
        "insert into messages (company_id, conversation_id, chatbot_id, channel_account_id, seq,"
        " sender_type, content, knowledge_sources, created_at)"
        " select company_id, id, chatbot_id, channel_account_id, %s, %s, 'hola', %s, %s"
        " from conversations where id = %s returning id",
        (columns.get("seq"), sender, Jsonb(sources), at, conversation),
    ).fetchone()[0]


def source(document: UUID, chunk: UUID) -> dict[str, str]:
    return {"document_id": str(document), "chunk_id": str(chunk), "quote": "x"}


def counted(db: psycopg.Connection, table: str, row: UUID) -> tuple[Any, ...]:
    columns = {
        "documents": "query_count, last_used_at",
        "document_chunks": "match_count, last_matched_at",
    }
    return db.execute(f"select {columns[table]} from {table} where id = %s", (row,)).fetchone()


def process_changes(db: psycopg.Connection) -> None:
    while db.execute("select private.count_knowledge_uses(2)").fetchone()[0]:
        pass


def test_each_answer_counts_once_for_a_document_and_for_each_passage(
    urls: Urls, db: psycopg.Connection
) -> None:
    acme, rival = (make_company(urls.admin, name) for name in ("acme", "rival"))
    document, (first, second) = add_document(db, acme, 2)
    foreign, (passage,) = add_document(db, rival, 1)
    later = NOON + timedelta(hours=1)
    answer(db, acme, [source(document, first), source(document, second)], later)
    answer(db, acme, [source(document, first)], NOON)
    answer(db, acme, [source(foreign, passage)], NOON)
    assert counted(db, "documents", document) == (0, None)
    process_changes(db)
    assert counted(db, "documents", document) == (2, later)
    assert counted(db, "document_chunks", first) == (2, later)
    assert counted(db, "document_chunks", second) == (1, later)
    assert counted(db, "documents", foreign) == (0, None), "another company's answer counts nothing"
    assert counted(db, "document_chunks", passage) == (0, None)


def test_only_new_answers_of_the_bot_count(urls: Urls, db: psycopg.Connection) -> None:
    acme = make_company(urls.admin, "acme")
    document, (chunk,) = add_document(db, acme, 1)
    conversation = add_conversation(db, acme, acme.bot_id, NOON)
    quoted = [source(document, chunk)]
    answer(db, acme, quoted, NOON, sender="system")
    answer(db, acme, quoted, NOON, conversation=conversation, seq=7)  # comes back from an archive
    process_changes(db)
    assert counted(db, "documents", document) == (0, None)
    message = answer(db, acme, quoted, NOON)
    db.execute("delete from messages where id = %s", (message,))
    process_changes(db)
    assert counted(db, "documents", document) == (1, NOON), "it was quoted, and is no less used now"


@pytest.mark.parametrize(
    "sources", [[], ["x"], [1, None], [{"document_id": "x", "chunk_id": 7}], [[{}]], [{"url": "x"}]]
)
def test_sources_of_another_shape_count_nothing_and_hold_up_nobody(
    urls: Urls, db: psycopg.Connection, sources: Any
) -> None:
    acme = make_company(urls.admin, "acme")
    document, (chunk,) = add_document(db, acme, 1)
    answer(db, acme, sources, NOON)
    answer(db, acme, [source(document, chunk), source(uuid4(), uuid4())], NOON)
    process_changes(db)
    assert counted(db, "documents", document) == (1, NOON)


def test_to_be_used_is_no_edit(urls: Urls, db: psycopg.Connection) -> None:
    acme = make_company(urls.admin, "acme")
    document, (chunk,) = add_document(db, acme, 1)
    query = "select updated_at from documents where id = %s"
    (edited,) = db.execute(query, (document,)).fetchone()
    answer(db, acme, [source(document, chunk)], NOON)
    process_changes(db)
    assert counted(db, "documents", document) == (1, NOON)
    assert db.execute(query, (document,)).fetchone() == (edited,)
    db.execute("update documents set title = 'x' where id = %s", (document,))
    assert db.execute(query, (document,)).fetchone()[0] > edited


@pytest.mark.anyio
async def test_of_two_who_add_up_one_passes_on_and_the_job_adds_all(
    urls: Urls, db: psycopg.Connection
) -> None:
    acme = make_company(urls.admin, "acme")
    document, (chunk,) = add_document(db, acme, 1)
    for _ in range(3):
        answer(db, acme, [source(document, chunk)], NOON)
    with psycopg.connect(urls.jobs) as first, psycopg.connect(urls.jobs) as second:
        add = "select private.count_knowledge_uses(1)"
        assert first.execute(add).fetchone() == (1,)
        assert second.execute(add).fetchone() == (0,)
        first.rollback()
    async with make_pool(urls.jobs, size=1, pooled=False) as pool:
        await count_knowledge_uses(pool)
    assert counted(db, "documents", document) == (3, NOON)
    assert counted(db, "document_chunks", chunk) == (3, NOON)
