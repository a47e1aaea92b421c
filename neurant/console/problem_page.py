"""Show an error to a person: as a page with a link onward, or as a notice on a page."""

from __future__ import annotations

from urllib.parse import urlsplit

from fastapi import Request, Response
from fastapi.responses import HTMLResponse

from neurant.auth.cookies import read_cookie
from neurant.console.notice import Notice
from neurant.console.readers import asks_for_html
from neurant.console.refusals import Refusal
from neurant.console.templating import markup, render, translator, when_again
from neurant.core.errors import NeurantError
from neurant.core.language import reader_language

_TOO_MANY = 429
_UNAVAILABLE = 503
# For each status the name of the texts under ``console.problem``, and the icon.
_KINDS = {
    401: ("sign_in", "lock"),
    403: ("forbidden", "lock"),
    404: ("not_found", "search"),
    405: ("method", "alert"),
    410: ("gone", "clock"),
    413: ("too_large", "file"),
    429: ("too_many", "clock"),
    500: ("internal", "alert"),
    503: ("unavailable", "refresh"),
}
# The same request may succeed later, so the page offers to repeat it.
_WORTH_ANOTHER_TRY = (429, 500, 503)
# For these the error's own text says more than the general text of the status.
_DETAILED = ("forbidden", "too_large", "failed", "gone", "sign_in")


def problem_page(request: Request, error: NeurantError, why: Refusal | None = None) -> Response:
    """Return the page for ``error``: what happened, one link onward, the request's id for support.

    ``why``: an explanation that replaces the general text of the status.
    """
    t = translator(reader_language(request))
    name, symbol = _KINDS.get(error.status, ("failed", "alert"))
    if why is None:
        heading, detail = t(f"console.problem.{name}"), _detail(request, error)
        why = Refusal(heading, detail, *_way_on(request, error))
    response = render(
        request,
        "errors/problem.html",
        error=error,
        symbol=symbol,
        heading=why.heading,
        detail=why.detail,
        back=why.back,
        back_label=t(f"console.problem.{why.back_label}"),
        request_id=_request_id(request),
    )
    response.headers["vary"] = "Accept, Accept-Language, Cookie"
    return response


def _request_id(request: Request) -> str | None:
    """Return the request's id for an HTML page; other clients read it in ``X-Request-ID``."""
    if not asks_for_html(request):
        return None
    found: str | None = request.scope.get("state", {}).get("request_id")
    return found


def _detail(request: Request, error: NeurantError) -> str:
    language = reader_language(request)
    name, _ = _KINDS.get(error.status, ("failed", "alert"))
    says_when = error.status == _TOO_MANY and "seconds" in error.params
    unavailable = error.status == _UNAVAILABLE and error.code != "database_away"
    if name in _DETAILED or says_when or unavailable:
        return error.detail(language)
    return translator(language)(f"console.problem.{name}_hint")


def _way_on(request: Request, error: NeurantError) -> tuple[str, str]:
    """Return the path of the page's button and the name of its label."""
    path = request.url.path
    if request.method in ("GET", "HEAD"):
        if error.status in _WORTH_ANOTHER_TRY or path.startswith("/chat/"):
            query = request.url.query
            return f"{path}?{query}" if query else path, "again"
    elif before := _page_before(request):
        return before, "go_back"
    if path.startswith("/chat/"):
        return path, "again"
    if read_cookie(request) is None:
        return "/login", "to_login"
    return "/console/inbox", "to_inbox"


def _page_before(request: Request) -> str | None:
    """Return the path of our own page that sent this request, from the Referer header, or None."""
    before = urlsplit(request.headers.get("referer", ""))
    if not before.netloc or before.netloc != request.headers.get("host"):
        return None
    path = before.path.replace("\\", "/")
    if not path.startswith("/") or path.startswith("//"):
        return None
    return f"{path}?{before.query}" if before.query else path


def notice_of(request: Request, error: NeurantError, why: Refusal | None = None) -> Response:
    """Return a notice of ``error`` for the page's script, which redraws nothing else."""
    if why is None:
        notice = Notice("bad", "alert", error.detail(reader_language(request)))
    else:
        notice = Notice("bad", "lock", why.heading, why.detail)
    page = markup(request, "partials/notice_partial.html", notice=notice)
    return HTMLResponse(page, error.status, {"HX-Reswap": "none"} | when_again(error))
