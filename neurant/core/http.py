"""The common parts of every HTTP answer: error format, request id, body limits and headers.

Errors are ``application/problem+json`` (RFC 9457) with our ``code`` and the ``request_id``;
``detail`` is in the reader's language.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from neurant.core.db.pool import must_hold_nothing
from neurant.core.errors import MalformedError, NeurantError, TooLargeError
from neurant.core.security_headers import add_security_headers
from neurant.texts import preferred_language

_DISCARD_SECONDS = 5.0
_AGAIN_SECONDS = 5  # the default Retry-After
_MAX_DISCARDED = 64 * 1024 * 1024
SendError = Callable[[Scope, Send, NeurantError], Awaitable[None]]
_REQUEST_ID = re.compile(r"^[A-Za-z0-9._-]{1,64}$")


def problem(error: NeurantError, scope: Scope) -> dict[str, Any]:
    """Return the body of an error answer (RFC 9457)."""
    language = preferred_language(Headers(scope=scope).get("accept-language"))
    return {
        "type": f"urn:neurant:error:{error.code}",
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "detail": error.detail(language),
        "code": error.code,
        "request_id": scope.get("state", {}).get("request_id", ""),
        **error.members,
    }


async def send_json(
    send: Send,
    status: int,
    body: object,
    content_type: bytes = b"application/json",
    more: Sequence[tuple[bytes, bytes]] = (),
) -> None:
    """Send a whole JSON answer with the headers ``more``."""
    data = orjson.dumps(body)
    length = str(len(data)).encode()
    headers = [(b"content-type", content_type), (b"content-length", length), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})


async def send_problem(scope: Scope, send: Send, error: NeurantError) -> None:
    """Send a whole error answer."""
    seconds = error.params.get("seconds")
    more = [] if seconds is None else [(b"retry-after", str(seconds).encode())]
    body = problem(error, scope)
    await send_json(send, error.status, body, b"application/problem+json", more)


def without_body(send: Send) -> Send:
    """Wrap ``send`` for a HEAD request: the headers of a GET without its body (RFC 9110, 9.3.2)."""

    async def headers_only(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return headers_only


async def read_body(scope: Scope, receive: Receive, most: int) -> bytes:
    """Return the request's body of at most ``most`` bytes. Raises TooLargeError, MalformedError."""
    declared = Headers(scope=scope).get("content-length", "")
    if declared.isdigit() and int(declared) > most:
        raise TooLargeError("body_too_large", most=_size(most))
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise MalformedError("body_cut_short")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            raise TooLargeError("body_too_large", most=_size(most))
        if not message.get("more_body"):
            return b"".join(parts)


def _size(size: int) -> str:
    if size < 1024 * 1024:
        return f"{size / 1024:.0f} kB"
    return f"{size / 1024 / 1024:.0f} MB"


class _LimitedBody:
    """The ``receive`` of a request that refuses a body of more than ``most`` bytes."""

    def __init__(self, scope: Scope, receive: Receive, most: int) -> None:
        self._headers = Headers(scope=scope)
        self._receive = receive
        self._max_bytes = most
        self._seen = 0
        self._more = True
        self.refused: TooLargeError | None = None

    def lower(self, most: int) -> None:
        """Lower the limit to ``most`` bytes. Raises TooLargeError."""
        self._max_bytes = min(self._max_bytes, most)
        self.check_declared()

    def check_declared(self) -> None:
        """Refuse the body by its declared length, before it is read."""
        declared = self._headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self._max_bytes:
            self._refuse()

    def _refuse(self) -> None:
        self.refused = TooLargeError("body_too_large", most=_size(self._max_bytes))
        raise self.refused

    async def __call__(self) -> Message:
        must_hold_nothing("a request's body")
        message = await self._receive()
        self._more = message["type"] == "http.request" and bool(message.get("more_body"))
        self._seen += len(message.get("body", b""))
        if self._seen > self._max_bytes:
            self._refuse()
        return message

    async def discard_rest(self) -> None:
        """Read and discard the rest of the body, for a limited time.

        A connection that is closed while the client still writes is reset, and the client never
        reads our answer (RFC 9112, 9.6). A client that waits for "100 Continue" has not sent its
        body.
        """
        if "expect" in self._headers:
            return
        drained = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(_DISCARD_SECONDS):
                while self._more and drained < _MAX_DISCARDED:
                    message = await self._receive()
                    self._more = bool(message.get("more_body"))
                    drained += len(message.get("body", b""))


class RequestMiddleware:
    """The outermost ASGI layer: request id, security headers, a limit on every body.

    ``send_error`` writes the answer of an error; without it every error is a JSON problem.
    ``max_body_bytes(path)`` is the limit for a path. A larger body is answered with 413 before a
    handler reads any of it. ``https`` says whether browsers reach us by https.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_body_bytes: Callable[[str], int],
        new_id: Callable[[], str],
        send_error: SendError = send_problem,
        *,
        https: bool = False,
    ) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._new_id = new_id
        self._send_error = send_error
        self._https = https

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.match(given) else self._new_id()
        scope.setdefault("state", {})["request_id"] = request_id
        body = _LimitedBody(scope, receive, self._max_body_bytes(scope["path"]))
        scope["state"]["lower_body_limit"] = body.lower
        started = False

        async def framed(message: Message) -> None:
            nonlocal started
            if body.refused and not started:
                return  # the framework mistook our refusal for a malformed body
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                _add_headers(headers, scope, request_id, https=self._https)
                if message["status"] in (429, 503):
                    headers.setdefault("retry-after", str(_AGAIN_SECONDS))
            must_hold_nothing("the client that reads an answer")
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                body.check_declared()
                await self._app(scope, body, framed)
                if body.refused and not started:
                    raise body.refused
            except TooLargeError as error:
                if started:
                    raise
                body.refused = None
                await body.discard_rest()
                await self._send_error(scope, framed, error)


def _add_headers(headers: MutableHeaders, scope: Scope, request_id: str, *, https: bool) -> None:
    headers["x-request-id"] = request_id
    add_security_headers(headers, scope["path"], https=https)
    if not scope["path"].startswith("/static/") and scope["path"] != "/widget.js":
        headers.setdefault("cache-control", "no-store")
