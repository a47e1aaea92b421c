"""Changes of people, and the errors for the outcomes of the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from neurant.core.db.pool import Connection
from neurant.core.errors import ConflictError, ForbiddenError, NotFoundError
from neurant.core.settings import Settings
from neurant.core.vault import Vault
from neurant.mail.service import queue_mail
from neurant.team import queries
from neurant.team.schemas import UserOut
from neurant.texts import Language


@dataclass(frozen=True, slots=True)
class Owner:
    """The owner who transfers the company, as the mail names them."""

    name: str
    company_id: UUID
    company_name: str


async def change_role(connection: Connection, user_id: UUID, role: str) -> UserOut:
    """Give a person below the caller another role below the caller's."""
    return await _changed(connection, user_id, await queries.set_role(connection, user_id, role))


async def change_active(connection: Connection, user_id: UUID, *, is_active: bool) -> UserOut:
    """Activate a person (SQLSTATE NA002 if no seat is left), or deactivate them at once."""
    outcome = await queries.set_active(connection, user_id, is_active=is_active)
    return await _changed(connection, user_id, outcome)


async def change_denied(connection: Connection, user_id: UUID, denied: Sequence[str]) -> UserOut:
    """Withdraw these permissions of the role from a person, and give all others back."""
    outcome = await queries.set_denied(connection, user_id, sorted(set(denied)))
    return await _changed(connection, user_id, outcome)


async def _changed(connection: Connection, user_id: UUID, outcome: str) -> UserOut:
    seen = await queries.get_user(connection, user_id)
    if seen is None or outcome == "not_found":
        raise NotFoundError("not_found")
    if outcome == "forbidden":
        raise ForbiddenError("team.not_below")
    if outcome == "not_narrowable":
        raise ConflictError("team.not_narrowable")
    return seen


async def transfer_ownership(
    connection: Connection, settings: Settings, owner: Owner, user_id: UUID, language: Language
) -> UserOut:
    """Make an active colleague the owner and notify them; the caller becomes administrador.

    Raises NotFoundError (no active colleague), ForbiddenError, ConflictError (they are the owner).
    """
    outcome = await queries.transfer_ownership(connection, user_id)
    if outcome == "not_found":
        raise NotFoundError("not_found")
    if outcome == "forbidden":
        raise ForbiddenError("api.not_permitted", permission="company.transfer")
    if outcome == "unchanged":
        raise ConflictError("team.owner_already")
    seen = await queries.get_user(connection, user_id)
    if seen is None:
        raise NotFoundError("not_found")
    params = {
        "from_name": owner.name,
        "company": owner.company_name,
        "link": f"{settings.base_url()}/console/team",
    }
    await queue_mail(
        connection,
        Vault(settings),
        to=seen.email,
        template="team.ownership_received",
        language=language,
        params=params,
        company_id=owner.company_id,
    )
    return seen
