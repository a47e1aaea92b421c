"""The sandbox of a process that reads untrusted files.

A process calls ``confine`` once, after it has imported all that it needs and while it has a single
thread. Each measure is tried independently, because no system has all of them; ``neurant.knowledge.
reader_child probe`` measures which of them work. This module imports the standard library only.

Sources: setrlimit(2), prctl(2), user_namespaces(7), seccomp(2), landlock(7) and the kernel's
``Documentation/userspace-api/landlock.rst``.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import resource
import signal
import struct
import sys
import time
from dataclasses import dataclass
from pathlib import Path

# A user id that no account, no user namespace of systemd and not PostgreSQL uses, because "nobody"
# is shared. systemd lists 60706 to 61183 as unused (systemd.io/UIDS-GIDS).
_UNUSED_ACCOUNT = 60_900

_NICE = 10
_TRIES = 5

_CLONE_NEWUSER, _CLONE_NEWNET, _CLONE_NEWIPC = 0x10000000, 0x40000000, 0x08000000
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
_SECCOMP_MODE_FILTER = 2

_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446  # the same on every architecture
_LANDLOCK_CREATE_RULESET_VERSION = 1
_FILES_BY_ABI = ((5, 0xFFFF), (3, 0x7FFF), (2, 0x3FFF), (1, 0x1FFF))  # LANDLOCK_ACCESS_FS_*
_TCP_BIND_AND_CONNECT, _TCP_ABI = 0b11, 4
_SCOPED_SOCKETS_AND_SIGNALS, _SCOPE_ABI = 0b11, 6

# Allowed are computing, memory, reading and writing open files, and exiting. Everything else, such
# as opening, connecting, starting and tracing, fails with EPERM.
_CALLS_X86_64 = (
    0, 1, 3, 7, 8,  # read write close poll lseek
    9, 10, 11, 12, 25, 28,  # mmap mprotect munmap brk mremap madvise
    13, 14, 15, 131, 219,  # rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack restart_syscall
    19, 20, 24, 35, 39, 186,  # readv writev sched_yield nanosleep getpid gettid
    96, 98, 201, 228, 230,  # gettimeofday getrusage time clock_gettime clock_nanosleep
    60, 231, 202, 204, 318, 324, 334,
    # exit exit_group futex sched_getaffinity getrandom membarrier rseq
)  # fmt: skip
_CALLS_AARCH64 = (
    63, 64, 57, 73, 62,  # read write close ppoll lseek
    222, 226, 215, 214, 216, 233,  # mmap mprotect munmap brk mremap madvise
    134, 135, 139, 132, 128,  # rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack restart_syscall
    65, 66, 124, 101, 172, 178,  # readv writev sched_yield nanosleep getpid gettid
    169, 165, 113, 115,  # gettimeofday getrusage clock_gettime clock_nanosleep
    93, 94, 98, 123, 278, 283, 293,
    # exit exit_group futex sched_getaffinity getrandom membarrier rseq
)  # fmt: skip
# AUDIT_ARCH_* of linux/audit.h, and the calls of that architecture.
_ARCHITECTURES = {"x86_64": (0xC000003E, _CALLS_X86_64), "aarch64": (0xC00000B7, _CALLS_AARCH64)}


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a child: ``memory`` in bytes of address space, ``cpu`` in seconds."""

    memory: int
    cpu: int


def give_way() -> None:
    """Documents give way to questions, within this session and, on Linux, as a session.

    Where the kernel groups sessions (CONFIG_SCHED_AUTOGROUP, sched(7)), the nice value of a process
    counts in its own session only, and a session has a nice value as a whole.
    """
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    if os.getsid(0) != os.getpid():  # a session that is not its own
        return
    for _ in range(_TRIES):
        try:
            Path("/proc/self/autogroup").write_text(str(_NICE), "ascii")
        except BlockingIOError:  # without root a few changes a second, on the whole machine
            time.sleep(0.1)
        except OSError:
            return
        else:
            return


def confine(limits: Limits, parent: int) -> None:
    """Drop every privilege except computing within ``limits``, and die with the process ``parent``.

    It cannot be undone. A measure that this system lacks is skipped without an error.
    """
    _offer_to_the_oom_killer()
    if sys.platform == "linux":
        _leave_network()
        _drop_account()
        _die_with(parent)  # after the account, because its change clears the signal
    _limit_resources(limits)
    if sys.platform == "linux":
        _prctl(_PR_SET_DUMPABLE, 0)
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        _restrict_files()
        _open_no_more_files()
        _restrict_calls()
    else:
        _open_no_more_files()


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, *values: int) -> bool:
    padded = [ctypes.c_ulong(value) for value in (*values, 0, 0, 0, 0)[:4]]
    return bool(_libc().prctl(option, *padded) == 0)


def _offer_to_the_oom_killer() -> None:
    """Make the kernel end this process instead of PostgreSQL when memory runs out."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")


def _leave_network() -> None:
    """Enter an empty network and IPC namespace, without root by a user namespace of our own."""
    own = _CLONE_NEWNET | _CLONE_NEWIPC
    if os.geteuid() != 0 or _libc().unshare(own) != 0:
        _libc().unshare(own | _CLONE_NEWUSER)


def _drop_account() -> None:
    """As root, become an account that owns nothing; otherwise do nothing."""
    if os.geteuid() != 0:
        return
    for account in (_UNUSED_ACCOUNT, 65_534):  # a container may map no id other than nobody's
        with contextlib.suppress(OSError):
            os.setgroups([])
            os.setresgid(account, account, account)
            os.setresuid(account, account, account)
            return


def _die_with(parent: int) -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent died before the call to prctl
        os._exit(1)


def _limit_resources(limits: Limits) -> None:
    wanted = {
        "RLIMIT_AS": (limits.memory, limits.memory),
        "RLIMIT_CPU": (
            limits.cpu,
            limits.cpu + 1,
        ),  # SIGXCPU, which identifies the reason; then SIGKILL
        "RLIMIT_FSIZE": (0, 0),
        "RLIMIT_NPROC": (0, 0),
        "RLIMIT_CORE": (0, 0),
        "RLIMIT_MEMLOCK": (0, 0),
    }
    for name, most in wanted.items():
        with contextlib.suppress(AttributeError, OSError, ValueError):
            resource.setrlimit(getattr(resource, name), most)


def _open_no_more_files() -> None:
    """Allow only the three standard streams, because a socket also needs a descriptor."""
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))


def _restrict_files() -> None:
    """Apply Landlock without rules: no file, no directory, no TCP, no signal to others."""
    libc = _libc()
    abi = libc.syscall(
        _LANDLOCK_CREATE_RULESET,
        None,
        ctypes.c_size_t(0),
        ctypes.c_uint32(_LANDLOCK_CREATE_RULESET_VERSION),
    )
    if abi < 1:
        return
    files = next(bits for since, bits in _FILES_BY_ABI if abi >= since)
    handled = struct.pack("=Q", files)
    if abi >= _TCP_ABI:
        handled += struct.pack("=Q", _TCP_BIND_AND_CONNECT)
    if abi >= _SCOPE_ABI:
        handled += struct.pack("=Q", _SCOPED_SOCKETS_AND_SIGNALS)
    attributes = ctypes.create_string_buffer(handled, len(handled))
    ruleset = libc.syscall(
        _LANDLOCK_CREATE_RULESET,
        attributes,
        ctypes.c_size_t(len(handled)),
        ctypes.c_uint32(0),
    )
    if ruleset >= 0:
        libc.syscall(_LANDLOCK_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
        os.close(ruleset)


class _FilterProgram(ctypes.Structure):
    """``struct sock_fprog`` of linux/filter.h."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def call_filter(architecture: int, calls: tuple[int, ...]) -> bytes:
    """Return a seccomp program (classic BPF) that allows ``calls`` and fails others with EPERM.

    A call of another ``architecture`` (AUDIT_ARCH_*) ends the process, because its numbers mean
    different calls.
    """
    load, equal, answer = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
    allow, refuse, kill = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x80000000

    def instruction(code: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
        return struct.pack("=HBBI", code, then, otherwise, value)

    program = [
        instruction(load, 4),  # struct seccomp_data: the architecture
        instruction(equal, architecture, 1, 0),
        instruction(answer, kill),
        instruction(load, 0),  # the number of the call
    ]
    program += [
        instruction(equal, call, len(calls) - position, 0) for position, call in enumerate(calls)
    ]
    program += [instruction(answer, refuse), instruction(answer, allow)]
    return b"".join(program)


def _restrict_calls() -> None:
    known = _ARCHITECTURES.get(platform.machine())
    if known is None or sys.maxsize < 2**32:
        return
    code = call_filter(*known)
    instructions = ctypes.create_string_buffer(code, len(code))
    program = _FilterProgram(len(code) // 8, ctypes.cast(instructions, ctypes.c_void_p).value)
    _libc().prctl(
        _PR_SET_SECCOMP,
        ctypes.c_ulong(_SECCOMP_MODE_FILTER),
        ctypes.byref(program),
        ctypes.c_ulong(0),
        ctypes.c_ulong(0),
    )
