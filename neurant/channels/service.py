"""Channels as people and programs see them."""

from __future__ import annotations

from neurant.channels.queries import AccountRow
from neurant.channels.schemas import ChannelOut
from neurant.core.settings import Settings


def channel_out(settings: Settings, row: AccountRow) -> ChannelOut:
    """Return the channel as the API and the pages show it."""
    base = settings.base_url()
    is_web = row.channel == "web"
    return ChannelOut(
        **row.model_dump(exclude={"routing_id"}),
        chat_url=f"{base}/chat/{row.routing_id}" if is_web else None,
        embed=(
            f'<script src="{base}/widget.js" data-bot="{row.routing_id}" async></script>'
            if is_web
            else None
        ),
    )
