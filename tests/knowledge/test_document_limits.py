"""A document that the plan has no room for: refused at the door by its size, and by its text when it is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from neurant.core.db.pool import make_pool
from neurant.core.errors import LimitReachedError
from neurant.core.object_store import open_store
from neurant.core.settings import Settings
from neurant.installation.embedded import Urls
from neurant.knowledge.jobs import process_document
from neurant.knowledge.service import document_error, store_document
from tests.companies import Company, make_company
from tests.plans.sql_as_role import counters, limit, query_as_admin

STATE = (
    "select d.processing_status::text, d.processing_error, d.character_count,"
    " (select count(*) from document_chunks c where c.document_id = d.id)"
    " from documents d where d.id = %s"
)
TEXT = "El envío cuesta cinco euros y tarda dos días hábiles en llegar a casa. "


@pytest.mark.anyio
async def test_a_document_with_too_much_text_fails_whole_and_says_why(
    urls: Urls, folder: Path
) -> None:
    acme, rival = make_company(urls.admin, "acme"), make_company(urls.admin, "rival")
    limit(urls, acme, max_document_characters=2_000)
    settings = Settings(data_dir=folder)
    store = open_store(settings)
    async with (
        make_pool(urls.app, size=1, pooled=False) as app,
        make_pool(urls.jobs, size=2, pooled=False) as jobs,
    ):

        async def read(company: Company, data: str, name: str = "a.txt") -> object:
            document = await store_document(
                app, store, settings, company.staff("owner"), company.bot_id, name, data.encode()
            )
            await process_document(jobs, store, company.id, document)
            return document

        small = await read(acme, TEXT * 20)
        large = await read(acme, TEXT * 40, "b.txt")
        [[status, error, characters, chunks]] = query_as_admin(urls, STATE, large)
        assert (status, characters, chunks) == ("failed", None, 0)
        assert json.loads(error)["code"] == "limit.next.max_document_characters"
        told = document_error(error, "es")
        assert "2\N{NO-BREAK SPACE}000" in told
        assert "plan Starter" in told
        assert "your plan allows" in document_error(error, "en")
        [[status, _, characters, chunks]] = query_as_admin(urls, STATE, small)
        assert status == "completed"
        assert chunks > 0
        assert counters(urls, acme)[3] == characters <= 2_000
        other = await read(rival, TEXT * 40)
        assert query_as_admin(urls, STATE, other)[0][0] == "completed"
        # More room, and it is read again.
        limit(urls, acme, max_document_characters=5_000)
        await process_document(jobs, store, acme.id, large)
        [[status, _, characters, chunks]] = query_as_admin(urls, STATE, large)
        assert (status, chunks > 0) == ("completed", True)


@pytest.mark.anyio
async def test_a_file_that_the_plan_has_no_room_for_is_not_kept(urls: Urls, folder: Path) -> None:
    acme = make_company(urls.admin, "acme")
    limit(urls, acme, max_storage_mb=0)
    settings = Settings(data_dir=folder)
    store = open_store(settings)
    async with make_pool(urls.app, size=1, pooled=False) as app:
        with pytest.raises(LimitReachedError) as refused:
            await store_document(
                app, store, settings, acme.staff("owner"), acme.bot_id, "a.txt", b"Hola a todos."
            )
    assert refused.value.params == {"used": "0 MB", "allowed": "0 MB", "plan": "Starter"}
    assert query_as_admin(urls, "select * from documents where company_id = %s", acme.id) == []
    assert [path for path in (folder / "files").rglob("*") if path.is_file()] == []
