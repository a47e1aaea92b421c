"""The web process: API, webhooks, console and live streams, as one ASGI application."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from functools import partial

import psycopg
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from psycopg_pool import PoolTimeout
from starlette.types import ASGIApp, Receive, Scope, Send

from neurant.accounts.routes import router as accounts_router
from neurant.accounts.service import KEPT_IDLE
from neurant.accounts.sso.provider import Providers, providers
from neurant.accounts.sso.routes import router as sso_router
from neurant.analytics.routes import router as analytics_router
from neurant.api import openapi
from neurant.api.replica import Replica
from neurant.api_keys.routes import router as api_keys_router
from neurant.audit.routes import router as audit_router
from neurant.auth import throttling
from neurant.auth.denials import noting_denials
from neurant.auth.identity_http import SECONDS
from neurant.auth.jwks import KeyCache
from neurant.auth.sessions import set_session_rules
from neurant.canned_responses.routes import router as canned_responses_router
from neurant.channels import webhooks
from neurant.channels.ingest import Ingestor
from neurant.channels.routes import router as channels_router
from neurant.channels.webchat.limits import VisitorLimits
from neurant.channels.webchat.open_streams import OpenStreams
from neurant.channels.webchat.routes import router as webchat_router
from neurant.channels.webchat.stream import StreamSource
from neurant.chatbots.people_routes import router as chatbot_people_router
from neurant.chatbots.routes import router as chatbots_router
from neurant.chatbots.routes import templates as templates_router
from neurant.companies.routes import router as company_router
from neurant.console.error_answers import send_error
from neurant.console.pages.mailbox import router as mailbox_router
from neurant.console.routes import mount_static
from neurant.console.routes import router as console_router
from neurant.conversations.contacts.routes import router as contacts_router
from neurant.conversations.handoff.routes import router as hitl_router
from neurant.conversations.messages.routes import router as messages_router
from neurant.conversations.notes.routes import router as notes_router
from neurant.conversations.routes import router as conversations_router
from neurant.core.client_address import ClientAddress
from neurant.core.db.connection import patience
from neurant.core.db.pool import (
    PLATFORM,
    Connection,
    DatabaseDown,
    Pool,
    fetch_value,
    make_pool,
    require_url,
    sharing,
)
from neurant.core.errors import (
    SetupError,
)
from neurant.core.hosts import only_for_our_hosts
from neurant.core.http import RequestMiddleware, without_body
from neurant.core.logs import configure_logging, get_logger
from neurant.core.object_store import open_store
from neurant.core.outbound_http import make_client
from neurant.core.realtime import Hub, StaffStreams
from neurant.core.services import Services, services_of, services_of_app
from neurant.core.settings import Settings, get_settings
from neurant.core.turns import Turns
from neurant.core.vault import Vault
from neurant.exports.routes import router as exports_router
from neurant.imports.routes import router as imports_router
from neurant.imports.schemas import MAX_BYTES as MAX_IMPORT_BYTES
from neurant.integrations.routes import router as integrations_router
from neurant.invitations.routes import router as invitations_router
from neurant.knowledge.routes import router as knowledge_router
from neurant.language_models.routes import router as language_models_router
from neurant.language_models.service import LanguageModels, language_models
from neurant.notifications.routes import router as notifications_router
from neurant.permissions.routes import router as permissions_router
from neurant.plans.routes import router as plans_router
from neurant.plans.service import Billing, make_billing
from neurant.plans.webhook import PATH as BILLING_PATH
from neurant.plans.webhook import router as billing_router
from neurant.runtime.error_handlers import add_error_handlers
from neurant.runtime.proxy_check import router as proxy_check_router
from neurant.runtime.startup import fingerprint
from neurant.team.routes import router as team_router
from neurant.webhooks.routes import router as webhook_endpoints_router

# The framework tries the routers in this order, so the most requested ones come first.
_ROUTERS = (
    webchat_router,
    conversations_router,
    messages_router,
    hitl_router,
    notifications_router,
    chatbots_router,
    plans_router,
    team_router,
    knowledge_router,
    accounts_router,
    analytics_router,
    api_keys_router,
    audit_router,
    canned_responses_router,
    channels_router,
    sso_router,
    chatbot_people_router,
    company_router,
    templates_router,
    console_router,
    exports_router,
    contacts_router,
    imports_router,
    integrations_router,
    invitations_router,
    language_models_router,
    permissions_router,
    billing_router,
    notes_router,
    webhook_endpoints_router,
    proxy_check_router,
)
_READY_SECONDS = 2.0
_BETWEEN_ROUTERS = 0.02  # seconds
_JSON_ROOM = 64 * 1024  # bytes of multipart framing around a document
_KNOWS_US = "select to_regprocedure('private.is_master_key(text)') is not null"
log = get_logger(__name__)


def create_app(settings: Settings | None = None) -> ASGIApp:
    """Return the ASGI application of a web process, which needs a migrated database."""
    chosen = settings or get_settings()
    configure_logging(chosen, "web")
    app = _make_api(chosen)

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if path.startswith(webhooks.PREFIX) and path != BILLING_PATH:
            await services_of_app(app).get(webhooks.Webhooks)(scope, receive, send)
        elif scope["type"] == "http" and scope["method"] == "HEAD":
            await app({**scope, "method": "GET"}, receive, without_body(send))
        else:
            await app(scope, receive, send)

    def max_body_bytes(path: str) -> int:
        if path.endswith("/documents"):
            return chosen.max_document_bytes + _JSON_ROOM
        if path.endswith("/conversation-imports"):
            return MAX_IMPORT_BYTES
        return chosen.max_webhook_bytes

    refuse, new_id = partial(send_error, app), partial(secrets.token_hex, 8)
    ours = only_for_our_hosts(noting_denials(route, refuse), chosen)
    https = chosen.base_url().startswith("https:")
    framed = RequestMiddleware(ours, max_body_bytes, new_id, refuse, https=https)
    return ClientAddress(framed, chosen.trusted_proxies)


def _make_api(settings: Settings) -> FastAPI:
    app = FastAPI(
        title="NeurAnt",
        version="1",
        lifespan=lambda app: _lifespan(app, settings),
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        redirect_slashes=False,  # such a redirect would contain the Host header
    )
    add_error_handlers(app)
    app.get("/healthz", include_in_schema=False)(_healthz)
    app.get("/readyz", include_in_schema=False)(_readyz)
    for path in ("/", "/console"):
        app.get(path, include_in_schema=False)(_root)
    for router in _ROUTERS:
        app.include_router(router)
    if settings.demo:
        app.include_router(mailbox_router)
    mount_static(app)
    openapi.describe(app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI, settings: Settings) -> AsyncIterator[None]:
    url = require_url(settings.app_database_url, "NEURANT_APP_DATABASE_URL")
    direct = settings.listen_database_url
    direct_url = direct.get_secret_value() if direct else url
    size, pooled = settings.database_pool_size, direct_url != url
    pool = make_pool(url, size=size, pooled=pooled, is_shared=True)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(pool)
        hub = await stack.enter_async_context(Hub(direct_url).running())
        ingestor = await stack.enter_async_context(Ingestor(pool, hub).running())
        exporting = await stack.enter_async_context(
            make_pool(url, size=2, pooled=pooled, least=0)  # held during a whole export
        )
        services = Services(
            settings, pool, exporting, hub, StaffStreams(), open_store(settings), Vault(settings)
        )
        # For counters and log rows that must be written even if the call fails.
        auxiliary_pool = await stack.enter_async_context(make_pool(url, size=2, pooled=pooled))
        api_rates, page_rates = (
            throttling.Rates(auxiliary_pool),
            throttling.Rates(auxiliary_pool, throttling.PAGES),
        )
        services.add(throttling.RequestRates, throttling.RequestRates(api_rates, page_rates))
        # Only visitors wait for these connections, so that a flood delays no other caller.
        gate = await stack.enter_async_context(make_pool(url, size=2, pooled=pooled))
        turns = Turns(gate.max_size)
        services.add(VisitorLimits, VisitorLimits(gate, turns))
        streams = await stack.enter_async_context(OpenStreams(gate, turns).running())
        services.add(OpenStreams, streams)
        services.add(StreamSource, StreamSource(pool, hub))
        services.add(Ingestor, ingestor)
        if replica := await _replica(stack, settings, pool):
            services.add(Replica, replica)
        services.add(Billing, make_billing(settings))
        services.add(Providers, await stack.enter_async_context(providers(settings)))
        client = await stack.enter_async_context(make_client(settings, seconds=SECONDS))
        services.add(KeyCache, KeyCache(client))
        models = await stack.enter_async_context(language_models(settings))
        services.add(LanguageModels, models)
        services.add(webhooks.Webhooks, webhooks.Webhooks(pool, ingestor, settings))
        app.state.services = services
        await _tell_session_rules(pool, settings)
        log.info("web_ready")
        building = asyncio.create_task(build_routes(app))
        yield
        building.cancel()


async def build_routes(app: FastAPI) -> None:
    """Make the framework build its data of each route, one router after the other.

    Otherwise the first request that reaches a router builds its routes. That takes half a second
    in total, during which all other requests wait.
    """
    nowhere = {"type": "http", "method": "GET", "path": "/-/", "root_path": "", "headers": []}
    for route in app.router.routes:
        route.matches(nowhere)
        await asyncio.sleep(_BETWEEN_ROUTERS)


async def _tell_session_rules(pool: Pool, settings: Settings) -> None:
    idle = timedelta(minutes=settings.session_idle_minutes)
    try:
        await set_session_rules(pool, idle, max(idle, KEPT_IDLE))
    except (*DatabaseDown, PoolTimeout, psycopg.Error) as error:  # the previous rules stay in force
        log.warning("session_rules_not_told", error=type(error).__name__)


async def _replica(stack: AsyncExitStack, settings: Settings, primary: Pool) -> Replica | None:
    url = settings.replica_database_url
    if url is None:
        return None
    size = settings.database_pool_size
    pool = make_pool(url.get_secret_value(), size=size, pooled=True, is_shared=True)
    replica = Replica(await stack.enter_async_context(pool))
    with suppress(*DatabaseDown, PoolTimeout):  # the first request tries again
        async with primary.connection(timeout=2) as connection:
            position = await replica.position_on(connection)
        await replica.has(position)
    return replica


async def _healthz() -> dict[str, str]:
    """Report that the process and its event loop run; answers 200 without asking the database."""
    return {"status": "alive"}


@asynccontextmanager
async def _hurried(pool: Pool) -> AsyncIterator[Connection]:
    """Open a connection with short time-outs, to find out whether the database answers.

    It comes from the platform's own share of the pool, so that load does not affect readiness.
    """
    with sharing(PLATFORM), patience(_READY_SECONDS):
        async with pool.connection(timeout=_READY_SECONDS) as connection:
            yield connection


async def _keys_of(pool: Pool, mine: str) -> tuple[bool, bool]:
    """Return whether the database has our functions, and whether its secrets use our master key."""
    async with _hurried(pool) as connection:
        if not await fetch_value(connection, _KNOWS_US):
            return False, True
        known = await fetch_value(connection, "select private.is_master_key(%s)", (mine,))
    return True, bool(known)


async def _readyz(request: Request) -> Response:
    """Report whether the process can serve requests, within seconds: 200 if ready, else 503.

    It is ready if the database answers, is migrated and uses our master key, and if live updates
    of other processes arrive.
    """
    try:
        mine = fingerprint(services_of(request).settings)
    except SetupError:
        return JSONResponse({"status": "no valid master key"}, status_code=503)
    try:
        known, same = await _keys_of(services_of(request).pool, mine)
    except (*DatabaseDown, PoolTimeout):
        return JSONResponse({"status": "the database does not answer"}, status_code=503)
    except psycopg.Error:  # a database that is half migrated, or belongs to another program
        known = same = False
    if not known:
        return JSONResponse({"status": "not migrated"}, status_code=503)
    if not same:
        return JSONResponse({"status": "another master key"}, status_code=503)
    if services_of(request).hub.is_deaf():
        return JSONResponse({"status": "live updates do not arrive"}, status_code=503)
    return JSONResponse({"status": "ready"})


async def _root() -> RedirectResponse:
    return RedirectResponse("/console/inbox", status_code=303)
