"""Routes that answer people: an error becomes a page, and a missing session leads to the login."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from psycopg_pool import PoolTimeout

from neurant.auth import denials
from neurant.auth.current import SignInNeededError
from neurant.console.notice import Notice
from neurant.console.refusals import Refusal, refusal_of
from neurant.console.templating import markup, render, translator, when_again
from neurant.core.body_bounds import check_form_size, check_query_size
from neurant.core.db.pool import DatabaseDown
from neurant.core.errors import NeurantError, NotFoundError, UnavailableError
from neurant.core.language import reader_language
from neurant.core.logs import get_logger

_OURS_TO_EXPLAIN = {
    403: ("forbidden", "lock"),
    404: ("not_found", "search"),
    429: ("too_many", "clock"),
    503: ("unavailable", "refresh"),
}
log = get_logger(__name__)


def is_htmx(request: Request) -> bool:
    """Does the page's script ask, and not the address bar?"""
    return "hx-request" in request.headers


class PageRoute(APIRoute):
    """A route whose errors are pages in the reader's language."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of FastAPI, with our errors turned into pages."""
        handle = super().get_route_handler()

        async def handle_page(request: Request) -> Response:
            try:
                check_query_size(request)
                await check_form_size(request)
                return await handle(request)
            except SignInNeededError as error:
                if is_htmx(request):
                    return told_beside(request, error)
                return RedirectResponse(error.location, 303)
            except RequestValidationError:
                if is_htmx(request):
                    return told_beside(request, NotFoundError("not_found"))
                return problem_page(request, NotFoundError("not_found"))
            except (*DatabaseDown, PoolTimeout) as error:
                if is_htmx(request):
                    raise
                log.warning("page_without_database", path=request.url.path, error=str(error))
                return problem_page(request, UnavailableError("database_away", seconds=5))
            except NeurantError as error:
                denials.because(request, error)
                why = await refusal_of(request, error) if error.status == 403 else None
                if is_htmx(request):
                    return told_beside(request, error, why)
                if error.status not in _OURS_TO_EXPLAIN:
                    raise
                return problem_page(request, error, why)

        return handle_page


def problem_page(request: Request, error: NeurantError, why: Refusal | None = None) -> Response:
    """A refusal as a page with a way on."""
    t = translator(reader_language(request))
    name, symbol = _OURS_TO_EXPLAIN[error.status]
    again = error.status in (429, 503) and request.method == "GET"
    if why is None:
        heading, detail = t(f"console.problem.{name}"), t(f"console.problem.{name}_hint")
        if error.code != "database_away" and "seconds" in error.params:
            detail = error.detail(reader_language(request))
        back, label = (request.url.path, "again") if again else ("/console/inbox", "to_inbox")
        why = Refusal(heading, detail, back, label)
    return render(
        request,
        "problem.html",
        error=error,
        symbol=symbol,
        heading=why.heading,
        detail=why.detail,
        back=why.back,
        back_label=t(f"console.problem.{why.back_label}"),
    )


def told_beside(request: Request, error: NeurantError, why: Refusal | None = None) -> Response:
    """A refusal for the page's script: nothing is redrawn, and the corner says why."""
    if why is None:
        notice = Notice("bad", "alert", error.detail(reader_language(request)))
    else:
        notice = Notice("bad", "lock", why.heading, why.detail)
    page = markup(request, "told.html", notice=notice)
    return HTMLResponse(page, error.status, {"HX-Reswap": "none"} | when_again(error))
