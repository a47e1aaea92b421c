"""One answer for every error: a page, a notice for a page's script, or JSON for a program.

The path decides first: the operations of the API and the webhooks are called by programs only. For
every other address the request's headers decide.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Literal

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.types import Scope, Send

from neurant.api import rates
from neurant.console.problem_page import is_htmx, notice_of, problem_page
from neurant.console.refusals import refusal_of
from neurant.errors import NeurantError
from neurant.http import problem

_OF_PROGRAMS = ("/v1", "/webhooks", "/healthz", "/readyz", "/widget.js")
_HTML = ("text/html", "application/xhtml+xml")
Reader = Literal["browser", "script", "program"]


def reader_of(request: Request, *, is_known: bool = True) -> Reader:
    """Who reads the answer to ``request``: a browser's window, a page's htmx, or a program.

    A page's own ``fetch`` counts as a program: it reads the JSON problem's ``detail``. Where no
    route is known for the address, nothing says that it is a program's: the headers decide.
    """
    path = request.url.path
    if is_known and any(path == prefix or path.startswith(f"{prefix}/") for prefix in _OF_PROGRAMS):
        return "program"
    if is_htmx(request):
        return "script"
    return "browser" if _asks_for_html(request) else "program"


def asks_for_json(request: Request) -> bool:
    """Whether a request for a page says that it wants data instead of a page."""
    if is_htmx(request) or _asks_for_html(request):
        return False
    accepted = request.headers.get("accept", "")
    return "json" in accepted.lower() or _is_fetched(request)


def _is_fetched(request: Request) -> bool:
    """Whether a script of a page asks, by Fetch Metadata."""
    return request.headers.get("sec-fetch-dest") == "empty"


def _asks_for_html(request: Request) -> bool:
    """Whether the request names HTML and likes it as much as JSON (RFC 9110, 12.5.1)."""
    if _is_fetched(request):
        return False
    liked = _qualities(request.headers.get("accept", ""))
    html = max((liked.get(name, 0.0) for name in _HTML), default=0.0)
    data = max((weight for name, weight in liked.items() if "json" in name), default=0.0)
    return html > 0 and html >= data


def _qualities(accept: str) -> dict[str, float]:
    """The media types of an ``Accept`` header with their weights; an unreadable weight is 0."""
    found: dict[str, float] = {}
    for part in accept.lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        weight = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        try:
            found[name] = float(weight)
        except ValueError:
            found[name] = 0.0
    return found


async def answer_error(request: Request, error: NeurantError, *, is_known: bool = True) -> Response:
    """The whole answer for ``error``, in the form that its reader understands.

    ``is_known``: there is a route for the address.
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
    rates.tell(request, response)
    if error.status == HTTPStatus.UNAUTHORIZED:
        response.headers["www-authenticate"] = "Bearer"  # RFC 9110, 15.5.2
    return response


async def send_error(app: FastAPI, scope: Scope, send: Send, error: NeurantError) -> None:
    """Send the answer for ``error`` from a layer around ``app``."""
    request = Request({**scope, "app": app})  # such a layer is outside of what adds it
    response = await answer_error(request, error)
    await response(scope, request.receive, send)
