"""The tests' Bot API server in place of Telegram (see ``product.py`` for why it is here)."""

from __future__ import annotations

from tests.support.telegram_peer import SECRET_HEADER, TelegramPeer, telegram_peer

__all__ = ["SECRET_HEADER", "TelegramPeer", "telegram_peer"]
