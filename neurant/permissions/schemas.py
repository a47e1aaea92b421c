"""The bodies of the endpoint for permissions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, Field

Reach = Literal["all", "below", "juniors", "colleagues", "bots", "own", "self", "none"]


@dataclass(frozen=True, slots=True)
class Permission:
    """A row of ``public.permissions``, and whether the caller has it now."""

    name: str
    owner: Reach
    administrador: Reach
    supervisor: Reach
    operador: Reach
    is_read: bool
    is_narrowable: bool
    for_keys: Literal["always", "by_scope", "never"]
    mine: bool

    @property
    def object(self) -> str:
        """The kind of resource: the part of the name before the point."""
        return self.name.partition(".")[0]


class Names(BaseModel):
    """A name in each language."""

    es: str = Field(description="The name in Spanish")
    en: str = Field(description="The name in English")


class ReachOut(BaseModel):
    """The reach of each role's permission.

    ``all``: all of the company; ``below``: people of lower roles; ``juniors``: supervisors and
    operadores; ``colleagues``: colleagues of the bots assigned to them; ``bots``: the bots assigned
    to them, with everything that belongs to these; ``own``: their own; ``self``: themselves;
    ``none``: nothing.
    """

    owner: Reach = Field(description="Reach of the role owner; none: it has no such permission")
    administrador: Reach = Field(
        description="Reach of the role administrador; none: it has no such permission"
    )
    supervisor: Reach = Field(
        description="Reach of the role supervisor; none: it has no such permission"
    )
    operador: Reach = Field(
        description="Reach of the role operador; none: it has no such permission"
    )


class PermissionOut(BaseModel):
    """An operation on a kind of resource, and the roles that may do it."""

    name: str = Field(
        description="Name of the permission, as x-permission and the scopes of API keys use it"
    )
    object: str = Field(description="Kind of resource: the part of the name before the point")
    operation: str = Field(description="What is done: the part of the name after the point")
    object_names: Names = Field(description="The kind of resource in words")
    operation_names: Names = Field(description="The operation in words")
    reach: ReachOut = Field(description="How far the permission goes for each role")
    is_read: bool = Field(
        description="Whether it also applies in a company whose subscription is inactive or "
        "cancelled"
    )
    is_narrowable: bool = Field(description="Whether it can be withdrawn from a single person")
    for_keys: Literal["always", "by_scope", "never"] = Field(
        description="always: every API key has it; by_scope: a key may have it; never: no key has "
        "it"
    )
    mine: bool = Field(description="Whether the caller has the permission now")


class PermissionsOut(BaseModel):
    """The table of all permissions."""

    data: list[PermissionOut] = Field(
        description="All permissions, in the order in which pages show them"
    )
