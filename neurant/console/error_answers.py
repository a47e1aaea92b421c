"""Answer errors: with a page, with a notice for a page's script, or with JSON for a program.

The path decides first: the operations of the API and the webhooks are called by programs only. For
every other address the request's headers decide.
"""

from __future__ import annotations

from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.types import Scope, Send

from neurant.auth import throttling
from neurant.console.problem_page import notice_of, problem_page
from neurant.console.readers import reader_of
from neurant.console.refusals import refusal_of
from neurant.core.errors import NeurantError
from neurant.core.http import problem


async def answer_error(request: Request, error: NeurantError, *, is_known: bool = True) -> Response:
    """Return the whole answer for ``error``, in the form that its reader understands.

    ``is_known``: whether the application has a route for the address.
    """
    reader = reader_of(request, is_known=is_known)
    if reader == "program":
        response: Response = JSONResponse(
            problem(error, request.scope), error.status, media_type="application/problem+json"
        )
        if "seconds" in error.params:
            response.headers["retry-after"] = str(error.params["seconds"])
    else:
        forbidden = error.status == HTTPStatus.FORBIDDEN
        why = await refusal_of(request, error) if forbidden else None
        response = (notice_of if reader == "script" else problem_page)(request, error, why)
    throttling.tell(request, response)
    if error.status == HTTPStatus.UNAUTHORIZED:
        response.headers["www-authenticate"] = "Bearer"  # RFC 9110, 15.5.2
    return response


async def send_error(app: FastAPI, scope: Scope, send: Send, error: NeurantError) -> None:
    """Send the answer for ``error`` from a layer around ``app``."""
    request = Request({**scope, "app": app})  # the framework adds ``app`` further inside
    response = await answer_error(request, error)
    await response(scope, request.receive, send)
