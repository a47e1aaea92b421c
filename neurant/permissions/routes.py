"""The endpoint that returns the table of permissions."""

from __future__ import annotations

from typing import Annotated

from neurant.api.call import Call, needs
from neurant.api.route import api_router
from neurant.permissions.schemas import PermissionsOut
from neurant.permissions.service import list_permissions, permission_out

router = api_router("permissions")


@router.get("/permissions")
async def get_permissions(call: Annotated[Call, needs("company.read")]) -> PermissionsOut:
    """List all permissions, the roles that have them, and which of them the caller has now."""
    return PermissionsOut(
        data=[permission_out(one) for one in await list_permissions(call.connection)]
    )
