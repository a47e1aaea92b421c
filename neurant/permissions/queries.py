"""Permissions in the database: the one table, and what the caller has of it."""

from __future__ import annotations

from neurant.core.db.pool import Connection, fetch_all
from neurant.permissions.schemas import Permission

_PERMISSIONS = """
select p.name, p.owner, p.administrador, p.supervisor, p.operador, p.is_read, p.is_narrowable,
  p.for_keys, p.name in (select private.my_permissions()) as mine
from public.permissions p
order by p.position
"""


async def list_permissions(connection: Connection) -> list[Permission]:
    """All of them, in the order in which they are shown."""
    return await fetch_all(connection, Permission, _PERMISSIONS)
