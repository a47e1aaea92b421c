"""Two companies whose Telegram bots are connected to a peer, and a web process that takes updates."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from aiogram.types import Update

from neurant.cli.telegram import connect
from neurant.core.db.pool import fetch_value
from neurant.core.db.tenancy import tenant
from neurant.core.settings import Settings
from neurant.installation.embedded import Urls
from tests.companies import Company, make_company
from tests.support.platform import Web, free_port, rows, web_parts
from tests.support.telegram_peer import TelegramPeer


@dataclass
class Stage:
    """Two companies whose bots are connected to the peer, and a web process."""

    web: Web
    peer: TelegramPeer
    urls: Urls
    acme: Company
    rival: Company
    acme_token: str
    rival_token: str

    async def asks(self, token: str, user: int, words: str) -> Update:
        update = self.peer.update(words, user)
        await self.peer.push(token, update)
        return update

    async def staff(self, query: str, *params: object, company: Company | None = None) -> object:
        principal = (company or self.acme).staff("operador")
        async with tenant(self.web.pool, principal) as connection:
            return await fetch_value(connection, query, params)

    async def operator_says(self, conversation: UUID, words: str) -> None:
        async with tenant(self.web.pool, self.acme.staff("operador")) as connection:
            await connection.execute(
                "insert into messages (company_id, conversation_id, content) values (%s, %s, %s)",
                (self.acme.id, conversation, words),
            )

    async def rows(self, query: str, *params: object) -> list[tuple[Any, ...]]:
        return await rows(self.urls.admin, query, params)


@pytest.fixture
async def stage(
    own: Urls, peer: TelegramPeer, settings: Callable[..., Settings]
) -> AsyncIterator[Stage]:
    acme, rival = make_company(own.admin, "acme"), make_company(own.admin, "rival")
    chosen = settings(port=free_port(), telegram_api_url=peer.url)
    async with web_parts(chosen) as web:
        tokens = []
        for company in (acme, rival):
            token = peer.add_bot(f"{company.slug}_bot")
            name = await connect(chosen, company.bot_name, token, company.slug)
            assert name == f"@{company.slug}_bot"
            tokens.append(token)
        yield Stage(web, peer, own, acme, rival, *tokens)
