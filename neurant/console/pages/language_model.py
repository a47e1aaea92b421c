"""The settings page of the language model that writes a company's answers."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import ValidationError

from neurant.api.outbound_limit import outbound_slot
from neurant.auth.current import PageStaff, check_origin
from neurant.auth.people import SignedIn
from neurant.console.context import console_context, require_in_context, require_permission
from neurant.console.navigation import SETTINGS_PATH
from neurant.console.notice import Notice
from neurant.console.page_route import PageRoute
from neurant.console.templating import render, translator
from neurant.core.db.tenancy import tenant
from neurant.core.errors import BadInputError, NeurantError
from neurant.core.language import reader_language
from neurant.core.services import services_of
from neurant.language_models import service
from neurant.language_models.schemas import LanguageModelIn, LanguageModelOut, ModelTestOut
from neurant.language_models.service import LanguageModels

HERE = f"{SETTINGS_PATH}/language-model"
_DONE = ("saved", "removed")
_OPTIONAL = ("base_url", "model", "monthly_tokens", "monthly_cost")
_PRICES = ("input_price", "output_price")
_WHOLE = ("timeout_seconds", "max_tokens")
router = APIRouter(route_class=PageRoute, include_in_schema=False)
Field = Annotated[str, Form(max_length=2000)]


async def _page(
    request: Request,
    staff: SignedIn,
    *,
    error: NeurantError | None = None,
    typed: dict[str, str] | None = None,
    result: ModelTestOut | None = None,
) -> HTMLResponse:
    """Return the page; ``typed``: the form as it was sent; ``result``: that of a test."""
    state, language = services_of(request), reader_language(request)
    t, done = translator(language), request.query_params.get("done", "")
    notice = Notice("ok", "check", t(f"language_models.page.{done}")) if done in _DONE else None
    async with tenant(state.pool, staff.principal) as connection:
        context = await console_context(connection, staff, notice)
        require_in_context(context, "language_models.read")
        found = await service.shown(connection, state.settings)
    problem = None
    if error is not None:
        title, detail = t("language_models.page.not_saved"), error.detail(language)
        problem = {"title": title, "detail": detail}
    return render(
        request,
        "language_model/settings.html",
        found=found,
        typed=typed or _typed(found),
        shares=_shares(found),
        manages="language_models.manage" in context["may"],
        problem=problem,
        result=result,
        **context,
    )


def _typed(found: LanguageModelOut) -> dict[str, str]:
    """Return the settings as the form shows them. Those of the platform are not the company's."""
    shown = found.model_dump() if found.is_configured else LanguageModelIn().model_dump()
    names = (*_OPTIONAL, *_PRICES, *_WHOLE, "currency")
    values = {name: "" if shown[name] is None else _plain(shown[name]) for name in names}
    return values | {"is_active": "yes" if shown["is_active"] else ""}


def _plain(value: object) -> str:
    """Return a value for a form field; a price without zeros at its end."""
    return f"{value.normalize():f}" if isinstance(value, Decimal) else str(value)


def _shares(found: LanguageModelOut) -> dict[str, int]:
    """Return how many percent of each budget are used, for those that have a limit."""
    pairs = {
        "tokens": (Decimal(found.used_tokens), found.monthly_tokens),
        "cost": (found.used_cost, found.monthly_cost),
    }
    return {
        name: min(100, int(100 * used / budget)) if budget else 100
        for name, (used, budget) in pairs.items()
        if budget is not None
    }


@router.get(HERE, response_class=HTMLResponse)
async def language_model(request: Request, staff: PageStaff) -> Response:
    """Show the settings and the use."""
    return await _page(request, staff)


@router.post(HERE, response_class=HTMLResponse)
async def save_language_model(
    request: Request,
    staff: PageStaff,
    base_url: Field = "",
    model: Field = "",
    api_key: Field = "",
    drop_key: Field = "",
    timeout_seconds: Field = "",
    max_tokens: Field = "",
    monthly_tokens: Field = "",
    monthly_cost: Field = "",
    input_price: Field = "",
    output_price: Field = "",
    currency: Field = "",
    is_active: Field = "",
) -> Response:
    """Save the settings; an empty key keeps the stored one."""
    check_origin(request)
    typed = {
        "base_url": base_url.strip(),
        "model": model.strip(),
        "timeout_seconds": timeout_seconds.strip(),
        "max_tokens": max_tokens.strip(),
        "monthly_tokens": monthly_tokens.strip(),
        "monthly_cost": monthly_cost.strip(),
        "input_price": input_price.strip(),
        "output_price": output_price.strip(),
        "currency": currency.strip().upper(),
        "is_active": "yes" if is_active == "yes" else "",
    }
    state, key = services_of(request), api_key.strip()
    try:
        given = _given(typed, key or None, drops_key=drop_key == "yes")
        async with tenant(state.pool, staff.principal) as connection:
            await require_permission(connection, "language_models.manage")
            await service.save(connection, state.settings, staff.company_id, given)
    except BadInputError as error:
        return await _page(request, staff, error=error, typed=typed)
    return RedirectResponse(f"{HERE}?done=saved", 303)


def _given(typed: dict[str, str], key: str | None, *, drops_key: bool) -> LanguageModelIn:
    """Validate the form with the model of the API. Raises BadInputError."""
    values: dict[str, Any] = {
        name: value for name, value in typed.items() if value or name in _OPTIONAL
    }
    values |= {name: values[name] or None for name in _OPTIONAL}
    values["is_active"] = typed["is_active"] == "yes"
    if key or drops_key:
        values["api_key"] = key
    try:
        return LanguageModelIn.model_validate(values)
    except ValidationError as error:
        fields = sorted({str(one["loc"][0]) for one in error.errors()})
        raise BadInputError("invalid_fields", fields=", ".join(fields)) from None


@router.post(f"{HERE}/test", response_class=HTMLResponse)
async def test_language_model(request: Request, staff: PageStaff) -> Response:
    """Ask the model that is in use, and show the result."""
    check_origin(request)
    state, models = services_of(request), services_of(request).get(LanguageModels)
    language = reader_language(request)
    try:
        async with tenant(state.pool, staff.principal) as connection:
            await require_permission(connection, "language_models.manage")
            model = await service.model_to_test(connection, models)
        async with outbound_slot(staff.company_id):
            result, use = await service.test(models, model, language)
    except NeurantError as error:
        if error.status not in (409, 429):
            raise
        failed = ModelTestOut(
            is_ok=False, model="", code=error.code, detail=error.detail(language), milliseconds=0
        )
        return await _page(request, staff, result=failed)
    async with tenant(state.pool, staff.principal) as connection:
        await service.count(connection, use)
    return await _page(request, staff, result=result)


@router.post(f"{HERE}/remove")
async def remove_language_model(request: Request, staff: PageStaff) -> RedirectResponse:
    """Delete the company's settings with the key."""
    check_origin(request)
    async with tenant(services_of(request).pool, staff.principal) as connection:
        await require_permission(connection, "language_models.manage")
        await service.remove(connection)
    return RedirectResponse(f"{HERE}?done=removed", 303)
