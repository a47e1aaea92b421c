"""Sending to Telegram over a real connection: what each answer, or none, is taken to mean."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurant.channels.telegram.outbound import MAX_CHARACTERS, TIMEOUT, Delivery, send, split
from neurant.core.outbound_http import make_client
from neurant.core.settings import Settings
from tests.support.telegram_peer import Drip, Drop, Raw, Refuse, TelegramPeer

pytest_plugins = ("tests.support.fixtures",)
pytestmark = pytest.mark.anyio

LONG = st.lists(
    st.sampled_from(
        ["a" * 3000, "b" * 1500, "ñ" * 4095, "c" * 4096, "d" * 4097, " ", "\n", "x" * 7]
    ),
    max_size=9,
).map("".join)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=httpx.Timeout(0.4)) as quick:
        yield quick


@given(LONG | st.text(max_size=50) | st.text(min_size=4090, max_size=4110))
def test_a_split_text_loses_nothing_but_space_and_every_piece_can_be_sent(text: str) -> None:
    pieces = split(text)
    assert all(len(piece) <= MAX_CHARACTERS for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert all(piece.strip() for piece in pieces)


def test_a_text_is_cut_between_words_where_there_are_any() -> None:
    words = "palabra " * 1200
    assert all(piece.startswith("palabra") and piece.endswith("palabra") for piece in split(words))


async def test_what_telegram_takes_is_sent_and_its_id_kept(
    client: httpx.AsyncClient, peer: TelegramPeer
) -> None:
    token = peer.add_bot("acme_bot")
    delivery = await send(client, peer.url, token, "42", "¡Hola! «100 %» 😀 <b>")
    assert delivery == Delivery("sent", external_id="42:100")
    assert peer.texts(42) == ["¡Hola! «100 %» 😀 <b>"]


async def test_a_long_text_arrives_whole_in_order(
    client: httpx.AsyncClient, peer: TelegramPeer
) -> None:
    text = "\n".join(f"renglón {number}" for number in range(900))
    delivery = await send(client, peer.url, peer.add_bot("b"), "42", text)
    assert delivery.outcome == "sent"
    assert len(peer.texts(42)) > 1
    assert "\n".join(peer.texts(42)) == text


async def test_a_blank_text_is_a_failure_without_a_request(
    client: httpx.AsyncClient, peer: TelegramPeer
) -> None:
    assert (await send(client, peer.url, peer.add_bot("b"), "42", " \n ")).outcome == "failed"
    assert peer.requests == 0


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (
            Refuse(429, "Too Many Requests: retry after 7", retry_after=7),
            Delivery("retry", error="429: Too Many Requests: retry after 7", retry_in=7.0),
        ),
        (
            Refuse(429, "Too Many Requests", retry_after=86_400),
            Delivery("retry", error="429: Too Many Requests", retry_in=600.0),
        ),
        (Raw(429, b"{}"), Delivery("retry", error="429: Too Many Requests", retry_in=5.0)),
        (
            Raw(429, b'{"parameters":{"retry_after":null}}'),
            Delivery("retry", error="429: Too Many Requests", retry_in=5.0),
        ),
        (Refuse(500, "Internal"), Delivery("retry", error="500: Internal")),
        (Raw(502, b"<html>"), Delivery("retry", error="502: Bad Gateway")),
        (Raw(503, b"[1]"), Delivery("retry", error="503: Service Unavailable")),
        (
            Refuse(400, "Bad Request: chat not found"),
            Delivery("failed", error="400: Bad Request: chat not found"),
        ),
        (
            Refuse(403, "Forbidden: bot was blocked by the user"),
            Delivery("failed", error="403: Forbidden: bot was blocked by the user"),
        ),
    ],
    ids=str,
)
async def test_an_error_is_final_or_worth_another_try(
    client: httpx.AsyncClient, peer: TelegramPeer, behaviour: Refuse | Raw, expected: Delivery
) -> None:
    peer.next.append(behaviour)
    assert await send(client, peer.url, peer.add_bot("b"), "42", "hola") == expected
    assert peer.texts() == []


async def test_another_token_is_a_failure(client: httpx.AsyncClient, peer: TelegramPeer) -> None:
    peer.add_bot("b")
    assert (await send(client, peer.url, "1:no", "42", "hola")).error == "401: Unauthorized"


async def test_nobody_listening_is_worth_another_try(client: httpx.AsyncClient) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        delivery = await send(client, url, "1:a", "42", "hola")
    assert (delivery.outcome, delivery.external_id) == ("retry", None)


@pytest.mark.parametrize(
    "behaviour",
    [
        Drop(),
        Drop(shows=False),
        Raw(504, b"<html>"),
        Raw(200, b"{}"),
        Raw(200, b"[]"),
        Raw(200, b"not json"),
        Raw(200, b'{"ok":true}'),
        Raw(200, b'{"ok":true,"result":{"chat":5}}'),
    ],
    ids=str,
)
async def test_no_answer_that_we_understand_is_unknown(
    client: httpx.AsyncClient, peer: TelegramPeer, behaviour: Drop | Raw
) -> None:
    peer.next.append(behaviour)
    delivery = await send(client, peer.url, peer.add_bot("b"), "42", "hola")
    assert (delivery.outcome, delivery.external_id) == ("unknown", None)
    assert delivery.error
    assert peer.requests == 1, "it was not tried again"


async def test_a_slow_answer_is_unknown(client: httpx.AsyncClient, peer: TelegramPeer) -> None:
    with peer.holding():
        delivery = await send(client, peer.url, peer.add_bot("b"), "42", "hola")
    assert (delivery.outcome, delivery.error) == ("unknown", "no answer: ReadTimeout")


async def test_an_answer_that_drips_is_given_up_before_the_lease_ends(peer: TelegramPeer) -> None:
    peer.next.append(Drip(pause=0.05))
    started = time.monotonic()
    async with make_client(Settings(telegram_api_url=peer.url), seconds=TIMEOUT) as patient:
        delivery = await send(patient, peer.url, peer.add_bot("b"), "42", "hola", most_seconds=0.3)
    assert (delivery.outcome, delivery.error) == ("unknown", "no answer: TimeoutError")
    assert time.monotonic() - started < 3


async def test_a_text_that_arrived_in_part_is_neither_sent_nor_sent_again(
    client: httpx.AsyncClient, peer: TelegramPeer
) -> None:
    token = peer.add_bot("b")
    sent = await send(client, peer.url, token, "42", "a" * 4096)
    assert sent.outcome == "sent"
    peer.next.extend([Drip(pause=0.0), Refuse(500, "no")])
    delivery = await send(client, peer.url, token, "42", "b" * 5000)
    assert delivery.outcome == "unknown"
    assert delivery.error == "only 1 part(s) arrived: 500: no"
