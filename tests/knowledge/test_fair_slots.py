"""Whose document is next: companies take turns, whatever one of them has queued."""

from __future__ import annotations

import json
from collections.abc import Sequence

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neurant.installation.embedded import Urls
from tests.companies import Company, make_company
from tests.support.platform import rows, taught, teach, working
from tests.support.stage import Stage

pytest_plugins = ("tests.support.fixtures",)

DEFER = "select private.defer_job('process_document', jsonb_build_object('document_id', %s::text))"
FETCH = "select id, lock from jobs.fetch_fair_job(null, null)"


def queue(admin: str, company: Company, count: int) -> None:
    claims = {"sub": str(company.people["owner"].auth_user_id), "company_id": str(company.id)}
    with psycopg.connect(admin) as db:
        db.execute(
            "select set_config('role', 'authenticated', true),"
            " set_config('request.jwt.claims', %s, true)",
            (json.dumps(claims),),
        )
        for number in range(count):
            db.execute(DEFER, (f"{company.slug}-{number}",))


def served(jobs_url: str, slots: int, count: int) -> list[str]:
    """The companies of the next ``count`` jobs with this many slots: the oldest job ends first."""
    told: list[str] = []
    running: list[int] = []
    with psycopg.connect(jobs_url, autocommit=True) as db:
        while len(told) < count:
            while len(running) < slots:
                job, lock = db.execute(FETCH).fetchone()
                if job is None:
                    break
                running.append(job)
                told.append(lock.partition(":")[0])
            if not running:
                break
            db.execute(
                "select jobs.procrastinate_finish_job_v1(%s, 'succeeded', false)", (running.pop(0),)
            )
    return told


@pytest.fixture
def three(own: Urls) -> Sequence[Company]:
    return [make_company(own.admin, name) for name in ("rival", "rival-two", "acme")]


def test_two_rivals_with_five_hundred_documents_delay_anothers_by_one_a_slot(
    own: Urls, three: Sequence[Company]
) -> None:
    rival, second, acme = three
    queue(own.admin, rival, 500)
    queue(own.admin, second, 500)
    before = served(own.jobs, slots=2, count=20)
    queue(own.admin, acme, 1)
    after = served(own.jobs, slots=2, count=4)
    assert set(before) == {str(rival.id), str(second.id)}
    assert str(acme.id) in after[:2]


def test_one_company_never_has_two_slots(own: Urls, three: Sequence[Company]) -> None:
    queue(own.admin, three[0], 5)
    with psycopg.connect(own.jobs, autocommit=True) as db:
        assert db.execute(FETCH).fetchone()[0] is not None
        assert db.execute(FETCH).fetchone()[0] is None


def test_two_workers_that_ask_at_once_get_different_companies(
    own: Urls, three: Sequence[Company]
) -> None:
    for company in three:
        queue(own.admin, company, 3)
    with psycopg.connect(own.jobs) as first, psycopg.connect(own.jobs) as second:
        locks = [db.execute(FETCH).fetchone()[1] for db in (first, second)]
        assert len(set(locks)) == 2  # neither has committed


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.integers(1, 6), min_size=3, max_size=3), st.integers(1, 3))
def test_no_company_is_served_twice_while_another_waits_untouched(
    own: Urls, three: Sequence[Company], counts: list[int], slots: int
) -> None:
    with psycopg.connect(own.admin) as db:
        db.execute("set search_path = jobs")
        db.execute("delete from procrastinate_jobs")
        db.execute("delete from turns")
    for company, count in zip(three, counts, strict=True):
        queue(own.admin, company, count)
    order = served(own.jobs, slots, sum(counts))
    assert len(order) == sum(counts)
    left = {str(company.id): count for company, count in zip(three, counts, strict=True)}
    given_out = dict.fromkeys(left, 0)
    for served_one in order:
        waiting = [given_out[other] for other in left if left[other] and other != served_one]
        # Round robin: nobody is more than one job (and one that runs) ahead of whoever still waits.
        assert not waiting or given_out[served_one] <= min(waiting) + 1
        given_out[served_one] += 1
        left[served_one] -= 1


@pytest.mark.anyio
@pytest.mark.platform
async def test_one_document_of_acme_is_read_among_the_first_though_others_queued_fifty(
    stage: Stage,
) -> None:
    admin = stage.urls.admin
    third = make_company(admin, "third")
    for number in range(25):
        for company in (stage.rival, third):
            await teach(
                stage.web, company, f"{number}.txt", f"PRECIOS\n\nLa cita {number} vale 5.\n"
            )
    await teach(stage.web, stage.acme, "acme.txt", "Domicilios\n\nCuestan 7300 pesos.\n")
    async with working(stage.web.settings):
        await taught(stage.web, stage.acme, 60)
        [[done]] = await rows(
            admin,
            "select count(*) from documents where processing_status = 'completed'"
            " and company_id <> %s",
            (stage.acme.id,),
        )
    assert done <= 6  # some may have ended while we looked
