"""One attempt to pass a message to the mail server, and its outcome.

A server takes responsibility with its answer to the end of the data (RFC 5321, 4.2.5 and 6.1). A
failure before that is retried. If the connection ends while that answer is awaited, the delivery is
unknown, and the attempt is ``unclear``.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit

import aiosmtplib

from neurant.core.errors import SetupError
from neurant.core.settings import Settings

Outcome = Literal["sent", "later", "unclear", "refused"]
MAX_ATTEMPT_SECONDS = 60.0  # the timeout of a whole attempt, in seconds
_PORTS = {"smtp": 587, "smtps": 465}
_QUIT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Server:
    """The mail server of the setting ``smtp_url``."""

    host: str
    port: int
    username: str | None
    password: str | None = field(repr=False)
    tls: Literal["at once", "starttls", "off"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """The outcome of an attempt; ``error`` is the server's answer or the kind of failure."""

    outcome: Outcome
    error: str | None = None


def server_of(settings: Settings) -> Server | None:
    """Parse the mail server of the settings; None: mail goes to a folder. Raises SetupError.

    TLS is required unless the server is on this machine or the URL says ``?tls=off``.
    """
    if settings.smtp_url is None:
        return None
    try:
        url = urlsplit(settings.smtp_url.get_secret_value())
        asked = parse_qs(url.query, strict_parsing=bool(url.query)).get("tls", [""])[0]
        port = url.port or _PORTS[url.scheme]
    except (ValueError, KeyError):
        raise SetupError("setup.bad_smtp_url") from None
    if not url.hostname or asked not in ("", "off", "starttls"):
        raise SetupError("setup.bad_smtp_url")
    if url.scheme == "smtps":
        tls: Literal["at once", "starttls", "off"] = "at once"
    elif asked == "off" or (not asked and _is_loopback(url.hostname)):
        tls = "off"
    else:
        tls = "starttls"
    username = unquote(url.username) if url.username else None
    return Server(url.hostname, port, username, unquote(url.password or ""), tls)


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


async def send(
    server: Server,
    message: EmailMessage,
    sender: str,
    to: str,
    *,
    seconds: float = MAX_ATTEMPT_SECONDS,
    tls_context: ssl.SSLContext | None = None,
) -> Attempt:
    """Send ``message`` in one SMTP session of at most ``seconds``."""
    client = aiosmtplib.SMTP(
        hostname=server.host,
        port=server.port,
        username=server.username,
        password=server.password if server.username else None,
        use_tls=server.tls == "at once",
        start_tls=server.tls == "starttls",
        local_hostname=sender.rpartition("@")[2],
        timeout=seconds,
        tls_context=tls_context,
    )
    handing_over = False
    try:
        async with asyncio.timeout(seconds):
            await client.connect()
            handing_over = await _announce(client, sender, to)
            await client.data(message.as_bytes())
    except (
        aiosmtplib.SMTPSenderRefused,
        aiosmtplib.SMTPRecipientRefused,
        aiosmtplib.SMTPDataError,
    ) as error:
        return Attempt("refused" if 500 <= error.code < 600 else "later", _describe_error(error))
    except _NeedsUtf8Error as error:
        return Attempt("refused", str(error))
    # A refused login or a bad certificate is a fault of our settings, so the mail is retried.
    except (aiosmtplib.SMTPException, OSError, TimeoutError, ValueError) as error:
        return Attempt("unclear" if handing_over else "later", _describe_error(error))
    else:
        with suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
            await client.quit(timeout=_QUIT_SECONDS)
        return Attempt("sent")
    finally:
        client.close()


class _NeedsUtf8Error(Exception):
    """The server does not support an address with non-ASCII letters (RFC 6531)."""


async def _announce(client: aiosmtplib.SMTP, sender: str, to: str) -> bool:
    """Send MAIL and RCPT; return True, because the message comes next."""
    options: list[str] = []
    if not to.isascii():
        if client.is_ehlo_or_helo_needed:
            await client.ehlo()
        if not client.supports_extension("smtputf8"):
            raise _NeedsUtf8Error(
                "the mail server supports no address with non-ASCII letters (SMTPUTF8)"
            )
        options = ["SMTPUTF8", "BODY=8BITMIME"]
    await client.mail(sender, options=options, encoding="utf-8")
    await client.rcpt(to, encoding="utf-8")
    return True


def _describe_error(error: Exception) -> str:
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return f"{error.code} {error.message}"
    return f"{type(error).__name__}: {error}"
