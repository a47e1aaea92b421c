"""A request to stop: a signal makes it, and whatever waits looks at it.

The handler of a signal raises nothing: an exception out of a handler surfaces wherever the code
happens to be, also inside a ``finally`` or a callback that swallows it, and the request is lost.
It only notes the signal. The main thread asks (``check``) and waits (``pause``) through this
module, and a wait ends the moment a signal arrives: Python writes a byte to a pipe from the C
handler itself (``signal.set_wakeup_fd``), which ``pause`` selects on.

The request belongs to the process, as signals do. Without ``stop_signals`` there is never one, and
``pause`` is a sleep.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType

LAST_RESORT_SECONDS = 14.0  # after the first signal, whatever still runs is killed
_KILLING_SIGNALS = 3  # the third signal cuts every wait of the clearing up short
_SAME_OCCASION = 0.5  # seconds; a closing terminal sends several signals at once: they are one


class StopRequestedError(BaseException):
    """A signal asked this process to stop. Raised by ``check`` and ``pause`` only."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number


@dataclass
class _Request:
    """What has been asked so far. ``at`` and ``latest`` are moments of ``time.monotonic``."""

    number: int = 0
    at: float = 0.0
    latest: float = 0.0
    occasions: int = 0
    wakeup: int | None = None


_request = _Request()


@contextlib.contextmanager
def stop_signals(last_resort: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Take SIGINT, SIGTERM and SIGHUP as requests to stop; only in the main thread.

    SIGHUP stays ignored where it is (nohup). ``LAST_RESORT_SECONDS`` after the first signal
    ``last_resort`` runs inside a signal handler and the process ends with status 1, wherever it
    is; it must not wait. Leaving the block after a request ignores later signals: the process is
    about to end. Otherwise the handlers of before are put back.
    """
    global _request
    outer, mine = _request, _Request()
    _request = mine
    reading, writing = os.pipe()
    for end in (reading, writing):
        os.set_blocking(end, False)
    mine.wakeup = reading
    numbers = stop_numbers()

    def note(number: int, _frame: FrameType | None) -> None:
        _note(mine, number)

    def expire(_number: int, _frame: FrameType | None) -> None:
        last_resort()
        os._exit(1)

    wakeup_before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    before = {signal.SIGALRM: signal.signal(signal.SIGALRM, expire)}
    before |= {number: signal.signal(number, note) for number in numbers}
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM, *numbers])
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if mine.number else handler)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.set_wakeup_fd(wakeup_before)
        os.close(reading)
        os.close(writing)
        _request = outer


def stop_numbers() -> list[signal.Signals]:
    """The signals that ask a process to stop. SIGHUP is not one where it is ignored (nohup)."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup: outlive the terminal
        numbers.append(signal.SIGHUP)
    return numbers


def _note(request: _Request, number: int) -> None:
    now = time.monotonic()
    if not request.number:
        request.number, request.at = number, now
        signal.setitimer(signal.ITIMER_REAL, LAST_RESORT_SECONDS)
    if not request.occasions or now - request.latest > _SAME_OCCASION:
        request.occasions += 1
    request.latest = now


def let_sigint_end_us() -> None:
    """Let the kernel end this process at SIGINT, while it has nothing to clear up.

    Python would raise KeyboardInterrupt, which is lost where the interpreter happens to be in a
    callback that swallows it (a finalizer, say). For long-lived processes, as their first act.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def is_requested() -> bool:
    """Whether a signal has asked this process to stop."""
    return _request.number != 0


def is_hurried() -> bool:
    """Whether signals went on to come during the clearing up: it then kills at once."""
    return _request.occasions >= _KILLING_SIGNALS


def requested_at() -> float:
    """The moment (``time.monotonic``) of the first signal; now, if none came."""
    return _request.at if is_requested() else time.monotonic()


def check() -> None:
    """Raise StopRequestedError if a signal asked to stop."""
    if is_requested():
        raise StopRequestedError(_request.number)


def pause(seconds: float, *readable: int) -> None:
    """Wait ``seconds``, or until one of the file descriptors can be read.

    Raises StopRequestedError at once when a signal asks to stop, or has asked.
    """
    deadline = time.monotonic() + seconds
    wakeup = [] if _request.wakeup is None else [_request.wakeup]
    while True:
        check()
        left = max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select([*readable, *wakeup], [], [], left)
        if _request.wakeup in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(_request.wakeup, 4096)
            continue  # a child between fork and exec shares the pipe: its byte is no request
        check()
        if ready or left == 0.0:
            return


def keep_waiting(until: float) -> bool:
    """Whether the clearing up may wait on: before the moment ``until``, and nobody hurries it."""
    return time.monotonic() < until and not is_hurried()


def end_at_the_latest(seconds: float) -> None:
    """Let the kernel end this process after ``seconds``, however stuck it is.

    For a process whose event loop does its own clearing up (web, worker): SIGALRM keeps its default
    action, so no Python code has to run. The first call counts.
    """
    if signal.getitimer(signal.ITIMER_REAL)[0] == 0.0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
        signal.setitimer(signal.ITIMER_REAL, seconds)
