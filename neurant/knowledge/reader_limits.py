"""The limits of a reading child that hold on this machine: a child tries them at each start."""

from __future__ import annotations

import asyncio
import socket
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import orjson

from neurant.core.logs import get_logger
from neurant.knowledge.reader import limits_for, run_child

# The name of each limit, and the attempts of ``reader_probe`` that must all be refused.
_MEASURED: Mapping[str, tuple[str, ...]] = {
    "memory": ("memory",),
    "cpu": ("cpu",),
    "network": ("tcp", "tcp6", "udp", "unix_socket", "socket_pair"),
    "files": ("secret_file", "any_file", "list_folder", "write_file"),
    "other processes": (
        "parent_environment",
        "parent_memory",
        "parent_memory_call",
        "parent_trace",
        "parent_signal",
    ),
    "processes": ("fork", "execute"),
    "environment": ("environment",),
}

log = get_logger(__name__)


async def log_limits(data_dir: Path) -> None:
    """Log the limits that hold in one line, as a warning where one is missing. Never raises."""
    try:
        found = await measured_limits(data_dir)
    except Exception as error:
        log.error("document_reader_unusable", error=f"{type(error).__name__}: {error}")
        return
    tell = log.warning if found["missing"] else log.info
    tell("document_reader_limits", system=sys.platform, **found)


async def measured_limits(data_dir: Path) -> dict[str, list[str]]:
    """Return ``hold`` and ``missing``: the limits that a real child did and did not meet.

    This process enforces wall time and output everywhere. Raises ValueError for a child that does
    not answer.
    """
    limits = limits_for(0)
    secret = await asyncio.to_thread(_secret_file, data_dir)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        tempfile.NamedTemporaryFile() as ours,  # used where the installation has no secret file
    ):
        given = {
            "memory": 2 * limits.memory,
            "secret": secret or ours.name,
            "folder": tempfile.gettempdir(),
            "port": server.getsockname()[1],
        }
        ended = await run_child("probe", limits, orjson.dumps(given) + b"\n")
    refused = orjson.loads(ended.output)
    hold = [name for name, tried in _MEASURED.items() if all(refused[one] for one in tried)]
    return {
        "hold": [*hold, "time", "output"],
        "missing": [name for name in _MEASURED if name not in hold],
    }


def _secret_file(data_dir: Path) -> str | None:
    path = data_dir.expanduser().resolve() / "secrets.json"
    return str(path) if path.exists() else None
