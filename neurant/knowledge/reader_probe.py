"""Trying what a reading child must not be able to do, from inside one.

Every attempt is a real one; ``probe`` answers, for each, whether the system refused it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import socket
from collections.abc import Callable
from pathlib import Path

_PTRACE_SEIZE = 0x4206  # does not stop the process


def probe(memory: int, secret: str, folder: str, port: int) -> dict[str, bool]:
    """Which attempts were refused, by name.

    ``memory``: bytes that are beyond the limit; ``secret``: a file of the installation;
    ``folder``: where our account may write; ``port``: of loopback, on which somebody listens.
    """
    parent = os.getppid()
    attempts: dict[str, Callable[[], object]] = {
        "memory": lambda: bytearray(memory),
        "tcp": lambda: _connect(port),
        "tcp6": lambda: socket.socket(socket.AF_INET6, socket.SOCK_STREAM),
        "udp": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        "unix_socket": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM),
        "socket_pair": socket.socketpair,
        "secret_file": lambda: _read_some(secret),
        "any_file": lambda: _read_some(os.__file__),
        "list_folder": lambda: list(Path("/").iterdir()),
        "write_file": lambda: _write_file(Path(folder) / f"reader-probe-{os.getpid()}"),
        "parent_environment": lambda: _read_some(f"/proc/{parent}/environ"),
        "parent_memory": lambda: _open(f"/proc/{parent}/mem"),
        "parent_memory_call": lambda: _read_memory_of(parent),
        "parent_trace": lambda: _trace(parent),
        "parent_signal": lambda: os.kill(parent, 0),
        "fork": _fork,
        "execute": _execute,
        "cpu": _burn_without_limit,
    }
    told = {name: _is_refused(attempt) for name, attempt in attempts.items()}
    return {**told, "environment": not set(os.environ) - {"LC_CTYPE"}}  # Python sets that one


def _is_refused(attempt: Callable[[], object]) -> bool:
    """A file or process that is not there was not refused: nothing was shown."""
    try:
        attempt()
    except (FileNotFoundError, ProcessLookupError):
        return False
    except (OSError, MemoryError):
        return True
    return False


def _connect(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as opened:
        opened.connect(("127.0.0.1", port))


def _open(path: str) -> None:
    os.close(os.open(path, os.O_RDONLY))


def _read_some(path: str) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.read(opened, 1)
    finally:
        os.close(opened)


def _write_file(path: Path) -> None:
    try:
        path.write_bytes(b"written by a process that must not write")
    finally:
        path.unlink(missing_ok=True)


class _Vector(ctypes.Structure):
    """``struct iovec``."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def _read_memory_of(process: int) -> None:
    """process_vm_readv(2); EFAULT means that it was allowed, and that nothing is at the address."""
    buffer = ctypes.create_string_buffer(1)
    vector = ctypes.byref(_Vector(ctypes.addressof(buffer), 1))
    number = _error_of("process_vm_readv", process, vector, 1, vector, 1, 0)
    if number not in (0, errno.EFAULT):
        raise OSError(number, os.strerror(number))


def _trace(process: int) -> None:
    none = ctypes.c_void_p(0)
    number = _error_of("ptrace", _PTRACE_SEIZE, process, none, none)
    if number:
        raise OSError(number, os.strerror(number))


def _error_of(function: str, *arguments: object) -> int:
    """The error number of a call to the C library; 0 where it worked. ENOSYS: it has none."""
    call = getattr(ctypes.CDLL(None, use_errno=True), function, None)
    if call is None:
        return errno.ENOSYS
    return ctypes.get_errno() if call(*arguments) < 0 else 0


def _execute() -> None:
    """What is not there cannot be started; the error tells whether starting as such is allowed."""
    os.execv("/nothing/is/here", ["nothing"])  # noqa: S606


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)
    os.wait()


def _burn_without_limit() -> None:
    """The kernel's own word instead of seconds of computing at every start."""
    if resource.getrlimit(resource.RLIMIT_CPU)[1] != resource.RLIM_INFINITY:
        raise PermissionError
