"""Requests to stop: a signal sets the request, and the main thread polls it.

The handler of a signal raises no exception. An exception from a handler is raised at an arbitrary
place, also inside a ``finally`` or a callback that suppresses it, and the request is lost. The
handler only records the signal. The main thread polls (``check``) and waits (``pause``) through
this module, and a wait ends as soon as a signal arrives: Python writes a byte to a pipe in the C
handler itself (``signal.set_wakeup_fd``), which ``pause`` selects on.

The request belongs to the process, as signals do. Without ``stop_signals`` there is never a
request, and ``pause`` is a sleep.
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

LAST_RESORT_SECONDS = 14.0  # after the first signal, the process is killed
_KILLING_SIGNALS = 3  # the third signal ends every wait of the cleanup
_SAME_OCCASION = 0.5  # seconds; the signals of a closing terminal count as one


class StopRequestedError(BaseException):
    """A signal asked this process to stop. Raised by ``check`` and ``pause`` only."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number


@dataclass
class _Request:
    """The state of the request. ``at`` and ``latest`` are times of ``time.monotonic``."""

    number: int = 0
    at: float = 0.0
    latest: float = 0.0
    occasions: int = 0
    wakeup: int | None = None


_request = _Request()


@contextlib.contextmanager
def stop_signals(last_resort: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Treat SIGINT, SIGTERM and SIGHUP as requests to stop; only in the main thread.

    An ignored SIGHUP stays ignored (nohup). ``LAST_RESORT_SECONDS`` after the first signal,
    ``last_resort`` runs inside a signal handler and the process ends with status 1 in any state, so
    ``last_resort`` must not wait. After a request, later signals are ignored when the block ends,
    because the process is about to end. Without a request the previous handlers are restored.
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
    """Return the signals that request a stop. An ignored SIGHUP (nohup) is not one."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    if (
        signal.getsignal(signal.SIGHUP) != signal.SIG_IGN
    ):  # under nohup the process outlives the terminal
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
    """Let the kernel end this process at SIGINT, while it has nothing to clean up.

    Python would raise KeyboardInterrupt, which is lost if the interpreter is in a callback that
    suppresses it, such as a finalizer. A long-lived process calls this function first.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def is_requested() -> bool:
    """Return whether a signal has requested a stop."""
    return _request.number != 0


def is_hurried() -> bool:
    """Return whether signals continued during the cleanup, which then kills at once."""
    return _request.occasions >= _KILLING_SIGNALS


def requested_at() -> float:
    """Return the time (``time.monotonic``) of the first signal; now, if there was none."""
    return _request.at if is_requested() else time.monotonic()


def check() -> None:
    """Raise StopRequestedError if a signal requested a stop."""
    if is_requested():
        raise StopRequestedError(_request.number)


def pause(seconds: float, *readable: int) -> None:
    """Wait ``seconds``, or until one of the file descriptors is readable.

    Raises StopRequestedError as soon as a signal requests a stop, or if one has done so before.
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
            continue  # the byte may be from a child between fork and exec, which shares the pipe
        check()
        if ready or left == 0.0:
            return


def keep_waiting(until: float) -> bool:
    """Return whether the cleanup may wait on: ``until`` is not reached and it is not hurried."""
    return time.monotonic() < until and not is_hurried()


def end_at_the_latest(seconds: float) -> None:
    """Let the kernel end this process after ``seconds``, in any state.

    It serves a process whose event loop does its own cleanup (web, worker): SIGALRM keeps its
    default action, so no Python code has to run. Only the first call has an effect.
    """
    if signal.getitimer(signal.ITIMER_REAL)[0] == 0.0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
        signal.setitimer(signal.ITIMER_REAL, seconds)
