"""The commands ``neurant audit``: verify the audit log, and export the signed chain heads now."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from neurant.audit.chain_heads import encode_public, open_heads, public_key, read_heads, signing_key
from neurant.audit.jobs import export_heads, seal_all
from neurant.audit.service import CompanyReport, Problem, Report, verify
from neurant.core.db.connection import with_timeouts
from neurant.core.db.pool import command_pool, require_url
from neurant.core.errors import SetupError
from neurant.core.settings import Settings
from neurant.texts import Language, text


def run_verify(
    settings: Settings, admin_url: str, heads: str | None, company: str | None, keys: list[str]
) -> Report:
    """Verify all companies, or the one with this slug or id. Raises SetupError."""
    trusted = [public_key(key) for key in keys] or [signing_key(settings).public_key()]
    chosen = _company_id(admin_url, company) if company else None
    store = open_heads(settings, heads)
    return verify(admin_url, lambda: read_heads(store, trusted), chosen)


def _company_id(admin_url: str, company: str) -> UUID:
    try:
        return UUID(company)  # an id is accepted also for an erased company
    except ValueError:
        with psycopg.connect(with_timeouts(admin_url)) as db:
            row = db.execute(
                "select c.id from public.companies c where c.slug = %s", (company,)
            ).fetchone()
    if row is None:
        raise SetupError("unknown_company", company=company)
    return UUID(str(row[0]))


async def run_export(settings: Settings) -> tuple[int, int, str]:
    """Seal and export now; return the sealed rows, the exported heads and the public key."""
    key = signing_key(settings)
    url = require_url(settings.jobs_database_url, "NEURANT_JOBS_DATABASE_URL")
    async with command_pool(url) as pool:
        sealed = await seal_all(pool)
        exported = await export_heads(pool, open_heads(settings), key)
    return sealed, exported, encode_public(key.public_key())


def as_json(report: Report) -> str:
    """Return the report as JSON."""
    return json.dumps(
        {
            "ok": report.ok,
            "heads": report.heads,
            "forged_heads": [_problem_facts(one) for one in report.forged],
            "companies": [
                {
                    "company_id": str(one.company_id),
                    "slug": one.slug,
                    "sealed": one.sealed,
                    "waiting": one.waiting,
                    "covered": one.covered,
                    "found": dict(one.found),
                    "problems": [_problem_facts(problem) for problem in one.problems],
                }
                for one in report.companies
            ],
        },
        indent=1,
    )


def _problem_facts(problem: Problem) -> dict[str, Any]:
    facts = {"kind": problem.kind, "seq": problem.seq, "place": problem.place}
    facts["audit_id"] = str(problem.audit_id) if problem.audit_id else None
    return {name: value for name, value in facts.items() if value is not None}


def as_text(report: Report, language: Language) -> str:
    """Return the report as text for a person."""
    lines = [_company_line(one, language) for one in report.companies]
    for one in report.companies:
        name = one.slug or str(one.company_id)
        for problem in one.problems:
            lines.append("  ! " + _problem_line(problem, name, language))
        told = len(one.problems)
        if (all_found := one.found.total()) > told:
            lines.append(
                "  ! " + text("audit.more", language, company=name, count=all_found - told)
            )
    lines += ["  ! " + _problem_line(problem, "", language) for problem in report.forged]
    if not report.companies:
        lines.append(text("audit.nothing", language))
    sealed = sum(one.sealed for one in report.companies)
    waiting = sum(one.waiting for one in report.companies)
    verdict = "audit.sound" if report.ok else "audit.not_sound"
    facts = {"sealed": sealed, "waiting": waiting, "heads": report.heads}
    return "\n".join([*lines, text(verdict, language, **facts)])


def _company_line(one: CompanyReport, language: Language) -> str:
    return text(
        "audit.company",
        language,
        mark="✗" if one.found else "✓",
        company=one.slug or one.company_id,
        sealed=one.sealed,
        covered=one.covered,
        waiting=one.waiting,
    )


def _problem_line(problem: Problem, company: str, language: Language) -> str:
    return text(
        f"audit.problem.{problem.kind}",
        language,
        company=company,
        seq=problem.seq,
        id=problem.audit_id,
        place=Path(problem.place).as_posix() if problem.place else "",
    )
