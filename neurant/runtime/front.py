"""The HTTP front: bounds on what a connection may send, take and hold, in front of the framework.

uvicorn with httptools has no limit of its own for headers, half-open requests or connections. The
protocol below counts while the parser reads, so that a request outside the bounds costs a few
hundred kilobytes at most, and is answered once, in our one shape of errors. Sources of the rules:
RFC 9112 (message framing), RFC 9110 (semantics), RFC 6585 (431), Go's net/http for chunk
overhead (CVE-2023-39326), Apache's mod_reqtimeout for slow bodies. Decision: 0014.
"""

from __future__ import annotations

import asyncio
import math
import resource
import secrets
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, cast

import httptools
import orjson
import uvicorn
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Scope
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from neurant.core.client_address import TrustedProxies, place_of, read_address
from neurant.core.clock import monotonic
from neurant.core.errors import NeurantError
from neurant.core.http import problem
from neurant.core.security_headers import add_security_headers
from neurant.core.settings import Settings

_KILOBYTE = 1024
_SLICE = 16 * _KILOBYTE
_CHUNK_ROOM = 16  # bytes of framing that any chunk may have, besides twice its length
_FILES_OF_OURS = 256  # database connections, files and the rest of what a process opens


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of a connection. Sizes in bytes, times in seconds.

    ``window`` and ``least``: a body that comes in, or an answer that goes out, moves by ``least``
    bytes in each ``window``, or the connection is closed. ``linger``: after a refusal what still
    arrives is read and forgotten for that long, so that the client reads the answer
    (RFC 9112, 9.6). Of a refused head that is ``discarded_head`` bytes at most, of a refused body
    ``discarded`` bytes, and of all connections together ``discarded_each_tick``: reading costs us
    computing time, too. ``bodies``: what all requests under way may hold beyond ``small_body``
    each, in memory or in temporary files.
    """

    head: int = 32 * _KILOBYTE
    target: int = 8 * _KILOBYTE
    fields: int = 100
    chunk_overhead: int = 16 * _KILOBYTE
    pipelined: int = 8
    discarded: int = 64 * _KILOBYTE * _KILOBYTE
    discarded_head: int = 256 * _KILOBYTE
    discarded_each_tick: int = 32 * _KILOBYTE * _KILOBYTE
    head_seconds: float = 10.0
    idle_seconds: float = 30.0
    window: float = 30.0
    least: int = 16 * _KILOBYTE
    linger: float = 5.0
    tick: float = 1.0
    connections: int = 10_000
    connections_of_address: int = 1_000
    small_body: int = 64 * _KILOBYTE
    bodies: int = 512 * _KILOBYTE * _KILOBYTE
    bodies_of_address: int = 128 * _KILOBYTE * _KILOBYTE


class FrontError(NeurantError):
    """A request that is refused before the application sees it."""

    def __init__(self, status: int, code: str, **params: object) -> None:
        super().__init__(f"front.{code}", **params)
        self.status = status


class _Reading(Enum):
    """What the next byte of a connection belongs to."""

    NOTHING = 0  # between two requests
    HEAD = 1
    BODY = 2


def make_config(
    app: ASGIApp | Callable[[], ASGIApp],
    settings: Settings,
    bounds: Bounds | None = None,
    **options: Any,
) -> uvicorn.Config:
    """uvicorn's configuration of a web process whose connections are bounded."""
    bounds = bounds or Bounds(connections=_room_for_connections())
    https = settings.base_url().startswith("https:")
    front = Front(bounds, settings.trusted_proxies, https=https)
    return uvicorn.Config(
        cast("ASGIApp", app),
        http=cast("type[asyncio.Protocol]", front.make_protocol),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=math.ceil(bounds.idle_seconds),
        proxy_headers=False,  # read by neurant.core.client_address
        **options,
    )


def _room_for_connections() -> int:
    """How many connections the process may hold; its limit of open files is raised first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = Bounds().connections + _FILES_OF_OURS
    if hard == resource.RLIM_INFINITY or hard >= wanted:
        raised = max(soft, wanted) if soft != resource.RLIM_INFINITY else soft
    else:
        raised = hard
    if raised != soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
    if raised == resource.RLIM_INFINITY:
        return Bounds().connections
    return max(1, min(Bounds().connections, raised - _FILES_OF_OURS))


class Front:
    """What all connections of one server share: the bounds, the counts and the clock's tick.

    ``https``: browsers reach the server by https.
    """

    def __init__(self, bounds: Bounds, trusted_proxies: str, *, https: bool = False) -> None:
        self.bounds = bounds
        security = MutableHeaders()
        # The path of a refused request is often unknown; "/" has the strictest headers.
        add_security_headers(security, "/", https=https)
        self.security_lines = b"".join(b"%s: %s\r\n" % one for one in security.raw)
        self._trusted = TrustedProxies(trusted_proxies)
        self._open: set[_BoundedProtocol] = set()
        self._of_address: Counter[str] = Counter()
        self._bodies: Counter[str | None] = Counter()  # bytes under way, by origin
        self._bodies_of_all = 0
        self._discarded = 0  # bytes, since the last tick
        self._ticking = False

    def make_protocol(self, **options: Any) -> asyncio.Protocol:
        """uvicorn's factory of the protocol of a new connection."""
        return _BoundedProtocol(self, **options)

    def admit(self, connection: _BoundedProtocol) -> FrontError | None:
        """Count a new connection; the refusal where there are as many as may be."""
        self._open.add(connection)
        origin = connection.origin = self._origin(connection.client)
        if origin is not None:
            self._of_address[origin] += 1
        if not self._ticking:
            self._ticking = True
            connection.loop.call_later(self.bounds.tick, self._tick, connection.loop)
        if len(self._open) > self.bounds.connections:
            return FrontError(503, "full", seconds=math.ceil(self.bounds.linger))
        if origin and self._of_address[origin] > self.bounds.connections_of_address:
            seconds = math.ceil(self.bounds.head_seconds)
            return FrontError(429, "too_many_connections", seconds=seconds)
        return None

    def forget(self, connection: _BoundedProtocol) -> None:
        """A connection is over."""
        self._open.discard(connection)
        if connection.origin is not None:
            self._of_address[connection.origin] -= 1
            if self._of_address[connection.origin] <= 0:
                del self._of_address[connection.origin]

    def hold_body(self, origin: str | None, size: int) -> FrontError | None:
        """Count bytes of a large body; the refusal where too many are under way."""
        bounds, seconds = self.bounds, math.ceil(self.bounds.window)
        if self._bodies_of_all + size > bounds.bodies:
            return FrontError(503, "bodies_full", seconds=seconds)
        if origin and self._bodies[origin] + size > bounds.bodies_of_address:
            return FrontError(429, "bodies_of_address", seconds=seconds)
        self._bodies[origin] += size
        self._bodies_of_all += size
        return None

    def release_body(self, origin: str | None, size: int) -> None:
        """A request is answered, or its connection is over."""
        self._bodies[origin] -= size
        self._bodies_of_all -= size
        if self._bodies[origin] <= 0:
            del self._bodies[origin]

    def may_discard_more(self, size: int) -> bool:
        """Count bytes that were read and forgotten; False: enough of them until the next tick."""
        self._discarded += size
        return self._discarded < self.bounds.discarded_each_tick

    def _origin(self, client: tuple[str, int] | None) -> str | None:
        """Whose connections are counted together; None: a trusted proxy's, which are many's."""
        if client is None or self._trusted.is_peer(read_address(client[0])):
            return None
        return place_of(client[0]).address

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        """One look a second at every connection is cheaper than a timer for each request."""
        now = monotonic()
        self._discarded = 0
        for connection in list(self._open):
            connection.check(now)
        self._ticking = bool(self._open)
        if self._ticking:
            loop.call_later(self.bounds.tick, self._tick, loop)


class _Progress:
    """Whether a number of bytes moves by enough in each window."""

    __slots__ = ("_bounds", "_bytes", "_since")

    def __init__(self, bounds: Bounds) -> None:
        self._bounds, self._bytes, self._since = bounds, 0, monotonic()

    def restart(self, moved: int, now: float) -> None:
        self._bytes, self._since = moved, now

    def is_too_slow(self, moved: int, now: float) -> bool:
        if abs(moved - self._bytes) >= self._bounds.least:
            self.restart(moved, now)
        return now - self._since > self._bounds.window


class _BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol of one connection, within the bounds of its front."""

    def __init__(self, front: Front, **options: Any) -> None:
        super().__init__(**options)
        self.origin: str | None = None
        self._front, self._bounds = front, front.bounds
        self._reading = _Reading.NOTHING
        self._read = 0  # bytes of what is being read: of a head or of a body with its framing
        self._head_bytes = self._fields = self._body_bytes = self._chunks = 0
        self._held = 0  # bytes of bodies that are counted at the front
        self._deadline = math.inf
        self._refusal: FrontError | None = None
        self._is_deaf = False  # what still arrives is forgotten
        self._discards = front.bounds.discarded
        self._ends_at = math.inf
        self._running: RequestResponseCycle | None = None
        self._incoming, self._outgoing = _Progress(self._bounds), _Progress(self._bounds)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or refuse it where there are too many."""
        super().connection_made(transport)
        self._deadline = monotonic() + self._bounds.head_seconds
        refusal = self._front.admit(self)
        if refusal is not None:
            self._is_deaf = True
            self._write_refusal(refusal)
            transport.close()  # without lingering: it would be counted for longer

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request that is served, and forget those that wait behind it."""
        super().connection_lost(exc)
        self._release_body()
        self._front.forget(self)
        self.pipeline.clear()
        # uvicorn tells the newest request only, which may be one that waited.
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()

    def data_received(self, data: bytes) -> None:
        """Parse what arrived, and refuse what is outside the bounds."""
        if self._is_deaf:
            self._forget(len(data))
            return
        self._unset_keepalive_if_required()
        # In slices, because the sizes are checked between them: what a slice begins is counted
        # from the next one on.
        for start in range(0, len(data), _SLICE):
            self._parse(data[start : start + _SLICE])
            if self._is_deaf:
                return

    def _forget(self, size: int) -> None:
        """Take no notice of bytes that arrived, and end a connection that sends too many."""
        self._read += size
        if self._read > self._discards:
            self.transport.abort()
        elif not self._front.may_discard_more(size):
            self.flow.pause_reading()  # until the next tick

    def _parse(self, data: bytes) -> None:
        if self._reading is _Reading.NOTHING:
            self._begin_head()
        self._read += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._ignore_upgrade()
        except httptools.HttpParserError:
            self._refuse(self._refusal or FrontError(400, "malformed"))
        else:
            self._check_sizes()

    def _check_sizes(self) -> None:
        if self._reading is _Reading.HEAD and self._read > self._bounds.head:
            self._refuse(self._head_too_large())
        elif self._reading is _Reading.BODY:
            framing = self._read - 3 * self._body_bytes - _CHUNK_ROOM * self._chunks
            if framing > self._bounds.chunk_overhead:
                self._refuse(FrontError(400, "malformed"))

    def _ignore_upgrade(self) -> None:
        """Serve the request as if it had not asked for another protocol (RFC 9110, 7.8); what
        follows it may be of that protocol."""
        self._is_deaf = True
        if self.cycle is not None:
            self.cycle.keep_alive = False

    def _begin_head(self) -> None:
        self._reading, self._read = _Reading.HEAD, 0
        self._head_bytes = self._fields = 0
        self._deadline = monotonic() + self._bounds.head_seconds

    # The parser's callbacks: what they raise ends the parsing.

    def on_message_begin(self) -> None:
        """A request line begins."""
        if self._reading is not _Reading.HEAD:
            self._begin_head()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A part of the request target."""
        super().on_url(url)
        if len(self.url) > self._bounds.target:
            self._stop(FrontError(414, "target_too_long", most=self._bounds.target))
        self._head_bytes += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header field. A trailer field is forgotten: merged, it would be a header field that
        nobody checked (RFC 9110, 6.5.1)."""
        if self._reading is _Reading.BODY:
            return
        self._fields += 1
        self._head_bytes += len(name) + len(value) + 4
        if self._fields > self._bounds.fields or self._head_bytes > self._bounds.head:
            self._stop(self._head_too_large())
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole: check how the body is framed, and serve."""
        refusal = _framing_refusal(self.headers, self.parser.get_http_version())
        if refusal is None and len(self.pipeline) >= self._bounds.pipelined:
            refusal = FrontError(400, "malformed")
        if refusal is not None:
            self._stop(refusal)
        self._reading, self._read = _Reading.BODY, 0
        self._body_bytes = self._chunks = 0
        self._deadline = math.inf
        self._incoming.restart(0, monotonic())
        super().on_headers_complete()
        if self.expect_100_continue:  # whether a body follows a refusal is not known then
            self.cycle.keep_alive = False

    def on_chunk_header(self) -> None:
        """A chunk begins."""
        self._chunks += 1

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._body_bytes += len(body)
        large = max(0, self._body_bytes - self._bounds.small_body)
        if size := min(len(body), large):
            refusal = self._front.hold_body(self.origin, size)
            if refusal is not None:
                self._stop(refusal)
            self._held += size
        super().on_body(body)

    def _release_body(self) -> None:
        self._front.release_body(self.origin, self._held)
        self._held = 0

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._reading, self._deadline = _Reading.NOTHING, math.inf
        super().on_message_complete()

    def _stop(self, refusal: FrontError) -> None:
        self._refusal = refusal
        raise refusal

    def _head_too_large(self) -> FrontError:
        bounds = self._bounds
        return FrontError(431, "head_too_large", most=bounds.head, fields=bounds.fields)

    # uvicorn's own steps.

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """An answer left. A body that nobody read has a moment to end."""
        super().on_response_complete()
        self._release_body()
        self._outgoing.restart(0, monotonic())
        if self._reading is _Reading.BODY and self._running is self.cycle:
            self._unset_keepalive_if_required()
            self._deadline = monotonic() + self._bounds.linger

    def resume_writing(self) -> None:
        """The client read most of what waited."""
        super().resume_writing()
        self._outgoing.restart(self.transport.get_write_buffer_size(), monotonic())

    # Refusing and ending.

    def check(self, now: float) -> None:
        """Close the connection if it is too slow or its time is over."""
        if self.transport is None or self._is_stalled(now) or now > self._ends_at:
            if self.transport is not None:
                self.transport.abort()
        elif self._is_deaf:
            self.flow.resume_reading()
        elif now > self._deadline or self._is_slow_body(now):
            self._refuse(FrontError(408, "too_slow"))

    def _is_stalled(self, now: float) -> bool:
        """Does the client read too little of what is written?"""
        waiting = self.transport.get_write_buffer_size()
        if waiting == 0:
            self._outgoing.restart(0, now)
            return False
        return self._outgoing.is_too_slow(waiting, now)

    def _is_slow_body(self, now: float) -> bool:
        if self._reading is not _Reading.BODY or self._deadline < math.inf or self._is_deaf:
            return False
        if self.flow.read_paused:  # we are the slow ones
            self._incoming.restart(self._body_bytes, now)
        return self._incoming.is_too_slow(self._body_bytes, now)

    def _refuse(self, refusal: FrontError) -> None:
        """Answer a request that cannot be served, and take nothing more from the connection."""
        if self._is_deaf:
            return
        if self._reading is not _Reading.BODY:
            self._discards = self._bounds.discarded_head
        self._is_deaf, self._read, self._deadline = True, 0, math.inf
        self._unset_keepalive_if_required()
        running = self._running
        is_its_body = self._reading is _Reading.BODY and running is self.cycle
        if running is not None and not running.response_complete:
            if not is_its_body:  # its own answer is right, and the last one
                running.keep_alive = False
                self.pipeline.clear()
                return
            if running.response_started:
                self.transport.abort()
                return
            running.disconnected = True
            running.message_event.set()
        if not (is_its_body and running is not None and running.response_complete):
            self._write_refusal(refusal)
        self._linger()

    def _write_refusal(self, refusal: FrontError) -> None:
        request_id = secrets.token_hex(8)
        headers = self.headers if self.headers is not None else []
        scope: Scope = {"headers": headers, "state": {"request_id": request_id}}
        body = orjson.dumps(problem(refusal, scope))
        head = [
            STATUS_LINE[refusal.status],
            b"content-type: application/problem+json\r\n",
            b"content-length: %d\r\n" % len(body),
            b"cache-control: no-store\r\nconnection: close\r\n",
            f"x-request-id: {request_id}\r\n".encode(),
            self._front.security_lines,
        ]
        if "seconds" in refusal.params:
            head.append(f"retry-after: {refusal.params['seconds']}\r\n".encode())
        self.transport.write(b"".join([*head, b"\r\n", body]))

    def _linger(self) -> None:
        """A connection that is closed while its client writes is reset, and the answer is lost."""
        self._ends_at = monotonic() + self._bounds.linger
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()


def _framing_refusal(headers: list[tuple[bytes, bytes]], version: str) -> FrontError | None:
    """Refuse a head that two readers could take for different messages (RFC 9112, 6.3 and 11.2)."""
    found: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        if name in _FRAMING:
            found.setdefault(name, []).append(value.strip().lower())
    hosts = len(found.get(b"host", ()))
    lengths, codings = found.get(b"content-length", []), found.get(b"transfer-encoding", [])
    if hosts > 1 or (version == "1.1" and hosts == 0):
        return FrontError(400, "malformed")
    if len(lengths) > 1 or any(not length.isdigit() for length in lengths):
        return FrontError(400, "malformed")
    if codings and (lengths or codings != [b"chunked"] or version != "1.1"):
        return FrontError(400, "malformed")
    if any(expected != b"100-continue" for expected in found.get(b"expect", ())):
        return FrontError(417, "expectation")
    return None


_FRAMING = frozenset((b"host", b"content-length", b"transfer-encoding", b"expect"))


def end_unread_connections(listener: socket.socket) -> None:
    """Let the kernel end a connection whose client has not read or acknowledged for 30 seconds.

    TCP_USER_TIMEOUT (RFC 5482; tcp(7)) is inherited by accepted sockets. It sees what the process
    cannot: bytes that wait in the kernel, as those of a quiet live stream do.
    """
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        milliseconds = int(Bounds().window * 1000)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
