"""The steps of onboarding: the company, its plan, its first bot, its first documents, a trial."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from markupsafe import Markup
from pydantic import ValidationError

from neurant.auth.current import COMPANIES, PageStaff, check_origin, session_of
from neurant.auth.people import SignedIn
from neurant.chatbots import page_queries
from neurant.chatbots.schemas import TONES
from neurant.chatbots.suggestions import suggest_questions
from neurant.companies import founder, queries, service
from neurant.companies.schemas import SIZES, CompanyIn
from neurant.console.context import my_permissions, require_permission
from neurant.console.page_route import PageRoute
from neurant.console.pages.added_documents import AddedDocuments, read_added, store_added
from neurant.console.pages.chatbots import gallery, make_from_template, trial_context
from neurant.console.pages.companies import HOME, SET_UP, typed_values, wrong_fields
from neurant.console.pages.knowledge import EDIT, shown_document
from neurant.console.templating import markup, render
from neurant.core.db.pool import Connection
from neurant.core.db.tenancy import tenant
from neurant.core.errors import BadInputError, NeurantError
from neurant.core.language import reader_language
from neurant.core.services import services_of
from neurant.knowledge.page_queries import list_documents
from neurant.plans import queries as plan_queries
from neurant.plans.limits import documents_limit, list_usage, people_limit, plan_name
from neurant.plans.offer import LIMITS, limit_of, missing_features, plans_to_try
from neurant.plans.service import try_plan

START = "/onboarding"
_STEPS = {"plan": SET_UP, "bot": "chatbots.edit", "documents": EDIT, "test": "chatbots.edit"}
_SKIPS = {"bot": "skip_bot", "documents": "skip_documents"}
_FOUND = ("name", "industry", "size", "website", "phone", "timezone")

router = APIRouter(prefix=START, route_class=PageRoute, include_in_schema=False)
Text = Annotated[str, Form()]


@router.get("")
async def onboarding(request: Request, bot: UUID | None = None) -> Response:
    """Redirect to the first open step of onboarding; ``bot`` is the bot that it is about."""
    staff = await session_of(request)
    if staff is None:
        await founder.founder_or_login(request)
        return RedirectResponse(COMPANIES, 303)
    async with tenant(services_of(request).pool, staff.principal) as connection:
        may = await my_permissions(connection)
        setup = await service.onboarding(connection)
    step = setup.next_step
    if step is None or _STEPS[step] not in may:
        return RedirectResponse(HOME, 303)
    return _to(f"/{step}", bot)


def _to(path: str, bot: UUID | None = None) -> Response:
    query = f"?{urlencode({'bot': str(bot)})}" if bot else ""
    return RedirectResponse(f"{START}{path}{query}", 303)


@router.get("/company", response_class=HTMLResponse)
async def found_page(request: Request) -> Response:
    """Show the form for a new company; its name is suggested from the mail address."""
    person = await founder.founder_or_login(request)
    guess = {"name": service.name_from_email(person.email), "timezone": "America/Bogota"}
    return await _found(request, guess)


async def _found(
    request: Request,
    form: dict[str, str],
    problem: str | None = None,
    wrong: list[str] | None = None,
    status: int = 200,
    error: NeurantError | None = None,
) -> Response:
    async with services_of(request).pool.connection() as connection:
        industries = await queries.list_industries(connection)
    return render(
        request,
        "company/onboarding.html",
        status=status,
        error=error,
        step="company",
        form=dict.fromkeys(_FOUND, "") | form,
        industries=industries,
        sizes=SIZES,
        problem=problem,
        wrong=wrong or (),
    )


@router.post("/company")
async def found_company(request: Request) -> Response:
    """Create the company and continue in it."""
    check_origin(request)
    person = await founder.founder_or_login(request)
    typed = await typed_values(request, _FOUND)
    services = services_of(request)
    try:
        given: dict[str, Any] = {name: value for name, value in typed.items() if value}
        given.pop("etag", None)
        new = CompanyIn.model_validate(given)
        made = await service.found(services.pool, person, new, services.settings.new_company_plan)
    except ValidationError as error:
        names, told = wrong_fields(request, error)
        return await _found(request, typed, told, names, 422)
    except NeurantError as error:
        return await _found(request, typed, error.detail(reader_language(request)), error=error)
    await founder.enter(request, person, made.id)
    return _to("")


async def _step(request: Request, staff: SignedIn, step: str, **context: Any) -> Response:
    async with tenant(services_of(request).pool, staff.principal) as connection:
        usage = await list_usage(connection)
    language = reader_language(request)
    return render(
        request,
        "company/onboarding.html",
        status=context.pop("status", 200),
        step=step,
        staff=staff,
        no_people=people_limit(usage, language),
        no_documents=documents_limit(usage, language),
        **{"problem": None, "chosen": None, "wrong": (), **context},
    )


@router.get("/plan", response_class=HTMLResponse)
async def plan_page(request: Request, staff: PageStaff) -> Response:
    """Show the step of the plan: the plans to try, the best fitting chosen, and the present one."""
    return await _plan(request, staff)


async def _plan(request: Request, staff: SignedIn, error: NeurantError | None = None) -> Response:
    async with tenant(services_of(request).pool, staff.principal) as connection:
        await require_permission(connection, _STEPS["plan"])
        current, tries = await _offer(request, connection, staff)
    return await _step(
        request,
        staff,
        "plan",
        current=current,
        tries=tries,
        days=services_of(request).settings.trial_days,
        limits=LIMITS,
        of=limit_of,
        missing=missing_features,
        plan_name=plan_name,
        error=error,
        problem=error.detail(reader_language(request)) if error else None,
    )


async def _offer(
    request: Request, connection: Connection, staff: SignedIn
) -> tuple[plan_queries.Plan, list[plan_queries.Plan]]:
    """Return the company's plan, and the plans that the reader may try, the best fitting first."""
    plans = await plan_queries.list_plans(connection)
    now = await plan_queries.read_subscription(connection, staff.company_id)
    name = now.plan if now else "free"
    current = next(one for one in plans if one.plan == name)
    days = services_of(request).settings.trial_days
    may_try = now is not None and "billing.manage" in await my_permissions(connection)
    return current, plans_to_try(plans, now, days) if now and may_try else []


@router.post("/plan")
async def choose_plan(request: Request, staff: PageStaff, plan: Text = "") -> Response:
    """Begin the trial of the chosen plan, or continue with the present one."""
    check_origin(request)
    days = services_of(request).settings.trial_days
    try:
        async with tenant(services_of(request).pool, staff.principal) as connection:
            await require_permission(connection, SET_UP)
            current, tries = await _offer(request, connection, staff)
            if plan in [one.plan for one in tries]:
                await try_plan(connection, plan, days)
            elif plan not in ("", current.plan):
                offered = ", ".join(plan_name(one.plan) for one in [*tries, current])
                raise BadInputError("plan.unknown", plans=offered)
            await queries.pass_step(connection, "plan")
    except (BadInputError, NeurantError) as error:
        if error.status == 403:
            raise
        return await _plan(request, staff, error)
    return _to("")


@router.post("/skip")
async def skip_step(
    request: Request, staff: PageStaff, step: Text = "bot", bot: Text = ""
) -> Response:
    """Skip the step of the first bot or of its documents; the home page leads back to it."""
    check_origin(request)
    async with tenant(services_of(request).pool, staff.principal) as connection:
        await require_permission(connection, SET_UP)
        await queries.pass_step(connection, _SKIPS.get(step, "skip_bot"))
    return _to("", AddedDocuments(bot).bot_id() if bot else None)


@router.get("/bot", response_class=HTMLResponse)
async def first_bot_page(request: Request, staff: PageStaff, template: str = "") -> Response:
    """Show the step of the first bot: a template of the company's industry, then its name."""
    return await _first_bot(request, staff, template)


async def _first_bot(
    request: Request,
    staff: SignedIn,
    template: str,
    problem: str | None = None,
    form: dict[str, str] | None = None,
    status: int = 200,
    error: NeurantError | None = None,
) -> Response:
    async with tenant(services_of(request).pool, staff.principal) as connection:
        await require_permission(connection, _STEPS["bot"])
        company = await queries.get_company(connection)
        shown = await gallery(connection, template, "")
    industry = company.industry if company else None
    fitting = [one for one in shown["templates"] if one.industry in (industry, "other")]
    general = [one for one in shown["templates"] if one.is_featured and one not in fitting]
    shown["templates"] = sorted(fitting, key=lambda one: one.industry == "other") + general[:4]
    return await _step(
        request,
        staff,
        "bot",
        problem=problem,
        form=form or {},
        tones=TONES,
        status=status,
        error=error,
        **shown,
    )


@router.post("/bot")
async def make_first_bot(
    request: Request,
    staff: PageStaff,
    template_id: Text = "",
    template: Text = "",
    name: Text = "",
    persona: Text = "",
    tone: Text = "",
) -> Response:
    """Create the first bot, from the template alone or with a name, and go to the next step."""
    check_origin(request)
    chosen = template_id or template
    try:
        if not name.strip():
            async with tenant(services_of(request).pool, staff.principal) as connection:
                name = (await gallery(connection, chosen, ""))["free_name"]
        made = await make_from_template(request, staff, chosen, name, persona, tone)
    except NeurantError as error:
        form = {"name": name, "persona": persona, "tone": tone}
        told = error.detail(reader_language(request))
        return await _first_bot(request, staff, chosen, told, form, error.status, error)
    return _to("", made.id)


async def _bot(
    request: Request, staff: SignedIn, step: str, bot: UUID | None
) -> page_queries.Card | None:
    """Return the bot that a step is about: the one of that id, or any one without an id."""
    async with tenant(services_of(request).pool, staff.principal) as connection:
        await require_permission(connection, _STEPS[step])
        cards = await page_queries.list_cards(connection)
    return next((card for card in cards if bot in (None, card.id)), None)


async def _documents_of(request: Request, staff: SignedIn, bot: UUID) -> list[dict[str, Any]]:
    """Return the documents that a bot answers from: its own and those of all bots."""
    async with tenant(services_of(request).pool, staff.principal) as connection:
        known = await list_documents(connection)
    language = reader_language(request)
    return [shown_document(one, language) for one in known if one.chatbot_id in (None, bot)]


@router.get("/documents", response_class=HTMLResponse)
async def documents_page(request: Request, staff: PageStaff, bot: UUID | None = None) -> Response:
    """Show the step of the first documents: a file or a pasted text."""
    return await _documents(request, staff, bot)


async def _documents(
    request: Request,
    staff: SignedIn,
    bot: UUID | None,
    added: AddedDocuments | None = None,
    error: NeurantError | None = None,
) -> Response:
    chosen = await _bot(request, staff, "documents", bot)
    if chosen is None:
        return _to("/bot")
    return await _step(
        request,
        staff,
        "documents",
        status=error.status if error else 200,
        error=error,
        bot=chosen,
        added=added or AddedDocuments(),
        documents=await _documents_of(request, staff, chosen.id),
        limit=services_of(request).settings.max_document_bytes,
        problem=error.detail(reader_language(request)) if error else None,
    )


@router.post("/documents")
async def add_first_documents(request: Request, staff: PageStaff) -> Response:
    """Store the documents and go to the trial, where their reading is shown."""
    check_origin(request)
    async with tenant(services_of(request).pool, staff.principal) as connection:
        await require_permission(connection, EDIT)
    added = await read_added(request)
    bot = added.bot_id()
    try:
        await store_added(request, staff, bot, added)
    except NeurantError as error:
        return await _documents(request, staff, bot, added, error)
    return _to("/test", bot)


@router.get("/test", response_class=HTMLResponse)
async def trial_page(request: Request, staff: PageStaff, bot: UUID | None = None) -> Response:
    """Show the trial chat of the new bot, and the state of its documents."""
    return await _trial(request, staff, bot)


async def _trial(
    request: Request, staff: SignedIn, bot: UUID | None, answer: Markup | None = None
) -> Response:
    chosen = await _bot(request, staff, "test", bot)
    if chosen is None:
        return _to("/bot")
    state = await _learned(request, staff, chosen)
    return await _step(request, staff, "test", answer=answer, **state)


async def _learned(request: Request, staff: SignedIn, bot: page_queries.Card) -> dict[str, Any]:
    """Return what a bot can answer from: its documents by state, and questions that it answers."""
    documents = await _documents_of(request, staff, bot.id)
    ready = [one for one in documents if one["status"] == "completed"]
    working = [one for one in documents if one["working"]]
    pool = services_of(request).pool
    return {
        "bot": bot,
        "ready": ready,
        "working": working,
        "failed": [one for one in documents if one["problem"]],
        "suggestions": []
        if working or not ready
        else await suggest_questions(pool, staff.principal, bot.id),
    }


@router.get("/test/documents", response_class=HTMLResponse)
async def learned_so_far(request: Request, staff: PageStaff, bot: UUID) -> Response:
    """Return the state of the bot's documents, which the page requests until they are read."""
    chosen = await _bot(request, staff, "test", bot)
    if chosen is None:
        return Response(status_code=204)
    state = await _learned(request, staff, chosen)
    async with tenant(services_of(request).pool, staff.principal) as connection:
        usage = await list_usage(connection)
    limit = documents_limit(usage, reader_language(request))
    return HTMLResponse(
        markup(request, "company/learned.html", staff=staff, no_documents=limit, **state)
    )


@router.post("/test", response_class=HTMLResponse)
async def try_without_script(request: Request, staff: PageStaff, bot: Text = "") -> Response:
    """Answer one message of the trial chat as a page, for browsers without a script."""
    check_origin(request)
    chatbot_id = AddedDocuments(bot).bot_id()
    context = await trial_context(request, staff, chatbot_id)
    answer = Markup(markup(request, "bots/trial.html", **context))  # noqa: S704 - our own template
    return await _trial(request, staff, chatbot_id, answer)
