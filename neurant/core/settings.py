"""The settings of a process, read from environment variables that start with ``NEURANT_``."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from neurant.core.errors import SetupError

MEGABYTE = 1024 * 1024
_MAIL_ADDRESS = re.compile(r"[^@\s<>,;?&]+@[^@\s<>,;?&]+")
_SOLD = {"starter", "professional", "business", "enterprise"}
_PLANS = ("free", "starter", "professional", "business", "enterprise")


def dns_server(written: str) -> tuple[str, int]:
    """Return the address and the port (53 by default) of a DNS server. Raises ValueError.

    Accepted forms: ``192.0.2.1``, ``192.0.2.1:5353``, ``2001:db8::1`` and ``[2001:db8::1]:5353``.
    """
    plain = written.strip()
    if plain.startswith("["):
        host, _, port = plain[1:].partition("]")
        port = port.removeprefix(":")
    elif plain.count(":") == 1:
        host, _, port = plain.partition(":")
    else:
        host, port = plain, ""
    number = int(port) if port else 53
    if not 0 < number < 65536:
        raise ValueError("a port is 1 to 65535")
    return str(ip_address(host)), number


def is_database_url(url: str) -> bool:
    """Return whether libpq can read ``url`` without reading a part of the password as host or port.

    An unescaped sign in a password, such as ``@``, causes that. Our own text reports a wrong
    address, because libpq's text would repeat the password.
    """
    import psycopg  # imported here, because the help and the supervisor do not need it

    if not url.startswith(("postgresql://", "postgres://")):
        return False
    try:
        read = psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return False
    hosts = str(read.get("host") or "").split(",")
    ports = [port for port in str(read.get("port") or "").split(",") if port]
    return all(host.startswith(("/", "@")) or "@" not in host for host in hosts) and all(
        port.isdecimal() and 0 < int(port) < 65536 for port in ports
    )


def _is_web_address(value: str) -> bool:
    try:
        url = urlsplit(value)
        _ = url.port  # raises ValueError for a port that is not a number
    except ValueError:
        return False
    return url.scheme in ("http", "https") and bool(url.hostname)


def _name(info: ValidationInfo) -> str:
    return f"NEURANT_{info.field_name}".upper()


class Settings(BaseSettings):
    """The settings of a NeurAnt process, with defaults for a small, self-contained installation.

    Raises SetupError with one of our own texts for a value that no process could use.
    """

    model_config = SettingsConfigDict(env_prefix="NEURANT_", extra="ignore")

    data_dir: Path = Field(
        default=Path("neurant-data"),
        description="Folder with the database, the files and the keys of an embedded installation.",
    )
    host: str = Field(
        default="127.0.0.1",
        description="IP address or name on which the web process listens. By default only this"
        " machine can reach it.",
    )
    port: int = Field(
        default=8000,
        ge=1,
        le=65535,
        description="TCP port of the web process.",
    )
    public_url: str | None = Field(
        default=None,
        description="Address under which browsers and channels reach the web process, for example"
        " https://bots.example.com; webhooks are registered under it. By default http:// with"
        " host and port.",
    )
    allowed_hosts: str = Field(
        default="",
        description="Host names, separated by commas, to which the web process answers in"
        " addition to the name in public_url. *.example.com allows every name below example.com,"
        " * every name.",
    )
    trusted_proxies: str = Field(
        default="",
        description="Addresses or networks of reverse proxies, separated by commas, whose"
        " X-Forwarded-For header is trusted; * trusts every proxy. By default no proxy is"
        " trusted, not even one on this machine.",
    )
    app_database_url: SecretStr | None = Field(
        default=None,
        description="Address (postgresql://) of the database for the web process, with the login"
        " neurant_app. A connection pooler may stand in between.",
    )
    jobs_database_url: SecretStr | None = Field(
        default=None,
        description="Address (postgresql://) of the database for the worker, with the login"
        " neurant_jobs. A pooler in transaction mode may stand in between.",
    )
    admin_database_url: SecretStr | None = Field(
        default=None,
        description="Address (postgresql://) of the database for an administrator's login that"
        " runs migrations. Only the command line uses it.",
    )
    listen_database_url: SecretStr | None = Field(
        default=None,
        description="Address (postgresql://) of a direct connection for LISTEN. Needed only where"
        " the other addresses lead to a pooler.",
    )
    replica_database_url: SecretStr | None = Field(
        default=None,
        description="Address (postgresql://) of a streaming replica, with the login neurant_app."
        " The API reads there when the replica is as recent as the primary. By default the"
        " primary serves every read.",
    )
    database_pool_size: int = Field(
        default=8,
        ge=2,
        le=200,
        description="Largest number of connections in the main database pool of a process.",
    )
    files_url: str | None = Field(
        default=None,
        description="Place where documents are stored: file:///folder or s3://bucket/folder. By"
        " default data_dir/files.",
    )
    master_key: SecretStr | None = Field(
        default=None,
        description="Base64 of the 32 bytes that encrypt the key of each company. An embedded"
        " installation creates the key in data_dir by default.",
    )
    audit_key: SecretStr | None = Field(
        default=None,
        description="Base64 of the 32 bytes that sign the chain heads of the audit log. By"
        " default derived from the master key.",
    )
    audit_heads_url: str | None = Field(
        default=None,
        description="Place where the signed chain heads of the audit log are stored, written like"
        " files_url. By default data_dir/audit-heads.",
    )
    smtp_url: SecretStr | None = Field(
        default=None,
        description="Mail server: smtp://user:password@host:587 (with STARTTLS) or"
        " smtps://host:465; append ?tls=off for a server inside the network. By default mail is"
        " written to data_dir/mail.",
    )
    mail_from: str = Field(
        default="NeurAnt <no-reply@localhost>",
        description="Sender of all mail, in the form Name <address>.",
    )
    session_idle_minutes: int = Field(
        default=60,
        ge=5,
        le=30 * 24 * 60,
        description="Minutes without a request after which a session of the staff ends. A session"
        " with “keep me signed in” ends after 7 days, or after this time if it is longer.",
    )
    demo: bool = Field(
        default=False,
        description="Enables the page with the demo mailbox; `neurant up --demo` sets it. Off by"
        " default.",
    )
    telegram_api_url: str = Field(
        default="https://api.telegram.org",
        description="Address of the Telegram Bot API server, which may be self-hosted.",
    )
    billing: Literal["manual", "at_once", "stripe"] = Field(
        default="manual",
        description="Way in which a paid plan begins: the operator confirms it (manual), it"
        " begins without confirmation (at_once), or it is paid through Stripe (stripe).",
    )
    billing_contact: str | None = Field(
        default=None,
        description="Mail address that the plan page shows for plans without a price. By default"
        " the page names no address.",
    )
    terms_url: str | None = Field(
        default=None,
        description="Address of the terms of service. If it is set, sign-up links to the page and"
        " requires acceptance.",
    )
    privacy_url: str | None = Field(
        default=None,
        description="Address of the privacy policy. If it is set, sign-up links to the page and"
        " requires acceptance.",
    )
    trial_days: int = Field(
        default=14,
        ge=0,
        le=30,
        description="Length of the trial of a paid plan in days; 0 offers no trials.",
    )
    new_company_plan: str = Field(
        default="free",
        description="Plan of a new company: free, starter, professional, business or enterprise."
        " Anything but free begins at once, unpaid and without a trial, for every company that is"
        " created.",
    )
    stripe_secret_key: SecretStr | None = Field(
        default=None,
        description="Secret key of the Stripe account. Required if billing is stripe.",
    )
    stripe_webhook_secret: SecretStr | None = Field(
        default=None,
        description="Secret (whsec_...) with which Stripe signs the events that it sends to"
        " /webhooks/stripe. Required if billing is stripe.",
    )
    stripe_prices: dict[str, str] = Field(
        default_factory=dict,
        description='Stripe price of each plan as a JSON object: {"starter": "price_..."}.',
    )
    stripe_api_url: str | None = Field(
        default=None,
        description="Address of another server that speaks the Stripe API, for tests. By default"
        " Stripe's own.",
    )
    outbound_private_hosts: str = Field(
        default="",
        description="Hosts on private networks to which the platform may send requests, also over"
        " plain http: names, addresses or networks (n8n, 10.0.0.7, 10.1.0.0/16), separated by"
        " commas. By default none.",
    )
    language_model_url: str | None = Field(
        default=None,
        description="Address of an OpenAI-compatible endpoint (https://.../v1) whose language model"
        " writes the answers of companies without a model of their own. It may be on a private"
        " network. By default such companies have no language model.",
    )
    language_model_name: str | None = Field(
        default=None,
        description="Name of the model at language_model_url. Required with it.",
    )
    language_model_api_key: SecretStr | None = Field(
        default=None,
        description="API key for language_model_url. By default none is sent.",
    )
    language_model_timeout_seconds: int = Field(
        default=10,
        ge=1,
        le=15,
        description="Longest time for one answer of the model with all retries, in seconds.",
    )
    language_model_max_tokens: int = Field(
        default=500,
        ge=50,
        le=4000,
        description="Maximum length of one answer of the model in tokens.",
    )
    language_model_monthly_tokens: int | None = Field(
        default=None,
        ge=0,
        description="Tokens of the platform's model that each company may use in a calendar month,"
        " input and output together. By default no limit.",
    )
    language_model_monthly_cost: Decimal | None = Field(
        default=None,
        ge=0,
        description="Cost of the platform's model that each company may cause in a calendar month,"
        " in language_model_currency. By default no limit.",
    )
    language_model_input_price: Decimal = Field(
        default=Decimal(0),
        ge=0,
        description="Price of a million input tokens of the platform's model.",
    )
    language_model_output_price: Decimal = Field(
        default=Decimal(0),
        ge=0,
        description="Price of a million output tokens of the platform's model.",
    )
    language_model_currency: str = Field(
        default="USD",
        pattern="^[A-Z]{3}$",
        description="Currency of these prices (ISO 4217).",
    )
    dns_servers: str = Field(
        default="",
        description="DNS servers that are queried for the proof of a domain (192.0.2.1,"
        " [2001:db8::1]:5353), separated by commas. By default the servers of this machine.",
    )
    supabase_url: str | None = Field(
        default=None,
        description="Address of a Supabase project (https://...) whose tokens the API accepts. By"
        " default the API accepts no such tokens.",
    )
    supabase_jwks_url: str | None = Field(
        default=None,
        description="Address of the project's public keys (JWKS). By default derived from the"
        " issuer.",
    )
    supabase_issuer: str | None = Field(
        default=None,
        description="Expected iss claim of the project's tokens. By default supabase_url followed"
        " by /auth/v1.",
    )
    supabase_audience: str = Field(
        default="authenticated",
        description="Expected aud claim of the project's tokens.",
    )
    supabase_jwt_secret: SecretStr | None = Field(
        default=None,
        min_length=32,
        description="Shared secret of at least 32 characters, only for a project that still signs"
        " its tokens with HS256.",
    )
    max_webhook_bytes: int = Field(
        default=1 * MEGABYTE,
        description="Largest accepted body of a webhook in bytes; 1 MiB by default.",
    )
    max_document_bytes: int = Field(
        default=25 * MEGABYTE,
        description="Largest accepted document in bytes; 25 MiB by default.",
    )
    worker_concurrency: int = Field(
        default=4,
        ge=1,
        le=64,
        description="Number of replies that one worker makes at the same time for one company;"
        " for all companies together it makes twice as many.",
    )
    log_format: Literal["console", "json"] = Field(
        default="console",
        description="Format of the logs: console for people, json for programs.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="Lowest level of log events that are written.",
    )

    @field_validator("outbound_private_hosts")
    @classmethod
    def _are_private_hosts(cls, value: str) -> str:
        from neurant.core.private_hosts import PrivateHosts

        PrivateHosts.parse(value)
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _addresses(cls, value: str) -> str:
        for one in (part.strip() for part in value.split(",")):
            if one not in ("", "*"):
                try:
                    ip_network(one)
                except ValueError:
                    raise SetupError("setup.bad_trusted_proxies", value=one) from None
        return value

    @field_validator("dns_servers")
    @classmethod
    def _name_servers(cls, value: str) -> str:
        for one in value.split(",") if value else ():
            try:
                dns_server(one)
            except ValueError:
                raise SetupError("setup.bad_dns_servers", value=one.strip()) from None
        return value

    @field_validator("stripe_prices")
    @classmethod
    def _sold(cls, value: dict[str, str]) -> dict[str, str]:
        if unknown := sorted(set(value) - _SOLD):
            raise SetupError(
                "setup.bad_stripe_prices", plans=", ".join(unknown), sold=", ".join(sorted(_SOLD))
            )
        return value

    @field_validator("new_company_plan")
    @classmethod
    def _is_plan(cls, value: str) -> str:
        if value not in _PLANS:
            raise SetupError("setup.bad_new_company_plan", value=value, plans=", ".join(_PLANS))
        return value

    @field_validator("billing_contact")
    @classmethod
    def _mail_address(cls, value: str | None) -> str | None:
        if value and not _MAIL_ADDRESS.fullmatch(value):
            raise SetupError("setup.bad_billing_contact")
        return value or None

    @field_validator(
        "public_url",
        "supabase_url",
        "supabase_jwks_url",
        "supabase_issuer",
        "terms_url",
        "privacy_url",
        "language_model_url",
    )
    @classmethod
    def _web_address(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value and not _is_web_address(value):
            raise SetupError("setup.bad_web_address", setting=_name(info))
        return value

    @field_validator(
        "app_database_url",
        "jobs_database_url",
        "admin_database_url",
        "listen_database_url",
        "replica_database_url",
    )
    @classmethod
    def _database_address(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value and not is_database_url(value.get_secret_value()):
            raise SetupError("setup.bad_database_url", setting=_name(info))
        return value or None

    def base_url(self) -> str:
        """Return the address that people and channels use, without a trailing slash."""
        return (self.public_url or f"http://{self.host}:{self.port}").rstrip("/")

    def has_terms(self) -> bool:
        """Return whether a person who signs up must accept terms or a privacy policy."""
        return bool(self.terms_url or self.privacy_url)

    def supabase_issuer_url(self) -> str | None:
        """Return the issuer of the Supabase project's tokens; None without a project."""
        base = f"{self.supabase_url.rstrip('/')}/auth/v1" if self.supabase_url else None
        return self.supabase_issuer or base

    def supabase_jwks(self) -> str | None:
        """Return the address of the Supabase project's public keys; None without an issuer."""
        issuer = self.supabase_issuer_url()
        if issuer is None:
            return None
        return self.supabase_jwks_url or f"{issuer.rstrip('/')}/.well-known/jwks.json"


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Return the settings of this process, which are read once."""
    return Settings()
