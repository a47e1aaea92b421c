"""``neurant archive`` and ``neurant company erase`` as a person types them."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest

from neurant.installation.embedded import Urls
from tests.companies import Company, make_company
from tests.retention.old_conversations import ConversationShape, make_conversation
from tests.test_cli import SPANISH, fails_with_one_line, neurant


@pytest.fixture
def two(urls: Urls) -> tuple[Company, Company]:
    return make_company(urls.admin, "acme"), make_company(urls.admin, "rival")


@pytest.fixture
def place(urls: Urls, folder: Path) -> dict[str, str]:
    return {
        "NEURANT_DATA_DIR": str(folder), "NEURANT_ADMIN_DATABASE_URL": urls.admin,
        "NEURANT_APP_DATABASE_URL": urls.app, "NEURANT_JOBS_DATABASE_URL": urls.jobs,
    }  # fmt: skip


def here(urls: Urls, table: str, row: UUID) -> bool:
    with psycopg.connect(urls.admin) as db:
        return db.execute(f"select from {table} where id = %s", (row,)).fetchone() is not None


def test_a_company_is_erased_only_with_yes_and_only_thirty_days_after_it_closed(
    urls: Urls, two: tuple[Company, Company], place: dict[str, str]
) -> None:
    acme, rival = two
    erase = ("company", "erase", acme.slug)
    assert "add --yes" in fails_with_one_line(neurant(*erase, **place))
    assert "agrega --yes" in fails_with_one_line(neurant(*erase, **{**place, **SPANISH}))
    open_ = fails_with_one_line(neurant(*erase, "--yes", **place))
    assert "has not been closed for 30 days" in open_
    with psycopg.connect(urls.admin) as db:
        db.execute(
            "update companies set subscription_status = 'cancelled' where id = %s", (acme.id,)
        )
    closed = fails_with_one_line(neurant(*erase, "--yes", **{**place, **SPANISH}))
    assert "no lleva 30 días cerrada" in closed
    assert here(urls, "companies", acme.id)
    with psycopg.connect(urls.admin) as db:
        db.execute(
            "update companies set subscription_ends_at = now() - interval '31 days' where id = %s",
            (acme.id,),
        )
    done = neurant(*erase, "--yes", **place)
    assert (done.returncode, done.stderr) == (0, "")
    assert acme.slug in done.stdout
    assert not here(urls, "companies", acme.id)
    assert here(urls, "companies", rival.id)
    unknown = fails_with_one_line(neurant(*erase, "--yes", **place))
    assert acme.slug in unknown


def test_what_is_old_is_archived_listed_and_brought_back(
    urls: Urls, two: tuple[Company, Company], place: dict[str, str]
) -> None:
    acme, rival = two
    with psycopg.connect(urls.admin) as db:
        mine, theirs = (
            make_conversation(db, company, ConversationShape(name="Ana")) for company in two
        )
    ran = neurant("archive", "run", **place)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert here(urls, "conversations_archived", mine)
    shown = neurant("archive", "list", "--company", acme.slug, **place)
    assert str(mine) in shown.stdout
    assert "Ana" in shown.stdout
    assert str(theirs) not in shown.stdout
    back = neurant("archive", "restore", mine, "--company", acme.slug, **place)
    assert (back.returncode, back.stderr) == (0, "")
    assert here(urls, "conversations", mine)
    again = neurant("archive", "list", "--company", acme.slug, **place)
    assert again.returncode == 0
    assert str(mine) not in again.stdout
    for wanted in (theirs, uuid4()):
        restore = ("archive", "restore", wanted, "--company", acme.slug)
        assert "in the archive" in fails_with_one_line(neurant(*restore, **place))
        spanish = neurant(*restore, **{**place, **SPANISH})
        assert "en el archivo" in fails_with_one_line(spanish)
    assert here(urls, "conversations_archived", theirs)
    assert rival.slug != acme.slug
