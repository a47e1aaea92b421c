"""How long ``make setup`` takes in a fresh clone, and how much it puts on the disk.

Run: ``python bench/install.py`` (some minutes; it downloads). The caches of pip and npm begin
empty, as they are for a newcomer. What is not committed is not in the clone.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from support import ROOT, busy, report

_SETUP_SECONDS = 1800
_INSTALLED = (".venv", "node_modules", "neurant/console/static/vendor")


def megabytes(folder: Path) -> float:
    """What a folder takes on the disk; a file with several names counts once."""
    blocks: dict[tuple[int, int], int] = {}
    for path in [folder, *folder.rglob("*")]:
        status = path.lstat()
        blocks[status.st_dev, status.st_ino] = status.st_blocks
    return sum(blocks.values()) * 512 / 1024**2


def has_commit() -> bool:
    """Whether there is anything to clone."""
    command = ["git", "rev-parse", "--verify", "--quiet", "HEAD"]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL).returncode == 0


def main() -> None:
    if not has_commit():
        print("--   make setup in a fresh clone: skipped, there is no commit to clone")
        return
    before = busy()
    with tempfile.TemporaryDirectory(prefix="neurant-bench-") as made:
        clone, caches = Path(made, "clone"), Path(made, "caches")
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        environment = {
            **os.environ,
            "PIP_CACHE_DIR": str(caches / "pip"),
            "npm_config_cache": str(caches / "npm"),
        }
        started = time.monotonic()
        done = subprocess.run(
            ["make", "setup"],
            cwd=clone,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=_SETUP_SECONDS,
        )
        seconds = time.monotonic() - started
        if done.returncode != 0:
            sys.exit(f"make setup failed in a fresh clone:\n{done.stderr}")
        sizes = {name: megabytes(clone / name) for name in _INSTALLED}
    how = f"caches of pip and npm empty before, packages from the configured index; {before}"
    report("install_seconds", "make setup in a fresh clone, s", seconds, None, how)
    parts = ", ".join(f"{name} {size:.1f}" for name, size in sizes.items())
    report("install_size", "what make setup installs, MB", sum(sizes.values()), None, parts)


if __name__ == "__main__":
    main()
