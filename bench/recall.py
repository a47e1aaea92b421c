"""The ten nearest of a company's 1,000 chunks among 100 companies': found all, and how fast.

Run: ``python bench/recall.py`` (about 3 minutes). Topics are shared by all companies, so that the
filter by company and the vector say nothing of each other: the usual, hard case. Ours is
``private.search_chunks`` as a member of the staff; the design as drafted is its ivfflat index with
the filter written out, without its policies (which would cost it seconds more).
"""

from __future__ import annotations

import os
import statistics
import struct
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import psycopg
from million import SETTINGS, Loaded, claims, draft_database, sentences, uuid_of
from numpy.typing import NDArray
from support import busy, empty_folder, report

from neurant.installation.embedded import start_supervised
from neurant.installation.install import read_secrets
from neurant.installation.migrate import migrate, set_login_passwords

COMPANIES = int(os.environ.get("BENCH_COMPANIES", "100"))
CHUNKS, TOPICS, NEAREST = 1000, 200, 10
QUESTIONS = int(os.environ.get("BENCH_QUESTIONS", "200"))
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
from staged s join lines l on l.n = s.id % 1000 order by s.id;
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
from staged s join lines l on l.n = s.id % 1000 order by s.id;
"""


@dataclass(frozen=True)
class Asked:
    """A question of a company, and the ids that are nearest in truth."""

    company: int
    vector: str
    truth: frozenset[str]


@dataclass(frozen=True)
class Told:
    """How a search did: share of the truth found, answers with less than ten, median milliseconds."""

    recall: float
    short: int
    milliseconds: float


def corpus(dimensions: int) -> tuple[Vectors, NDArray[np.int64], list[Asked]]:
    """Vectors in the order of their arrival, whose each is, and questions with their answers."""
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
        questions.append(Asked(int(company), text, truth))
    return vectors, owner, questions


def stage(db: psycopg.Connection, vectors: Vectors, owner: NDArray[np.int64]) -> None:
    """The vectors as a table, through COPY's binary form."""
    db.execute("create unlogged table lines (n integer primary key, text text)")
    with db.cursor().copy("copy lines from stdin") as copy:
        lines = sentences(6000)
        for number in range(1000):
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
        .encode()
    )


def told(found: Sequence[tuple[float, set[str]]], asked: Sequence[Asked]) -> Told:
    shares = [len(ids & one.truth) / NEAREST for (_, ids), one in zip(found, asked, strict=True)]
    return Told(
        statistics.mean(shares),
        sum(len(ids) < NEAREST for _, ids in found),
        statistics.median(seconds for seconds, _ in found) * 1000,
    )


def ours(loaded: Loaded, asked: Sequence[Asked]) -> Told:
    """As a member of each company's staff, by the web login."""
    search = "select chunk_id::text from private.search_chunks(%s, '', %s::extensions.vector, 'bench', %s)"
    found: list[tuple[float, set[str]]] = []
    with psycopg.connect(loaded.app) as db:
        for one in [*asked, *asked]:  # the first time to warm the cache
            become = "select set_config('role', 'authenticated', true), set_config('request.jwt.claims', %s, true)"
            db.execute(become, (claims(one.company, 1),))
            began = time.perf_counter()
            rows = db.execute(
                search, (uuid_of(f"b{one.company}"), one.vector, NEAREST), prepare=True
            )
            ids = {row[0] for row in rows.fetchall()}
            found.append((time.perf_counter() - began, ids))
            db.rollback()
    return told(found[len(asked) :], asked)


def as_drafted(draft: Loaded, asked: Sequence[Asked]) -> Told:
    """The drafted index with the company written out, with no policies in the way."""
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
    return told(found[len(asked) :], asked)


def measure(dimensions: int) -> tuple[Told, Told]:
    """Ours and the drafted search over the same vectors."""
    vectors, owner, asked = corpus(dimensions)
    with empty_folder() as folder:
        server = start_supervised(folder, {**SETTINGS, "fsync": "off"})
        try:
            loaded = Loaded(server, server.urls.admin, server.urls.app, len(owner))
            migrate(loaded.admin)
            secret = read_secrets(folder)
            set_login_passwords(loaded.admin, app=secret.app_password, jobs=secret.jobs_password)
            with psycopg.connect(loaded.admin, autocommit=True) as db:
                stage(db, vectors, owner)
                db.execute(filled(_OURS, dimensions))
                db.execute("vacuum analyze")
            mine = ours(loaded, asked)
            draft = draft_database(loaded)
            with psycopg.connect(draft.admin, autocommit=True) as db:
                db.execute("create schema extensions")
                db.execute("alter extension vector set schema extensions")
                db.execute("set search_path = public, extensions")
                stage(db, vectors, owner)
                db.execute(filled(_DRAFT, dimensions))
                db.execute("vacuum analyze")
                db.execute("alter database drafted set search_path = public, extensions")
            return mine, as_drafted(draft, asked)
        finally:
            server.stop()


def main() -> int:
    before = busy()
    ok = True
    for dimensions in (384, 1536):
        mine, draft = measure(dimensions)
        where = f"{COMPANIES} companies x {CHUNKS:,} chunks, {dimensions:,} dimensions"
        ok &= report(
            f"recall_{dimensions}",
            f"what recall@10 lacks to 1, {where}",
            round(1 - mine.recall, 4) + mine.short,
            0,
            f"ours {mine.recall:.3f}, {mine.short} of {QUESTIONS} answers short of 10;"
            f" as drafted {draft.recall:.3f}, {draft.short} short",
        )
        ok &= report(
            f"recall_{dimensions}_time",
            f"time of the search, ours : drafted ivfflat, {where}",
            mine.milliseconds / draft.milliseconds,
            1,
            f"medians: ours {mine.milliseconds:.2f} ms with identity and row security, drafted"
            f" {draft.milliseconds:.2f} ms without; {before}",
        )
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
