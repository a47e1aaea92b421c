"""Every text file of the repository keeps what .editorconfig says."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Copies that other programs made, and samples whose exact bytes matter.
NOT_OURS = (
    "tests/data/",
    "tests/database/released/",
    "neurant/console/static/vendor/",
    "bench/founding_design.sql",
    "neurant/installation/migrations/",
)
THE_LIBRARYS = "jobs"  # db/**/*jobs*.sql: the tables of the job library, as it ships them
TABS = ("Makefile",)


def text_files() -> dict[str, str]:
    """The text of each file that git tracks, by its name; binary files are left out."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True
    ).stdout.decode()
    found = {}
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        is_the_librarys = name.startswith("db/") and THE_LIBRARYS in path.name
        if is_the_librarys or name.startswith(NOT_OURS) or path.is_symlink() or not path.is_file():
            continue
        content = path.read_bytes()
        if b"\0" not in content:
            found[name] = content.decode("utf-8")
    return found


def test_text_files_end_with_one_newline_and_hold_no_tab_carriage_return_or_trailing_space() -> (
    None
):
    faults = []
    for name, content in text_files().items():
        if content and not content.endswith("\n"):
            faults.append(f"{name}: no newline at the end")
        for number, line in enumerate(content.split("\n"), 1):
            if line != line.rstrip() and not name.endswith(".txt"):
                faults.append(f"{name}:{number}: space at the end")
            if "\t" in line and Path(name).name not in TABS:
                faults.append(f"{name}:{number}: tab")
    assert not faults, "\n".join(faults)
