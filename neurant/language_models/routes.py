"""The endpoints for the language model that writes a company's answers."""

from __future__ import annotations

from typing import Annotated

from fastapi import Response

from neurant.api.call import Call, needs
from neurant.api.etag import check_match, tagged
from neurant.api.outbound_limit import outbound_slot
from neurant.api.route import api_router
from neurant.core.language import reader_language
from neurant.core.services import services_of
from neurant.language_models import service
from neurant.language_models.schemas import LanguageModelIn, LanguageModelOut, ModelTestOut
from neurant.language_models.service import LanguageModels

router = api_router("language-model")
Reading = Annotated[Call, needs("language_models.read")]
Managing = Annotated[Call, needs("language_models.manage")]


@router.get("/language-model")
async def get_language_model(call: Reading, response: Response) -> LanguageModelOut:
    """Return the company's language model, without its key, and what it has used.

    ``source`` says which model writes the answers: the company's own, the platform's (for a company
    without settings, if the host offers one), or none. The ETag is for If-Match of a later change.
    """
    settings = services_of(call.request).settings
    found = await service.shown(call.connection, settings)
    tagged(response, found, LanguageModelIn)
    return found


@router.put("/language-model")
async def set_language_model(
    call: Managing, given: LanguageModelIn, response: Response
) -> LanguageModelOut:
    """Replace the settings of the company's language model.

    The model writes the answers of every bot of the company from the passages of its documents, and
    cites them. Where it fails, or its answer has no support in the documents, the bot quotes the
    document itself. With ``is_active`` false no language model is used, not even the platform's.
    The key is stored encrypted; a new address without a new key deletes the stored key. With
    If-Match, a change made in the meantime is refused with 412.

    Refuses: 422 ``language_models.address_not_allowed`` if the address is not https or is on a
    private network that the host has not allowed; 422 ``language_models.incomplete`` if an active
    model has no address or no name.
    """
    settings = services_of(call.request).settings
    check_match(call.request, await service.shown(call.connection, settings), LanguageModelIn)
    await service.save(call.connection, settings, call.caller.company_id, given)
    return await get_language_model(call, response)


@router.delete("/language-model", status_code=204)
async def delete_language_model(call: Managing) -> None:
    """Delete the company's settings with the key. The platform's model is used again, if there is
    one.
    """
    await service.remove(call.connection)


@router.post("/language-model/test")
async def test_language_model(call: Managing) -> ModelTestOut:
    """Ask the model that is used now for one word, in one piece and streamed.

    Answers 200 with the result, also if the model does not answer. The few tokens are counted.

    Refuses: 409 ``language_models.none`` if the company uses no model; 409
    ``language_models.spent`` if the month's budget is used up.
    """
    models = services_of(call.request).get(LanguageModels)
    language = reader_language(call.request)
    model = await service.model_to_test(call.connection, models)
    async with call.without_connection(), outbound_slot(call.caller.company_id):
        result, use = await service.test(models, model, language)
    await service.count(call.connection, use)
    return result
