"""``.ci/run`` fails on a skip that nobody has argued for."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.skips import ALLOWED

ROOT = Path(__file__).parents[2]
SKIPPED = """
import pytest

def test_passes():
    assert True

@pytest.mark.skip(reason="no such program here")
def test_proves_nothing():
    assert False
"""


@pytest.mark.parametrize(("ci", "status", "processes"), [("true", 1, ("-n", "1")), ("", 0, ())])
def test_an_unlisted_skip_fails_the_run_of_continuous_integration(
    tmp_path: Path, ci: str, status: int, processes: tuple[str, ...]
) -> None:
    (tmp_path / "test_made_up.py").write_text(SKIPPED, "utf-8")
    (tmp_path / "conftest.py").write_text("from tests.support.skips import *\n", "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *processes, "--rootdir", tmp_path, tmp_path],
        cwd=tmp_path, env=os.environ | {"CI": ci, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    told = "skipped, but not in allowed_skips.toml: test_made_up.py::test_proves_nothing"
    assert (told in done.stdout) == bool(ci)
    assert not ci or "no such program here" in done.stdout


def test_every_listed_skip_names_a_test_and_says_why() -> None:
    for test, reason in tomllib.loads(ALLOWED.read_text("utf-8")).items():
        file, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text("utf-8"), test
        assert reason.endswith("."), test
