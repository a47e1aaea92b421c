"""Routes that answer people: an error becomes a page, and a missing session leads to the login."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from psycopg_pool import PoolTimeout

from neurant.accounts.current import SignInNeededError
from neurant.audit import denials
from neurant.console.templating import reader_language, render, translator
from neurant.database.pool import DatabaseDown
from neurant.errors import NeurantError, NotFoundError, UnavailableError
from neurant.logs import get_logger

_OURS_TO_EXPLAIN = {
    403: ("forbidden", "lock"),
    404: ("not_found", "search"),
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
                return await handle(request)
            except SignInNeededError as error:
                if is_htmx(request):
                    raise  # the script reloads the page, and that leads to the login
                return RedirectResponse(error.location, 303)
            except RequestValidationError:
                return problem_page(request, NotFoundError("not_found"))
            except (*DatabaseDown, PoolTimeout) as error:
                if is_htmx(request):
                    raise
                log.warning("page_without_database", path=request.url.path, error=str(error))
                return problem_page(request, UnavailableError("database_away"))
            except NeurantError as error:
                denials.because(request, error)
                if is_htmx(request) or error.status not in _OURS_TO_EXPLAIN:
                    raise
                return problem_page(request, error)

        return handle_page


def problem_page(request: Request, error: NeurantError) -> Response:
    """A refusal as a page with a way on."""
    t = translator(reader_language(request))
    name, symbol = _OURS_TO_EXPLAIN[error.status]
    again = error.status == 503 and request.method == "GET"
    return render(
        request,
        "problem.html",
        status=error.status,
        symbol=symbol,
        heading=t(f"console.problem.{name}"),
        detail=t(f"console.problem.{name}_hint"),
        back=request.url.path if again else "/console/inbox",
        back_label=t("console.problem.again" if again else "console.problem.to_inbox"),
    )
