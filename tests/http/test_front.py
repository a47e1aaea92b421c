"""The HTTP front over raw sockets: each bound, what a client gets, and that memory stays flat."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain, repeat

import httpx
import psutil
import pytest
import uvicorn
import uvloop
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from neurant.core.settings import Settings
from neurant.runtime.front import Bounds, end_unread_connections, make_config

pytest_plugins = ("tests.console.running_web",)
MEGABYTE = 1024 * 1024
QUICK = Bounds(head_seconds=0.6, idle_seconds=1, window=0.8, linger=0.5, tick=0.1)
GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
SECURITY = {
    b"content-security-policy", b"x-content-type-options", b"referrer-policy",
    b"permissions-policy", b"cross-origin-opener-policy", b"cross-origin-resource-policy",
}  # fmt: skip
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


class AppLog:
    """What the application behind the front saw."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []
        self.bodies: list[bytes] = []
        self.ended = threading.Event()


@contextlib.contextmanager
def front(
    bounds: Bounds = QUICK, proxies: str = "", public_url: str | None = None
) -> Iterator[tuple[int, AppLog]]:
    """A server behind the front: the port, and what its application saw."""
    told = AppLog()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        told.scopes.append(scope)
        if scope["path"] == "/endless":
            await _endless(receive, send, told)
            return
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                told.ended.set()
                return
            body += message["body"]
            if not message["more_body"]:
                break
        told.bodies.append(body)
        await asyncio.sleep(0.2 if scope["path"] == "/slow" else 0)
        answer = scope["path"].encode() + b" %d" % len(body)
        headers = [(b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    listener = socket.create_server(("127.0.0.1", 0))
    end_unread_connections(listener)
    settings = Settings(trusted_proxies=proxies, public_url=public_url)
    config = make_config(app, settings, bounds, lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=_run, args=(server, listener), daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1], told
    finally:
        server.should_exit = True
        thread.join(10)


def _run(server: uvicorn.Server, listener: socket.socket) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as `neurant serve`
        runner.run(server._serve([listener]))


async def _endless(receive: Receive, send: Send, told: AppLog) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})

    async def listen() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        told.ended.set()

    listening = asyncio.create_task(listen())
    while not told.ended.is_set():
        await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        await asyncio.sleep(0)
    listening.cancel()


def answer_of(connection: socket.socket, seconds: float = 10) -> bytes:
    """Everything until the server closes."""
    connection.settimeout(seconds)
    told = b""
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65536):
            told += part
    return told


def ask(port: int, sent: bytes, *, seconds: float = 10) -> bytes:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(sent)
        return answer_of(connection, seconds)


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def close(request: bytes = GET) -> bytes:
    return request + b"Connection: close\r\n\r\n"


@pytest.fixture(scope="module")
def quick() -> Iterator[tuple[int, AppLog]]:
    with front() as running:
        yield running


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (GET + b"X: " + b"a" * 40_000 + b"\r\n\r\n", 431, "front.head_too_large"),
        (GET + b"X-A: 1\r\n" * 101 + b"\r\n", 431, "front.head_too_large"),
        (GET + b"X-A: " + b"a" * 1000 + b"\r\n" + 40 * (b"B: " + b"b" * 1000 + b"\r\n"), 431, None),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, "front.target_too_long"),
        (POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, None),
        (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400, None),
        (POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400, None),
        (POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400, None),
        (POST + b"Content-Length: +3\r\n\r\nabc", 400, None),
        (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400, None),
        (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400, None),
        (POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400, None),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, None),
        (GET + b"Host: y\r\n\r\n", 400, "front.malformed"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "front.malformed"),
        (b"NONSENSE\r\n\r\n", 400, "front.malformed"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "front.malformed"),
        (POST + b"Content-Length: 3\r\nExpect: a-miracle\r\n\r\n", 417, "front.expectation"),
        (CHUNKED + b"1;" + b"a" * 60_000 + b"\r\nx\r\n0\r\n\r\n", 400, "front.malformed"),
    ],
)  # fmt: skip
def test_a_request_outside_the_bounds_is_answered_once_and_the_connection_ends(
    quick: tuple[int, AppLog], request_bytes: bytes, status: int, code: str | None
) -> None:
    port, told = quick
    seen = len(told.bodies)
    answer = ask(port, request_bytes + GET + b"\r\n")
    assert len(re.findall(rb"HTTP/1\.1 [0-9]{3} ", answer)) == 1
    assert status_of(answer) == status, answer
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    assert {name + b":" for name in SECURITY} <= {line.split()[0] for line in head.split(b"\r\n")}
    assert b"strict-transport-security" not in head
    assert json.loads(body)["code"] == (code or json.loads(body)["code"])
    assert len(told.bodies) == seen
    assert status_of(ask(port, close())) == 200


@pytest.mark.parametrize("request_bytes", [b"NONSENSE\r\n\r\n", b"", b"GET / HT"])
def test_a_refusal_keeps_browsers_on_https(request_bytes: bytes) -> None:
    with front(public_url="https://chat.acme.example") as (port, _):
        head = ask(port, request_bytes).lower()
    assert status_of(head) in (400, 408)
    assert b"\r\nstrict-transport-security: max-age=" in head


def test_every_answer_to_connect_carries_the_headers(nobody: httpx.Client) -> None:
    target = b"x:443"
    port = nobody.base_url.port
    assert port is not None
    answer = ask(port, b"CONNECT %s HTTP/1.1\r\nHost: x:443\r\nConnection: close\r\n\r\n" % target)
    head = answer.partition(b"\r\n\r\n")[0].lower()
    assert {name + b":" for name in SECURITY} <= {line.split()[0] for line in head.split(b"\r\n")}


@pytest.mark.parametrize(
    ("request_bytes", "length"),
    [
        (close(), 0),
        (close(GET + b"X: " + b"a" * 30_000 + b"\r\n"), 0),
        (close(GET + b"X-A: 1\r\n" * 90), 0),
        (close(POST + b"Content-Length: 3\r\n") + b"abc", 3),
        (POST + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
         + b"1\r\na\r\n" * 5000 + b"0\r\n\r\n", 5000),
        (POST + b"Connection: close\r\nTransfer-Encoding: Chunked\r\n\r\n5;ext=1\r\nabcde\r\n0\r\n"
         b"X-Forwarded-For: 1.2.3.4\r\n\r\n", 5),
        (close(GET + b"Upgrade: websocket\r\nConnection: upgrade\r\n"), 0),
        (close(POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n") + b"abc", 3),
        (b"GET / HTTP/1.0\r\n\r\n", 0),
    ],
)  # fmt: skip
def test_a_request_within_the_bounds_is_served(
    quick: tuple[int, AppLog], request_bytes: bytes, length: int
) -> None:
    answer = ask(quick[0], request_bytes)
    assert answer.endswith(b"/ %d" % length), answer


def test_a_trailer_does_not_become_a_header(quick: tuple[int, AppLog]) -> None:
    port, told = quick
    ask(port, CHUNKED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        + b"1\r\na\r\n0\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n")  # fmt: skip
    assert b"x-forwarded-for" not in dict(told.scopes[-1]["headers"])


def test_the_head_must_be_complete_in_time_however_busily_it_trickles(
    quick: tuple[int, AppLog],
) -> None:
    with socket.create_connection(("127.0.0.1", quick[0])) as connection:
        connection.sendall(GET)
        started = time.monotonic()
        connection.settimeout(0.05)
        told = b""
        while not told:
            assert time.monotonic() - started < 5, "it was never closed"
            connection.sendall(b"X: y\r\n"[:1])
            with contextlib.suppress(TimeoutError):
                told = connection.recv(65536)
        assert status_of(told + answer_of(connection)) == 408


@pytest.mark.parametrize("first", [b"", b"\r\n", b"G", close(GET)[:-10]])
def test_a_connection_that_says_nothing_more_is_closed(
    quick: tuple[int, AppLog], first: bytes
) -> None:
    started = time.monotonic()
    answer = ask(quick[0], first, seconds=5)
    assert time.monotonic() - started < 3
    assert status_of(answer) == 408


def test_a_kept_connection_may_rest_for_a_while_and_is_closed_then(
    quick: tuple[int, AppLog],
) -> None:
    with socket.create_connection(("127.0.0.1", quick[0])) as connection:
        connection.sendall(GET + b"\r\n")
        started = time.monotonic()
        assert answer_of(connection, 5).count(b"200 OK") == 1
        assert 0.8 < time.monotonic() - started < 3


def test_half_a_request_after_an_answer_does_not_keep_the_connection(
    quick: tuple[int, AppLog],
) -> None:
    with socket.create_connection(("127.0.0.1", quick[0])) as connection:
        connection.sendall(GET + b"\r\n")
        first = b""
        while not first.endswith(b"/ 0"):  # the head and the body may arrive one after the other
            first += connection.recv(65536)
        connection.sendall(b"GET")
        assert status_of(answer_of(connection, 5)) == 408


@pytest.mark.parametrize("length", [b"Content-Length: 100000", b"Transfer-Encoding: chunked"])
def test_a_body_that_does_not_move_is_ended_and_the_application_learns_of_it(
    quick: tuple[int, AppLog], length: bytes
) -> None:
    port, told = quick
    told.ended.clear()
    answer = ask(port, POST + length + b"\r\n\r\n5\r\nabc", seconds=5)
    assert status_of(answer) == 408
    assert told.ended.wait(2)


def test_a_large_body_that_moves_may_take_longer_than_the_window() -> None:
    bounds = replace(QUICK, window=0.4, least=1000)
    with front(bounds) as (port, told):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(close(POST + b"Content-Length: 20000\r\n"))
            for _ in range(20):
                connection.sendall(b"a" * 1000)
                time.sleep(0.06)  # the client's own pace: 1.2 s in all
            assert status_of(answer_of(connection)) == 200
        assert told.bodies == [b"a" * 20000]


def test_a_client_that_reads_nothing_is_disconnected(quick: tuple[int, AppLog]) -> None:
    port, told = quick
    told.ended.clear()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        connection.connect(("127.0.0.1", port))
        connection.sendall(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        assert told.ended.wait(8)


def test_a_client_that_reads_on_is_not(quick: tuple[int, AppLog]) -> None:
    port, told = quick
    told.ended.clear()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        until = time.monotonic() + 2.5 * QUICK.window
        while time.monotonic() < until:
            assert connection.recv(65536)
        assert not told.ended.is_set()
    assert told.ended.wait(5)


def test_the_kernel_ends_what_is_not_read_also_where_it_fits_its_buffers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        end_unread_connections(listener)
        with (
            socket.create_connection(listener.getsockname()),
            listener.accept()[0] as accepted,
        ):
            timeout = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    assert timeout == Bounds().window * 1000


def test_a_few_pipelined_requests_are_answered_in_order(quick: tuple[int, AppLog]) -> None:
    sent = b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(5))
    answer = ask(quick[0], sent + close())
    assert [part[:4] for part in answer.split(b"\r\n\r\n")[1:]] == [
        b"/0 0", b"/1 0", b"/2 0", b"/3 0", b"/4 0", b"/ 0",
    ]  # fmt: skip


def test_thousands_of_pipelined_requests_are_not_kept(quick: tuple[int, AppLog]) -> None:
    port, told = quick
    seen = len(told.scopes)
    answer = ask(port, b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n" + (GET + b"\r\n") * 5000)
    assert answer.count(b"HTTP/1.1 200 OK") == 1
    assert len(told.scopes) - seen == 1


def test_a_stream_ends_also_where_another_request_waits_behind_it(
    quick: tuple[int, AppLog],
) -> None:
    port, told = quick
    told.ended.clear()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n" + GET + b"\r\n")
        assert connection.recv(1024)
    assert told.ended.wait(5)


def opened(port: int, count: int) -> list[socket.socket]:
    return [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]


def test_one_address_has_a_number_of_connections_and_they_come_back() -> None:
    with front(replace(QUICK, head_seconds=30, connections_of_address=5)) as (port, _):
        held = opened(port, 5)
        answer = ask(port, close())
        assert status_of(answer) == 429
        assert b"retry-after:" in answer
        held.pop().close()
        deadline = time.monotonic() + 5
        while status_of(ask(port, close())) != 200:
            assert time.monotonic() < deadline
        for one in held:
            one.close()


def test_a_trusted_proxy_has_as_many_as_the_process() -> None:
    bounds = replace(QUICK, head_seconds=30, connections_of_address=5, connections=20)
    with front(bounds, proxies="127.0.0.0/8") as (port, _):
        held = opened(port, 15)
        assert status_of(ask(port, close())) == 200
        held += opened(port, 5)
        assert status_of(ask(port, close())) == 503
        for one in held:
            one.close()


def flood(port: int, pieces: Iterator[bytes], total: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        sent = 0
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                connection.sendall(piece)
                sent += len(piece)
                if sent >= total:
                    break
        return answer_of(connection)


@pytest.mark.parametrize(
    "pieces",
    [
        lambda: chain([GET], repeat(b"X: " + b"a" * 5000 + b"\r\n")),
        lambda: chain([GET + b"X: "], repeat(b"a" * 65536)),
        lambda: chain([GET], repeat(b"a" * 65536)),
        lambda: chain([b"GET /"], repeat(b"a" * 65536)),
        lambda: chain([CHUNKED + b"1;"], repeat(b"a" * 65536)),
        lambda: chain([CHUNKED + b"0\r\nX: "], repeat(b"a" * 65536)),
        lambda: chain([CHUNKED + b"0\r\n"], repeat(b"X: " + b"a" * 5000 + b"\r\n")),
        lambda: chain([], repeat((GET + b"\r\n") * 1000)),
    ],
    ids=[
        "many headers", "one value", "one name", "target", "chunk extension", "trailer value",
        "trailers", "pipelined requests",
    ],
)  # fmt: skip
def test_sixty_megabytes_leave_memory_flat(
    quick: tuple[int, AppLog], pieces: Callable[[], Iterator[bytes]]
) -> None:
    port, told = quick
    ask(port, close())
    gc.collect()
    us = psutil.Process()
    before, most = us.memory_info().rss, 0
    done = threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.02):
            most = max(most, us.memory_info().rss)

    watching = threading.Thread(target=watch)
    watching.start()
    answer = flood(port, pieces(), 60 * MEGABYTE)
    done.set()
    watching.join()
    told.scopes.clear()
    assert most - before < 12 * MEGABYTE
    assert not answer or status_of(answer) in (200, 400, 408, 414, 431)
    assert status_of(ask(port, close())) == 200


def sent_before_the_end(port: int, start: bytes, most: int) -> tuple[int, bytes]:
    """Bytes that a client could send until the server ended the connection, and the answer."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(start)
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < most:
                sent += connection.send(b"a" * 65536)
        return sent, answer_of(connection)


def test_a_client_that_goes_on_after_its_head_was_refused_is_cut_off_soon() -> None:
    with front(replace(QUICK, linger=20)) as (port, _):
        sent, answer = sent_before_the_end(port, GET + b"X: ", 60 * MEGABYTE)
    assert status_of(answer) == 431
    assert sent < 20 * MEGABYTE  # most of it lies in the buffers of the two sockets


def test_refused_bodies_are_discarded_slowly() -> None:
    bounds = replace(QUICK, linger=1, discarded_each_tick=MEGABYTE)
    with front(bounds) as (port, _):
        sent, answer = sent_before_the_end(port, CHUNKED + b"1;", 60 * MEGABYTE)
    assert status_of(answer) == 400
    assert sent < 40 * MEGABYTE


@given(st.lists(st.integers(1, 400), max_size=8), st.integers(0, 40_000))
def test_how_a_request_is_cut_into_packets_changes_nothing(
    quick_port: int, cuts: list[int], padding: int
) -> None:
    whole = close(POST + b"Content-Length: 500\r\nX: " + b"a" * padding + b"\r\n") + b"b" * 500
    with socket.create_connection(("127.0.0.1", quick_port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(ConnectionError):
            for cut in cuts:
                connection.sendall(whole[:cut])
                whole = whole[cut:]
            connection.sendall(whole)
        status = status_of(answer_of(connection))
    assert status == (200 if padding <= 32 * 1024 - 100 else status)
    assert status == (431 if padding > 32 * 1024 else status)


@pytest.fixture(scope="module")
def quick_port(quick: tuple[int, AppLog]) -> int:
    return quick[0]


def unfinished_body(port: int, size: int, address: str = "127.0.0.1") -> socket.socket:
    """A connection that has sent this much of a larger body, and waits."""
    connection = socket.create_connection(("127.0.0.1", port), source_address=(address, 0))
    connection.sendall(POST + b"Content-Length: 10000000\r\n\r\n" + b"x" * size)
    return connection


def test_large_bodies_of_one_address_are_bounded_together_and_small_ones_are_not() -> None:
    bounds = replace(QUICK, window=30, small_body=1000, bodies_of_address=20_000)
    with front(bounds) as (port, told):
        held = [unfinished_body(port, 10_000) for _ in range(2)]
        answer = answer_of(unfinished_body(port, 10_000))
        assert status_of(answer) == 429
        assert b"front.bodies_of_address" in answer
        assert b"retry-after:" in answer
        small = ask(port, POST + b"Content-Length: 900\r\nConnection: close\r\n\r\n" + b"x" * 900)
        assert status_of(small) == 200
        elsewhere = unfinished_body(port, 10_000, "127.9.9.9")
        for connection in (*held, elsewhere):
            connection.close()
        whole = POST + b"Content-Length: 15000\r\nConnection: close\r\n\r\n" + b"x" * 15_000
        assert again(lambda: status_of(ask(port, whole)) == 200)
    assert told.bodies[-1] == b"x" * 15_000


def test_large_bodies_of_all_addresses_are_bounded_together() -> None:
    bounds = replace(QUICK, window=30, small_body=1000, bodies=20_000)
    with front(bounds) as (port, _):
        held = [unfinished_body(port, 10_000, f"127.9.{number}.1") for number in range(2)]
        answer = answer_of(unfinished_body(port, 10_000, "127.9.9.1"))
        assert status_of(answer) == 503
        assert b"front.bodies_full" in answer
        for connection in held:
            connection.close()


def again(holds: Callable[[], bool], seconds: float = 10) -> bool:
    """Whether it holds before the time is over."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
    return True
