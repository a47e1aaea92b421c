"""A real SMTP server (aiosmtpd) that does what a test wants, and a certificate of its own."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DROP = "drop"


@dataclass
class Received:
    """A server's handler: what it says at each stage, and what it took."""

    says: dict[str, list[str]] = field(default_factory=dict)
    slow: dict[str, float] = field(default_factory=dict)
    mails: list[EmailMessage] = field(default_factory=list)
    envelopes: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    tls: list[bool] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    port: int = 0

    async def _answer(self, stage: str, server: SMTP, otherwise: str) -> str:
        await asyncio.sleep(self.slow.get(stage, 0))
        told = self.says.get(stage, [])
        said = told.pop(0) if told else otherwise
        if said == DROP:
            server.transport.abort()
        return said

    async def handle_EHLO(self, server: SMTP, session: Any, _envelope: Any, host: str, lines: list[str]) -> list[str]:  # fmt: skip
        session.host_name = host
        if await self._answer("ehlo", server, "") == DROP:
            return []
        return lines

    async def handle_MAIL(self, server: SMTP, _session: Any, envelope: Any, address: str, options: list[str]) -> str:  # fmt: skip
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return await self._answer("mail", server, "250 OK")

    async def handle_RCPT(self, server: SMTP, _session: Any, envelope: Any, address: str, _options: list[str]) -> str:  # fmt: skip
        said = await self._answer("rcpt", server, "250 OK")
        if said.startswith("250"):
            envelope.rcpt_tos.append(address)
        return said

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:
        said = await self._answer("data", server, "250 taken")
        if said.startswith("250") or said == DROP:  # it has the mail, whatever the sender knows
            parsed = BytesParser(EmailMessage, policy=policy.default).parsebytes(envelope.content)
            self.mails.append(parsed)
            self.envelopes.append((envelope.mail_from, tuple(envelope.rcpt_tos)))
            self.tls.append(session.ssl is not None)
        return said

    def authenticate(self, _server: SMTP, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:  # fmt: skip
        self.logins.append(data.login.decode())
        return AuthResult(success=data.password == b"clave/con:signos", handled=False)


@asynccontextmanager
async def serving(received: Received, **options: Any) -> AsyncIterator[Received]:
    """The server on a port of its own, in this loop."""
    loop = asyncio.get_running_loop()

    def make() -> SMTP:
        return SMTP(received, hostname="mail.test", loop=loop, **options)

    server = await loop.create_server(make, "127.0.0.1", 0)
    received.port = server.sockets[0].getsockname()[1]
    try:
        yield received
    finally:
        server.close()


@asynccontextmanager
async def closing_at_once() -> AsyncIterator[int]:
    """A server that hangs up on whoever comes."""

    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@lru_cache(maxsize=1)
def certificate() -> tuple[Path, Path]:
    """A self-made certificate for localhost and 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder = Path(mkdtemp(prefix="neurant-cert-"))
    public, private = folder / "cert.pem", folder / "key.pem"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return public, private


def server_tls() -> ssl.SSLContext:
    public, private = certificate()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    return context


def trusting_tls() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate()[0]))
