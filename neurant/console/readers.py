"""Find out what reads an answer: a browser's window, a page's script, or a program."""

from __future__ import annotations

from typing import Literal

from fastapi import Request

_OF_PROGRAMS = ("/v1", "/webhooks", "/healthz", "/readyz", "/widget.js")
_HTML = ("text/html", "application/xhtml+xml")
Reader = Literal["browser", "script", "program"]


def reader_of(request: Request, *, is_known: bool = True) -> Reader:
    """Return what reads the answer: a browser's window, a page's script (htmx), or a program.

    A page's own ``fetch`` counts as a program, because it reads the JSON problem's ``detail``.
    Without a route for the address (not ``is_known``), only the headers decide.
    """
    path = request.url.path
    if is_known and any(path == prefix or path.startswith(f"{prefix}/") for prefix in _OF_PROGRAMS):
        return "program"
    if is_htmx(request):
        return "script"
    return "browser" if asks_for_html(request) else "program"


def is_htmx(request: Request) -> bool:
    """Return whether the page's script (htmx) sent the request."""
    return "hx-request" in request.headers


def asks_for_json(request: Request) -> bool:
    """Return whether a request to a page's address asks for JSON instead of HTML."""
    if is_htmx(request) or asks_for_html(request):
        return False
    return "json" in request.headers.get("accept", "").lower() or _is_fetched(request)


def asks_for_html(request: Request) -> bool:
    """Return whether the request accepts HTML at least as gladly as JSON (RFC 9110, 12.5.1)."""
    if _is_fetched(request):
        return False
    liked = _qualities(request.headers.get("accept", ""))
    html = max((liked.get(name, 0.0) for name in _HTML), default=0.0)
    data = max((weight for name, weight in liked.items() if "json" in name), default=0.0)
    return html > 0 and html >= data


def _is_fetched(request: Request) -> bool:
    """Return whether a page's ``fetch`` sent the request, according to Fetch Metadata."""
    return request.headers.get("sec-fetch-dest") == "empty"


def _qualities(accept: str) -> dict[str, float]:
    """Return the media types of an ``Accept`` header and their weights; an invalid weight is 0."""
    found: dict[str, float] = {}
    for part in accept.lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        weight = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        try:
            found[name] = float(weight)
        except ValueError:
            found[name] = 0.0
    return found
