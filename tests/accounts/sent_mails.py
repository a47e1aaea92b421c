"""What our mail says, read where it waits; and people who sign up."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import httpx
import psycopg

from neurant.core.settings import Settings
from neurant.core.vault import Vault

PASSWORD = "un-paraguas-amarillo"


def settings_of_tests() -> Settings:
    """With the key of the web process under test."""
    from tests.console.running_web import (
        MASTER_KEY,  # a plugin: pytest must be the first to import it
    )

    return Settings(master_key=MASTER_KEY)


@dataclass(frozen=True)
class SentMail:
    template: str
    language: str
    params: dict[str, str]

    @property
    def link(self) -> str:
        """The token in the letter's link."""
        return parse_qs(urlsplit(self.params["link"]).query)["link"][0]


def sent_mails(database: psycopg.Connection, to: str) -> list[SentMail]:
    """The letters to an address that wait, oldest first."""
    rows = database.execute(
        "select id, template, language, params_encrypted from mails where to_address = %s"
        " and params_encrypted is not null order by created_at, id",
        (to,),
    ).fetchall()
    vault = Vault(settings_of_tests())
    return [
        SentMail(template, language, json.loads(vault.open("mail", mail, sealed)))
        for mail, template, language, sealed in rows
    ]


def new_address(name: str = "ana") -> str:
    return f"{name}-{secrets.token_hex(6)}@acme.example"


def begin_sign_up(client: httpx.Client, email: str, password: str = PASSWORD) -> httpx.Response:
    body = {
        "first_name": "Ana",
        "last_name": "Ruiz",
        "email": email,
        "password": password,
        "accept_terms": True,
    }
    return client.post("/v1/accounts", json=body)


def advance_one_hour(database: psycopg.Connection) -> None:
    """Every address may be written to again."""
    database.execute("update account_brakes set mailed_at = '{}' where mailed_at <> '{}'")


def bearer(answer: httpx.Response) -> dict[str, str]:
    assert answer.status_code in (200, 201), answer.text
    told = answer.json()
    return {"Authorization": f"Bearer {told.get('session', told)['token']}"}


def sign_in(client: httpx.Client, email: str, password: str = PASSWORD, **more: str) -> dict[str, str]:  # fmt: skip
    return bearer(client.post("/v1/session", json={"email": email, "password": password, **more}))
