"""The client of an OpenAI-compatible endpoint, against real HTTP: every way to answer and to fail."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import httpx
import pytest
from pydantic import SecretStr

from neurant.core.outbound_http import make_client
from neurant.core.settings import Settings
from neurant.language_models.client import (
    MAX_ANSWER_CHARS,
    MAX_ATTEMPTS,
    MAX_BODY_BYTES,
    Completion,
    Endpoint,
    Message,
    ToolCall,
    complete,
)
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
from neurant.texts import LANGUAGES
from tests.support.model_server import (
    ModelServer,
    Raw,
    Refuse,
    Say,
    Stall,
    chunk,
    event,
    model_server,
)

pytestmark = pytest.mark.anyio
KEY = "sk-muy-secreta"
PROMPT = (Message("system", "Eres Luz."), Message("user", "¿Cuánto cuesta? secreto-del-cliente"))
BOTH = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with model_server() as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(outbound_private_hosts="127.0.0.1")
    async with make_client(settings, seconds=15, max_body_bytes=MAX_BODY_BYTES) as made:
        yield made


def endpoint(server: ModelServer, seconds: float = 5) -> Endpoint:
    return Endpoint(server.url, "modelo-1", SecretStr(KEY), seconds, 300)


async def ask(
    client: httpx.AsyncClient, server: ModelServer, *, streamed: bool, seconds: float = 5
) -> Completion:
    return await complete(client, endpoint(server, seconds), PROMPT, streamed=streamed)


@BOTH
async def test_an_answer_comes_with_its_use(
    client: httpx.AsyncClient, server: ModelServer, streamed: bool
) -> None:
    server.follow(Say("Cuesta $90.000, señora ñandú 🦷 [1].", usage=(321, 45)))
    told = await ask(client, server, streamed=streamed)
    assert told == Completion("Cuesta $90.000, señora ñandú 🦷 [1].", (), 321, 45, True)
    [body] = server.requests
    assert body["model"] == "modelo-1"
    assert body["messages"] == [{"role": m.role, "content": m.content} for m in PROMPT]
    assert (body["max_tokens"], body.get("stream", False)) == (300, streamed)
    assert server.keys == [f"Bearer {KEY}"]


@BOTH
async def test_an_endpoint_without_a_key_gets_none(
    client: httpx.AsyncClient, server: ModelServer, streamed: bool
) -> None:
    await complete(client, replace(endpoint(server), api_key=None), PROMPT, streamed=streamed)
    assert server.keys == [None]


@BOTH
async def test_use_that_is_not_reported_is_estimated(
    client: httpx.AsyncClient, server: ModelServer, streamed: bool
) -> None:
    server.follow(Say("a" * 400, usage=None))
    told = await ask(client, server, streamed=streamed)
    assert not told.is_counted
    assert told.output_tokens == 101
    assert told.input_tokens == sum(len(m.content) for m in PROMPT) // 4 + 1


@BOTH
async def test_tool_calls_are_parsed(
    client: httpx.AsyncClient, server: ModelServer, streamed: bool
) -> None:
    calls = (("reservar", '{"día": "martes", "hora": 9}'), ("cancelar", "{}"))
    server.follow(Say("", tools=calls, finish="tool_calls"))
    told = await ask(client, server, streamed=streamed)
    assert told.text == ""
    assert told.tool_calls == (
        ToolCall("call_0", "reservar", {"día": "martes", "hora": 9}),
        ToolCall("call_1", "cancelar", {}),
    )


@BOTH
@pytest.mark.parametrize(
    ("refusal", "error"),
    [
        (Refuse(401), ModelKeyError),
        (Refuse(403), ModelKeyError),
        (Refuse(404), ModelUnknownError),
        (Refuse(400, "context_length_exceeded"), ModelRequestError),
        (Refuse(422, "a text, not a code"), ModelRequestError),
    ],
)
async def test_a_refused_request_is_not_repeated(
    client: httpx.AsyncClient,
    server: ModelServer,
    streamed: bool,
    refusal: Refuse,
    error: type[ModelError],
) -> None:
    server.follow(refusal)
    with pytest.raises(error):
        await ask(client, server, streamed=streamed)
    assert len(server.requests) == 1


@BOTH
async def test_a_server_that_fails_is_asked_three_times(
    client: httpx.AsyncClient, server: ModelServer, streamed: bool
) -> None:
    server.follow(Refuse(500), Refuse(503), Say("al fin"))
    assert (await ask(client, server, streamed=streamed)).text == "al fin"
    server.usual = Refuse(502)
    server.requests.clear()
    with pytest.raises(ModelServerError):
        await ask(client, server, streamed=streamed)
    assert len(server.requests) == MAX_ATTEMPTS


async def test_a_busy_server_is_asked_again_when_it_says(
    client: httpx.AsyncClient, server: ModelServer
) -> None:
    server.follow(Refuse(429, retry_after="1"), Say("ahora sí"))
    started = time.monotonic()
    assert (await ask(client, server, streamed=True)).text == "ahora sí"
    assert time.monotonic() - started >= 1


async def test_a_busy_server_that_asks_for_more_than_the_time_out_is_left(
    client: httpx.AsyncClient, server: ModelServer
) -> None:
    server.follow(Refuse(429, retry_after="60"))
    started = time.monotonic()
    with pytest.raises(ModelBusyError):
        await ask(client, server, streamed=True)
    assert time.monotonic() - started < 1
    assert len(server.requests) == 1


async def test_a_model_that_wants_the_newer_limit_gets_it(
    client: httpx.AsyncClient, server: ModelServer
) -> None:
    server.follow(Refuse(400, "unsupported_parameter"), Say("bien"))
    assert (await ask(client, server, streamed=True)).text == "bien"
    again = server.requests[1]
    assert (again["max_completion_tokens"], "max_tokens" in again) == (300, False)
    assert "temperature" not in again


@pytest.mark.parametrize(
    "stall",
    [Stall(), Stall(b": nothing yet\n\n"), Stall(chunk({"content": "Cuesta "}))],
    ids=["no byte", "a comment", "half an answer"],
)
async def test_a_model_that_stalls_ends_by_the_time_out(
    client: httpx.AsyncClient, server: ModelServer, stall: Stall
) -> None:
    server.usual = stall
    started = time.monotonic()
    with pytest.raises(ModelTimeoutError):
        await ask(client, server, streamed=True, seconds=0.6)
    assert 0.5 < time.monotonic() - started < 3
    assert len(server.requests) == 1


async def test_all_attempts_share_one_time_out(
    client: httpx.AsyncClient, server: ModelServer
) -> None:
    server.follow(Refuse(500), Stall())
    started = time.monotonic()
    with pytest.raises(ModelTimeoutError):
        await ask(client, server, streamed=True, seconds=0.8)
    assert time.monotonic() - started < 3


@BOTH
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>not json</html>",
        b"[]",
        b'{"choices": {}}',
        b'{"choices": ["x"]}',
        b'{"choices": [{"message": 5, "delta": 5}]}',
        b'{"choices": [{"message": {"content": 5}, "delta": {"content": 5}}]}',
        b'{"choices": [{"message": {"tool_calls": 5}, "delta": {"tool_calls": 5}}]}',
        b'{"choices": [{"message": {"tool_calls": [{"function": {"arguments": "{"}}]},'
        b' "delta": {"tool_calls": [{"function": {"arguments": "{"}}]}, "finish_reason": "x"}]}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
async def test_a_malformed_answer_is_an_error_of_its_own(
    client: httpx.AsyncClient, server: ModelServer, streamed: bool, body: bytes
) -> None:
    kind = "text/event-stream" if streamed else "application/json"
    server.follow(Raw(b"data: " + body + b"\n\n" if streamed else body, kind))
    with pytest.raises(ModelMalformedError):
        await ask(client, server, streamed=streamed)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "told",
    [
        Raw(chunk({"content": "Cuesta $90"}), "text/event-stream", cut=True),
        Raw(chunk({"content": "Cuesta $90"}), "text/event-stream"),
        Raw(b"", "text/event-stream"),
    ],
    ids=["connection lost", "no end", "nothing"],
)
async def test_a_stream_that_is_cut_off_is_no_answer(
    client: httpx.AsyncClient, server: ModelServer, told: Raw
) -> None:
    server.follow(told)
    with pytest.raises(ModelCutOffError):
        await ask(client, server, streamed=True)


async def test_an_answer_in_one_piece_that_is_cut_off_is_no_answer(
    client: httpx.AsyncClient, server: ModelServer
) -> None:
    server.follow(Raw(b'{"choices": [', cut=True))
    with pytest.raises(ModelCutOffError):
        await ask(client, server, streamed=False)


async def test_a_stream_without_its_last_line_is_complete_if_the_model_had_finished(
    client: httpx.AsyncClient, server: ModelServer
) -> None:
    server.follow(Raw(chunk({"content": "Listo."}) + chunk({}, "stop"), "text/event-stream"))
    assert (await ask(client, server, streamed=True)).text == "Listo."


async def test_an_error_in_the_middle_of_a_stream_is_an_error(
    client: httpx.AsyncClient, server: ModelServer
) -> None:
    part = chunk({"content": "Cuesta"}) + event({"error": {"message": "overloaded"}})
    server.usual = Raw(part, "text/event-stream")
    with pytest.raises(ModelServerError):
        await ask(client, server, streamed=True)


async def test_a_server_that_does_not_stream_is_understood(
    client: httpx.AsyncClient, server: ModelServer
) -> None:
    whole = {"choices": [{"message": {"content": "entera"}, "finish_reason": "stop"}]}
    server.follow(Raw(json.dumps(whole).encode()))
    assert (await ask(client, server, streamed=True)).text == "entera"


@BOTH
async def test_an_answer_that_is_too_long_is_refused(
    client: httpx.AsyncClient, server: ModelServer, streamed: bool
) -> None:
    server.follow(Say("a" * (MAX_ANSWER_CHARS + 1)))
    with pytest.raises(ModelTooLargeError):
        await ask(client, server, streamed=streamed)
    server.follow(Raw(b" " * (MAX_BODY_BYTES + 1)))
    with pytest.raises(ModelTooLargeError):
        await ask(client, server, streamed=streamed)


@BOTH
async def test_a_private_address_is_refused_unless_the_host_allows_it(
    server: ModelServer, streamed: bool
) -> None:
    async with make_client(Settings(), seconds=5) as strict:
        with pytest.raises(ModelAddressError):
            await ask(strict, server, streamed=streamed)
        secure = replace(endpoint(server), base_url=server.url.replace("http:", "https:"))
        with pytest.raises(ModelAddressError):
            await complete(strict, secure, PROMPT, streamed=streamed)
    assert server.requests == []


async def test_a_server_that_is_off_is_unreachable(client: httpx.AsyncClient) -> None:
    with model_server() as gone:
        pass
    with pytest.raises(ModelUnreachableError):
        await ask(client, gone, streamed=True)


@pytest.mark.parametrize(
    "told",
    [
        Refuse(401),
        Refuse(404),
        Refuse(429, retry_after="60"),
        Refuse(400),
        Raw(b"{"),
        Raw(b"", cut=True),
    ],
)
async def test_no_error_repeats_the_key_the_prompt_or_the_server_s_words(
    client: httpx.AsyncClient, server: ModelServer, told: Refuse | Raw
) -> None:
    server.usual = told
    with pytest.raises(ModelError) as caught:
        await ask(client, server, streamed=False)
    error = caught.value
    said = "".join([*(error.detail(one) for one in LANGUAGES), repr(error), str(error.params)])
    for secret in (KEY, "secreto-del-cliente", "secret details", "Luz"):
        assert secret not in said
    assert KEY not in repr(endpoint(server))


@BOTH
async def test_the_openai_package_reads_the_scripted_server_as_we_do(
    client: httpx.AsyncClient, server: ModelServer, streamed: bool
) -> None:
    """An independent client agrees about the protocol that the scripted server speaks."""
    openai = pytest.importorskip("openai", reason="the openai package is not installed")
    server.usual = Say("Cuesta $90.000 [1].", usage=(12, 7), tools=(("sumar", '{"a": 1}'),))
    ours = await ask(client, server, streamed=streamed)
    async with openai.AsyncOpenAI(base_url=server.url, api_key=KEY, max_retries=0) as peer:
        asked = {"model": "modelo-1", "messages": server.requests[0]["messages"]}
        text, use, arguments = "", None, ""
        if streamed:
            stream = await peer.chat.completions.create(
                **asked, stream=True, stream_options={"include_usage": True}
            )
            async for part in stream:
                use = part.usage or use
                for choice in part.choices:
                    text += choice.delta.content or ""
                    for call in choice.delta.tool_calls or ():
                        arguments += call.function.arguments or ""
        else:
            whole = await peer.chat.completions.create(**asked)
            text, use = whole.choices[0].message.content or "", whole.usage
            arguments = whole.choices[0].message.tool_calls[0].function.arguments
        server.usual = Refuse(429)
        with pytest.raises(openai.RateLimitError):
            await peer.chat.completions.create(**asked)
    assert text == ours.text
    assert (use.prompt_tokens, use.completion_tokens) == (ours.input_tokens, ours.output_tokens)
    assert json.loads(arguments) == ours.tool_calls[0].arguments
