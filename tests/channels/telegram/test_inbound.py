"""What Telegram's webhook carries is read, set aside or refused; nothing else can happen."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurant.channels.events import DeadLetter, InboundMessage, is_storable
from neurant.channels.telegram.inbound import credential, parse
from neurant.core.errors import MalformedError

SAMPLES = Path(__file__).parents[3].parent / "shared/data/channel-samples/telegram"
PROOF = credential(b"secret")

# Payloads of public repositories are not committed: they are tried where they are present.
EXPECTED: dict[str, str | tuple[str, str, str]] = {
    "callback-query-inline": "unsupported: callback_query",
    "callback-query-message": "unsupported: callback_query",
    "command-with-botname": ("text", "-100123", "/ping@mybot hello world"),
    "contact": ("contact", "23", "Ana +10438032715"),
    "document": ("document", "23", ""),
    "edited-text": "unsupported: edited_message",
    "group-command": ("text", "-123456789", "/command"),
    "location": ("location", "23", "37.7893768, -122.3895553"),
    "photo": ("image", "23", ""),
    "recorded-private-mention": ("text", "7527593", "@exampleechobot hi"),
    "recorded-private-text": ("text", "7527593", "how are you"),
    "sticker": ("image", "23", "👍"),
    "supergroup-mention": ("text", "-100123", "hello @mybot"),
    "video": ("video", "23", ""),
    "voice": ("audio", "23", ""),
}  # fmt: skip
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"no samples at {SAMPLES}")


def read(update: object) -> InboundMessage | DeadLetter:
    return parse(json.dumps(update).encode(), "tg-account", PROOF)


def private(**content: Any) -> dict[str, Any]:
    message = {
        "message_id": 9,
        "date": 1767224901,
        "chat": {"id": 23, "type": "private", "first_name": "Ana"},
        "from": {"id": 23, "is_bot": False, "first_name": "Ana", "last_name": "Lee"},
    }
    return {"update_id": 700, "message": {**message, **content}}


def in_group(**content: Any) -> dict[str, Any]:
    """The same person says it in a supergroup."""
    update = private(**content)
    update["message"]["chat"] = {"id": -1001234567890, "type": "supergroup", "title": "Ventas"}
    return update


def file(**more: Any) -> dict[str, Any]:
    """What every kind of file has in common (https://core.telegram.org/bots/api#document)."""
    return {"file_id": "BQACAgEAAxkBAAMJ", "file_unique_id": "AgADuQ", "file_size": 1024} | more


def mark(kind: str, length: int, offset: int = 0) -> dict[str, Any]:
    """A part of a text that says something (https://core.telegram.org/bots/api#messageentity)."""
    return {"type": kind, "offset": offset, "length": length}


PERSON = {"id": 23, "is_bot": False, "first_name": "Ana"}
GROUP = "-1001234567890"
# Updates written after https://core.telegram.org/bots/api#update, and what each is read as.
OURS: dict[str, tuple[dict[str, Any], str | tuple[str, str, str]]] = {
    "a text": (private(text="¿Abren hoy?"), ("text", "23", "¿Abren hoy?")),
    "a mention in private": (
        private(text="@tienda_bot hola", entities=[mark("mention", 11)]),
        ("text", "23", "@tienda_bot hola"),
    ),
    "a command": (
        private(text="/start", entities=[mark("bot_command", 6)]), ("text", "23", "/start"),
    ),
    "a photo": (private(photo=[file(width=90, height=60)]), ("image", "23", "")),
    "a photo with a caption": (
        private(photo=[file(width=90, height=60)], caption="El recibo"), ("image", "23", "El recibo"),
    ),
    "a sticker": (
        private(sticker=file(type="regular", width=512, height=512, is_animated=False,
                             is_video=False, emoji="👍")), ("image", "23", "👍"),
    ),
    "a voice note": (private(voice=file(duration=4, mime_type="audio/ogg")), ("audio", "23", "")),
    "an audio": (private(audio=file(duration=180, title="Canción")), ("audio", "23", "")),
    "a video": (private(video=file(duration=9, width=320, height=240)), ("video", "23", "")),
    "a round video": (private(video_note=file(duration=9, length=240)), ("video", "23", "")),
    "a document": (
        private(document=file(file_name="factura.pdf", mime_type="application/pdf")),
        ("document", "23", ""),
    ),
    "an animation, which has a document as well": (
        private(animation=file(duration=2, width=320, height=240), document=file()),
        ("video", "23", ""),
    ),
    "a location": (
        private(location={"latitude": 4.711, "longitude": -74.0721}),
        ("location", "23", "4.711, -74.0721"),
    ),
    "a contact": (
        private(contact={"phone_number": "+573001234567", "first_name": "Luis"}),
        ("contact", "23", "Luis +573001234567"),
    ),
    "a command in a group": (
        in_group(text="/precio@tienda_bot", entities=[mark("bot_command", 18)]),
        ("text", GROUP, "/precio@tienda_bot"),
    ),
    "a mention in a group": (
        in_group(text="hola @tienda_bot", entities=[mark("mention", 11, 5)]),
        ("text", GROUP, "hola @tienda_bot"),
    ),
    "a text in a group": (in_group(text="hola a todos"), "said in a group, and not to the bot"),
    "an edited text": (
        {"update_id": 701, "edited_message": private(text="¿Abren mañana?")["message"]},
        "unsupported: edited_message",
    ),
    "a button under a message": (
        {"update_id": 702, "callback_query": {
            "id": "1", "from": PERSON, "chat_instance": "1", "data": "sí",
            "message": private(text="¿Sigo?")["message"]}},
        "unsupported: callback_query",
    ),
    "a button under an inline message": (
        {"update_id": 703, "callback_query": {
            "id": "2", "from": PERSON, "chat_instance": "2", "data": "no",
            "inline_message_id": "BAAAAA"}},
        "unsupported: callback_query",
    ),
    "somebody joined": (
        private(new_chat_members=[PERSON]), "unsupported: message without content",
    ),
}  # fmt: skip


def read_as(body: dict[str, Any], expected: str | tuple[str, str, str]) -> None:
    event = read(body)
    if isinstance(expected, str):
        assert event == DeadLetter(f"update:{body['update_id']}", expected)
        return
    assert isinstance(event, InboundMessage)
    assert (event.message_type, event.end_user_id, event.content) == expected
    message = body["message"]
    assert event.external_id == f"{message['chat']['id']}:{message['message_id']}"
    assert event.credential == PROOF
    is_file = event.message_type in ("image", "video", "audio", "document")
    assert (event.media_url is not None) == is_file


@pytest.mark.parametrize("kind", OURS)
def test_an_update_becomes_what_its_kind_says(kind: str) -> None:
    read_as(*OURS[kind])


@needs_samples
def test_every_sample_is_expected_here() -> None:
    assert {path.stem for path in SAMPLES.glob("*.json")} == set(EXPECTED)


@needs_samples
@pytest.mark.parametrize("name", EXPECTED)
def test_a_sample_becomes_what_its_kind_says(name: str) -> None:
    body = json.loads((SAMPLES / f"{name}.json").read_text("utf-8"))["body"]
    read_as(body, EXPECTED[name])


def test_the_largest_photo_is_kept() -> None:
    sizes = [{"file_id": "small", "width": 90}, {"file_id": "large", "width": 1280}]
    event = read(private(photo=sizes, caption="mira"))
    assert isinstance(event, InboundMessage)
    assert (event.media_url, event.content) == ("telegram-file:large", "mira")


def test_what_a_bot_says_is_set_aside_so_that_two_bots_do_not_talk_for_ever() -> None:
    update = private(text="hola")
    update["message"]["from"]["is_bot"] = True
    assert read(update) == DeadLetter("update:700", "sent by a bot")


@pytest.mark.parametrize("bad", ["a\x00b", "a\ud83db", "a\udc00b"], ids=ascii)  # noqa: PT014
def test_what_the_database_cannot_hold_becomes_a_visible_replacement(bad: str) -> None:
    event = read(private(text=bad))
    assert isinstance(event, InboundMessage)
    assert event.content == "a\ufffdb"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"\xff\xfe",
        b"{",
        b'{"update_id":"7"}',
        b'{"update_id":7,"message":{}}',
        b'{"update_id":7,"message":{"chat":{"id":"abc"},"message_id":1,"text":"x"}}',
        b'{"update_id":7,"message":{"chat":{"id":NaN},"message_id":1,"text":"x"}}',
        b'{"update_id":7,"message":{"chat":{"id":1e999},"message_id":1,"text":"x"}}',
        b'{"update_id":7,"message":{"chat":{"id":true},"message_id":1,"text":"x"}}',
        b'{"update_id":' + b"9" * 4000 + b"}",
        b'{"update_id":7,"message":{"chat":{"id":' + b"9" * 400 + b'},"message_id":1,"text":"x"}}',
        b"[" * 200_000,
    ],
    ids=lambda body: body[:40].decode("latin-1"),
)
def test_what_no_bot_api_sends_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedError):
        parse(body, "tg-account", PROOF)


@pytest.mark.parametrize(
    "content",
    [
        {"photo": [{"file_id": "a"}], "caption": {"x": 1}},
        {"photo": [{"file_id": ["a"]}]},
        {"sticker": {"file_id": "a", "emoji": 5}},
        {"contact": {"phone_number": 5, "first_name": "a"}},
        {"text": "hola", "chat": {"id": 5, "title": ["a"]}},
        {"text": "hola", "chat": {"id": 5}, "from": {"first_name": ["a"]}},
        {"location": {"latitude": "x", "longitude": {}}},
    ],
    ids=str,
)
def test_a_field_of_another_kind_is_malformed_and_never_reaches_the_database(
    content: dict[str, Any],
) -> None:
    with pytest.raises(MalformedError):
        read(private(**content))


def check(body: bytes) -> None:
    """Whatever came, the outcome is one of three, and what is kept can be kept."""
    try:
        event = parse(body, "tg-account", PROOF)
    except MalformedError:
        return
    if isinstance(event, DeadLetter):
        texts = [event.external_id, event.reason]
    else:
        texts = [event.end_user_id, event.external_id, event.content]
        texts += [value for value in (event.end_user_name, event.media_url) if value is not None]
        assert len(event.end_user_id) <= 255
        assert (event.message_type != "text") or event.content
    assert len(event.external_id) <= 255
    for text in texts:
        assert isinstance(text, str)
        assert is_storable(text)


KEYS = st.sampled_from(
    [
        "update_id",
        "message",
        "edited_message",
        "chat",
        "from",
        "id",
        "title",
        "first_name",
        "last_name",
        "is_bot",
        "message_id",
        "text",
        "photo",
        "sticker",
        "voice",
        "document",
        "video",
        "caption",
        "emoji",
        "file_id",
        "location",
        "latitude",
        "longitude",
        "contact",
        "phone_number",
    ]
)
ANY_TEXT = st.text(st.characters(codec=None), max_size=12) | st.sampled_from(["\x00", "\ud800", ""])
LEAF = st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT
JSON = st.recursive(
    LEAF,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | ANY_TEXT, inner, max_size=6),
    max_leaves=25,
)


@given(JSON)
@settings(max_examples=300, deadline=None)
def test_any_json_is_read_set_aside_or_malformed(value: object) -> None:
    check(json.dumps(value).encode())
    check(json.dumps({"update_id": 7, "message": value}).encode())


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_read_set_aside_or_malformed(body: bytes) -> None:
    check(body)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, part in inner:
        found += places(part, (*path, key))
    return found


FULL = [
    private(text="hola"),
    private(photo=[{"file_id": "a"}], caption="c"),
    private(sticker={"file_id": "a", "emoji": "b"}),
    private(location={"latitude": 1.5, "longitude": 2}),
    private(contact={"phone_number": "1", "first_name": "a", "last_name": "b"}),
    {"update_id": 7, "edited_message": {}},
]


@given(st.data())
@settings(max_examples=500, deadline=None)
def test_a_mutated_update_is_read_set_aside_or_malformed(data: st.DataObject) -> None:
    update = copy.deepcopy(data.draw(st.sampled_from(FULL)))
    for _ in range(data.draw(st.integers(1, 3))):
        options = places(update)
        if not options:
            break
        *above, key = data.draw(st.sampled_from(options))
        holder: Any = update
        for step in above:
            holder = holder[step]
        if data.draw(st.booleans()):
            holder[key] = data.draw(JSON)
        elif isinstance(holder, dict):
            holder[data.draw(ANY_TEXT)] = holder.pop(key)
        else:
            holder.pop(key)
    check(json.dumps(update).encode())


def test_what_people_say_to_each_other_in_a_group_is_not_answered() -> None:
    chat, sender = {"id": -5, "type": "supergroup", "title": "Amigos"}, {"id": 7, "is_bot": False}
    message = {"message_id": 1, "chat": chat, "from": sender, "text": "¿a qué hora nos vemos?"}
    for more, taken in (
        ({}, False),
        ({"entities": [{"type": "bold"}]}, False),
        ({"entities": [{"type": "mention"}]}, True),
        ({"entities": [{"type": "bot_command"}]}, True),
        ({"reply_to_message": {"from": {"is_bot": True}}}, True),
    ):
        body = json.dumps({"update_id": 1, "message": message | more}).encode()
        assert isinstance(parse(body, "some-bot", b"x" * 32), InboundMessage) == taken


def test_a_name_that_is_too_long_does_not_cost_the_message() -> None:
    chat = {"id": 5, "type": "private"}
    message = {"message_id": 1, "chat": chat, "from": {"first_name": "x" * 300}, "text": "hola"}
    body = json.dumps({"update_id": 1, "message": message}).encode()
    event = parse(body, "some-bot", b"x" * 32)
    assert isinstance(event, InboundMessage)
    assert event.end_user_name == "x" * 255
