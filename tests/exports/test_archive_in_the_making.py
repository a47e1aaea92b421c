"""How an archive is made beside other work, and what becomes of one that is cut short."""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import time
from typing import IO, cast
from zipfile import ZIP_DEFLATED

import pytest

from neurant.core.clock import utc_now
from neurant.exports import service

pytestmark = pytest.mark.anyio
MEGABYTE = 1024 * 1024


def made_into(archive: service._Archive) -> service._Zip:
    return service._Zip(cast(IO[bytes], archive.sink), "w", ZIP_DEFLATED)


async def test_one_that_is_cut_short_is_forgotten_without_a_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    complaints = list[object]()
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)

    async def make() -> None:
        archive = service._Archive(utc_now())
        with made_into(archive) as made:
            entry = made.open(archive.entry("tables/users.ndjson"), "w", force_zip64=True)
            await service._write(archive, entry, b"a row" * 1000)
            await asyncio.Event().wait()

    making = asyncio.create_task(make())
    await asyncio.sleep(0)
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making
    del making
    gc.collect()
    assert complaints == []


async def test_others_have_their_turn_while_a_large_document_is_compressed() -> None:
    text = random.Random(1).randbytes(4 * MEGABYTE).hex().encode()
    archive = service._Archive(utc_now())
    turns, done = 0, False

    async def others() -> None:
        nonlocal turns
        while not done:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    with made_into(archive) as made, made.open(archive.entry("t"), "w") as entry:
        begun = time.thread_time()
        await service._write(archive, entry, text)
        done = True
    await beside
    assert time.thread_time() - begun > 0.05, "too small a text to tell"
    assert turns >= 20
