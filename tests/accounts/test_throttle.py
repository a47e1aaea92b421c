"""Guessing passwords gets slower and slower, without locking anybody else out."""

from __future__ import annotations

import pytest

from neurant.accounts.throttle import FREE_ATTEMPTS, Throttle
from neurant.errors import RateLimitedError


class Time:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def throttle(time: Time) -> Throttle:
    return Throttle(time)


def fail(throttle: Throttle, times: int, email: str = "ana@x.co", address: str = "1.1.1.1") -> None:
    for _ in range(times):
        throttle.count(email, address)


def test_a_few_wrong_passwords_cost_nothing(throttle: Throttle) -> None:
    fail(throttle, FREE_ATTEMPTS - 1)
    throttle.check("ana@x.co", "1.1.1.1")


def test_then_the_same_person_waits_and_longer_every_time(throttle: Throttle, time: Time) -> None:
    fail(throttle, FREE_ATTEMPTS)
    with pytest.raises(RateLimitedError) as first:
        throttle.check("ana@x.co", "1.1.1.1")
    time.now += first.value.params["seconds"]
    throttle.check("ana@x.co", "1.1.1.1")
    fail(throttle, 1)
    with pytest.raises(RateLimitedError) as second:
        throttle.check("ana@x.co", "1.1.1.1")
    assert second.value.params["seconds"] > first.value.params["seconds"]


def test_a_stranger_cannot_lock_a_person_out(throttle: Throttle) -> None:
    fail(throttle, 3 * FREE_ATTEMPTS, address="6.6.6.6")
    throttle.check("ana@x.co", "1.1.1.1")


def test_one_address_cannot_try_everybody(throttle: Throttle) -> None:
    for number in range(10 * FREE_ATTEMPTS):
        throttle.count(f"person{number}@x.co", "6.6.6.6")
    with pytest.raises(RateLimitedError):
        throttle.check("somebody-else@x.co", "6.6.6.6")


def test_the_right_password_ends_the_wait_of_the_pair_but_not_of_the_address(
    throttle: Throttle,
) -> None:
    for number in range(10 * FREE_ATTEMPTS):
        throttle.count(f"person{number}@x.co", "6.6.6.6")
    throttle.count("mallory@x.co", "6.6.6.6")
    throttle.succeeded("mallory@x.co", "6.6.6.6")
    with pytest.raises(RateLimitedError):
        throttle.check("victim@x.co", "6.6.6.6")


def test_after_an_hour_it_is_forgotten(throttle: Throttle, time: Time) -> None:
    fail(throttle, FREE_ATTEMPTS + 3)
    time.now += 3601
    fail(throttle, 1)
    throttle.check("ana@x.co", "1.1.1.1")
