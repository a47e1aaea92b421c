"""The endpoints for the people who serve a bot and the supervisor in charge of it."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from neurant.api.call import Call, needs
from neurant.api.route import api_router
from neurant.chatbots import people_queries, service
from neurant.chatbots.schemas import OperatorOut, SupervisorOut
from neurant.core.errors import NotFoundError

router = api_router("chatbots")
Reading = Annotated[Call, needs("chatbots.read")]
Assigning = Annotated[Call, needs("chatbots.assign_operators")]
Appointing = Annotated[Call, needs("chatbots.assign_supervisor")]


class SupervisorIn(BaseModel):
    """The supervisor to put in charge."""

    model_config = ConfigDict(extra="forbid")

    user_id: UUID = Field(description="UUID of a supervisor of the company")


class Operators(BaseModel):
    """Everybody who serves a bot, in one answer, because they are few."""

    data: list[OperatorOut] = Field(description="The people who serve the bot, by name")


@router.get("/chatbots/{chatbot_id}/operators")
async def list_operators(call: Reading, chatbot_id: UUID) -> Operators:
    """List the people who serve a bot; an operador sees only their own assignment."""
    await service.find(call.connection, chatbot_id)
    return Operators(data=await people_queries.list_operators(call.connection, chatbot_id))


@router.put("/chatbots/{chatbot_id}/operators/{user_id}", status_code=204)
async def assign_operator(call: Assigning, chatbot_id: UUID, user_id: UUID) -> None:
    """Assign an operador to a bot.

    A repeated assignment changes nothing.

    Refuses: 409 ``chatbots.not_an_operator`` if the person is no operador of the company.
    """
    await service.find(call.connection, chatbot_id)
    await service.assign_operator(call.connection, chatbot_id, user_id)


@router.delete("/chatbots/{chatbot_id}/operators/{user_id}", status_code=204)
async def release_operator(call: Assigning, chatbot_id: UUID, user_id: UUID) -> None:
    """End the assignment of an operador to a bot.

    The operador loses access to the bot at once.
    """
    if not await people_queries.release_operator(call.connection, chatbot_id, user_id):
        raise NotFoundError("not_found")


@router.get("/chatbots/{chatbot_id}/supervisor")
async def get_supervisor(call: Reading, chatbot_id: UUID) -> SupervisorOut:
    """Return the supervisor in charge of a bot.

    The answer is 404 ``not_found`` also if nobody is in charge.
    """
    found = await people_queries.get_supervisor(call.connection, chatbot_id)
    if found is None:
        raise NotFoundError("not_found")
    return found


@router.put("/chatbots/{chatbot_id}/supervisor", status_code=204)
async def put_in_charge(call: Appointing, chatbot_id: UUID, chosen: SupervisorIn) -> None:
    """Put a supervisor in charge of a bot, in place of the previous one.

    Refuses: 409 ``chatbots.not_a_supervisor`` if the person is no supervisor of the company.
    """
    await service.find(call.connection, chatbot_id)
    await service.put_in_charge(call.connection, chatbot_id, chosen.user_id)


@router.delete("/chatbots/{chatbot_id}/supervisor", status_code=204)
async def dismiss_supervisor(call: Appointing, chatbot_id: UUID) -> None:
    """Remove the supervisor in charge of a bot.

    The answer is 404 ``not_found`` also if nobody is in charge.
    """
    if not await people_queries.dismiss_supervisor(call.connection, chatbot_id):
        raise NotFoundError("not_found")
