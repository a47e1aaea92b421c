"""Companies with connections to providers, and a provider that says whatever a test wants."""

from __future__ import annotations

import asyncio
import base64
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import orjson
import psycopg
import uvicorn
from joserfc import jwt
from joserfc.jwk import ECKey, Key, KeySet, RSAKey
from pydantic import SecretStr
from starlette.types import Receive, Scope, Send

from neurant.accounts.sso.connections import create
from neurant.accounts.sso.provider import Providers
from neurant.accounts.sso.queries import SsoConnection, prove_by_host
from neurant.accounts.sso.schemas import SsoConnectionNew
from neurant.accounts.sso.service import Arrival, Departure, begin, finish
from neurant.core.db.pool import Pool
from neurant.core.db.tenancy import Trail, tenant
from neurant.core.settings import Settings
from neurant.installation.embedded import Urls
from neurant.runtime.app import create_app
from tests.companies import Company, make_company

KEY = base64.b64encode(b"k" * 32).decode()
TRAIL = Trail(request_id="req-1", ip="203.0.113.9", user_agent="Firefox")


def sso_settings(urls: Urls, **more: Any) -> Settings:
    """Providers on this machine are allowed; secrets have a master key."""
    told = {
        "app_database_url": urls.app,
        "master_key": SecretStr(KEY),
        "outbound_private_hosts": "127.0.0.1, localhost",
        "public_url": "http://app.example",
        "log_level": "warning",
    }
    return Settings(**told | more)


def confirmed_company(admin_url: str, name: str, **more: Any) -> Company:
    """A company whose people proved their addresses, so that its domain can be claimed."""
    company = make_company(admin_url, name, **more)
    with psycopg.connect(admin_url) as db:
        db.execute(
            "update auth.users a set email_confirmed_at = now() from users u"
            " where u.auth_user_id = a.id and u.company_id = %s",
            (company.id,),
        )
    return company


def some_address() -> str:
    """An address of the network for measurements (RFC 2544), so that no test slows another down."""
    return f"198.18.{secrets.randbelow(256)}.{secrets.randbelow(256)}"


def domain(company: Company) -> str:
    return f"{company.slug}.example"


async def connect(
    pool: Pool, settings: Settings, company: Company, issuer: str, **more: Any
) -> SsoConnection:
    """The owner connects the company's provider; its domains are proven by the host's command."""
    told = {"name": "Acme ID", "client_id": "acme", "client_secret": "secret-of-acme"} | more
    told.setdefault("domains", [domain(company)])
    async with tenant(pool, company.staff("owner")) as db:
        made = await create(db, settings, company.id, SsoConnectionNew(issuer=issuer, **told))
    for one in made.domains:
        assert await prove_by_host(pool, company.slug, one) == "proven"
    return made


def prove(admin_url: str, company: Company, *domains: str) -> None:
    """Whoever runs the installation vouches for the company's domains (its own, if none is named)."""
    with psycopg.connect(admin_url) as db:
        for one in domains or (domain(company),):
            done = db.execute("select private.prove_sso_domain(%s, %s)", (company.slug, one))
            assert done.fetchone() == ("proven",)


@dataclass
class Forger:
    """A provider on loopback. ``claims`` changes the claims of the next ID tokens (None: left
    out); ``sign`` makes the token itself; ``say`` replaces whole answers by path."""

    issuer: str
    key: Key = field(default_factory=lambda: ec_key("one"))
    published: list[Key] = field(default_factory=list)
    claims: dict[str, Any] = field(default_factory=dict)
    sign: Callable[[dict[str, Any]], str] | None = None
    say: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    nonces: dict[str, str] = field(default_factory=dict)  # by code
    asked: list[str] = field(default_factory=list)
    userinfo: dict[str, Any] = field(default_factory=dict)
    bodies: list[str] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)

    def answer(self, departure: Departure, **claims: Any) -> dict[str, str]:
        """What the browser brings back, for somebody of whom the ID token says ``claims``."""
        asked = parse_qs(urlsplit(departure.url).query)
        code = f"code-{len(self.nonces)}"
        self.nonces[code] = asked["nonce"][0]
        self.claims = {"sub": "sub-1", "email_verified": True} | claims
        return {"state": asked["state"][0], "code": code, "iss": self.issuer}

    def token(self, nonce: str) -> str:
        now = int(time.time())
        base = {"iss": self.issuer, "aud": "acme", "iat": now, "exp": now + 300, "nonce": nonce}
        claims = {name: value for name, value in (base | self.claims).items() if value is not None}
        if self.sign:
            return self.sign(claims)
        alg = "RS256" if isinstance(self.key, RSAKey) else "ES256"
        return jwt.encode({"alg": alg, "kid": self.key.kid}, claims, self.key)

    def respond(self, path: str, body: bytes) -> object:
        if path == "/.well-known/openid-configuration":
            return {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/auth",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/jwks",
                "userinfo_endpoint": f"{self.issuer}/me",
                "response_types_supported": ["code"],
                "id_token_signing_alg_values_supported": ["RS256", "ES256"],
                "authorization_response_iss_parameter_supported": True,
            } | self.metadata
        if path == "/jwks":
            return KeySet(self.published or [self.key]).as_dict(private=False)
        if path == "/me":
            return self.userinfo
        code = parse_qs(body.decode())["code"][0]
        token = self.token(self.nonces[code])
        return {"access_token": "a", "token_type": "Bearer", "id_token": token}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        path = scope["path"]
        self.asked.append(path)
        self.bodies.append(body.decode())
        self.authorizations += [v.decode() for k, v in scope["headers"] if k == b"authorization"]
        status, content = self.say.get(path) or (200, orjson.dumps(self.respond(path, body)))
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})


class Forgers:
    """One server for many forgers, told apart by the first part of their paths."""

    def __init__(self) -> None:
        self.running: dict[str, Forger] = {}
        self.base = ""

    def new(self) -> Forger:
        place = f"/p{len(self.running)}"
        self.running[place] = Forger(f"{self.base}{place}")
        return self.running[place]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        first, _, rest = scope["path"][1:].partition("/")
        await self.running[f"/{first}"](scope | {"path": f"/{rest}"}, receive, send)


@contextmanager
def in_thread(
    app: Any, listener: socket.socket, *, lifespan: Literal["on", "off"] = "off"
) -> Iterator[None]:
    """An application served in a thread of its own."""
    config = uvicorn.Config(
        app, lifespan=lifespan, log_config=None, timeout_graceful_shutdown=1, access_log=False
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server._serve([listener])), daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield
    server.should_exit = True
    thread.join(10)


def listening() -> tuple[socket.socket, str]:
    listener = socket.create_server(("127.0.0.1", 0))
    return listener, f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def forgers() -> Iterator[Forgers]:
    """They listen in a thread of their own."""
    made = Forgers()
    listener, made.base = listening()
    with in_thread(made, listener):
        yield made


@contextmanager
def sso_web(urls: Urls, folder: Path, **more: Any) -> Iterator[str]:
    """A web process that may ask providers on this machine; its address."""
    listener, url = listening()
    told = {"public_url": url, "data_dir": folder, "files_url": folder.as_uri()}
    settings = sso_settings(urls, **told | more)
    with in_thread(create_app(settings), listener, lifespan="on"):
        yield url


def ec_key(kid: str) -> Key:
    return ECKey.generate_key("P-256", {"kid": kid})


@dataclass
class Desk:
    """Somebody's way in, at the service: go, come back."""

    pool: Pool
    known: Providers
    settings: Settings

    async def go(self, email: str) -> Departure:
        return await begin(
            self.pool, self.known, self.settings, email,
            next_path="/console/inbox", is_kept=False, trail=replace(TRAIL, ip=some_address()),
        )  # fmt: skip

    async def come(
        self, company_id: UUID, departure: Departure, answer: dict[str, str], secret: str = ""
    ) -> Arrival:
        return await finish(
            self.pool, self.known, self.settings, company_id, answer,
            secret or departure.secret, TRAIL,
        )  # fmt: skip
