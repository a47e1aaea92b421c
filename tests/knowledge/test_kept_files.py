"""A file is stored before its row, and forgotten where the row is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from neurant.core.db.pool import make_pool
from neurant.core.errors import BadInputError, ConflictError, ForbiddenError
from neurant.core.ids import uuid7
from neurant.core.object_store import open_store
from neurant.installation.embedded import Urls
from neurant.knowledge.service import store_document
from tests.companies import make_company
from tests.console.running_web import web_settings
from tests.support.platform import eventually

pytestmark = pytest.mark.anyio


async def test_a_refused_document_leaves_no_file(urls: Urls, tmp_path: Path) -> None:
    acme, settings = make_company(urls.admin, "acme"), web_settings(urls.app, tmp_path)
    store, folder = open_store(settings), tmp_path / "files" / str(acme.id)

    def names() -> set[str]:
        return {path.name for path in folder.iterdir()}

    async with make_pool(urls.app, size=2, pooled=False) as pool:

        async def take(role: str, bot: object, data: bytes) -> str:
            owner = acme.staff(role)
            return str(await store_document(pool, store, settings, owner, bot, "a.txt", data))

        kept = await take("owner", acme.bot_id, b"Abrimos los lunes.")
        assert names() == {kept}
        for role, bot, data, refusal in (
            ("owner", acme.bot_id, b"Abrimos los lunes.", ConflictError),
            ("owner", uuid7(), b"Cerramos los martes.", BadInputError),
            ("operador", acme.bot_id, b"Cerramos a las ocho.", ForbiddenError),
        ):
            with pytest.raises(refusal):
                await take(role, bot, data)

        async def only_the_first_is_left() -> bool:
            return names() == {kept}

        await eventually(only_the_first_is_left)
