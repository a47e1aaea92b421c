"""What a mail said that waits to be sent, for tests to follow its link."""

from __future__ import annotations

import json
from uuid import UUID

import psycopg

from neurant.core.settings import Settings
from neurant.core.vault import Vault
from tests.console.running_web import MASTER_KEY


def waiting_mails(database: psycopg.Connection, to: str) -> list[tuple[str, dict[str, str]]]:
    """Template and parameters of each mail to an address, oldest first."""
    rows = database.execute(
        "select id, template, params_encrypted from mails where to_address = %s order by created_at",
        (to,),
    ).fetchall()
    vault = Vault(Settings(master_key=MASTER_KEY))
    return [(name, json.loads(vault.open("mail", UUID(str(i)), bytes(p)))) for i, name, p in rows]


def invitation_token(database: psycopg.Connection, to: str) -> str:
    """The token in the newest link to an address."""
    _, params = waiting_mails(database, to)[-1]
    return params["link"].partition("#")[2]
