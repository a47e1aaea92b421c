"""The HTTP front: bounds on the bytes and the time of each connection, before the framework.

uvicorn with httptools has no limit of its own for headers, half-open requests or connections. The
protocol below counts while the parser reads, so that a request outside the bounds costs at most a
few hundred kilobytes and gets one answer in our usual format of errors. Sources of the rules:
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
_CHUNK_ROOM = 16  # framing bytes that each chunk may have in addition to twice its length
_FILES_OF_OURS = 256  # open files of the process that are not client connections


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of a connection. Sizes in bytes, times in seconds.

    ``window`` and ``least``: a request body or an answer must move by ``least`` bytes in each
    ``window``, or the connection is closed. ``linger``: for this time after a refusal, further
    bytes are read and discarded, so that the client can read the answer (RFC 9112, 9.6). Because
    reading costs computing time, at most ``discarded_head`` bytes of a refused head,
    ``discarded`` bytes of a refused body, and ``discarded_each_tick`` bytes of all connections
    are discarded. ``bodies``: bytes that all current requests together may hold in memory or in
    temporary files, not counting ``small_body`` bytes of each.
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
    """The refusal of a request before the application sees it."""

    def __init__(self, status: int, code: str, **params: object) -> None:
        super().__init__(f"front.{code}", **params)
        self.status = status


class _Reading(Enum):
    """The part of a request to which the next byte of a connection belongs."""

    NOTHING = 0  # between two requests
    HEAD = 1
    BODY = 2


def make_config(
    app: ASGIApp | Callable[[], ASGIApp],
    settings: Settings,
    bounds: Bounds | None = None,
    **options: Any,
) -> uvicorn.Config:
    """Return uvicorn's configuration of a web process with bounded connections."""
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
        proxy_headers=False,  # neurant.core.client_address reads them
        **options,
    )


def _room_for_connections() -> int:
    """Raise the limit of open files and return the number of connections that it allows."""
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
    """The state that all connections of a server share: the bounds, the counts and the timer.

    ``https``: whether browsers reach the server by https.
    """

    def __init__(self, bounds: Bounds, trusted_proxies: str, *, https: bool = False) -> None:
        self.bounds = bounds
        security = MutableHeaders()
        # The path of a refused request is often unknown, so "/" with the strictest headers is used.
        add_security_headers(security, "/", https=https)
        self.security_lines = b"".join(b"%s: %s\r\n" % one for one in security.raw)
        self._trusted = TrustedProxies(trusted_proxies)
        self._open: set[_BoundedProtocol] = set()
        self._of_address: Counter[str] = Counter()
        self._bodies: Counter[str | None] = Counter()  # bytes of bodies in transit, by origin
        self._bodies_of_all = 0
        self._discarded = 0  # bytes discarded since the last tick
        self._ticking = False

    def make_protocol(self, **options: Any) -> asyncio.Protocol:
        """Return the protocol of a new connection, for uvicorn."""
        return _BoundedProtocol(self, **options)

    def admit(self, connection: _BoundedProtocol) -> FrontError | None:
        """Count a new connection; return the refusal if there are too many."""
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
        """Stop counting a closed connection."""
        self._open.discard(connection)
        if connection.origin is not None:
            self._of_address[connection.origin] -= 1
            if self._of_address[connection.origin] <= 0:
                del self._of_address[connection.origin]

    def hold_body(self, origin: str | None, size: int) -> FrontError | None:
        """Count bytes of a large body; return the refusal if too many are in transit."""
        bounds, seconds = self.bounds, math.ceil(self.bounds.window)
        if self._bodies_of_all + size > bounds.bodies:
            return FrontError(503, "bodies_full", seconds=seconds)
        if origin and self._bodies[origin] + size > bounds.bodies_of_address:
            return FrontError(429, "bodies_of_address", seconds=seconds)
        self._bodies[origin] += size
        self._bodies_of_all += size
        return None

    def release_body(self, origin: str | None, size: int) -> None:
        """Stop counting the bytes of a body after its answer or the end of its connection."""
        self._bodies[origin] -= size
        self._bodies_of_all -= size
        if self._bodies[origin] <= 0:
            del self._bodies[origin]

    def may_discard_more(self, size: int) -> bool:
        """Count discarded bytes; return False if no more may be read until the next tick."""
        self._discarded += size
        return self._discarded < self.bounds.discarded_each_tick

    def _origin(self, client: tuple[str, int] | None) -> str | None:
        """Return the key that counts a client's connections; None for a proxy with many clients."""
        if client is None or self._trusted.is_peer(read_address(client[0])):
            return None
        return place_of(client[0]).address

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        """Check every connection once per tick, which is cheaper than a timer for each request."""
        now = monotonic()
        self._discarded = 0
        for connection in list(self._open):
            connection.check(now)
        self._ticking = bool(self._open)
        if self._ticking:
            loop.call_later(self.bounds.tick, self._tick, loop)


class _Progress:
    """Detects a count of bytes that moves too slowly in a window."""

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
    """uvicorn's protocol of one connection, with the bounds of its front."""

    def __init__(self, front: Front, **options: Any) -> None:
        super().__init__(**options)
        self.origin: str | None = None
        self._front, self._bounds = front, front.bounds
        self._reading = _Reading.NOTHING
        self._read = 0  # bytes read of the current head, or of the current body with its framing
        self._head_bytes = self._fields = self._body_bytes = self._chunks = 0
        self._held = 0  # bytes of bodies that the front counts
        self._deadline = math.inf
        self._refusal: FrontError | None = None
        self._is_deaf = False  # whether further bytes are discarded
        self._discards = front.bounds.discarded
        self._ends_at = math.inf
        self._running: RequestResponseCycle | None = None
        self._incoming, self._outgoing = _Progress(self._bounds), _Progress(self._bounds)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection, or refuse it if there are too many."""
        super().connection_made(transport)
        self._deadline = monotonic() + self._bounds.head_seconds
        refusal = self._front.admit(self)
        if refusal is not None:
            self._is_deaf = True
            self._write_refusal(refusal)
            transport.close()  # without lingering, because the connection would count longer

    def connection_lost(self, exc: Exception | None) -> None:
        """Notify the current request of the disconnection, and drop the pipelined requests."""
        super().connection_lost(exc)
        self._release_body()
        self._front.forget(self)
        self.pipeline.clear()
        # uvicorn notifies only the newest request, which may be a pipelined one.
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()

    def data_received(self, data: bytes) -> None:
        """Parse the received bytes, and refuse a request outside the bounds."""
        if self._is_deaf:
            self._forget(len(data))
            return
        self._unset_keepalive_if_required()
        # The sizes are checked between slices; a request that begins within a slice is counted
        # from the next slice on.
        for start in range(0, len(data), _SLICE):
            self._parse(data[start : start + _SLICE])
            if self._is_deaf:
                return

    def _forget(self, size: int) -> None:
        """Discard received bytes, and abort a connection that sends too many."""
        self._read += size
        if self._read > self._discards:
            self.transport.abort()
        elif not self._front.may_discard_more(size):
            self.flow.pause_reading()  # resumed at the next tick

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
        """Serve the request without the requested upgrade (RFC 9110, 7.8).

        Later bytes are discarded, because they may belong to the other protocol.
        """
        self._is_deaf = True
        if self.cycle is not None:
            self.cycle.keep_alive = False

    def _begin_head(self) -> None:
        self._reading, self._read = _Reading.HEAD, 0
        self._head_bytes = self._fields = 0
        self._deadline = monotonic() + self._bounds.head_seconds

    # The parser's callbacks. An exception in them ends the parsing.

    def on_message_begin(self) -> None:
        """Handle the beginning of a request line."""
        if self._reading is not _Reading.HEAD:
            self._begin_head()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Handle a part of the request target."""
        super().on_url(url)
        if len(self.url) > self._bounds.target:
            self._stop(FrontError(414, "target_too_long", most=self._bounds.target))
        self._head_bytes += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Handle a header field, and ignore a trailer field (RFC 9110, 6.5.1).

        A merged trailer field would become a header field that was never checked.
        """
        if self._reading is _Reading.BODY:
            return
        self._fields += 1
        self._head_bytes += len(name) + len(value) + 4
        if self._fields > self._bounds.fields or self._head_bytes > self._bounds.head:
            self._stop(self._head_too_large())
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Check the framing of the body after a complete head, and serve the request."""
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
        if self.expect_100_continue:  # a refused client may send the body or not
            self.cycle.keep_alive = False

    def on_chunk_header(self) -> None:
        """Handle the beginning of a chunk."""
        self._chunks += 1

    def on_body(self, body: bytes) -> None:
        """Handle a part of the body."""
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
        """Handle the end of a request."""
        self._reading, self._deadline = _Reading.NOTHING, math.inf
        super().on_message_complete()

    def _stop(self, refusal: FrontError) -> None:
        self._refusal = refusal
        raise refusal

    def _head_too_large(self) -> FrontError:
        bounds = self._bounds
        return FrontError(431, "head_too_large", most=bounds.head, fields=bounds.fields)

    # The methods of uvicorn that need additional work.

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Handle the end of an answer; an unread body gets a short time to end."""
        super().on_response_complete()
        self._release_body()
        self._outgoing.restart(0, monotonic())
        if self._reading is _Reading.BODY and self._running is self.cycle:
            self._unset_keepalive_if_required()
            self._deadline = monotonic() + self._bounds.linger

    def resume_writing(self) -> None:
        """Handle that the client has read most of the write buffer."""
        super().resume_writing()
        self._outgoing.restart(self.transport.get_write_buffer_size(), monotonic())

    # Time-outs and refusals.

    def check(self, now: float) -> None:
        """Close the connection if it is too slow or exceeds a time-out."""
        if self.transport is None or self._is_stalled(now) or now > self._ends_at:
            if self.transport is not None:
                self.transport.abort()
        elif self._is_deaf:
            self.flow.resume_reading()
        elif now > self._deadline or self._is_slow_body(now):
            self._refuse(FrontError(408, "too_slow"))

    def _is_stalled(self, now: float) -> bool:
        """Return whether the client reads the answer too slowly."""
        waiting = self.transport.get_write_buffer_size()
        if waiting == 0:
            self._outgoing.restart(0, now)
            return False
        return self._outgoing.is_too_slow(waiting, now)

    def _is_slow_body(self, now: float) -> bool:
        if self._reading is not _Reading.BODY or self._deadline < math.inf or self._is_deaf:
            return False
        if self.flow.read_paused:  # the application reads slowly, not the client
            self._incoming.restart(self._body_bytes, now)
        return self._incoming.is_too_slow(self._body_bytes, now)

    def _refuse(self, refusal: FrontError) -> None:
        """Answer a request outside the bounds, and serve no further request of the connection."""
        if self._is_deaf:
            return
        if self._reading is not _Reading.BODY:
            self._discards = self._bounds.discarded_head
        self._is_deaf, self._read, self._deadline = True, 0, math.inf
        self._unset_keepalive_if_required()
        running = self._running
        is_its_body = self._reading is _Reading.BODY and running is self.cycle
        if running is not None and not running.response_complete:
            if not is_its_body:  # the running request gets its answer, the last one
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
        """Keep reading for a while: closing while the client writes resets the connection.

        The client would lose the answer.
        """
        self._ends_at = monotonic() + self._bounds.linger
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()


def _framing_refusal(headers: list[tuple[bytes, bytes]], version: str) -> FrontError | None:
    """Return the refusal of a head with ambiguous framing (RFC 9112, 6.3 and 11.2), or None."""
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
    """Make the kernel end a connection whose client acknowledges no data for 30 seconds.

    Accepted sockets inherit TCP_USER_TIMEOUT (RFC 5482; tcp(7)). It also covers bytes that wait
    in the kernel, which the process cannot see, such as those of a quiet live stream.
    """
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        milliseconds = int(Bounds().window * 1000)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
