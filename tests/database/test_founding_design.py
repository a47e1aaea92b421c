"""The founding design's promise: every table, column, enum and function of it, or a reason why not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from neurant.installation.embedded import Urls

ROOT = Path(__file__).resolve().parents[2]
CHECK = ROOT / "tests" / "data" / "checks" / "seed_conformance.py"
DEVIATIONS = ROOT / "docs" / "design-deviations.toml"


def test_the_database_keeps_the_founding_designs_promise(urls: Urls) -> None:
    done = subprocess.run(
        [sys.executable, CHECK, urls.admin, DEVIATIONS], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("0 differences")
