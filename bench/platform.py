"""The demo platform with the tests' Bot API server in place of Telegram.

A full run starts a platform for each measurement. A tiny run has one for all measurements.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache

from bench.peer import TelegramPeer, telegram_peer
from bench.sizes import TINY
from bench.support import Running, demo, empty_folder

_shared = ExitStack()


@dataclass(frozen=True)
class Platform:
    """A running demo platform and the Bot API server that its Telegram bots talk to."""

    running: Running
    peer: TelegramPeer

    @property
    def url(self) -> str:
        return self.running.url


@contextmanager
def platform() -> Iterator[Platform]:
    """Run a demo platform, until the block ends."""
    if TINY:
        yield _shared_platform()
    else:
        with ExitStack() as stack:
            yield _start(stack)


def close_shared() -> None:
    """Stop the platform of a tiny run."""
    _shared.close()


@cache
def _shared_platform() -> Platform:
    return _start(_shared)


def _start(stack: ExitStack) -> Platform:
    peer = stack.enter_context(telegram_peer())
    folder = stack.enter_context(empty_folder())
    settings = {"NEURANT_TELEGRAM_API_URL": peer.url}
    return Platform(stack.enter_context(demo(folder, settings)), peer)
