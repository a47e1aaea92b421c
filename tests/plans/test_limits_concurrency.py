"""64 writers at once against each limit: never one over, and never one short."""

from __future__ import annotations

import secrets
import threading
from collections import Counter
from collections.abc import Callable
from uuid import UUID

import psycopg
import pytest

from neurant.installation.embedded import Urls
from tests.companies import Company, make_company
from tests.plans.sql_as_role import (
    add_bot,
    add_conversation,
    add_document,
    add_integration,
    counters,
    invite,
    limit,
    query_as_admin,
    recount,
    staff,
    worker,
)

WRITERS = 64
ROOM = 10
MEGABYTE = 1024 * 1024


def rush(work: Callable[[int], None]) -> Counter[str]:
    """Everybody at once; how many ended in what (``ok``, or the SQLSTATE)."""
    ended: Counter[str] = Counter()
    gate, lock = threading.Barrier(WRITERS), threading.Lock()

    def run(number: int) -> None:
        gate.wait(60)
        try:
            work(number)
            outcome = "ok"
        except psycopg.Error as error:
            outcome = error.sqlstate or type(error).__name__
        with lock:
            ended[outcome] += 1

    threads = [threading.Thread(target=run, args=(number,)) for number in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return ended


def bots(urls: Urls, acme: Company) -> Callable[[int], None]:
    limit(urls, acme, max_chatbots=1 + ROOM)

    def work(_: int) -> None:
        with staff(urls, acme, "owner") as db:
            add_bot(db, acme)

    return work


def seats(urls: Urls, acme: Company) -> Callable[[int], None]:
    limit(urls, acme, max_users=4 + ROOM)

    def work(number: int) -> None:
        with staff(urls, acme, "owner") as db:
            invite(db, f"n{number}@{acme.slug}.example")

    return work


def integrations(urls: Urls, acme: Company) -> Callable[[int], None]:
    limit(urls, acme, max_integrations=ROOM)

    def work(_: int) -> None:
        with staff(urls, acme, "owner") as db:
            add_integration(db, acme)

    return work


def storage(urls: Urls, acme: Company) -> Callable[[int], None]:
    limit(urls, acme, max_storage_mb=ROOM)

    def work(_: int) -> None:
        with staff(urls, acme, "owner") as db:
            add_document(db, acme, MEGABYTE)

    return work


def characters(urls: Urls, acme: Company) -> Callable[[int], None]:
    with staff(urls, acme, "owner") as db:
        documents = [add_document(db, acme) for _ in range(WRITERS)]
    limit(urls, acme, max_document_characters=ROOM * 1000)

    def work(number: int) -> None:
        with worker(urls, acme) as db:
            db.execute(
                "update documents set character_count = 1000 where id = %s", (documents[number],)
            )

    return work


def takeovers(urls: Urls, acme: Company) -> Callable[[int], None]:
    conversations: list[UUID] = [add_conversation(urls, acme) for _ in range(WRITERS)]
    limit(urls, acme, max_hitl_concurrent=ROOM)

    def work(number: int) -> None:
        with staff(urls, acme, ("owner", "supervisor", "operador")[number % 3]) as db:
            db.execute("select private.take_conversation(%s)", (conversations[number],))

    return work


def people(urls: Urls, acme: Company) -> Callable[[int], None]:
    """Those who were let go come back."""
    gone = [
        query_as_admin(
            urls,
            "insert into users (company_id, email, first_name, last_name, is_active)"
            " values (%s, %s, 'Ana', 'Ruiz', false) returning id",
            acme.id,
            f"gone{number}@{acme.slug}.example",
        )[0][0]
        for number in range(WRITERS)
    ]
    limit(urls, acme, max_users=4 + ROOM)

    def work(number: int) -> None:
        with staff(urls, acme, "owner") as db:
            db.execute("select private.set_user_active(%s, true)", (gone[number],))

    return work


def messages(urls: Urls, acme: Company) -> Callable[[int], None]:
    conversations = [add_conversation(urls, acme) for _ in range(WRITERS)]
    limit(urls, acme, monthly_message_limit=ROOM)

    def work(number: int) -> None:
        with psycopg.connect(urls.admin) as db:
            db.execute(
                "insert into messages (company_id, conversation_id, sender_type, content)"
                " values (%s, %s, 'bot', 'x')",
                (acme.id, conversations[number]),
            )

    return work


EVERY_LIMIT = [bots, seats, people, integrations, storage, characters, takeovers, messages]


@pytest.mark.parametrize("kind", EVERY_LIMIT)
def test_exactly_as_many_as_there_is_room_for_get_in(
    urls: Urls, kind: Callable[[Urls, Company], Callable[[int], None]]
) -> None:
    acme, rival = make_company(urls.admin, "acme"), make_company(urls.admin, "rival")
    before = counters(urls, rival)
    assert rush(kind(urls, acme)) == {"ok": ROOM, "NA002": WRITERS - ROOM}
    assert counters(urls, acme) == recount(urls, acme)
    assert counters(urls, rival) == before


def test_leaving_and_coming_at_once_ends_exactly_full_or_below(urls: Urls) -> None:
    """Half retire their bot and half make one: nobody is refused who came after a leaver."""
    acme = make_company(urls.admin, "acme")
    with staff(urls, acme, "owner") as db:
        there = [add_bot(db, acme) for _ in range(WRITERS // 2)]
    limit(urls, acme, max_chatbots=1 + len(there))

    def work(number: int) -> None:
        with staff(urls, acme, "owner") as db:
            if number % 2:
                add_bot(db, acme)
            else:
                db.execute("select private.retire_chatbot(%s)", (there[number // 2],))

    ended = rush(work)
    assert set(ended) <= {"ok", "NA002"}
    now = counters(urls, acme)
    assert now == recount(urls, acme)
    assert now[0] == 1 + ended["ok"] - WRITERS // 2
    assert now[0] <= 1 + WRITERS // 2


def test_one_invitation_is_accepted_once_by_64_at_once(urls: Urls) -> None:
    acme = make_company(urls.admin, "acme")
    token, email = secrets.token_bytes(32), f"ana@{acme.slug}.example"
    with staff(urls, acme, "owner") as db:
        invite(db, email, token=token)
    with psycopg.connect(urls.admin) as db:
        login = db.execute("insert into auth.users (email) values (%s) returning id", (email,))
        auth_user = login.fetchone()[0]
    outcomes: Counter[str] = Counter()
    lock = threading.Lock()

    def work(_: int) -> None:
        with psycopg.connect(urls.app) as db:
            row = db.execute(
                "select outcome from private.accept_invitation(%s, %s)", (token, auth_user)
            ).fetchone()
        with lock:
            outcomes[row[0]] += 1

    assert rush(work) == {"ok": WRITERS}
    assert outcomes == {"accepted": 1, "accepted_before": WRITERS - 1}
    assert counters(urls, acme) == recount(urls, acme)
