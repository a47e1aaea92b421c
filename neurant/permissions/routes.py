"""The table of permissions over the API."""

from __future__ import annotations

from typing import Annotated

from neurant.api.call import Call, needs
from neurant.api.route import api_router
from neurant.permissions.schemas import PermissionsOut
from neurant.permissions.service import list_permissions, permission_out

router = api_router("permissions")


@router.get("/permissions")
async def get_permissions(call: Annotated[Call, needs("company.read")]) -> PermissionsOut:
    """The one table of who may do what, with what the caller may do now."""
    return PermissionsOut(
        data=[permission_out(one) for one in await list_permissions(call.connection)]
    )
