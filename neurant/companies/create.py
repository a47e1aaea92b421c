"""``neurant company create``: create a company with its owner, such as the first one of a
database.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from psycopg import errors as pg

from neurant.accounts.service import find_own_login
from neurant.auth.passwords import check_new_password, hashed
from neurant.core.db.pool import Connection, command_pool, fetch_one, fetch_value, require_url
from neurant.core.emails import normal_email
from neurant.core.errors import BadInputError, ConflictError
from neurant.core.names import as_name
from neurant.core.person_names import plain_name
from neurant.core.settings import Settings

MAX_NAME = 255
_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_MAX_SLUG = 100

_CREATE_LOGIN = "select private.create_login(%s, %s, true)"
_SUGGEST = "select private.suggest_slug(%s)"
_SIGN_UP = """
select outcome, company_id from private.sign_up(%s, %s, %s, %s, %s, %s,
  p_plan => %s::public.subscription_plan_enum)
"""


@dataclass(frozen=True, slots=True)
class NewCompany:
    """The company to create. The owner signs in with ``email``; ``slug`` None is derived
    from the name; ``plan`` None is the host's plan for new companies.
    """

    name: str
    email: str
    password: str
    first_name: str
    last_name: str
    slug: str | None = None
    plan: str | None = None


@dataclass(frozen=True, slots=True)
class _SignedUp:
    outcome: Literal["created", "slug_taken", "unknown_login"]
    company_id: UUID | None


async def create_company(settings: Settings, new: NewCompany) -> str:
    """Create a company and return its short name.

    An owner who has a login already proves it with its password. Raises BadInputError for a wrong
    name, e-mail, short name or password, ConflictError for an address or a short name that is
    taken. A refused creation leaves nothing behind.
    """
    email = _checked(new)
    url = require_url(settings.app_database_url, "NEURANT_APP_DATABASE_URL")
    password_hash = await hashed(new.password)
    async with command_pool(url) as pool:
        known = await find_own_login(pool, email, new.password)
        async with pool.connection() as connection, connection.transaction():
            login = known or await fetch_value(connection, _CREATE_LOGIN, (email, password_hash))
            if not isinstance(login, UUID):  # another request created it a moment ago
                raise ConflictError("accounts.email_taken", email=email)
            slug = new.slug or str(await fetch_value(connection, _SUGGEST, (new.name,)))
            plan = new.plan or settings.new_company_plan
            await _sign_up(connection, login, new, slug, email, plan)
        return slug


def _checked(new: NewCompany) -> str:
    """Check the values and return the owner's normalized address."""
    email = normal_email(new.email)
    if not new.name.strip() or len(new.name) > MAX_NAME:
        raise BadInputError("company_name", most=MAX_NAME)
    as_name(new.name)
    for name in filter(None, (new.first_name, new.last_name)):
        plain_name(name)
    if new.slug is not None and not (_SLUG.fullmatch(new.slug) and len(new.slug) <= _MAX_SLUG):
        raise BadInputError("company_slug", slug=new.slug)
    check_new_password(new.password, email, (new.name, new.first_name, new.last_name))
    return email


async def _sign_up(
    connection: Connection, login: UUID, new: NewCompany, slug: str, email: str, plan: str
) -> None:
    parameters = (login, as_name(new.name), slug, email, new.first_name, new.last_name, plan)
    try:
        done = await fetch_one(connection, _SignedUp, _SIGN_UP, parameters)
    except pg.InvalidTextRepresentation:
        raise BadInputError("company_plan", plan=plan) from None
    if done is None or done.outcome != "created":
        raise ConflictError("company_slug_taken", slug=slug)
