"""The configuration: environment variables that start with ``NEURANT_``. It is read only here."""

from __future__ import annotations

import re
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


def dns_server(written: str) -> tuple[str, int]:
    """Parse the address and port of a DNS server; the default port is 53. Raises ValueError.

    Accepted are ``192.0.2.1``, ``192.0.2.1:5353``, ``2001:db8::1`` and ``[2001:db8::1]:5353``.
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
    """Return whether libpq can parse the URL without mistaking password parts for a host or port.

    No error of libpq is shown for an invalid URL, because its message would repeat the password.
    """
    import psycopg  # imported on use, because help and the supervisor do not need it

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
        _ = url.port  # raises ValueError for a port that is no number
    except ValueError:
        return False
    return url.scheme in ("http", "https") and bool(url.hostname)


def _name(info: ValidationInfo) -> str:
    return f"NEURANT_{info.field_name}".upper()


class Settings(BaseSettings):
    """Every setting of a NeurAnt process, with defaults for a small installation.

    Raises SetupError with our own text for an unusable value.
    """

    model_config = SettingsConfigDict(env_prefix="NEURANT_", extra="ignore")

    data_dir: Path = Field(
        default=Path("neurant-data"),
        description="Folder with the database, files and keys of an embedded installation",
    )
    host: str = Field(default="127.0.0.1", description="Address that the web process listens on")
    port: int = Field(default=8000, ge=1, le=65535, description="Port of the web process")
    public_url: str | None = Field(
        default=None,
        description=(
            "URL at which the outside reaches the platform; webhooks are registered under it"
        ),
    )
    allowed_hosts: str = Field(
        default="",
        description=(
            "Host names that the web process accepts in addition to public_url's, separated by "
            "commas; *.example.com for all subdomains, * for any name"
        ),
    )
    trusted_proxies: str = Field(
        default="",
        description=(
            "Addresses or networks of reverse proxies whose X-Forwarded-For is trusted, separated "
            "by commas; empty: no proxy, not even on this machine"
        ),
    )
    app_database_url: SecretStr | None = Field(
        default=None,
        description="PostgreSQL URL of the login neurant_app (web); it may be a pooler's",
    )
    jobs_database_url: SecretStr | None = Field(
        default=None,
        description=(
            "PostgreSQL URL of the login neurant_jobs (worker); it may be a transaction pooler's"
        ),
    )
    admin_database_url: SecretStr | None = Field(
        default=None, description="PostgreSQL URL of the migrating login; for the command line only"
    )
    listen_database_url: SecretStr | None = Field(
        default=None,
        description=(
            "PostgreSQL URL of a direct connection for LISTEN; needed only if the others are "
            "poolers'"
        ),
    )
    replica_database_url: SecretStr | None = Field(
        default=None,
        description=(
            "PostgreSQL URL of a streaming replica, as neurant_app; the API reads from it when it "
            "is as current as the primary"
        ),
    )
    database_pool_size: int = Field(
        default=8, ge=2, le=200, description="Database connections of a web process"
    )
    files_url: str | None = Field(
        default=None,
        description="URL of the document store (file:///..., s3://...); default: data_dir/files",
    )
    master_key: SecretStr | None = Field(
        default=None,
        description=(
            "Base64 of the 32 bytes that wrap each company's key; default: generated in data_dir"
        ),
    )
    audit_key: SecretStr | None = Field(
        default=None,
        description=(
            "Base64 of the 32 bytes that sign the chain heads of audit; default: derived from the "
            "master key"
        ),
    )
    audit_heads_url: str | None = Field(
        default=None,
        description=(
            "URL of the store of signed chain heads (as files_url); default: data_dir/audit-heads"
        ),
    )
    smtp_url: SecretStr | None = Field(
        default=None,
        description=(
            "Mail server: smtp://user:password@host:587 (STARTTLS) or smtps://host:465; ?tls=off "
            "for a server inside the network. Default: mail is written to data_dir/mail"
        ),
    )
    mail_from: str = Field(
        default="NeurAnt <no-reply@localhost>", description="Sender of our mail: Name <address>"
    )
    session_idle_minutes: int = Field(
        default=60,
        ge=5,
        le=30 * 24 * 60,
        description=(
            "Minutes without use after which a session of the staff ends; with «keep me signed "
            "in» it ends after 7 days, or after this time if it is longer"
        ),
    )
    demo: bool = Field(default=False, description="Set by `neurant up --demo`: shows the mailbox")
    telegram_api_url: str = Field(
        default="https://api.telegram.org",
        description="URL of the Bot API server, which may be self-hosted",
    )
    billing: Literal["manual", "at_once", "stripe"] = Field(
        default="manual",
        description=(
            "How paid plans begin: confirmed by the operator (manual), at once without payment "
            "(at_once), or paid through Stripe (stripe)"
        ),
    )
    billing_contact: str | None = Field(
        default=None, description="Mail address for questions about plans that have no price"
    )
    terms_url: str | None = Field(
        default=None,
        description="URL of the terms of service; sign-up links to it and requires consent",
    )
    privacy_url: str | None = Field(
        default=None,
        description="URL of the privacy policy; sign-up links to it and requires consent",
    )
    trial_days: int = Field(
        default=14,
        ge=0,
        le=30,
        description="Days of a company's trial of a paid plan; 0: no trials",
    )
    stripe_secret_key: SecretStr | None = Field(default=None, description="Stripe's secret key")
    stripe_webhook_secret: SecretStr | None = Field(
        default=None,
        description="Secret with which Stripe signs the events for /webhooks/stripe (whsec_)",
    )
    stripe_prices: dict[str, str] = Field(
        default_factory=dict,
        description='Stripe\'s price for each plan, as JSON: {"starter": "price_..."}',
    )
    stripe_api_url: str | None = Field(
        default=None, description="URL of another Stripe API, for tests"
    )
    outbound_private_hosts: str = Field(
        default="",
        description=(
            "Hosts on private networks to which the platform may send requests, also by plain "
            "http: names, addresses or networks (n8n, 10.0.0.7, 10.1.0.0/16), separated by commas"
        ),
    )
    dns_servers: str = Field(
        default="",
        description=(
            "DNS servers for the verification of domains (192.0.2.1, [2001:db8::1]:5353), "
            "separated by commas; empty: those of this machine"
        ),
    )
    supabase_url: str | None = Field(
        default=None,
        description="URL of a Supabase project whose tokens the API accepts (https://...)",
    )
    supabase_jwks_url: str | None = Field(
        default=None, description="URL of the project's public keys; default: below supabase_url"
    )
    supabase_issuer: str | None = Field(
        default=None,
        description="The iss claim of the project's tokens; default: supabase_url/auth/v1",
    )
    supabase_audience: str = Field(
        default="authenticated", description="The aud claim of the project's tokens"
    )
    supabase_jwt_secret: SecretStr | None = Field(
        default=None,
        min_length=32,
        description="Shared secret of a project that still signs with HS256",
    )
    max_webhook_bytes: int = Field(
        default=1 * MEGABYTE, description="Maximum size of a webhook body, in bytes"
    )
    max_document_bytes: int = Field(
        default=25 * MEGABYTE, description="Maximum size of an uploaded document, in bytes"
    )
    worker_concurrency: int = Field(
        default=4,
        ge=1,
        le=64,
        description="Replies of one company that a worker makes at the same time; all companies"
        " together get twice as many",
    )
    log_format: Literal["console", "json"] = Field(
        default="console", description="Format of the log lines"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe level that is logged"
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
        """Return whether sign-up requires consent to a document."""
        return bool(self.terms_url or self.privacy_url)

    def supabase_issuer_url(self) -> str | None:
        """Return the issuer of the Supabase project's tokens, None if unconfigured."""
        base = f"{self.supabase_url.rstrip('/')}/auth/v1" if self.supabase_url else None
        return self.supabase_issuer or base

    def supabase_jwks(self) -> str | None:
        """Return the URL of the Supabase project's public keys; None without an issuer."""
        issuer = self.supabase_issuer_url()
        if issuer is None:
            return None
        return self.supabase_jwks_url or f"{issuer.rstrip('/')}/.well-known/jwks.json"


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Return the settings of this process, which are read once."""
    return Settings()
