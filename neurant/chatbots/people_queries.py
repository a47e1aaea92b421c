"""Queries for the operadores who serve a bot and the supervisor in charge of it."""

from __future__ import annotations

from uuid import UUID

from neurant.chatbots.schemas import OperatorOut, SupervisorOut
from neurant.core.db.pool import Connection, fetch_all, fetch_one

_OPERATORS = """
select o.operator_id as user_id, u.first_name, u.last_name, o.assigned_at,
  u.is_active as is_available
from public.chatbot_operators o
join public.users u on u.company_id = o.company_id and u.id = o.operator_id
where o.chatbot_id = %s and o.is_active
order by u.first_name, u.last_name, o.operator_id
"""
_ASSIGN = """
insert into public.chatbot_operators as o (company_id, chatbot_id, operator_id, assigned_by)
values ((select private.company_id('chatbots.assign_operators')), %s, %s,
  (select private.user_id()))
on conflict (company_id, chatbot_id, operator_id) do update set is_active = true
"""
_RELEASE = """
update public.chatbot_operators o set is_active = false
where o.chatbot_id = %s and o.operator_id = %s and o.is_active
"""
_SUPERVISOR = """
select s.supervisor_id as user_id, coalesce(d.first_name, '') as first_name,
  coalesce(d.last_name, '') as last_name, s.assigned_at
from public.chatbot_supervisors s
-- The directory, because an operador may see the supervisor's name but not read their row in users.
left join private.team_directory() d on d.user_id = s.supervisor_id
where s.chatbot_id = %s
"""
_DISMISS = "delete from public.chatbot_supervisors s where s.chatbot_id = %s"
_PUT_IN_CHARGE = """
insert into public.chatbot_supervisors (company_id, chatbot_id, supervisor_id, assigned_by)
values ((select private.company_id('chatbots.assign_supervisor')), %s, %s,
  (select private.user_id()))
"""


async def list_operators(connection: Connection, chatbot_id: UUID) -> list[OperatorOut]:
    """Return the people who serve the bot; an operador sees only their own assignment."""
    return await fetch_all(connection, OperatorOut, _OPERATORS, (chatbot_id,))


async def assign_operator(connection: Connection, chatbot_id: UUID, user_id: UUID) -> None:
    """Assign an operador to a bot; a repeated assignment changes nothing."""
    await connection.execute(_ASSIGN, (chatbot_id, user_id))


async def release_operator(connection: Connection, chatbot_id: UUID, user_id: UUID) -> bool:
    """End the assignment of an operador; return False if there is none."""
    return (await connection.execute(_RELEASE, (chatbot_id, user_id))).rowcount == 1


async def get_supervisor(connection: Connection, chatbot_id: UUID) -> SupervisorOut | None:
    """Return the supervisor in charge of the bot, or None."""
    return await fetch_one(connection, SupervisorOut, _SUPERVISOR, (chatbot_id,))


async def put_in_charge(connection: Connection, chatbot_id: UUID, user_id: UUID) -> None:
    """Put a supervisor in charge of the bot in place of the previous one; a bot has at most one."""
    await connection.execute(_DISMISS, (chatbot_id,))
    await connection.execute(_PUT_IN_CHARGE, (chatbot_id, user_id))


async def dismiss_supervisor(connection: Connection, chatbot_id: UUID) -> bool:
    """Remove the supervisor in charge; return False if there is none."""
    return (await connection.execute(_DISMISS, (chatbot_id,))).rowcount == 1
