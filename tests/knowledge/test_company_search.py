"""Searching documents, bots and chunks: accent-blind, whole though a field is empty, one company's."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from neurant.installation.embedded import Urls
from tests.companies import Company, make_company


@pytest.fixture(scope="module")
def acme(urls: Urls) -> Company:
    return make_company(urls.admin, "acme")


@pytest.fixture(scope="module")
def rival(urls: Urls) -> Company:
    return make_company(urls.admin, "rival")


@pytest.fixture
def db(urls: Urls) -> Iterator[psycopg.Connection]:
    with psycopg.connect(urls.admin, autocommit=True) as connection:
        yield connection


@contextmanager
def acting(db: psycopg.Connection, company: Company, role: str = "owner") -> Iterator[None]:
    claims = {"sub": str(company.people[role].auth_user_id), "company_id": str(company.id)}
    with db.transaction(force_rollback=True):
        db.execute(
            "select set_config('role', 'authenticated', true), set_config('request.jwt.claims', %s, true)",
            (json.dumps(claims),),
        )
        yield


def found(
    db: psycopg.Connection, company: Company, what: str, typed: str | None, role: str = "owner"
) -> set[str]:
    with acting(db, company, role):
        return {str(row[0]) for row in db.execute(f"select private.search_{what}(%s)", (typed,))}


def add_document(
    db: psycopg.Connection,
    company: Company,
    name: str,
    title: str | None = None,
    description: str | None = None,
) -> str:
    row = db.execute(
        "insert into documents (company_id, filename, original_filename, file_type, file_size_bytes, file_url,"
        " content_digest, title, description, uploaded_by, processing_status)"
        " values (%s, 'f', %s, 'txt', 1, 'f', sha256(%s::bytea), %s, %s, %s, 'completed') returning id",
        (company.id, name, uuid.uuid4().hex, title, description, company.people["owner"].id),
    ).fetchone()
    return str(row[0])


def add_chunks(db: psycopg.Connection, company: Company, document: str, texts: list[str]) -> None:
    for number, text in enumerate(texts):
        db.execute(
            "insert into document_chunks (company_id, document_id, content, chunk_index, character_count)"
            " values (%s, %s, %s, %s, %s)",
            (company.id, document, text, number, len(text)),
        )


def test_a_document_is_found_though_it_has_no_description_or_title(
    db: psycopg.Connection, acme: Company, rival: Company
) -> None:
    mark = uuid.uuid4().hex[:8]
    mine = {
        add_document(db, acme, f"Garantía_extendida-{mark}.pdf"),
        add_document(db, acme, "f.pdf", title=f"Garantías {mark}"),
        add_document(db, acme, "g.pdf", description=f"Sobre la garantia {mark}"),
    }
    foreign = add_document(db, rival, f"Garantía_extendida-{mark}.pdf")
    for typed in ("garantia", "GARANTÍA", "garan"):
        assert found(db, acme, "documents", f"{mark} {typed}") == mine
        assert found(db, rival, "documents", f"{mark} {typed}") == {foreign}
    assert found(db, acme, "documents", f"{mark} televisor") == set()


def test_a_bot_is_found_by_name_and_description_within_the_readers_scope(
    db: psycopg.Connection, acme: Company, rival: Company
) -> None:
    mark = uuid.uuid4().hex[:8]
    bots = [
        str(db.execute(
            "insert into chatbots (company_id, name, description, system_prompt, created_by)"
            " values (%s, %s, %s, 'p', %s) returning id",
            (company.id, f"Atención {mark} {number}", description, company.people["owner"].id),
        ).fetchone()[0])
        for number, (company, description) in enumerate([(acme, None), (acme, "Garantías"), (rival, None)])
    ]  # fmt: skip
    assert found(db, acme, "chatbots", f"{mark} atencion") == set(bots[:2])
    assert found(db, acme, "chatbots", f"{mark} garantia") == {bots[1]}
    assert found(db, rival, "chatbots", f"{mark} aten") == {bots[2]}
    assert found(db, acme, "chatbots", f"{mark} atencion", "operador") == set()
    assert str(acme.bot_id) in found(db, acme, "chatbots", acme.bot_name, "operador")


@pytest.mark.parametrize("what", ["documents", "chatbots"])
@pytest.mark.parametrize(
    "typed", [None, "", " ", "'", ":*", "\\", "' & !(", "😀", "<b>", "x" * 10_000]
)
def test_nothing_that_can_be_typed_breaks_it(
    db: psycopg.Connection, acme: Company, what: str, typed: str | None
) -> None:
    assert found(db, acme, what, typed) == set()


def test_a_question_with_any_character_finds_chunks(
    db: psycopg.Connection, acme: Company, rival: Company
) -> None:
    mark = uuid.uuid4().hex[:8]
    for company in (acme, rival):
        add_chunks(
            db,
            company,
            add_document(db, company, f"{mark}.txt"),
            [f"La garantía de O'Neil {mark} dura un año", "Otra cosa"],
        )
    for question in (
        f"¿garantia {mark}?",
        f"O'Neil {mark}",
        f"{mark} C:\\temp 'x",
        f"{mark} :* & | !",
    ):
        with acting(db, acme):
            rows = db.execute(
                "select k.company_id, k.content from private.search_chunks(%s, %s, null, 'multilingual-e5-small', 5) s"
                " join document_chunks k on k.id = s.chunk_id where s.lexical > 0",
                (acme.bot_id, question),
            ).fetchall()
        assert [row[0] for row in rows if mark in row[1]] == [acme.id], question


def test_the_words_of_one_companys_chunks_are_read_by_an_index_that_knows_the_company(
    db: psycopg.Connection, acme: Company, rival: Company
) -> None:
    """The plan of the statement inside the function, as it runs for a person under row security."""
    mark = uuid.uuid4().hex[:8]
    plans: list[str] = []
    db.add_notice_handler(lambda told: plans.append(told.message_primary or ""))
    for company in (acme, rival):
        db.execute(
            "insert into document_chunks"
            " (company_id, document_id, content, chunk_index, character_count)"
            " select %s, %s, t.content, t.n, length(t.content)"
            " from (select format('palabra%%s %%s', n %% 4000, %s::text), n"
            " from generate_series(0, 7999) n) t (content, n)",
            (company.id, add_document(db, company, "muchos.txt"), mark),
        )
    db.execute("vacuum analyze document_chunks, documents")  # also empties the index's pending list
    db.execute(
        "load 'auto_explain'; set auto_explain.log_min_duration = 0; set auto_explain.log_nested_statements = on;"
        " set auto_explain.log_analyze = on; set client_min_messages = log"
    )
    with acting(db, acme, "operador"):
        db.execute(
            "select private.search_chunks(%s, 'palabra7', null, 'multilingual-e5-small', 5)",
            (acme.bot_id,),
        )
    told = next(plan for plan in plans if "sparse as" in plan)
    scan = re.search(r"Index Scan on document_chunks_words_idx .*rows=(\d+)", told)
    assert scan, told
    assert int(scan[1]) == 2, "entries of the other company were read too"
