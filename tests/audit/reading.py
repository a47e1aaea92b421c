"""What audit says, for tests; and acting as somebody."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from tests.companies import Company


@dataclass(frozen=True)
class Line:
    """A row of audit_logs."""

    company_id: UUID
    id: UUID
    user_id: UUID | None
    user_email: str | None
    user_role: str | None
    action: str
    resource_type: str
    resource_id: UUID | None
    details: dict[str, Any]
    ip_address: object
    user_agent: str | None
    session_id: str | None
    request_id: str | None
    created_at: object


def newest(db: psycopg.Connection) -> UUID:
    """A mark: the newest line of all. Ids grow with time."""
    row = db.execute("select id from audit_logs order by id desc limit 1").fetchone()
    return row[0] if row else UUID(int=0)


def lines_since(db: psycopg.Connection, mark: UUID, company: UUID | None = None) -> list[Line]:
    """What audit gained since the mark."""
    with db.cursor(row_factory=class_row(Line)) as cursor:
        return cursor.execute(
            "select * from audit_logs where id > %s and (%s::uuid is null or company_id = %s) order by id",
            (mark, company, company),
        ).fetchall()


def claims_of(company: Company, role: str) -> str:
    login = company.people[role].auth_user_id
    return json.dumps({"sub": str(login), "company_id": str(company.id)})


@contextmanager
def acting(url: str, role: str, claims: str) -> Iterator[psycopg.Connection]:
    """A transaction as this role with these claims, committed at the end."""
    with psycopg.connect(url) as db:
        db.execute(
            "select set_config('role', %s, true), set_config('request.jwt.claims', %s, true)",
            (role, claims),
        )
        yield db
