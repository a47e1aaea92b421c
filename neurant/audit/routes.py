"""The endpoints for the audit."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from neurant.api.call import Call, needs
from neurant.api.listing import Page
from neurant.api.route import api_router
from neurant.audit import log_queries
from neurant.audit.schemas import (
    AuditLogOut,
    AuditQuery,
    ProblemOut,
    VerificationOut,
    VerificationQuery,
)
from neurant.audit.service import CompanyReport, Problem, check_part, genesis

router = api_router("audit")
Reading = Annotated[Call, needs("audit.read")]


@router.get("/audit-logs")
async def list_audit_logs(
    call: Reading, query: Annotated[AuditQuery, Query()]
) -> Page[AuditLogOut]:
    """List the audit of the company: actor, action, time and origin."""
    data, cursor = await log_queries.list_audit_logs(call.connection, query)
    return Page(data=data, next_cursor=cursor)


@router.get("/audit-logs/verification")
async def verify_audit_logs(
    call: Reading, query: Annotated[VerificationQuery, Query()]
) -> VerificationOut:
    """Recompute a part of the audit chain and report differences.

    The check compares each row with its seal and each seal with its predecessor.
    """
    connection, company = call.connection, call.caller.company_id
    end = await log_queries.chain_end(connection)
    sealed = end.seq if end else 0
    after = max(0, sealed - query.limit) if query.after is None else query.after
    seal = await log_queries.find_seal(connection, after) if after else None
    rows = await log_queries.chain_part(connection, after, query.limit)
    report = check_part(company, rows, after, seal.chain_hash if seal else genesis(company))
    last = rows[-1].seq if rows else after
    if len(rows) < query.limit and last < sealed:
        report.add(Problem("cut_off", sealed))
    if end and rows and last >= sealed and (last, rows[-1].chain_hash) != (sealed, end.chain_hash):
        report.add(Problem("end_differs", sealed))
    return VerificationOut(
        ok=not report.found,
        sealed=sealed,
        head=(end.chain_hash if end else genesis(company)).hex(),
        sealed_at=end.sealed_at if end else None,
        exported=end.exported_seq if end else 0,
        checked_from=rows[0].seq if rows else None,
        checked_to=last if rows else None,
        problems=_problems(report),
        next_after=last if len(rows) == query.limit and last < sealed else None,
    )


def _problems(report: CompanyReport) -> list[ProblemOut]:
    return [
        ProblemOut(kind=one.kind, seq=one.seq, audit_id=one.audit_id) for one in report.problems
    ]
