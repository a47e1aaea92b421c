"""Who serves a bot and who is in charge of it, over the API."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict

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
    """Who is to be in charge."""

    model_config = ConfigDict(extra="forbid")

    user_id: UUID


class Operators(BaseModel):
    """Everybody who serves a bot: few, so all at once."""

    data: list[OperatorOut]


@router.get("/chatbots/{chatbot_id}/operators")
async def list_operators(call: Reading, chatbot_id: UUID) -> Operators:
    """Who serves the bot; an operador sees only that they do themselves."""
    await service.find(call.connection, chatbot_id)
    return Operators(data=await people_queries.list_operators(call.connection, chatbot_id))


@router.put("/chatbots/{chatbot_id}/operators/{user_id}", status_code=204)
async def assign_operator(call: Assigning, chatbot_id: UUID, user_id: UUID) -> None:
    """Let an operador serve the bot."""
    await service.find(call.connection, chatbot_id)
    await service.assign_operator(call.connection, chatbot_id, user_id)


@router.delete("/chatbots/{chatbot_id}/operators/{user_id}", status_code=204)
async def release_operator(call: Assigning, chatbot_id: UUID, user_id: UUID) -> None:
    """The operador serves the bot no more, from the next statement on."""
    if not await people_queries.release_operator(call.connection, chatbot_id, user_id):
        raise NotFoundError("not_found")


@router.get("/chatbots/{chatbot_id}/supervisor")
async def get_supervisor(call: Reading, chatbot_id: UUID) -> SupervisorOut:
    """Who is in charge of the bot."""
    found = await people_queries.get_supervisor(call.connection, chatbot_id)
    if found is None:
        raise NotFoundError("not_found")
    return found


@router.put("/chatbots/{chatbot_id}/supervisor", status_code=204)
async def put_in_charge(call: Appointing, chatbot_id: UUID, chosen: SupervisorIn) -> None:
    """Put a supervisor in charge, in place of whoever was."""
    await service.find(call.connection, chatbot_id)
    await service.put_in_charge(call.connection, chatbot_id, chosen.user_id)


@router.delete("/chatbots/{chatbot_id}/supervisor", status_code=204)
async def dismiss_supervisor(call: Appointing, chatbot_id: UUID) -> None:
    """Nobody is in charge any more."""
    if not await people_queries.dismiss_supervisor(call.connection, chatbot_id):
        raise NotFoundError("not_found")
