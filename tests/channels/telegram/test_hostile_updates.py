"""Whatever a body holds, the secret decides first: 401 without it, and never a fault with it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.companies import Company

pytest_plugins = ("tests.console.running_web",)
MARK = "~a raw value~"
# Raw JSON, or nearly: numbers that Python, C or PostgreSQL cannot hold, and texts that are none.
RAW = [
    "9" * 400, "-" + "9" * 400, "9" * 5000, "1" + "0" * 400 + ".5", "1e999", "-1e999", "NaN",
    "Infinity", "-Infinity", "9223372036854775808", "18446744073709551616", "1.5", "-0.0", "true",
    "false", "null", '""', '"9"', "[]", "{}", "[null]", "[[]]", '[{}]', '"\\ud800"', '"\\u0000"',
    '"' + "a" * 5000 + '"', "[" * 500 + "]" * 500, "[" * 100_000 + "]" * 100_000,
    '{"a":' * 2000 + "1" + "}" * 2000, "[1,2,3]", "91", "181", "1e308", "5e-324",
]  # fmt: skip
MESSAGE: dict[str, Any] = {
    "message_id": 9,
    "date": 1767224901,
    "chat": {"id": 23, "type": "private", "first_name": "Ana", "title": "T"},
    "from": {"id": 23, "is_bot": False, "first_name": "Ana", "last_name": "Lee"},
}
CONTENTS: list[dict[str, Any]] = [
    {"text": "hola", "entities": [{"type": "mention", "offset": 0, "length": 1}]},
    {"location": {"latitude": 4.6, "longitude": -74.1}},
    {"contact": {"first_name": "Ana", "phone_number": "+57 300"}},
    {"photo": [{"file_id": "a"}, {"file_id": "b"}], "caption": "c"},
    {"sticker": {"file_id": "a", "emoji": "👍"}},
    {"reply_to_message": {"from": {"is_bot": True}}, "text": "hola", "chat": {"id": 1, "type": "group"}},
]  # fmt: skip


def paths(value: object, at: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place in a JSON value."""
    inside: Iterable[tuple[str | int, object]] = ()
    if isinstance(value, dict):
        inside = value.items()
    elif isinstance(value, list):
        inside = enumerate(value)
    return [at, *(path for key, one in inside for path in paths(one, (*at, key)))]


def replaced(value: Any, path: tuple[str | int, ...]) -> Any:
    if not path:
        return MARK
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:])
    return copy


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """An update with one to three of its values replaced by something raw; sometimes any bytes."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=200))
    content = draw(st.sampled_from(CONTENTS))
    update: Any = {"update_id": draw(st.integers(1, 2**52)), "message": {**MESSAGE, **content}}
    for _ in range(draw(st.integers(1, 3))):
        update = replaced(update, draw(st.sampled_from(paths(update))))
    told = json.dumps(update, ensure_ascii=False)
    for _ in range(told.count(f'"{MARK}"')):
        told = told.replace(f'"{MARK}"', draw(st.sampled_from(RAW)), 1)
    return told.encode("utf-8", "surrogatepass")


def send(client: httpx.Client, acme: Company, body: bytes, secret: str) -> httpx.Response:
    headers = {
        "x-telegram-bot-api-secret-token": secret,
        "content-type": "application/json",
        "x-request-id": "one",
    }
    return client.post(f"/webhooks/telegram/{acme.telegram}", content=body, headers=headers)


many = settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@many
@given(body=bodies())
def test_any_body_is_401_without_the_secret_and_no_fault_with_it(
    nobody: httpx.Client, acme: Company, body: bytes
) -> None:
    wrong = send(nobody, acme, body, "wrong")
    assert wrong.status_code == 401, wrong.text
    plain = send(nobody, acme, b"{}", "wrong")
    assert (wrong.status_code, wrong.content) == (plain.status_code, plain.content)
    right = send(nobody, acme, body, acme.telegram_secret)
    assert right.status_code in (200, 400, 422), right.text


@pytest.mark.parametrize("raw", RAW, ids=lambda raw: raw[:20])
@pytest.mark.parametrize("place", ["latitude", "longitude"])
def test_a_coordinate_is_a_place_on_the_earth_or_refused(
    nobody: httpx.Client, acme: Company, raw: str, place: str
) -> None:
    where = {"latitude": 4.6, "longitude": -74.1, place: MARK}
    update = {"update_id": 1, "message": {**MESSAGE, "location": where}}
    body = json.dumps(update).replace(f'"{MARK}"', raw).encode()
    assert send(nobody, acme, body, "wrong").status_code == 401
    fits = raw in ("1.5", "-0.0", "5e-324", *(("91",) if place == "longitude" else ()))
    expected = 200 if fits else 400
    assert send(nobody, acme, body, acme.telegram_secret).status_code == expected
