"""The route class of pages: an error becomes a page, a missing session leads to the login."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from psycopg_pool import PoolTimeout

from neurant.auth import denials
from neurant.auth.current import SignInNeededError
from neurant.console.error_answers import answer_error
from neurant.console.problem_page import notice_of, problem_page
from neurant.console.readers import asks_for_json, is_htmx
from neurant.console.refusals import refusal_of
from neurant.core.body_bounds import check_form_size, check_query_size
from neurant.core.db.pool import DatabaseDown
from neurant.core.errors import NeurantError, NotFoundError, UnavailableError
from neurant.core.logs import get_logger

# Our pages answer these statuses with a page even if the client names no format.
_ALWAYS_A_PAGE = (403, 404, 429, 503)
log = get_logger(__name__)


class PageRoute(APIRoute):
    """A route whose errors are pages in the reader's language."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of FastAPI, wrapped so that errors become pages."""
        handle = super().get_route_handler()

        async def handle_page(request: Request) -> Response:
            try:
                check_query_size(request)
                await check_form_size(request)
                return await handle(request)
            except SignInNeededError as error:
                if is_htmx(request):
                    return notice_of(request, error)
                return RedirectResponse(error.location, 303)
            except RequestValidationError:
                return await _refused(request, NotFoundError("not_found"))
            except (*DatabaseDown, PoolTimeout) as error:
                log.warning("page_without_database", path=request.url.path, error=str(error))
                return await _refused(request, UnavailableError("database_away", seconds=5))
            except NeurantError as error:
                if error.status not in _ALWAYS_A_PAGE:
                    raise  # the application's own handlers answer it
                denials.note_missing_permission(request, error)
                return await _refused(request, error)

        return handle_page


async def _refused(request: Request, error: NeurantError) -> Response:
    if asks_for_json(request):
        return await answer_error(request, error)
    why = await refusal_of(request, error) if error.status == HTTPStatus.FORBIDDEN else None
    return (notice_of if is_htmx(request) else problem_page)(request, error, why)
