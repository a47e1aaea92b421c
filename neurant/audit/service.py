"""The verification of the audit, recomputed from the raw columns and independent of the SQL.

A company's chain is read once, row by row, in constant memory (plus the exported chain heads).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import groupby
from typing import Any
from uuid import UUID

import psycopg

from neurant.audit.chain_heads import ExportedHead
from neurant.audit.queries import CHAIN, ENDS, EXPORTED, NAMES, UNSEALED
from neurant.core.db.connection import with_timeouts

_VERSION = "neurant-audit-1"
_MAX_REPORTED = 20  # reported problems of one kind and company; further ones are only counted
_BATCH_SIZE = 5_000


@dataclass(frozen=True, slots=True)
class Problem:
    """A difference between the audit and its seals. ``kind`` is a text ``audit.problem.<kind>``."""

    kind: str
    seq: int | None = None
    audit_id: UUID | None = None
    place: str | None = None


@dataclass(slots=True)
class CompanyReport:
    """The result for one company. ``covered``: the last seal that a signed head confirms."""

    company_id: UUID
    slug: str | None = None
    sealed: int = 0
    waiting: int = 0
    covered: int = 0
    found: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)

    def add(self, problem: Problem) -> None:
        """Count a problem, and keep it for the report unless there are too many of its kind."""
        self.found[problem.kind] += 1
        if self.found[problem.kind] <= _MAX_REPORTED:
            self.problems.append(problem)


@dataclass(slots=True)
class Report:
    """The result of a verification. ``heads``: the number of genuine chain heads that
    were compared.
    """

    companies: list[CompanyReport]
    heads: int
    forged: list[Problem]

    @property
    def ok(self) -> bool:
        """True if everything matches its seals and chain heads."""
        return not self.forged and not any(one.found for one in self.companies)


@dataclass(frozen=True, slots=True)
class SealedRow:
    """A seal and its row's raw columns as text; ``fields`` is None if the row is missing."""

    company_id: UUID
    seq: int
    audit_id: UUID
    row_digest: bytes
    chain_hash: bytes
    fields: Sequence[str | None] | None

    @classmethod
    def read(cls, row: Sequence[Any]) -> SealedRow:
        """Read a row of ``queries.CHAIN_COLUMNS``."""
        company, seq, audit_id, digest, chain_hash, there, *fields = row
        return cls(company, seq, audit_id, digest, chain_hash, fields if there else None)


def row_digest(fields: Iterable[str | None]) -> bytes:
    """Return SHA-256 of a row of audit_logs, its columns as text in order
    (``private.audit_digest``).
    """
    told = (
        b"-" if value is None else b"%d:%b" % (len(raw := value.encode()), raw)
        for value in (_VERSION, *fields)
    )
    return sha256(b",".join(told)).digest()


def genesis(company_id: UUID) -> bytes:
    """Return the hash with which a company's chain starts."""
    return sha256(f"{_VERSION}:{company_id}".encode()).digest()


def verify(
    admin_url: str,
    exported: Callable[[], Iterable[ExportedHead]],
    company_id: UUID | None = None,
) -> Report:
    """Check every seal, row and exported chain head of all companies, or of one.

    ``admin_url``: a login that bypasses RLS. ``exported`` yields the chain heads. It is called
    after the database has reported its exports and before the rows are read, so that heads which a
    running worker exports meanwhile cause no false alarm. Raises psycopg.Error.
    """
    with psycopg.connect(with_timeouts(admin_url)) as db:
        claimed: dict[UUID, int] = dict(db.execute(EXPORTED).fetchall())
        db.rollback()
        heads, forged = _sort_heads(exported(), company_id)
        compared = sum(len(hashes) for known in heads.values() for hashes in known.values())
        lost = {one for one, seq in claimed.items() if seq > max(heads.get(one, {0: set()}))}
        db.execute("set transaction isolation level repeatable read read only")
        # Only hash joins are allowed: with outdated statistics a nested loop takes hours.
        db.execute("set local enable_nestloop = off; set local enable_mergejoin = off")
        reports: dict[UUID, CompanyReport] = {}
        for company, rows in groupby(_sealed_rows(db, company_id), key=lambda row: row.company_id):
            reports[company] = CompanyReport(company)
            _check_chain(reports[company], rows, heads.pop(company, {}))
        for company, known in heads.items():
            reports[company] = CompanyReport(company)
            _check_chain(reports[company], iter(()), known)
        for company in lost if company_id is None else lost & {company_id}:
            reports.setdefault(company, CompanyReport(company)).add(
                Problem("head_lost", claimed[company])
            )
        _check_ends(db, reports, company_id)
        _count_unsealed(db, reports, company_id)
        names: dict[UUID, str] = dict(db.execute(NAMES).fetchall())
    for report in reports.values():
        report.slug = names.get(report.company_id)
    ordered = sorted(reports.values(), key=lambda one: (one.slug or "~", str(one.company_id)))
    return Report(ordered, compared, forged)


def _sort_heads(
    exported: Iterable[ExportedHead], company_id: UUID | None
) -> tuple[dict[UUID, dict[int, set[bytes]]], list[Problem]]:
    heads: dict[UUID, dict[int, set[bytes]]] = {}
    forged = []
    for head in exported:
        if head.company_id is None or not head.genuine:
            forged.append(Problem("head_forged", head.seq or None, place=head.place))
        elif company_id in (None, head.company_id):
            heads.setdefault(head.company_id, {}).setdefault(head.seq, set()).add(head.chain_hash)
    return heads, forged


def _sealed_rows(db: psycopg.Connection[Any], company_id: UUID | None) -> Iterator[SealedRow]:
    with db.cursor(name="chain") as cursor:
        cursor.itersize = _BATCH_SIZE
        for row in cursor.execute(CHAIN, {"company": company_id}):
            yield SealedRow.read(row)


def check_part(
    company_id: UUID, rows: Iterable[SealedRow], after: int, previous: bytes
) -> CompanyReport:
    """Check the seals that follow the seal ``after``, whose hash is ``previous``."""
    report = CompanyReport(company_id)
    _check_chain(report, iter(rows), {}, after=after, previous=previous)
    return report


def _check_chain(
    report: CompanyReport,
    rows: Iterator[SealedRow],
    heads: dict[int, set[bytes]],
    *,
    after: int = 0,
    previous: bytes | None = None,
) -> None:
    previous, expected = previous or genesis(report.company_id), after + 1
    for row in rows:
        report.sealed += 1
        if row.seq != expected:
            report.add(Problem("seal_missing", expected))
        elif sha256(previous + row.row_digest).digest() != row.chain_hash:
            report.add(Problem("chain_broken", row.seq, row.audit_id))
        if row.fields is None:
            report.add(Problem("row_missing", row.seq, row.audit_id))
        elif row_digest(row.fields) != row.row_digest:
            report.add(Problem("row_changed", row.seq, row.audit_id))
        known = heads.pop(row.seq, set())
        if known - {row.chain_hash}:
            report.add(Problem("head_differs", row.seq, row.audit_id))
        elif known:
            report.covered = row.seq
        previous, expected = row.chain_hash, row.seq + 1
    for seq in sorted(heads, reverse=True)[:1]:  # exported heads without a seal in the chain
        report.add(Problem("cut_off" if seq >= expected else "seal_missing", seq))


def _check_ends(
    db: psycopg.Connection[Any], reports: dict[UUID, CompanyReport], company_id: UUID | None
) -> None:
    for company, seq, chain_hash in db.execute(ENDS, {"company": company_id}):
        report = reports.setdefault(company, CompanyReport(company))
        last = (
            "select s.seq, s.chain_hash from public.audit_seals s where s.company_id = %s"
            " order by s.seq desc limit 1"
        )
        end = db.execute(last, (company,)).fetchone() or (0, genesis(company))
        if end != (seq, chain_hash):
            report.add(Problem("end_differs", seq))


def _count_unsealed(
    db: psycopg.Connection[Any], reports: dict[UUID, CompanyReport], company_id: UUID | None
) -> None:
    for company, waiting, strays in db.execute(UNSEALED, {"company": company_id}):
        report = reports.setdefault(company, CompanyReport(company))
        report.waiting = waiting
        if strays:
            report.add(Problem("row_unannounced"))
