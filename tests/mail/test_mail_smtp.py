"""Handing a mail to a real server: what each answer, and each way of going away, means."""

from __future__ import annotations

from datetime import UTC, datetime
from email.message import EmailMessage
from uuid import uuid4

import pytest
from pydantic import SecretStr

from neurant.core.errors import SetupError
from neurant.core.settings import Settings
from neurant.mail.message import compose, sender_of
from neurant.mail.smtp import Server, send, server_of
from tests.mail.mail_server import (
    DROP,
    Received,
    closing_at_once,
    server_tls,
    serving,
    trusting_tls,
)

pytestmark = pytest.mark.anyio
SENDER = "no-reply@mail.example"
TO = "eva@casa.example"


def letter(to: str = TO) -> EmailMessage:
    return compose(
        uuid4(), to, "team.welcome", "es",
        {"company": "Acme", "role": "operador", "name": "Eva", "link": "https://a.example/console"},
        sender=sender_of(f"NeurAnt <{SENDER}>"), moment=datetime(2026, 11, 22, tzinfo=UTC),
    )  # fmt: skip


def plain(port: int, **changed: object) -> Server:
    return Server(**({"host": "127.0.0.1", "port": port, "username": None, "password": None, "tls": "off"} | changed))  # fmt: skip


async def test_a_server_that_takes_it_has_it_once() -> None:
    async with serving(Received()) as there:
        assert (await send(plain(there.port), letter(), SENDER, TO)).outcome == "sent"
    assert there.envelopes == [(SENDER, (TO,))]
    assert there.mails[0]["Subject"] == "Te damos la bienvenida a «Acme»"
    assert "Eva" in there.mails[0].get_body(("plain",)).get_content()


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data"])
async def test_a_four_is_tried_again_and_a_five_is_final(stage: str) -> None:
    says = {stage: ["451 4.7.1 come back later", "550 5.1.1 no such mailbox"]}
    async with serving(Received(says)) as there:
        first = await send(plain(there.port), letter(), SENDER, TO)
        second = await send(plain(there.port), letter(), SENDER, TO)
        third = await send(plain(there.port), letter(), SENDER, TO)
    assert (first.outcome, second.outcome, third.outcome) == ("later", "refused", "sent")
    assert first.error == "451 4.7.1 come back later"
    assert second.error == "550 5.1.1 no such mailbox"
    assert len(there.mails) == 1


@pytest.mark.parametrize("stage", ["ehlo", "mail", "rcpt"])
async def test_who_hangs_up_before_the_message_does_not_have_it(stage: str) -> None:
    async with serving(Received({stage: [DROP, DROP]})) as there:
        assert (await send(plain(there.port), letter(), SENDER, TO)).outcome == "later"
    assert there.mails == []


async def test_who_hangs_up_after_the_message_may_have_it() -> None:
    async with serving(Received({"data": [DROP]})) as there:
        attempt = await send(plain(there.port), letter(), SENDER, TO)
    assert attempt.outcome == "unclear"
    assert len(there.mails) == 1  # and this one did


async def test_nobody_there_or_somebody_who_hangs_up_at_once() -> None:
    async with closing_at_once() as port:
        assert (await send(plain(port), letter(), SENDER, TO, seconds=5)).outcome == "later"
    attempt = await send(plain(port), letter(), SENDER, TO, seconds=5)
    assert attempt.outcome == "later"
    assert attempt.error is not None
    assert "SMTPConnectError" in attempt.error


@pytest.mark.parametrize(("stage", "outcome"), [("rcpt", "later"), ("data", "unclear")])
async def test_a_server_that_takes_too_long_is_left(stage: str, outcome: str) -> None:
    async with serving(Received(slow={stage: 1.0})) as there:
        attempt = await send(plain(there.port), letter(), SENDER, TO, seconds=0.3)
    assert attempt.outcome == outcome


async def test_over_starttls_with_a_login() -> None:
    received = Received()
    async with serving(
        received, tls_context=server_tls(), authenticator=received.authenticate, auth_required=True
    ) as there:
        url = SecretStr(f"smtp://neurant%40mail:clave%2Fcon%3Asignos@127.0.0.1:{there.port}?tls=starttls")  # fmt: skip
        server = server_of(Settings(smtp_url=url))
        assert server is not None
        attempt = await send(server, letter(), SENDER, TO, tls_context=trusting_tls())
        assert attempt.outcome == "sent"
        assert there.tls == [True]
        assert there.logins == ["neurant@mail"]
        wrong = plain(there.port, tls="starttls", username="neurant", password="otra")
        attempt = await send(wrong, letter(), SENDER, TO, tls_context=trusting_tls())
    # Ours to mend: once it is, the mail leaves.
    assert attempt.outcome == "later"
    assert attempt.error is not None
    assert attempt.error.startswith("535")
    assert len(there.mails) == 1


async def test_a_certificate_that_nobody_vouches_for_gets_neither_mail_nor_password() -> None:
    received = Received()
    async with serving(
        received, tls_context=server_tls(), authenticator=received.authenticate
    ) as there:
        server = plain(there.port, tls="starttls", username="neurant", password="x")
        attempt = await send(server, letter(), SENDER, TO)
    assert attempt.outcome == "later"
    assert there.logins == []
    assert there.mails == []


async def test_a_server_without_tls_gets_nothing_where_tls_is_asked_for() -> None:
    async with serving(Received()) as there:
        attempt = await send(plain(there.port, tls="starttls"), letter(), SENDER, TO)
    assert attempt.outcome == "later"
    assert there.mails == []


async def test_an_address_beyond_ascii_needs_a_server_that_takes_it() -> None:
    to = "josé@xn--and-6ma2c.example"
    async with serving(Received(), enable_SMTPUTF8=True) as there:
        assert (await send(plain(there.port), letter(to), SENDER, to)).outcome == "sent"
    assert there.envelopes == [(SENDER, (to,))]
    async with serving(Received()) as there:
        attempt = await send(plain(there.port), letter(to), SENDER, to)
    assert attempt.outcome == "refused"
    assert attempt.error is not None
    assert "SMTPUTF8" in attempt.error


@pytest.mark.parametrize(
    ("url", "tls", "port"),
    [
        ("smtp://mail.example", "starttls", 587),
        ("smtp://mail.example:25?tls=off", "off", 25),
        ("smtps://mail.example", "at once", 465),
        ("smtp://localhost:25", "off", 25),
        ("smtp://[::1]:25", "off", 25),
        ("smtp://127.0.0.1:25?tls=starttls", "starttls", 25),
    ],
)
def test_tls_is_asked_for_unless_nobody_is_in_between(url: str, tls: str, port: int) -> None:
    server = server_of(Settings(smtp_url=SecretStr(url)))
    assert server is not None
    assert (server.tls, server.port) == (tls, port)


@pytest.mark.parametrize(
    "url", ["mail.example", "http://mail.example", "smtp://", "smtp://x:port", "smtp://x?tls=perhaps"]
)  # fmt: skip
def test_a_url_that_is_none_is_reported(url: str) -> None:
    with pytest.raises(SetupError) as error:
        server_of(Settings(smtp_url=SecretStr(url)))
    assert error.value.code == "setup.bad_smtp_url"


def test_without_a_server_there_is_none() -> None:
    assert server_of(Settings(smtp_url=None)) is None


def test_a_password_is_not_shown() -> None:
    assert "secreto" not in repr(plain(1, password="secreto"))
