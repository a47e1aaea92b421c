"""The table of permissions in the database, and the permissions of the caller."""

from __future__ import annotations

from neurant.core.db.pool import Connection, fetch_all
from neurant.permissions.schemas import Names, Permission, PermissionOut, ReachOut
from neurant.texts import text

_PERMISSIONS = """
select p.name, p.owner, p.administrador, p.supervisor, p.operador, p.is_read, p.is_narrowable,
  p.for_keys, p.name in (select private.my_permissions()) as mine
from public.permissions p
order by p.position
"""


async def list_permissions(connection: Connection) -> list[Permission]:
    """Return all permissions, in the order in which they are shown."""
    return await fetch_all(connection, Permission, _PERMISSIONS)


def permission_out(one: Permission) -> PermissionOut:
    """Return a permission in the form of the API."""
    thing, _, operation = one.name.partition(".")
    return PermissionOut(
        name=one.name,
        object=thing,
        operation=operation,
        object_names=_names(f"permissions.objects.{thing}"),
        operation_names=_names(f"permissions.{one.name}"),
        reach=ReachOut(
            owner=one.owner,
            administrador=one.administrador,
            supervisor=one.supervisor,
            operador=one.operador,
        ),
        is_read=one.is_read,
        is_narrowable=one.is_narrowable,
        for_keys=one.for_keys,
        mine=one.mine,
    )


def _names(name: str) -> Names:
    return Names(es=text(name, "es"), en=text(name, "en"))
