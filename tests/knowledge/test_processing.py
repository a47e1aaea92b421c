"""A document from upload to chunks, by the worker's own function."""

from __future__ import annotations

from pathlib import Path

import pytest
from fpdf import FPDF

from neurant.core.db.pool import fetch_value, make_pool
from neurant.core.db.tenancy import tenant
from neurant.core.object_store import open_store
from neurant.core.settings import Settings
from neurant.installation.embedded import Urls
from neurant.knowledge.jobs import process_document
from neurant.knowledge.service import store_document, unread_pages
from tests.companies import make_company
from tests.knowledge import bombs

UNREAD = "select unread_pages from documents where id = %s"


def pdf(*pages: str) -> bytes:
    made = FPDF()
    made.set_font("Helvetica", size=12)
    for words in pages:
        made.add_page()
        if words:
            made.cell(text=words)
    return bytes(made.output())


@pytest.mark.anyio
async def test_pages_that_cannot_be_read_are_reported_and_the_rest_is_known(
    urls: Urls, folder: Path
) -> None:
    acme, rival = make_company(urls.admin, "acme"), make_company(urls.admin, "rival")
    settings = Settings(data_dir=folder)
    store = open_store(settings)
    data = pdf("Abrimos a las ocho de la mañana.", "", "", "El envío cuesta cinco euros.")
    async with (
        make_pool(urls.app, size=1, pooled=False) as app,
        make_pool(urls.jobs, size=2, pooled=False) as jobs,
    ):
        owner = acme.staff("owner")
        document = await store_document(app, store, settings, owner, acme.bot_id, "a.pdf", data)
        await process_document(jobs, store, acme.id, document)
        async with tenant(app, owner) as connection:
            assert await fetch_value(connection, UNREAD, (document,)) == [2, 3]
        async with tenant(app, rival.staff("owner")) as connection:
            assert await fetch_value(connection, UNREAD, (document,)) is None


def test_runs_of_pages_are_reported_as_ranges() -> None:
    assert unread_pages([], "es") == ""
    assert unread_pages([3], "es").startswith("La página 3 no tiene texto legible")
    assert unread_pages([2, 5, 6, 7, 9], "en").startswith("Pages 2, 5-7, 9 have no readable text")


@pytest.mark.anyio
async def test_a_heading_that_is_longer_than_the_database_holds_does_not_stop_the_document(
    urls: Urls, folder: Path
) -> None:
    acme = make_company(urls.admin, "acme")
    settings = Settings(data_dir=folder)
    store = open_store(settings)
    heading = (
        f"<w:p><w:pPr><w:pStyle w:val='H'/></w:pPr><w:r><w:t>{'Precios ' * 900}</w:t></w:r></w:p>"
    )
    styles = f"<w:styles {bombs._W}><w:style w:styleId='H'><w:name w:val='heading 1'/></w:style></w:styles>"
    title = f"<p xmlns:dc='http://purl.org/dc/elements/1.1/'><dc:title>{'t' * 900}</dc:title></p>"
    data = bombs.docx(
        bombs.document(heading + bombs.words("La cita vale cinco. " * 60)),
        **{"word/styles.xml": styles.encode(), "docProps/core.xml": title.encode()},
    )
    state = "select processing_status::text, char_length(title) from documents where id = %s"
    async with (
        make_pool(urls.app, size=1, pooled=False) as app,
        make_pool(urls.jobs, size=2, pooled=False) as jobs,
    ):
        owner = acme.staff("owner")
        document = await store_document(app, store, settings, owner, acme.bot_id, "a.docx", data)
        await process_document(jobs, store, acme.id, document)
        async with tenant(app, owner) as connection:
            row = await (await connection.execute(state, (document,))).fetchone()
    assert row == ("completed", 500)
