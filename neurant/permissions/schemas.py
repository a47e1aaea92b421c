"""Permissions on the wire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, Field

Reach = Literal["all", "below", "juniors", "colleagues", "bots", "own", "self", "none"]


@dataclass(frozen=True, slots=True)
class Permission:
    """A row of ``public.permissions``, and whether the caller has it at this moment."""

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
        """What it is about: the part before the point."""
        return self.name.partition(".")[0]


class Names(BaseModel):
    """A name in each language."""

    es: str
    en: str


class ReachOut(BaseModel):
    """How far each role's permission goes.

    ``all`` of the company's; ``below``: people of lower roles; ``juniors``: supervisors and
    operadores; ``colleagues``: of the bots they serve; ``bots``: those assigned to them and what
    hangs on those; ``own``; ``self``; ``none``.
    """

    owner: Reach
    administrador: Reach
    supervisor: Reach
    operador: Reach


class PermissionOut(BaseModel):
    """Something that can be done, and by whom."""

    name: str = Field(description="As x-permission and the scopes of keys name it")
    object: str
    operation: str
    object_names: Names
    operation_names: Names
    reach: ReachOut
    is_read: bool = Field(description="Also in a company that is closed or unpaid")
    is_narrowable: bool = Field(description="Whether it can be taken from a single person")
    for_keys: Literal["always", "by_scope", "never"]
    mine: bool = Field(description="Whether the caller may do it at this moment")


class PermissionsOut(BaseModel):
    """The whole table."""

    data: list[PermissionOut]
