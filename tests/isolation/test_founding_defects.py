"""D01-D44: what is wrong with the founding design as drafted, shown on it, and shown to be absent here.

``bench/founding_design.sql`` is that design with the smallest edits that load. Each scenario runs on
both schemas in the same test; its file in ``founding/`` says what comes of it there and here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager

import psycopg
import pytest
from psycopg import sql

from neurant.installation.embedded import RunningServer, Urls
from tests.isolation.founding import counting, history, isolation, people, values  # noqa: F401
from tests.isolation.founding.fixtures import FoundingFixture, fixture, load_draft
from tests.isolation.founding.registry import DEFECTS, Defect

EVERY = [f"D{number:02}" for number in range(1, 45)]


@pytest.fixture(scope="module")
def draft_url(server: RunningServer) -> Iterator[str]:
    """A database with the founding design as drafted."""
    name = "founding_design"
    with psycopg.connect(server.urls.admin, autocommit=True) as db:
        db.execute(sql.SQL("create database {} template template0").format(sql.Identifier(name)))
    url = server.urls.admin.replace("/neurant?", f"/{name}?")
    load_draft(url)
    yield url
    with psycopg.connect(server.urls.admin, autocommit=True) as db:
        db.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
        db.execute("drop role service_role")  # the draft's: it bypasses row security


@pytest.fixture
def drafted(draft_url: str) -> AbstractContextManager[FoundingFixture]:
    return fixture(draft_url, is_ours=False)


@pytest.fixture
def ours(urls: Urls) -> AbstractContextManager[FoundingFixture]:
    return fixture(urls.admin, is_ours=True)


def test_every_defect_of_the_audit_has_its_scenario() -> None:
    assert sorted(DEFECTS) == EVERY


@pytest.mark.parametrize(
    "defect", [DEFECTS[id] for id in sorted(DEFECTS)], ids=lambda one: f"{one.id}: {one.says}"
)
def test_the_defect_is_there_as_drafted_and_not_here(
    drafted: AbstractContextManager[FoundingFixture],
    ours: AbstractContextManager[FoundingFixture],
    defect: Defect,
) -> None:
    with drafted as there:
        assert defect.scenario(there) == defect.drafted, "as drafted"
    with ours as here:
        assert defect.scenario(here) == defect.ours, "ours"
