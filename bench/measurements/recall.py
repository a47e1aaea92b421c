"""Recall and time of the search for the ten nearest chunks of a company.

There are 100 companies with 1,000 chunks each. All companies share the topics, so that the filter
by company and the vector are independent of each other: the usual, hard case. Ours is
``private.search_chunks`` as a member of the staff; the baseline is the ivfflat index of the design
as drafted with the filter written out, without its policies (which would cost it seconds more).
"""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

from bench.database import IN_MEMORY, Database, migrated, temporary
from bench.figures import Figure, Figures, quotient
from bench.million import become, claims, load_draft_schema, sentences, uuid_of
from bench.sizes import sized
from bench.support import busy, median

COMPANIES = sized(100, tiny=3)
CHUNKS, TOPICS, NEAREST = sized(1000, tiny=40), sized(200, tiny=8), 10
QUESTIONS = sized(200, tiny=3)
LINES = sized(1000, tiny=100)
DIMENSIONS = (384, 1536)
Vectors = NDArray[np.float32]

_OURS = """
insert into auth.users (id, email)
select md5('auth' || c || '-1')::uuid, 'u@c' || c || '.co' from generate_series(1, {companies}) c;
insert into companies (id, name, slug, email, subscription_plan, max_chatbots, max_users,
  max_document_characters, max_storage_mb)
select md5('co' || c)::uuid, 'C' || c, 'c-' || c, 'c' || c || '@x.co', 'enterprise', -1, -1, -1, -1
from generate_series(1, {companies}) c;
insert into users (id, company_id, auth_user_id, email, first_name, last_name, role, is_owner)
select md5('u' || c || '-1')::uuid, md5('co' || c)::uuid, md5('auth' || c || '-1')::uuid,
  'u@c' || c || '.co', 'n', 'n', 'owner', true from generate_series(1, {companies}) c;
insert into chatbots (id, company_id, name, system_prompt, created_by)
select md5('b' || c)::uuid, md5('co' || c)::uuid, 'bot', 'p', md5('u' || c || '-1')::uuid
from generate_series(1, {companies}) c;
insert into documents (id, company_id, chatbot_id, filename, original_filename, file_type,
  file_size_bytes, file_url, content_digest, processing_status, uploaded_by)
select md5('d' || c || '-' || d)::uuid, md5('co' || c)::uuid, md5('b' || c)::uuid, 'f', 'f.txt',
  'txt', 1, 'f', sha256(('d' || c || '-' || d)::bytea), 'completed', md5('u' || c || '-1')::uuid
from generate_series(1, {companies}) c, generate_series(1, 10) d;
insert into embedding_models (name, dimensions) values ('bench', {dimensions});
insert into document_chunks
  (id, company_id, document_id, content, chunk_index, character_count, embedding, embedding_model)
select md5('chunk' || s.id)::uuid, md5('co' || s.company)::uuid,
  md5('d' || s.company || '-' || (1 + s.id % 10))::uuid, l.text, s.id, char_length(l.text),
  s.embedding, 'bench'
from staged s join lines l on l.n = s.id % {lines} order by s.id;
"""
_DRAFT = """
set session_replication_role = replica;
drop index document_chunks_embedding_idx;
alter table document_chunks alter column embedding type vector({dimensions});
create index document_chunks_embedding_idx on document_chunks
  using ivfflat (embedding vector_cosine_ops) with (lists = 100);
insert into document_chunks (id, company_id, document_id, content, chunk_index, character_count, embedding)
select md5('chunk' || s.id)::uuid, md5('co' || s.company)::uuid,
  md5('d' || s.company || '-' || (1 + s.id % 10))::uuid, l.text, s.id, char_length(l.text), s.embedding
from staged s join lines l on l.n = s.id % {lines} order by s.id;
"""


@dataclass(frozen=True)
class Question:
    """A question to a company, and the ids of its true nearest chunks."""

    company: int
    vector: str
    truth: frozenset[str]


@dataclass(frozen=True)
class Result:
    """The share of the nearest found, the answers with fewer than ten, and median milliseconds."""

    recall: float
    short: int
    milliseconds: float


def corpus(dimensions: int) -> tuple[Vectors, NDArray[np.int64], list[Question]]:
    """Return vectors in the order of insertion, their companies, and questions with answers."""
    rng = np.random.default_rng(7)
    centres = rng.normal(size=(TOPICS, dimensions))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    many = COMPANIES * CHUNKS
    made = centres[rng.integers(0, TOPICS, many)]
    made = made + 0.7 * rng.normal(size=(many, dimensions)) / np.sqrt(dimensions)
    vectors = (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)
    owner = rng.permutation(np.repeat(np.arange(1, COMPANIES + 1), CHUNKS))
    questions = []
    for company in rng.integers(1, COMPANIES + 1, QUESTIONS):
        mine = np.flatnonzero(owner == company)
        near = vectors[rng.choice(mine)] + 0.6 * rng.normal(size=dimensions) / np.sqrt(dimensions)
        best = mine[np.argsort(-(vectors[mine] @ near), kind="stable")[:NEAREST]]
        text = "[" + ",".join(f"{value:.6g}" for value in near) + "]"
        truth = frozenset(uuid_of(f"chunk{number}") for number in best)
        questions.append(Question(int(company), text, truth))
    return vectors, owner, questions


def stage(db: psycopg.Connection[Any], vectors: Vectors, owner: NDArray[np.int64]) -> None:
    """Store the vectors in a table, through COPY's binary form."""
    db.execute("create unlogged table lines (n integer primary key, text text)")
    with db.cursor().copy("copy lines from stdin") as copy:
        lines = sentences(LINES * 6)
        for number in range(LINES):
            copy.write_row((number, ". ".join(lines[number * 6 : number * 6 + 6])))
    db.execute(
        "create unlogged table staged (id integer, company integer, embedding extensions.vector)"
    )
    size = vectors.shape[1]
    head = struct.pack(">hiiii", 3, 4, 0, 4, 0)
    with db.cursor().copy("copy staged from stdin (format binary)") as copy:
        copy.write(b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0))
        for number, (company, vector) in enumerate(zip(owner, vectors.astype(">f4"), strict=True)):
            head = struct.pack(">hiiii", 3, 4, number, 4, company)
            copy.write(head + struct.pack(">ihh", 4 + 4 * size, size, 0) + vector.tobytes())
        copy.write(struct.pack(">h", -1))


def filled(script: str, dimensions: int) -> bytes:
    return (
        script.replace("{companies}", str(COMPANIES))
        .replace("{dimensions}", str(dimensions))
        .replace("{lines}", str(LINES))
        .encode()
    )


def result(found: Sequence[tuple[float, set[str]]], asked: Sequence[Question]) -> Result:
    shares = [len(ids & one.truth) / NEAREST for (_, ids), one in zip(found, asked, strict=True)]
    return Result(
        mean(shares),
        sum(len(ids) < NEAREST for _, ids in found),
        median(seconds for seconds, _ in found) * 1000,
    )


def ours(database: Database, asked: Sequence[Question]) -> Result:
    """Measure our search as a member of each company's staff, by the web login."""
    search = "select chunk_id::text from private.search_chunks(%s, '', %s::extensions.vector, 'bench', %s)"
    found: list[tuple[float, set[str]]] = []
    with psycopg.connect(database.app) as db:
        for one in [*asked, *asked]:  # the first pass warms the cache
            become(db, "authenticated", claims(one.company, 1))
            began = time.perf_counter()
            rows = db.execute(
                search, (uuid_of(f"b{one.company}"), one.vector, NEAREST), prepare=True
            )
            ids = {row[0] for row in rows.fetchall()}
            found.append((time.perf_counter() - began, ids))
            db.rollback()
    return result(found[len(asked) :], asked)


def as_drafted(draft: Database, asked: Sequence[Question]) -> Result:
    """Measure the drafted index with the company written out and without policies."""
    search = (
        "select id::text from document_chunks where company_id = %s"
        " order by embedding <=> %s::vector limit %s"
    )
    found: list[tuple[float, set[str]]] = []
    with psycopg.connect(draft.admin) as db:
        db.execute("set enable_seqscan = off")
        for one in [*asked, *asked]:
            began = time.perf_counter()
            rows = db.execute(
                search, (uuid_of(f"co{one.company}"), one.vector, NEAREST), prepare=True
            )
            ids = {row[0] for row in rows.fetchall()}
            found.append((time.perf_counter() - began, ids))
    return result(found[len(asked) :], asked)


def compare(dimensions: int) -> tuple[Result, Result]:
    """Measure ours and the drafted search over the same vectors."""
    vectors, owner, asked = corpus(dimensions)
    with migrated({**IN_MEMORY, "fsync": "off"}) as database:
        with psycopg.connect(database.admin, autocommit=True) as db:
            stage(db, vectors, owner)
            db.execute(filled(_OURS, dimensions))
            db.execute("vacuum analyze")
        mine = ours(database, asked)
        with temporary(database) as draft:
            load_draft_schema(draft.admin)
            with psycopg.connect(draft.admin, autocommit=True) as db:
                db.execute("create schema extensions")
                db.execute("alter extension vector set schema extensions")
                db.execute("set search_path = public, extensions")
                stage(db, vectors, owner)
                db.execute(filled(_DRAFT, dimensions))
                db.execute("vacuum analyze")
                path = f"alter database {db.info.dbname} set search_path = public, extensions"
                db.execute(path.encode())
            return mine, as_drafted(draft, asked)


def figures(dimensions: int, mine: Result, draft: Result, before: str) -> Figures:
    where = f"{COMPANIES} companies with {CHUNKS:,} chunks each, {dimensions:,} dimensions"
    yield Figure(
        id=f"recall_{dimensions}",
        title=f"recall@10 of a company's search, {where}",
        measured=mine.recall,
        unit="of 1",
        baseline="the drafted ivfflat index",
        baseline_measured=draft.recall,
        ratio=quotient(mine.recall, draft.recall),
        goal=1.0,
        goal_on="measured",
        higher_is_better=True,
        details=f"{mine.short} of {QUESTIONS} answers have fewer than 10; as drafted {draft.short}",
    )
    yield Figure(
        id=f"recall_{dimensions}_time",
        title=f"time of the same search, {where}",
        measured=mine.milliseconds,
        unit="ms",
        baseline="the drafted ivfflat index",
        baseline_measured=draft.milliseconds,
        ratio=mine.milliseconds / draft.milliseconds,
        goal=1.0,
        details=f"medians; ours with identity and row level security, drafted without; {before}",
    )


def measure() -> Figures:
    before = busy()
    for dimensions in DIMENSIONS:
        yield from figures(dimensions, *compare(dimensions), before)
