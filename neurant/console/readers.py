"""Who reads an answer: a browser's window, a page's script, or a program."""

from __future__ import annotations

from typing import Literal

from fastapi import Request

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
    return "browser" if asks_for_html(request) else "program"


def is_htmx(request: Request) -> bool:
    """Whether the page's script asks, and not the address bar."""
    return "hx-request" in request.headers


def asks_for_json(request: Request) -> bool:
    """Whether a request for a page says that it wants data instead of a page."""
    if is_htmx(request) or asks_for_html(request):
        return False
    return "json" in request.headers.get("accept", "").lower() or _is_fetched(request)


def asks_for_html(request: Request) -> bool:
    """Whether the request names HTML and likes it as much as JSON (RFC 9110, 12.5.1)."""
    if _is_fetched(request):
        return False
    liked = _qualities(request.headers.get("accept", ""))
    html = max((liked.get(name, 0.0) for name in _HTML), default=0.0)
    data = max((weight for name, weight in liked.items() if "json" in name), default=0.0)
    return html > 0 and html >= data


def _is_fetched(request: Request) -> bool:
    """Whether a script of a page asks, by Fetch Metadata."""
    return request.headers.get("sec-fetch-dest") == "empty"


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
