"""Slows down guessing: after a few wrong passwords the same pair waits, longer every time.

Kept in the process: a brake against guessing, not a book of record. Each process brakes by itself.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from neurant.errors import RateLimitedError

FREE_ATTEMPTS = 5
FIRST_WAIT = 5.0
LONGEST_WAIT = 900.0
LONGEST_ADDRESS_WAIT = 60.0  # an office, or a proxy we do not know, must not be locked out
_FORGET_AFTER = 3600.0
_MOST_ENTRIES = 50_000


@dataclass(slots=True)
class _Attempts:
    count: int
    last: float


class Throttle:
    """Wrong attempts by e-mail and by address; either may be the one that is guessed with."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._attempts: OrderedDict[str, _Attempts] = OrderedDict()

    def check(self, email: str, address: str | None) -> None:
        """Raises RateLimitedError (``accounts.slow_down``) while the pair has to wait."""
        wait = max(self._wait(*key) for key in _keys(email, address))
        if wait > 0:
            raise RateLimitedError("accounts.slow_down", seconds=int(wait) + 1)

    def count(self, email: str, address: str | None) -> None:
        """Count an attempt, before its password is checked: guesses side by side count, too."""
        for key, _, _ in _keys(email, address):
            known = self._attempts.pop(key, None)
            if known is None or self._clock() - known.last > _FORGET_AFTER:
                known = _Attempts(0, 0.0)
            self._attempts[key] = _Attempts(known.count + 1, self._clock())
        while len(self._attempts) > _MOST_ENTRIES:
            self._attempts.popitem(last=False)

    def succeeded(self, email: str, address: str | None) -> None:
        """The person is who they say. What else came from the address stays counted."""
        pair, *shared = _keys(email, address)
        self._attempts.pop(pair[0], None)
        for key, _, _ in shared:
            if known := self._attempts.get(key):
                known.count -= 1

    def _wait(self, key: str, free: int, longest: float) -> float:
        known = self._attempts.get(key)
        if known is None or known.count < free:
            return 0.0
        doublings = min(known.count - free, 16)
        wait = min(FIRST_WAIT * float(2**doublings), longest)
        return known.last + wait - self._clock()


def _keys(email: str, address: str | None) -> list[tuple[str, int, float]]:
    """What is counted, its free attempts and its longest wait. An office shares an address, so
    that gets more.

    The e-mail is counted with the address, so that a stranger cannot lock a person out.
    """
    if address is None:
        return [(f"email:{email}", FREE_ATTEMPTS, LONGEST_WAIT)]
    return [
        (f"pair:{email}:{address}", FREE_ATTEMPTS, LONGEST_WAIT),
        (f"address:{address}", 10 * FREE_ATTEMPTS, LONGEST_ADDRESS_WAIT),
    ]
