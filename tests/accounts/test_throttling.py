"""Guessing gets slower and slower, for all processes together, without locking anybody else out."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neurant.installation.embedded import Urls

NOW = datetime(2030, 1, 1, tzinfo=UTC)
FREE = 5


@pytest.fixture
def db(urls: Urls) -> Iterator[psycopg.Connection]:
    """A web process; another one asks the same database."""
    with psycopg.connect(urls.app, autocommit=True) as connection:
        yield connection


def somebody() -> str:
    return f"{secrets.token_hex(8)}@x.co"


def brake(
    db: psycopg.Connection,
    email: str | None,
    now: datetime = NOW,
    address: str | None = "203.0.113.9",
    kind: str = "password",
    device: str | None = None,
) -> tuple[int, int]:
    query = "select wait, next_wait from private.brake(%s, %s, %s::inet, %s, %s)"
    return db.execute(query, (kind, email, address, now, device)).fetchone()


def test_a_few_wrong_passwords_cost_nothing_and_then_each_wait_is_longer(
    db: psycopg.Connection,
) -> None:
    email, now, waits = somebody(), NOW, []
    for _ in range(FREE - 1):
        assert brake(db, email, now) == (0, 0)
    for _ in range(12):
        told, next_wait = brake(db, email, now)
        assert told == 0
        almost = brake(db, email, now + timedelta(seconds=next_wait - 1))
        assert almost == (1, 0)  # it is not counted, and told how long is left
        waits.append(next_wait)
        now += timedelta(seconds=next_wait)
    assert waits == [5, 10, 20, 40, 80, 160, 320, 640, 900, 900, 900, 900]


def test_the_right_password_forgets_the_wrong_ones(db: psycopg.Connection) -> None:
    email = somebody()
    for _ in range(FREE):
        brake(db, email)
    assert brake(db, email)[0] > 0
    db.execute("select private.release_brake('password', %s, '203.0.113.9')", (email,))
    assert brake(db, email) == (0, 0)


def test_a_day_of_quiet_forgets_too(db: psycopg.Connection) -> None:
    email = somebody()
    for _ in range(FREE):
        brake(db, email)
    assert brake(db, email, NOW + timedelta(days=1, seconds=1)) == (0, 0)


def test_a_stranger_does_not_lock_a_person_out(db: psycopg.Connection) -> None:
    email = somebody()
    for _ in range(20):
        brake(db, email, address="198.51.100.66")
    assert brake(db, email, address="198.51.100.66")[0] > 0
    assert brake(db, email, address="192.0.2.1") == (0, 0)


def test_many_strangers_slow_one_login_down_by_five_minutes_at_most(
    db: psycopg.Connection,
) -> None:
    email = somebody()
    for number in range(60):
        now = NOW + timedelta(minutes=6 * number)
        told, _ = brake(db, email, now, f"198.51.100.{number}")
        assert told == 0
    last = NOW + timedelta(minutes=6 * 59)
    assert brake(db, email, last, "192.0.2.77") == (300, 0)


@pytest.mark.parametrize("kind", ["password", "code"])
def test_strangers_who_never_stop_keep_nobody_out_of_a_device_they_used(
    db: psycopg.Connection, kind: str
) -> None:
    """Four hours of a try every twenty seconds, each from another address, and one where it hurts most."""
    email, let_through = somebody(), []
    for number in range(720):
        now = NOW + timedelta(seconds=20 * number)
        if brake(db, email, now, f"100.{64 + number // 65536}.{number // 256 % 256}.{number % 256}", kind)[0] == 0:  # fmt: skip
            let_through.append(now)
        if number % 180 == 179:  # the person, once an hour, just after a try that locked
            assert brake(db, email, now, "192.0.2.77", kind)[0] > 0  # on a device that nobody knows
            assert brake(db, email, now, "192.0.2.77", kind, "mine") == (0, 0)
            release = "select private.release_brake(%s, %s, '192.0.2.77', 'mine')"
            db.execute(release, (kind, email))
    free, interval = (30, 300) if kind == "password" else (5, 900)
    assert len(let_through) <= free + 10 + 14_400 / interval  # 10: while the wait grows
    # What was tried while it was locked has lengthened nothing: a quiet interval opens it.
    assert brake(db, email, let_through[-1] + timedelta(seconds=interval), kind=kind)[0] == 0


def test_a_device_is_held_back_by_its_own_tries_wherever_it_is(db: psycopg.Connection) -> None:
    email = somebody()
    for number in range(FREE):
        assert brake(db, email, NOW, f"192.0.2.{number}", device="stolen")[0] == 0
    assert brake(db, email, NOW, "192.0.2.99", device="stolen")[0] == 5
    assert brake(db, email, NOW, "192.0.2.99", device="mine") == (0, 0)
    assert brake(db, somebody(), NOW, "192.0.2.99", device="stolen") == (0, 0)


def test_one_address_cannot_try_everybody(db: psycopg.Connection) -> None:
    address = f"2001:db8:{secrets.randbelow(65536):x}:7::1"
    for _ in range(50):
        assert brake(db, somebody(), address=address)[0] == 0
    neighbour = address.replace("::1", "::99")  # whoever has one has the whole /64
    assert 0 < brake(db, somebody(), address=neighbour)[0] <= 60
    for _ in range(60):  # whose address nobody knows is braked by login only
        assert brake(db, somebody(), address=None) == (0, 0)


@pytest.mark.parametrize(
    ("kind", "free", "longest"),
    [("password", 50, 60), ("sign_up", 20, 900), ("reset", 20, 900), ("sso", 60, 60)],
)
@pytest.mark.parametrize("version", [4, 6])
def test_loopback_is_an_address_like_any_other(
    urls: Urls, db: psycopg.Connection, kind: str, free: int, longest: int, version: int
) -> None:
    """A proxy on the same machine must be configured; then the process names the client."""
    address = f"127.{secrets.randbelow(255)}.{secrets.randbelow(255)}.9" if version == 4 else "::1"
    with psycopg.connect(urls.admin, autocommit=True) as admin:
        admin.execute(
            "delete from account_brakes where key_digest = sha256(convert_to(%s, 'UTF8'))",
            (f"{kind}|address|::",),
        )
    for _ in range(free):
        assert brake(db, somebody(), address=address, kind=kind)[0] == 0
    assert 0 < brake(db, somebody(), address=address, kind=kind)[0] <= longest
    assert brake(db, somebody(), address="127.255.255.7", kind=kind)[0] == 0


def test_guesses_side_by_side_are_counted_like_one_after_another(urls: Urls) -> None:
    email = somebody()

    def guess(_number: int) -> int:
        with psycopg.connect(urls.app, autocommit=True) as connection:
            return brake(connection, email)[0]

    with ThreadPoolExecutor(16) as pool:
        waits = list(pool.map(guess, range(48)))
    assert waits.count(0) == FREE


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(steps=st.lists(st.integers(0, 1500), min_size=1, max_size=25))
def test_an_address_is_never_written_to_too_often(db: psycopg.Connection, steps: list[int]) -> None:
    """A minute between two, five in any hour (and thirty in a day, which these steps do not reach);
    and who is told to wait may write just then."""
    email, now = somebody(), NOW
    sent: list[datetime] = []
    for step in steps:
        now += timedelta(seconds=step)
        [wait] = db.execute("select private.allow_mail('reset', %s, %s)", (email, now)).fetchone()
        due = [
            *(at + timedelta(seconds=60) for at in sent[-1:]),
            *(at + timedelta(hours=1) for at in sent[-5:][:1] if len(sent) >= 5),
        ]
        left = max((moment - now for moment in due), default=timedelta(0))
        assert (wait > 0) == (left > timedelta(0)), (wait, left)
        assert wait <= 3600
        if wait == 0:
            sent.append(now)
    for at in sent:
        assert sum(at <= other < at + timedelta(hours=1) for other in sent) <= 5


def test_only_digests_are_kept_and_old_ones_forgotten(urls: Urls, db: psycopg.Connection) -> None:
    email = somebody()
    brake(db, email, datetime.now(UTC) - timedelta(days=3))
    with psycopg.connect(urls.admin, autocommit=True) as admin:
        count = "select count(*) from account_brakes where touched_at < now() - interval '2 days'"
        assert admin.execute(count).fetchone()[0] >= 1
        for row in admin.execute("select key_digest from account_brakes").fetchall():
            assert email.encode() not in bytes(row[0])
        with psycopg.connect(urls.jobs, autocommit=True) as worker:
            assert worker.execute("select private.forget_old_accounts()").fetchone()[0] >= 1
        assert admin.execute(count).fetchone()[0] == 0
