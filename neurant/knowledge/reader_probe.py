"""Attempts, from inside a reading child, at everything that it must not be able to do.

Every attempt is a real one; ``probe`` returns for each whether the system refused it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import socket
from collections.abc import Callable
from pathlib import Path

_PTRACE_SEIZE = 0x4206  # unlike PTRACE_ATTACH, it does not stop the process


def probe(memory: int, secret: str, folder: str, port: int) -> dict[str, bool]:
    """Return which attempts were refused, by name.

    ``memory``: bytes beyond the limit; ``secret``: a file of the installation; ``folder``: one that
    our account may write to; ``port``: a port of loopback with a listener.
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
    """Return whether the system refused the attempt.

    A missing file or process is not a refusal, because it shows nothing.
    """
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
    """The C structure ``struct iovec``."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def _read_memory_of(process: int) -> None:
    """Call process_vm_readv(2). EFAULT means that it was allowed and nothing is at the address."""
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
    """Return the errno of a call to the C library.

    It is 0 for success, and ENOSYS if the library has no such function.
    """
    call = getattr(ctypes.CDLL(None, use_errno=True), function, None)
    if call is None:
        return errno.ENOSYS
    return ctypes.get_errno() if call(*arguments) < 0 else 0


def _execute() -> None:
    """Start a program that does not exist; the errno shows whether execution itself is allowed."""
    os.execv("/nothing/is/here", ["nothing"])  # noqa: S606


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)
    os.wait()


def _burn_without_limit() -> None:
    """Check the kernel's CPU limit, instead of computing for seconds at every start."""
    if resource.getrlimit(resource.RLIMIT_CPU)[1] != resource.RLIM_INFINITY:
        raise PermissionError
