"""The duration of ``make setup`` in a fresh clone, and the disk space that it needs.

It downloads packages. The caches of pip and npm begin empty, as for a newcomer. The clone contains
only committed files. The baseline is an empty virtual environment with pip. A tiny run makes only
the virtual environment of the clone, which needs no network.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from bench.figures import Figure, Figures, NotMeasuredError
from bench.sizes import sized
from bench.support import ROOT, busy, empty_folder

TARGET = sized("setup", tiny=".venv/.stamp-venv")
BASELINE = sized(("-m", "venv"), tiny=("-m", "venv", "--without-pip"))
_SETUP_SECONDS = 1800
_INSTALLED = (".venv", "node_modules", "neurant/console/static/vendor")


def megabytes(folder: Path) -> float:
    """Return the size of a folder on the disk; a file with several names counts once."""
    if not folder.exists():
        return 0.0
    blocks: dict[tuple[int, int], int] = {}
    for path in [folder, *folder.rglob("*")]:
        status = path.lstat()
        blocks[status.st_dev, status.st_ino] = status.st_blocks
    return sum(blocks.values()) * 512 / 1024**2


def has_commit() -> bool:
    """Return whether there is a commit to clone."""
    command = ["git", "rev-parse", "--verify", "--quiet", "HEAD"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return done.returncode == 0


def seconds_of(command: list[str], folder: Path, caches: Path) -> float:
    """Return the seconds of a command. Raises RuntimeError with its output if it fails."""
    environment = {
        **os.environ,
        "PIP_CACHE_DIR": str(caches / "pip"),
        "npm_config_cache": str(caches / "npm"),
    }
    began = time.monotonic()
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=_SETUP_SECONDS
    )
    if done.returncode != 0:
        raise RuntimeError(f"{command} failed in a fresh clone:\n{done.stderr[-2000:]}")
    return time.monotonic() - began


def measure() -> Figures:
    if not has_commit():
        raise NotMeasuredError("there is no commit to clone")
    before = busy()
    with empty_folder() as made:
        clone, caches, bare = made / "clone", made / "caches", made / "bare"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        seconds = seconds_of(["make", TARGET], clone, caches)
        bare_seconds = seconds_of([sys.executable, *BASELINE, str(bare)], made, caches)
        sizes = {name: megabytes(clone / name) for name in _INSTALLED}
        bare_size = megabytes(bare)
    size = sum(sizes.values())
    yield Figure(
        id="install_seconds",
        title="make setup in a fresh clone",
        measured=seconds,
        unit="s",
        baseline="an empty virtual environment",
        baseline_measured=bare_seconds,
        ratio=seconds / bare_seconds,
        details=f"caches of pip and npm empty, packages from the configured index; {before}",
    )
    yield Figure(
        id="install_size",
        title="disk space of what make setup installs",
        measured=size,
        unit="MB",
        baseline="an empty virtual environment",
        baseline_measured=bare_size,
        ratio=size / bare_size,
        details=", ".join(f"{name} {one:.1f}" for name, one in sizes.items()),
    )
