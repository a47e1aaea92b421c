"""The client of an OpenAI-compatible endpoint: ``POST {base_url}/chat/completions``.

The protocol is that of the OpenAI API reference ("Create chat completion"), which vLLM, llama.cpp,
Ollama and most hosted services speak too: a JSON answer, or a stream of server-sent events. The
answer is data of another server, so its size, its form and its time are bounded. Every failure is a
``ModelError``, and none contains the key or the prompt.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx
from pydantic import SecretStr

from neurant.core.outbound_http import PrivateAddressError, TooMuchError
from neurant.language_models.errors import (
    ModelAddressError,
    ModelBusyError,
    ModelCutOffError,
    ModelError,
    ModelKeyError,
    ModelMalformedError,
    ModelRequestError,
    ModelServerError,
    ModelTimeoutError,
    ModelTooLargeError,
    ModelUnknownError,
    ModelUnreachableError,
)

MAX_BODY_BYTES = 4 * 1024 * 1024  # 4,000 tokens, each in an event of its own, and as much again
MAX_ANSWER_CHARS = 20_000
MAX_ATTEMPTS = 3
_CHARS_PER_TOKEN = 4  # for endpoints that report no use
_MAX_ERROR_BYTES = 16 * 1024
_MAX_TOOL_CALLS = 32
_FIRST_WAIT = 0.25  # seconds before the second attempt; doubled for the third
_UNSUPPORTED = ("unsupported_parameter", "unsupported_value")
_ERROR_CODE = re.compile(r"[A-Za-z0-9_.-]{1,60}")
Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a prompt, as it is sent."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model at an address. ``seconds`` bounds one answer together with its retries."""

    base_url: str
    model: str
    api_key: SecretStr | None
    seconds: float
    max_tokens: int


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a function that the model asks for, with its parsed arguments."""

    id: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Completion:
    """A complete answer. ``is_counted``: the endpoint reported the tokens; else estimated."""

    text: str
    tool_calls: tuple[ToolCall, ...]
    input_tokens: int
    output_tokens: int
    is_counted: bool


@dataclass(slots=True)
class _Parts:
    """The parts of an answer that have arrived."""

    text: list[str] = field(default_factory=list)
    length: int = 0
    calls: dict[int, dict[str, str]] = field(default_factory=dict)
    usage: tuple[int, int] | None = None
    has_begun: bool = False
    is_finished: bool = False

    def add(self, chunk: dict[str, Any], name: Literal["message", "delta"]) -> None:
        """Add a JSON answer (its ``message``) or an event (its ``delta``). Raises ModelError."""
        if "error" in chunk:
            raise ModelServerError(status=200)
        self.usage = _usage(chunk.get("usage")) or self.usage
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            raise ModelMalformedError(what="choices")
        if not choices:
            return  # the last event of a stream, with the use alone
        choice = _object(choices[0], "choices")
        self.is_finished = self.is_finished or choice.get("finish_reason") is not None
        content = _object(choice.get(name, None if name == "message" else {}), name)
        self._add_text(content.get("content"))
        self._add_calls(content.get("tool_calls"))

    def _add_text(self, text: object) -> None:
        if text is None:
            return
        if not isinstance(text, str):
            raise ModelMalformedError(what="content")
        self.length += len(text)
        if self.length > MAX_ANSWER_CHARS:
            raise ModelTooLargeError()
        self.text.append(text)

    def _add_calls(self, given: object) -> None:
        if given is None:
            return
        if not isinstance(given, list):
            raise ModelMalformedError(what="tool_calls")
        for place, one in enumerate(given):
            call = _object(one, "tool_calls")
            index = call.get("index", place)
            if not isinstance(index, int) or not 0 <= index < _MAX_TOOL_CALLS:
                raise ModelMalformedError(what="tool_calls")
            known = self.calls.setdefault(index, {"id": "", "name": "", "arguments": ""})
            function = _object(call.get("function", {}), "tool_calls")
            for key, value in (
                ("id", call.get("id")),
                ("name", function.get("name")),
                ("arguments", function.get("arguments")),
            ):
                if value is not None and not isinstance(value, str):
                    raise ModelMalformedError(what="tool_calls")
                known[key] += value or ""
            if len(known["arguments"]) > MAX_ANSWER_CHARS:
                raise ModelTooLargeError()

    def completion(self, messages: Sequence[Message]) -> Completion:
        """Return the whole answer. Raises ModelMalformedError."""
        text = "".join(self.text)
        calls = tuple(
            ToolCall(call["id"], call["name"], _arguments(call["arguments"]))
            for _, call in sorted(self.calls.items())
        )
        used = self.usage or (estimated(messages), len(text) // _CHARS_PER_TOKEN + 1)
        return Completion(text, calls, *used, is_counted=self.usage is not None)


def estimated(messages: Sequence[Message]) -> int:
    """Return about how many tokens a prompt has, for endpoints that do not report it."""
    return sum(len(one.content) for one in messages) // _CHARS_PER_TOKEN + 1


async def complete(
    client: httpx.AsyncClient, endpoint: Endpoint, messages: Sequence[Message], *, streamed: bool
) -> Completion:
    """Return the model's answer to a prompt. Raises ModelError.

    A streamed answer is noticed to stall or to grow too long while it arrives. Failures that may
    pass are tried again, at most twice and within ``endpoint.seconds``.
    """
    loop = asyncio.get_running_loop()
    ends = loop.time() + endpoint.seconds
    wait, body = _FIRST_WAIT, _body(endpoint, messages, streamed)
    try:
        async with asyncio.timeout_at(ends):
            for attempt in range(1, MAX_ATTEMPTS + 1):
                try:
                    return await _once(client, endpoint, messages, body)
                except ModelRequestError as error:
                    if error.params["what"] not in _UNSUPPORTED or "max_tokens" not in body:
                        raise
                    body = _newer(body)
                except ModelError as error:
                    pause = max(wait, error.retry_after or 0.0)
                    is_last = attempt == MAX_ATTEMPTS or loop.time() + pause >= ends
                    if not error.may_retry or is_last:
                        raise
                    await asyncio.sleep(pause)
                    wait *= 2
    except TimeoutError:
        pass
    raise ModelTimeoutError(seconds=round(endpoint.seconds))


async def _once(
    client: httpx.AsyncClient,
    endpoint: Endpoint,
    messages: Sequence[Message],
    body: dict[str, Any],
) -> Completion:
    parts, streamed = _Parts(), "stream" in body
    headers = {"accept": "text/event-stream" if streamed else "application/json"}
    if endpoint.api_key is not None:
        headers["authorization"] = f"Bearer {endpoint.api_key.get_secret_value()}"
    address = f"{endpoint.base_url.rstrip('/')}/chat/completions"
    try:
        async with client.stream("POST", address, json=body, headers=headers) as answer:
            if answer.status_code != 200:
                raise await _refused(answer)
            parts.has_begun = True
            if streamed and "text/event-stream" in answer.headers.get("content-type", ""):
                await _read_events(answer, parts)
            else:
                # Some endpoints answer a request for a stream with plain JSON.
                parts.add(_json(await answer.aread()), "message")
    except httpx.HTTPError as error:
        raise _error_of(error, endpoint, parts) from None
    except (httpx.InvalidURL, UnicodeError):
        raise ModelAddressError(host=_host(address)) from None
    return parts.completion(messages)


def _body(endpoint: Endpoint, messages: Sequence[Message], streamed: bool) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": endpoint.model,
        "messages": [{"role": one.role, "content": one.content} for one in messages],
        "max_tokens": endpoint.max_tokens,
        "temperature": 0,
    }
    if streamed:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body


def _newer(body: dict[str, Any]) -> dict[str, Any]:
    """Return the body as models want it that refuse ``max_tokens`` and a fixed temperature."""
    kept = {name: value for name, value in body.items() if name != "temperature"}
    return kept | {"max_completion_tokens": kept.pop("max_tokens")}


async def _read_events(answer: httpx.Response, parts: _Parts) -> None:
    async for data in _events(answer):
        if data == "[DONE]":
            return
        parts.add(_json(data), "delta")
    if not parts.is_finished:
        raise ModelCutOffError()


async def _events(answer: httpx.Response) -> AsyncIterator[str]:
    """Yield the data of each server-sent event (WHATWG HTML, 9.2.6); other fields are ignored."""
    data: list[str] = []
    async for line in answer.aiter_lines():
        if line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line and data:
            yield "\n".join(data)
            data = []
    if data:
        yield "\n".join(data)


async def _refused(answer: httpx.Response) -> ModelError:
    """Return the error for a status other than 200; the answer's text is never shown or logged."""
    status = answer.status_code
    if status in (401, 403):
        return ModelKeyError(status=status)
    if status == 404:
        return ModelUnknownError(status=status)
    if status == 429:
        error = ModelBusyError(status=status)
        error.retry_after = _seconds(answer.headers.get("retry-after"))
        return error
    if status >= 500:
        return ModelServerError(status=status)
    return ModelRequestError(status=status, what=await _code_of(answer))


async def _code_of(answer: httpx.Response) -> str:
    """Return the code of an error answer, if it is a plain code and no text."""
    size, body = 0, b""
    async for part in answer.aiter_bytes():
        body, size = body + part, size + len(part)
        if size > _MAX_ERROR_BYTES:
            return "-"
    try:
        error = json.loads(body).get("error")
        code = error.get("code") or error.get("type")
    except (ValueError, AttributeError, RecursionError):
        return "-"
    return code if isinstance(code, str) and _ERROR_CODE.fullmatch(code) else "-"


def _seconds(header: str | None) -> float | None:
    """Return the seconds of a Retry-After header; a date is not used by these endpoints."""
    return float(header) if header and re.fullmatch(r"\d{1,6}(\.\d{1,3})?", header) else None


def _error_of(error: httpx.HTTPError, endpoint: Endpoint, parts: _Parts) -> ModelError:
    host = _host(endpoint.base_url)
    if isinstance(error, TooMuchError):
        return ModelTooLargeError()
    if isinstance(error, httpx.UnsupportedProtocol) or isinstance(
        error.__cause__, PrivateAddressError
    ):
        return ModelAddressError(host=host)
    if isinstance(error, httpx.TimeoutException):
        return ModelTimeoutError(seconds=round(endpoint.seconds))
    if isinstance(error, httpx.DecodingError):
        return ModelMalformedError(what="content-encoding")
    if parts.has_begun:
        return ModelCutOffError()
    return ModelUnreachableError(host=host)


def _host(address: str) -> str:
    try:
        return httpx.URL(address).host
    except httpx.InvalidURL:
        return "-"


def _json(data: str | bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise ModelMalformedError(what="JSON") from None
    return _object(found, "JSON")


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ModelMalformedError(what=what)
    return value


def _arguments(text: str) -> dict[str, Any]:
    """Return the arguments of a tool call, which the protocol carries as JSON in a text."""
    try:
        return _object(json.loads(text or "{}"), "tool_calls")
    except (ValueError, RecursionError):
        raise ModelMalformedError(what="tool_calls") from None


def _usage(given: object) -> tuple[int, int] | None:
    if not isinstance(given, dict):
        return None
    numbers = given.get("prompt_tokens"), given.get("completion_tokens")
    if not all(type(one) is int and 0 <= one <= 10_000_000 for one in numbers):
        return None
    return int(numbers[0] or 0), int(numbers[1] or 0)
