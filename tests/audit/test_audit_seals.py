"""Sealing: one chain per company without gaps, whoever commits late and however many seal."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from hashlib import sha256
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from neurant.audit.queries import CHAIN
from neurant.audit.service import genesis, row_digest, verify
from neurant.installation.embedded import Urls
from tests.companies import Company, make_company

WRITE = "insert into audit_logs (company_id, action, resource_type) values (%s, 'read', 'x')"
SEAL = "select private.seal_audit(%s)"


@pytest.fixture
def db(urls: Urls) -> Iterator[psycopg.Connection]:
    with psycopg.connect(urls.admin) as connection:
        yield connection


@pytest.fixture(scope="module")
def acme(urls: Urls) -> Company:
    return make_company(urls.admin, "acme")


def seal_all(url: str, most: int = 1000) -> int:
    total = 0
    with psycopg.connect(url, autocommit=True) as db:
        while some := db.execute(SEAL, (most,)).fetchone()[0]:
            total += some
    return total


def seals(db: psycopg.Connection, company: UUID) -> list[tuple[int, UUID, bytes, bytes]]:
    query = "select seq, audit_id, row_digest, chain_hash from audit_seals where company_id = %s order by seq"
    return db.execute(query, (company,)).fetchall()


def assert_gapless(db: psycopg.Connection, company: UUID, rows: int) -> None:
    chain = seals(db, company)
    assert [seq for seq, *_ in chain] == list(range(1, rows + 1))
    assert len({audit_id for _, audit_id, *_ in chain}) == rows
    previous = genesis(company)
    for _, _, digest, chain_hash in chain:
        previous = sha256(previous + digest).digest()
        assert previous == chain_hash
    end = db.execute("select seq, chain_hash from audit_chains where company_id = %s", (company,))
    assert end.fetchone() == (rows, previous)


def test_every_row_is_sealed_once_in_order(urls: Urls, db: psycopg.Connection) -> None:
    company, other = uuid4(), uuid4()
    for one in (company, other, company, company):
        db.execute(WRITE, (one,))
    db.commit()
    seal_all(urls.jobs, most=2)
    assert_gapless(db, company, 3)
    assert_gapless(db, other, 1)
    assert seal_all(urls.jobs) == 0


def test_a_row_that_commits_late_is_sealed_late_and_leaves_no_gap(
    urls: Urls, db: psycopg.Connection
) -> None:
    company = uuid4()
    with psycopg.connect(urls.admin) as late:
        late.execute(WRITE, (company,))
        db.execute(WRITE, (company,))
        db.commit()
        seal_all(urls.jobs)
        assert_gapless(db, company, 1)
        late.commit()
    db.rollback()
    seal_all(urls.jobs)
    assert_gapless(db, company, 2)
    ids = [audit_id for _, audit_id, *_ in seals(db, company)]
    assert ids[0] > ids[1], "the late one was written first"


def test_many_seal_and_many_write_at_once(urls: Urls, db: psycopg.Connection) -> None:
    companies, each, writers = [uuid4() for _ in range(3)], 40, 4
    done = threading.Event()
    failures: list[BaseException] = []

    def write() -> None:
        try:
            with psycopg.connect(urls.admin) as writer:
                for number in range(each):
                    for company in companies:
                        writer.execute(WRITE, (company,))
                    if number % 3 == 0:  # what waits in between commits late, and some never
                        writer.commit()
                    elif number % 7 == 0:
                        writer.rollback()
                writer.commit()
        except BaseException as error:
            failures.append(error)

    def seal() -> None:
        try:
            while not done.is_set():
                seal_all(urls.jobs, most=7)
        except BaseException as error:
            failures.append(error)

    sealing = [threading.Thread(target=seal) for _ in range(2)]
    writing = [threading.Thread(target=write) for _ in range(writers)]
    for thread in sealing + writing:
        thread.start()
    for thread in writing:
        thread.join()
    done.set()
    for thread in sealing:
        thread.join()
    assert failures == []
    seal_all(urls.jobs)
    for company in companies:
        count = "select count(*) from audit_logs where company_id = %s"
        written = db.execute(count, (company,)).fetchone()[0]
        assert 0 < written < each * writers
        assert_gapless(db, company, written)


def test_a_company_that_is_being_sealed_is_passed_over(urls: Urls, db: psycopg.Connection) -> None:
    seal_all(urls.jobs)
    busy, free = uuid4(), uuid4()
    db.execute(WRITE, (busy,))
    db.commit()
    seal_all(urls.jobs)
    with psycopg.connect(urls.jobs) as first, psycopg.connect(urls.jobs, autocommit=True) as second:
        db.execute(WRITE, (busy,))
        db.commit()
        assert first.execute(SEAL, (10,)).fetchone() == (1,)
        assert second.execute(SEAL, (10,)).fetchone() == (0,)
        db.execute(WRITE, (free,))
        db.commit()
        assert second.execute(SEAL, (10,)).fetchone() == (1,)
    assert_gapless(db, busy, 2)
    assert_gapless(db, free, 1)


def test_a_sealer_that_dies_leaves_nothing_half_done(urls: Urls, db: psycopg.Connection) -> None:
    company = uuid4()
    db.execute(WRITE, (company,))
    db.commit()
    with psycopg.connect(urls.jobs) as dying:
        dying.execute(SEAL, (10,))
        dying.rollback()
    assert seals(db, company) == []
    seal_all(urls.jobs)
    assert_gapless(db, company, 1)


texts = st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=10),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    facts=st.tuples(texts, texts, texts, texts, texts),
    user=st.none() | st.uuids(),
    role=st.sampled_from([None, "owner", "operador"]),
    address=st.none() | st.ip_addresses(),
    details=st.dictionaries(st.text("abcñ", max_size=4), json_values, max_size=4),
    at=st.datetimes(),
)
def test_python_and_sql_digest_a_row_alike(
    db: psycopg.Connection,
    facts: tuple[str | None, ...],
    user: UUID | None,
    role: str | None,
    address: object,
    details: dict[str, object],
    at: object,
) -> None:
    email, kind, agent, session, request = facts
    company = uuid4()
    db.execute(
        "insert into audit_logs (company_id, user_id, user_email, user_role, action, resource_type, resource_id,"
        " details, ip_address, user_agent, session_id, request_id, created_at)"
        " values (%s, %s, %s, %s, 'read', %s, %s, %s, %s, %s, %s, %s, %s)",
        (company, user, email, role, kind or "x", user, Jsonb(details), str(address) if address else None,
            agent, session, request, at),
    )  # fmt: skip
    [(expected, audit_id)] = db.execute(
        "select private.audit_digest(a), a.id from audit_logs a where company_id = %s", (company,)
    ).fetchall()
    db.execute(
        "insert into audit_seals (company_id, seq, audit_id, row_digest, chain_hash) values (%s, 1, %s, %s, %s)",
        (company, audit_id, expected, expected),
    )
    db.execute("set local timezone = 'Asia/Kathmandu'; set local datestyle = 'SQL, DMY'")
    [row] = db.execute(CHAIN, {"company": company}).fetchall()
    assert row_digest(row[6:]) == expected
    db.rollback()


def test_no_two_rows_share_a_canonical_text() -> None:
    """Lengths in front: moving a comma, or a null, from one column to the next is another text."""
    variants = [("a,b", "c"), ("a", "b,c"), ("a", "b", "c"), (None, "a"), ("-", "a"), ("", "a"), ("a", None)]  # fmt: skip
    assert len({row_digest(one) for one in variants}) == len(variants)


def test_what_waits_is_counted_and_is_nothing_wrong(urls: Urls, db: psycopg.Connection) -> None:
    company = uuid4()
    db.execute(WRITE, (company,))
    db.commit()
    report = verify(urls.admin, list, company)
    assert report.ok
    assert [(one.sealed, one.waiting) for one in report.companies] == [(0, 1)]
