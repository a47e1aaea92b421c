"""Explain why a page or an action is forbidden, and where the reader can go instead."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request
from psycopg_pool import PoolTimeout

from neurant.console.templating import translator
from neurant.core.db.pool import DatabaseDown, fetch_one
from neurant.core.db.tenancy import Staff, tenant
from neurant.core.errors import NeurantError
from neurant.core.language import reader_language
from neurant.core.services import services_of
from neurant.texts import catalogue

HOME = "/console/home"
PLAN = "/console/plan"
_STANDING = """
select c.name as company, private.user_role()::text as role,
  c.subscription_status in ('active', 'trialing', 'past_due') as is_open,
  coalesce((
    select case private.user_role() when 'owner' then p.owner
      when 'administrador' then p.administrador when 'supervisor' then p.supervisor
      else p.operador end <> 'none'
    from public.permissions p where p.name = %s), false) as role_has
from public.companies c
"""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The explanation of a forbidden request, and the one link onward."""

    heading: str
    detail: str
    back: str = HOME
    back_label: str = "to_home"


@dataclass(frozen=True, slots=True)
class _Standing:
    company: str
    role: str | None
    is_open: bool
    role_has: bool


async def refusal_of(request: Request, error: NeurantError) -> Refusal:
    """Return the explanation of ``error`` with the best known reason.

    The reasons: the role lacks the permission, the permission was removed from the person, or the
    company is read-only.
    """
    language = reader_language(request)
    t = translator(language)
    general = Refusal(t("console.problem.forbidden"), error.detail(language))
    if error.code not in ("api.not_permitted", "api.read_only"):
        return general
    permission = str(error.params.get("permission") or "")
    standing = await _standing(request, permission)
    if standing is None or standing.role is None:
        return general
    if not standing.is_open and (standing.role_has or not permission):
        kind = "read_only_own" if standing.role == "owner" else "read_only"
        way = (PLAN, "to_plan") if standing.role == "owner" else (HOME, "to_home")
    else:
        kind, way = ("narrowed" if standing.role_has else "role"), (HOME, "to_home")
    known = f"permissions.{permission}" in catalogue(language)
    told = {
        "company": standing.company,
        "role": t(f"console.roles.{standing.role}"),
        "operation": t(f"permissions.{permission}") if known else permission,
    }
    return Refusal(
        t(f"console.refused.{kind}", **told), t(f"console.refused.{kind}_hint", **told), *way
    )


async def _standing(request: Request, permission: str) -> _Standing | None:
    """Return the caller's role and the company's state; None without a member of the staff."""
    _, who = getattr(request.state, "actor", (None, None))
    if not isinstance(who, Staff):
        return None
    try:
        async with tenant(services_of(request).pool, who) as connection:
            return await fetch_one(connection, _Standing, _STANDING, (permission,))
    except (*DatabaseDown, PoolTimeout):
        return None
