"""The principals: everybody whom the platform serves, and everybody whom it must refuse."""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from psycopg import sql

from neurant.verify.exceptions import VISITED
from neurant.verify.probe import Identity
from neurant.verify.rows import OTHER, OWN, Fixture

STAFF = ("owner", "administrador", "supervisor", "operador")
KEYS = ("key_administrador", "key_supervisor")
ROLES = (  # the database roles, each with rights that no other role has
    "authenticated",
    "visitor",
    "neurant_worker",
    "neurant_router",
    "neurant_app",
    "neurant_jobs",
    "neurant_owner",
    "anon",
)


@dataclass(frozen=True)
class Principal:
    """A caller of company acme. ``person``: the person whose rows are "self"."""

    name: str
    identity: Identity
    person: str = ""


@dataclass(frozen=True)
class Stranger:
    """A caller who must see and change nothing, with the reason; ``before`` creates that state.

    ``reads``: the company is closed; the caller sees the rows of this principal and changes none.
    """

    name: str
    identity: Identity
    before: tuple[sql.Composed, ...] = ()
    reads: str = ""


def _claims(**claims: object) -> str:
    return json.dumps({name: str(value) for name, value in claims.items()})


def staff(fixture: Fixture, person: str, company: str = OWN) -> Identity:
    """Return the identity of a member of the staff."""
    claims = _claims(sub=fixture.logins[company, person], company_id=fixture.companies[company])
    return Identity("authenticated", claims)


def _key(fixture: Fixture, row_set: str) -> Identity:
    row = fixture.rows["public.api_keys"][row_set]
    return Identity("authenticated", _claims(key_id=row["id"], company_id=row["company_id"]))


def _visitor(fixture: Fixture, row_set: str) -> Identity:
    session = fixture.rows["public.visitor_sessions"][row_set]
    return Identity("visitor", _claims(visitor=session["token_digest"].hex()))


def has_keys(fixture: Fixture) -> bool:
    """Return whether this schema has API keys and their rows could be inserted."""
    return "administrador" in fixture.rows.get("public.api_keys", {})


def principals(fixture: Fixture, *, worker_login: bool) -> list[Principal]:
    """Return all principals with rights.

    Without ``worker_login`` (a superuser's connection) the worker is omitted.
    """
    found = [Principal(name, staff(fixture, name), name) for name in STAFF]
    if has_keys(fixture):
        # A key acts for its creator: "self" are the creator's rows.
        found.append(
            Principal("key_administrador", _key(fixture, "administrador"), "administrador")
        )
        found.append(Principal("key_supervisor", _key(fixture, "supervisor"), "supervisor"))
    found.append(Principal("visitor", _visitor(fixture, VISITED)))
    if worker_login:
        found.append(Principal("worker", _worker(fixture.companies[OWN])))
    found.append(Principal("router", Identity("neurant_router")))
    found.append(Principal("schema_owner", Identity("neurant_owner")))
    found.append(Principal("app_login", Identity("neurant_app")))
    found.append(Principal("jobs_login", Identity("neurant_jobs")))
    found.append(Principal("anon", Identity("anon", staff(fixture, "owner").claims)))
    return found


def _worker(company: object, login: str = "neurant_jobs") -> Identity:
    return Identity("neurant_worker", _claims(company_id=company), login)


def strangers(fixture: Fixture, *, worker_login: bool) -> Iterator[Stranger]:
    """Yield callers with claims that do not hold.

    The claims are absent, unknown, mixed up, withdrawn, or of a closed company.
    """
    acme, nobody = fixture.companies[OWN], uuid.uuid4()
    owner, stranger = fixture.logins[OWN, "owner"], fixture.logins[OTHER, "owner"]
    close = sql.SQL("update public.companies set subscription_status = 'cancelled' where id = {}")
    closed = (close.format(sql.Literal(acme)),)
    visitor = _visitor(fixture, VISITED)

    def as_staff(name: str, claims: str) -> Stranger:
        return Stranger(name, Identity("authenticated", claims))

    yield as_staff("no_claims", "")
    yield as_staff("empty_claims", "{}")
    yield as_staff("empty_company", json.dumps({"sub": str(owner), "company_id": ""}))
    yield as_staff("no_company", _claims(sub=owner))
    yield as_staff("null_company", json.dumps({"sub": str(owner), "company_id": None}))
    yield as_staff("unknown_company", _claims(sub=owner, company_id=nobody))
    yield as_staff("unknown_person", _claims(sub=nobody, company_id=acme))
    yield as_staff("person_of_other_company", _claims(sub=stranger, company_id=acme))
    yield as_staff("visitor_token_as_staff", visitor.claims)
    yield Stranger("inactive_user", staff(fixture, "inactive"))
    yield Stranger("cancelled_company", staff(fixture, "owner"), closed, reads="owner")
    if has_keys(fixture):
        yield from _dead_keys(fixture, closed)
    yield Stranger("visitor_without_token", Identity("visitor", "{}"))
    yield Stranger("unknown_visitor", Identity("visitor", _claims(visitor=secrets.token_hex(32))))
    yield Stranger("staff_as_visitor", Identity("visitor", staff(fixture, "owner").claims))
    yield Stranger("visitor_of_cancelled_company", visitor, closed)
    expired = sql.SQL("update public.visitor_sessions set expires_at = now() where company_id = {}")
    yield Stranger("expired_visitor", visitor, (expired.format(sql.Literal(acme)),))
    yield Stranger("worker_without_its_login", Identity("neurant_worker", _claims(company_id=acme)))
    if worker_login:
        yield Stranger("worker_from_web_login", _worker(acme, "neurant_app"))
        yield Stranger(
            "staff_from_worker_login",
            Identity("authenticated", staff(fixture, "owner").claims, "neurant_jobs"),
        )
        yield Stranger("worker_without_company", Identity("neurant_worker", "{}", "neurant_jobs"))
        yield Stranger("worker_of_unknown_company", _worker(nobody))
        yield Stranger("worker_of_cancelled_company", _worker(acme), closed)


def _dead_keys(fixture: Fixture, closed: tuple[sql.Composed, ...]) -> Iterator[Stranger]:
    key = fixture.rows["public.api_keys"]["administrador"]
    identity = _key(fixture, "administrador")
    place = sql.SQL(" where company_id = {} and id = {}")
    this_key = place.format(sql.Literal(key["company_id"]), sql.Literal(key["id"]))
    its_maker = place.format(sql.Literal(key["company_id"]), sql.Literal(key["created_by"]))
    revoked = sql.SQL("update public.api_keys set revoked_at = now()") + this_key
    expired = sql.SQL("update public.api_keys set expires_at = now()") + this_key
    maker = sql.SQL("update public.users set is_active = false") + its_maker
    yield Stranger("revoked_key", identity, (revoked,))
    yield Stranger("expired_key", identity, (expired,))
    yield Stranger("key_of_inactive_maker", identity, (maker,))
    yield Stranger("key_of_cancelled_company", identity, closed, reads="key_administrador")
    unknown = _claims(key_id=uuid.uuid4(), company_id=key["company_id"])
    yield Stranger("unknown_key", Identity("authenticated", unknown))
    crossed = _claims(key_id=key["id"], company_id=fixture.companies[OTHER])
    yield Stranger("key_for_other_company", Identity("authenticated", crossed))
