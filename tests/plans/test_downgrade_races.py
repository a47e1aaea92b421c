"""A smaller plan that begins while somebody takes the last place: one of them waits, and then
either the place was taken and the plan did not begin, or the plan began and the place is refused.

Both ways a plan becomes smaller (its day has come; a trial ends), every limit, both orders.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from neurant.installation.embedded import Urls
from tests.companies import Company, make_company
from tests.plans.sql_as_role import (
    add_bot,
    add_conversation,
    add_document,
    add_integration,
    call_as,
    connect_as,
    counters,
    invite,
    query_as_admin,
    recount,
    staff,
)

MEGABYTE = 1024 * 1024
Deed = Callable[[psycopg.Connection], Any]


@dataclass(frozen=True)
class Path:
    """How a plan becomes smaller, and what the company is if it does and if it does not."""

    begin: str
    plan: str  # the smaller one
    smaller: tuple[str, str]
    not_yet: tuple[str, str]


SCHEDULED = Path(
    "select private.apply_due_plan_changes()", "starter",
    ("starter", "active"), ("professional", "active"),
)  # fmt: skip
INVOLUNTARY = Path(
    "select private.end_subscriptions()", "free",
    ("free", "active"), ("professional", "inactive"),
)  # fmt: skip


def bot(urls: Urls, acme: Company) -> Deed:
    return lambda db: add_bot(db, acme)


def seat(urls: Urls, acme: Company) -> Deed:
    return lambda db: invite(db, f"one@{acme.slug}.example")


def integration(urls: Urls, acme: Company) -> Deed:
    return lambda db: add_integration(db, acme)


def storage(urls: Urls, acme: Company) -> Deed:
    return lambda db: add_document(db, acme, MEGABYTE)


def characters(urls: Urls, acme: Company) -> Deed:
    with staff(urls, acme, "owner") as db:
        document = add_document(db, acme, 1)
    read = "update documents set character_count = 1 where id = %s"
    return lambda db: db.execute(read, (document,))


def takeover(urls: Urls, acme: Company) -> Deed:
    conversation = add_conversation(urls, acme)
    return lambda db: db.execute("select private.take_conversation(%s)", (conversation,))


def channel(urls: Urls, acme: Company) -> Deed:
    return lambda db: db.execute(
        "insert into channel_accounts (company_id, chatbot_id, channel, routing_id, display_name,"
        " secret_digest) values (%s, %s, 'slack', %s, 'x', sha256('x'))",
        (acme.id, acme.bot_id, f"slack-{acme.slug}"),
    )


def company(urls: Urls, name: str, kind: Callable[..., Deed], path: Path) -> Company:
    made = make_company(urls.admin, name)
    for role in ("supervisor", "operador"):
        person = made.people[role].id
        call_as(urls, made, "owner", "select private.set_user_active(%s, false)", person)
    query_as_admin(urls, "delete from channel_accounts where routing_id = %s", made.telegram)
    query_as_admin(urls, "select private.apply_plan(%s, 'professional')", made.id)
    if path.plan == "starter":
        with staff(urls, made, "owner") as db:
            if kind is bot:
                add_bot(db, made)
            elif kind is seat:
                invite(db, f"first@{made.slug}.example")
            elif kind is integration:
                add_integration(db, made)
            elif kind is storage:
                add_document(db, made, 5 * MEGABYTE)
            elif kind is characters:
                document = add_document(db, made, 1)
                db.commit()
                full = "update documents set character_count = 50000 where id = %s"
                query_as_admin(urls, full, document)
            elif kind is takeover:
                conversation = add_conversation(urls, made)
                db.execute("select private.take_conversation(%s)", (conversation,))
    if path is SCHEDULED:
        due = "next_plan = 'starter', plan_change_scheduled_at = now() - interval '1 minute'"
        query_as_admin(urls, "update companies set " + due + " where id = %s", made.id)
    else:
        query_as_admin(
            urls,
            "update companies set subscription_status = 'trialing', subscription_ends_at = %s"
            " where id = %s",
            datetime.now(UTC) - timedelta(minutes=1),
            made.id,
        )
    return made


def state(urls: Urls, acme: Company) -> tuple[str, str]:
    [row] = query_as_admin(
        urls,
        "select subscription_plan::text, subscription_status::text from companies where id = %s",
        acme.id,
    )
    return row


def turn(urls: Urls, path: Path) -> None:
    with psycopg.connect(urls.jobs) as db:
        db.execute(path.begin)


def fits(urls: Urls, acme: Company, plan: str) -> bool:
    query = "select count(*) from private.plan_excess(%s, %s, now())"
    return query_as_admin(urls, query, acme.id, plan) == [(0,)]


def somebody(urls: Urls, acme: Company, kind: Callable[..., Deed]) -> Any:
    """Who does it: the owner; the worker where a document is read."""
    if kind is characters:
        return connect_as(urls.jobs, "neurant_worker", {"company_id": str(acme.id)})
    person = str(acme.people["owner"].auth_user_id)
    return connect_as(urls.app, "authenticated", {"sub": person, "company_id": str(acme.id)})


KINDS = [bot, seat, integration, storage, characters, takeover, channel]
WAYS = [
    pytest.param(kind, path, id=f"{kind.__name__}-{path.plan}")
    for kind in KINDS
    for path in (SCHEDULED, INVOLUNTARY)
    # Where there is no room for a file, there is no text to count.
    if (kind, path) != (characters, INVOLUNTARY)
]


@pytest.mark.parametrize(("kind", "path"), WAYS)
def test_whoever_takes_the_last_place_first_keeps_it(
    urls: Urls, kind: Callable[[Urls, Company], Deed], path: Path
) -> None:
    acme = company(urls, "acme", kind, path)
    deed = kind(urls, acme)
    with somebody(urls, acme, kind) as db:
        deed(db)
        turn(urls, path)  # the plan waits for the next turn
        assert state(urls, acme)[0] == "professional"
    turn(urls, path)
    assert state(urls, acme) == path.not_yet
    assert not fits(urls, acme, path.plan)
    assert counters(urls, acme) == recount(urls, acme)


@pytest.mark.parametrize(("kind", "path"), WAYS)
def test_once_the_smaller_plan_has_begun_the_place_is_refused(
    urls: Urls, kind: Callable[[Urls, Company], Deed], path: Path
) -> None:
    acme = company(urls, "acme", kind, path)
    deed = kind(urls, acme)
    ended: list[str | None] = []

    def late(opened: threading.Event, process: list[int]) -> None:
        try:
            with somebody(urls, acme, kind) as db:
                process.append(db.info.backend_pid)
                opened.set()
                deed(db)
            ended.append(None)
        except psycopg.Error as error:
            ended.append(error.sqlstate)

    with psycopg.connect(urls.jobs) as db:
        db.execute(path.begin)  # not committed
        opened, process = threading.Event(), list[int]()
        thread = threading.Thread(target=late, args=(opened, process))
        thread.start()
        assert opened.wait(20)
        until_it_waits(urls, process[0])
    thread.join(30)
    assert ended == ["NA002"]
    assert state(urls, acme) == path.smaller
    assert fits(urls, acme, path.plan)
    assert counters(urls, acme) == recount(urls, acme)


def until_it_waits(urls: Urls, process: int) -> None:
    """Until the other one stands at the company's lock."""
    for _ in range(400):
        [(waits,)] = query_as_admin(
            urls, "select wait_event_type = 'Lock' from pg_stat_activity where pid = %s", process
        )
        if waits:
            return
        time.sleep(0.025)
    pytest.fail("nobody waited")
