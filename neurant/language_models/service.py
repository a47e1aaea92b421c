"""The language model of a company: which one it is, its budget, and the calls to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Literal
from uuid import UUID

import httpx
from pydantic import SecretStr

from neurant.core.clock import monotonic
from neurant.core.db.pool import Connection, must_hold_nothing
from neurant.core.errors import BadInputError, ConflictError, ForbiddenError, SetupError
from neurant.core.logs import get_logger
from neurant.core.outbound_http import make_client, may_ask, private_hosts_of
from neurant.core.settings import Settings
from neurant.core.vault import ensure_company_key, open_wrapped, seal_secret
from neurant.language_models import queries
from neurant.language_models.client import (
    MAX_BODY_BYTES,
    Completion,
    Endpoint,
    Message,
    complete,
    estimated,
)
from neurant.language_models.errors import ModelError, ModelPausedError
from neurant.language_models.model import Model, Use
from neurant.language_models.queries import ModelRow
from neurant.language_models.schemas import LanguageModelIn, LanguageModelOut, ModelTestOut
from neurant.texts import Language, text

_MAX_OUTAGES = 3  # in a row, before the endpoint is left alone
_PAUSE_SECONDS = 30.0
_MAX_KNOWN = 10_000
_MAX_TEST_TOKENS = 50
_TIMES = httpx.Timeout(15, connect=5)
_TEST = (Message("user", "Responde con una sola palabra: listo"),)
log = get_logger(__name__)


@dataclass(slots=True)
class _Outages:
    count: int = 0
    until: float = 0.0


@dataclass(slots=True)
class LanguageModels:
    """The clients of a process. The host's own endpoint may be on a private network; a company's
    endpoint only if ``NEURANT_OUTBOUND_PRIVATE_HOSTS`` lists it.
    """

    settings: Settings
    for_companies: httpx.AsyncClient
    for_platform: httpx.AsyncClient
    _outages: dict[tuple[UUID | None, str], _Outages] = field(default_factory=dict)

    async def of_company(self, connection: Connection) -> Model | None:
        """Return the model of the caller's company, or None if it has none.

        A key that cannot be opened is logged and counts as no model, so that answers go on.
        """
        row = await queries.read_model(connection, self.settings.language_model_currency)
        if row is None:
            return None
        if not row.is_configured:
            return _platform_model(self.settings, row)
        if not row.is_active:
            return None
        try:
            return _own_model(self.settings, row)
        except SetupError as error:
            log.error("language_model_key_sealed", company=str(row.company_id), error=error.code)
            return None

    async def ask(
        self, model: Model, messages: Sequence[Message], *, streamed: bool = True
    ) -> tuple[Completion, Use]:
        """Return the model's answer and its use; no connection is held. Raises ModelError.

        After three outages in a row the endpoint is not asked for 30 seconds, because each reply
        would wait for the whole time-out.
        """
        must_hold_nothing("a language model")
        place = (None if model.is_platform else model.company_id, model.endpoint.base_url)
        known = self._outages.get(place)
        if known is not None and known.until > monotonic():
            raise ModelPausedError()
        client = self.for_platform if model.is_platform else self.for_companies
        try:
            completion = await complete(client, model.endpoint, messages, streamed=streamed)
        except ModelError as error:
            self._note(place, is_outage=error.is_outage)
            raise
        self._note(place, is_outage=False)
        return completion, model.use_of(completion.input_tokens, completion.output_tokens)

    def _note(self, place: tuple[UUID | None, str], *, is_outage: bool) -> None:
        if not is_outage:
            self._outages.pop(place, None)
            return
        if place not in self._outages and len(self._outages) >= _MAX_KNOWN:
            self._outages.pop(next(iter(self._outages)))
        known = self._outages.setdefault(place, _Outages())
        known.count += 1
        if known.count >= _MAX_OUTAGES:
            known.until = monotonic() + _PAUSE_SECONDS


@asynccontextmanager
async def language_models(settings: Settings) -> AsyncIterator[LanguageModels]:
    """Open the clients for language models."""
    url = settings.language_model_url
    listed = [settings.outbound_private_hosts, httpx.URL(url).host if url else ""]
    own = settings.model_copy(update={"outbound_private_hosts": ",".join(filter(None, listed))})
    async with AsyncExitStack() as stack:
        for_companies, for_platform = [
            await stack.enter_async_context(
                make_client(one, seconds=_TIMES, max_body_bytes=MAX_BODY_BYTES)
            )
            for one in (settings, own)
        ]
        yield LanguageModels(settings, for_companies, for_platform)


def failed_use(model: Model, messages: Sequence[Message], error: ModelError) -> Use:
    """Return the estimated use of a call that failed after the endpoint had read the prompt."""
    return model.use_of(estimated(messages) if error.is_charged else 0, 0)


async def count(connection: Connection, use: Use) -> None:
    """Count what a reply or a trial has used, at the end of its transaction."""
    await queries.count_use(connection, use)


async def shown(connection: Connection, settings: Settings) -> LanguageModelOut:
    """Return the settings and the use for a member of the staff."""
    row = await queries.read_model(connection, settings.language_model_currency)
    own = await queries.read_settings(connection)
    usage = await queries.list_usage(connection)
    platform = _platform_model(settings, row) if row is not None else None
    used = {
        "used_tokens": row.used_tokens if row else 0,
        "used_cost": row.used_cost if row else Decimal(0),
        "usage": usage,
    }
    if own is not None:
        source: Literal["own", "platform", "none"] = "own" if own.is_active else "none"
        values = {name: getattr(own, name) for name in own.__slots__}
        return LanguageModelOut(source=source, is_configured=True, **values, **used)
    source = "platform" if platform else "none"
    return LanguageModelOut(
        source=source,
        is_configured=False,
        base_url=None,  # where the host's endpoint is does not concern a company
        model=platform.endpoint.model if platform else None,
        has_api_key=False,
        timeout_seconds=settings.language_model_timeout_seconds,
        max_tokens=settings.language_model_max_tokens,
        monthly_tokens=settings.language_model_monthly_tokens,
        monthly_cost=settings.language_model_monthly_cost,
        input_price=settings.language_model_input_price,
        output_price=settings.language_model_output_price,
        currency=settings.language_model_currency,
        is_active=False,
        updated_at=None,
        **used,
    )


async def save(
    connection: Connection, settings: Settings, company_id: UUID, given: LanguageModelIn
) -> None:
    """Store the company's settings. Raises BadInputError for an address that is not allowed."""
    if given.base_url is not None and not may_ask(given.base_url, private_hosts_of(settings)):
        raise BadInputError("language_models.address_not_allowed")
    if given.is_active and (given.base_url is None or given.model is None):
        raise BadInputError("language_models.incomplete")
    values = given.model_dump(exclude={"api_key"}) | {"company_id": company_id}
    await queries.save_settings(connection, values | {"api_key": None})
    if "api_key" not in given.model_fields_set:
        return
    if given.api_key is None:
        await queries.save_key(connection, None)
        return
    await ensure_company_key(connection, settings, company_id)
    sealed = await seal_secret(connection, settings, company_id, company_id, given.api_key)
    await queries.save_key(connection, sealed)


async def remove(connection: Connection) -> None:
    """Delete the company's own settings. Raises ForbiddenError without the permission."""
    if not await queries.delete_settings(connection) and await queries.read_settings(connection):
        raise ForbiddenError("api.not_permitted", permission="language_models.manage")


async def model_to_test(connection: Connection, models: LanguageModels) -> Model:
    """Return the model that is used now. Raises ConflictError if there is none or no budget."""
    model = await models.of_company(connection)
    if model is None:
        raise ConflictError("language_models.none")
    if model.is_spent:
        raise ConflictError("language_models.spent")
    return model


async def test(
    models: LanguageModels, model: Model, language: Language
) -> tuple[ModelTestOut, Use]:
    """Ask the model for one word, in one piece and streamed, and return the result and the use."""
    started = monotonic()
    endpoint = replace(model.endpoint, max_tokens=_MAX_TEST_TOKENS)
    short = replace(model, endpoint=endpoint)
    use = model.nothing_used()
    code, detail = None, text("language_models.test_ok", language, model=endpoint.model)
    try:
        for streamed in (False, True):
            _, one = await models.ask(short, _TEST, streamed=streamed)
            use = use.plus(one)
    except ModelError as error:
        use = use.plus(failed_use(model, _TEST, error))
        code, detail = error.code, error.detail(language)
    elapsed = round((monotonic() - started) * 1000)
    result = ModelTestOut(
        is_ok=code is None, model=endpoint.model, code=code, detail=detail, milliseconds=elapsed
    )
    return result, use


def _platform_model(settings: Settings, row: ModelRow) -> Model | None:
    url, name = settings.language_model_url, settings.language_model_name
    if not url or not name:
        return None
    return Model(
        row.company_id,
        True,
        Endpoint(
            url,
            name,
            settings.language_model_api_key,
            settings.language_model_timeout_seconds,
            settings.language_model_max_tokens,
        ),
        settings.language_model_input_price,
        settings.language_model_output_price,
        settings.language_model_currency,
        settings.language_model_monthly_tokens,
        settings.language_model_monthly_cost,
        row.used_tokens,
        row.used_cost,
    )


def _own_model(settings: Settings, row: ModelRow) -> Model:
    key = None
    if row.api_key_encrypted is not None and row.wrapped_key is not None:
        company = row.company_id
        key = SecretStr(
            open_wrapped(settings, company, company, row.wrapped_key, row.api_key_encrypted)
        )
    # The row's checks make these complete for an active model.
    return Model(
        row.company_id,
        False,
        Endpoint(
            row.base_url or "",
            row.model or "",
            key,
            row.timeout_seconds or 1,
            row.max_tokens or 1,
        ),
        row.input_price or Decimal(0),
        row.output_price or Decimal(0),
        row.currency or "USD",
        row.monthly_tokens,
        row.monthly_cost,
        row.used_tokens,
        row.used_cost,
    )
