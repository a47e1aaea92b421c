"""A scripted language model on loopback: a real HTTP server that speaks the OpenAI protocol.

A test says how it answers each request: with a text (or what a function makes of the request), with
a status, or badly. ``test_client.py`` lets the ``openai`` package talk to it, so that the protocol
is not only our own reading of it.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]


@dataclass(frozen=True)
class Say:
    """Answer with a text: in one piece, or streamed if the request asks for a stream."""

    text: str | Callable[[Body], str]
    usage: tuple[int, int] | None = (100, 20)
    tools: tuple[tuple[str, str], ...] = ()  # (name, arguments as JSON)
    finish: str = "stop"


@dataclass(frozen=True)
class Refuse:
    """Answer with an error."""

    status: int
    code: str = "some_error"
    retry_after: str | None = None


@dataclass(frozen=True)
class Raw:
    """Answer with these bytes under status 200; ``cut``: promise more, and close."""

    body: bytes
    kind: str = "application/json"
    cut: bool = False


@dataclass(frozen=True)
class Stall:
    """Answer with these bytes, then send nothing more until the server ends."""

    body: bytes = b""
    kind: str = "text/event-stream"


Behaviour = Say | Refuse | Raw | Stall


@dataclass
class ModelServer:
    """The server. It follows ``script`` request by request, then always ``usual``."""

    url: str
    usual: Behaviour = field(default_factory=lambda: Say("listo"))
    script: deque[Behaviour] = field(default_factory=deque)
    requests: list[Body] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def follow(self, *behaviours: Behaviour) -> None:
        self.script.extend(behaviours)

    @property
    def prompts(self) -> list[str]:
        """Everything that each request said to the model, as one text."""
        return ["\n".join(one["content"] for one in body["messages"]) for body in self.requests]


def chunk(delta: Body, finish: str | None = None, **more: Any) -> bytes:
    """One event of a stream, as the API reference describes it."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return event(_envelope("chat.completion.chunk", choices=[choice], **more))


def event(data: Body | str) -> bytes:
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    return f"data: {text}\n\n".encode()


def _envelope(kind: str, **more: Any) -> Body:
    made = {"id": "chatcmpl-1", "object": kind, "created": 1_800_000_000, "model": "scripted"}
    return made | more


def _usage(counted: tuple[int, int]) -> Body:
    read, written = counted
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
    }


def _calls(tools: tuple[tuple[str, str], ...]) -> list[Body]:
    return [
        {"id": f"call_{n}", "type": "function", "function": {"name": name, "arguments": given}}
        for n, (name, given) in enumerate(tools)
    ]


def _plain(told: Say, body: Body) -> bytes:
    text = told.text if isinstance(told.text, str) else told.text(body)
    message: Body = {"role": "assistant", "content": text or None}
    if told.tools:
        message["tool_calls"] = _calls(told.tools)
    made = _envelope(
        "chat.completion",
        choices=[{"index": 0, "message": message, "finish_reason": told.finish}],
    )
    if told.usage:
        made["usage"] = _usage(told.usage)
    return json.dumps(made, ensure_ascii=False).encode()


def _streamed(told: Say, body: Body) -> Iterator[bytes]:
    text = told.text if isinstance(told.text, str) else told.text(body)
    yield b": a comment\n\n"
    yield chunk({"role": "assistant", "content": ""})
    for at in range(0, len(text), 7):
        yield chunk({"content": text[at : at + 7]})
    for index, call in enumerate(_calls(told.tools)):
        function = call["function"]
        half = len(function["arguments"]) // 2
        first = call | {"index": index, "function": function | {"arguments": ""}}
        yield chunk({"tool_calls": [first]})
        for part in (function["arguments"][:half], function["arguments"][half:]):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": part}}]})
    yield chunk({}, told.finish)
    if told.usage and body.get("stream_options", {}).get("include_usage"):
        yield event(_envelope("chat.completion.chunk", choices=[], usage=_usage(told.usage)))
    yield event("[DONE]")


@contextmanager
def model_server() -> Iterator[ModelServer]:
    """A running server; it ends with the block."""
    known: list[ModelServer] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_POST(self) -> None:
            server = known[0]
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            assert self.path == "/v1/chat/completions", self.path
            server.requests.append(body)
            server.keys.append(self.headers.get("authorization"))
            told = server.script.popleft() if server.script else server.usual
            with suppress(ConnectionError):
                self.answer(told, body)

        def answer(self, told: Behaviour, body: Body) -> None:
            if isinstance(told, Say) and body.get("stream"):
                self.begin(200, "text/event-stream", None)
                for part in _streamed(told, body):
                    self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
                    self.wfile.flush()
                self.wfile.write(b"0\r\n\r\n")
            elif isinstance(told, Say):
                self.whole(200, _plain(told, body))
            elif isinstance(told, Refuse):
                error = {"message": f"secret details {body['messages']}", "code": told.code}
                extra = {"retry-after": told.retry_after} if told.retry_after else {}
                self.whole(told.status, json.dumps({"error": error}).encode(), **extra)
            elif isinstance(told, Raw):
                self.begin(200, told.kind, len(told.body) + (100 if told.cut else 0))
                self.wfile.write(told.body)
                self.close_connection = told.cut
            else:
                self.begin(200, told.kind, None)
                if told.body:
                    self.wfile.write(f"{len(told.body):x}\r\n".encode() + told.body + b"\r\n")
                self.wfile.flush()
                known[0].ended.wait(60)

        def whole(self, status: int, body: bytes, **headers: str) -> None:
            self.begin(status, "application/json", len(body), **headers)
            self.wfile.write(body)

        def begin(self, status: int, kind: str, length: int | None, **headers: str) -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            for name, value in headers.items():
                self.send_header(name, value)
            if length is None:
                self.send_header("transfer-encoding", "chunked")
            else:
                self.send_header("content-length", str(length))
            self.end_headers()

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, *args: object) -> None:
            """A client that leaves is no error."""

    http = Quiet(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    running = ModelServer(f"http://127.0.0.1:{http.server_address[1]}/v1")
    known.append(running)
    thread = threading.Thread(target=lambda: http.serve_forever(0.02), daemon=True)
    thread.start()
    try:
        yield running
    finally:
        running.ended.set()
        http.shutdown()
        http.server_close()
        thread.join(5)
