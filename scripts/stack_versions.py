"""Write the locked versions into docs/stack.md. Run by ``make lock``."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "stack.md"
_ROW = re.compile(r"^\| (?P<name>[@\w./-]+) \| (?P<version>[^|]+) \| ", re.MULTILINE)
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)


def locked_versions() -> dict[str, str]:
    """Return the version of every locked package of Python and npm, by its normalised name."""
    found = {}
    for lock in sorted(ROOT.glob("requirements*.lock")):
        for name, version in _PIN.findall(lock.read_text("utf-8")):
            found[normal(name)] = version
    packages = json.loads((ROOT / "package-lock.json").read_text("utf-8"))["packages"]
    for place, package in packages.items():
        if place.startswith("node_modules/"):
            found[place.removeprefix("node_modules/")] = package["version"]
    return found


def normal(name: str) -> str:
    """Return the package's name as PyPI compares it."""
    return name if name.startswith("@") else re.sub(r"[-_]+", "-", name).lower()


def with_versions(page: str, versions: dict[str, str]) -> str:
    """Return the page with each locked package's version in its row."""

    def renew(row: re.Match[str]) -> str:
        version = versions.get(normal(row["name"]), row["version"])
        return f"| {row['name']} | {version} | "

    return _ROW.sub(renew, page)


def main() -> int:
    """Write the page and return 0."""
    PAGE.write_text(with_versions(PAGE.read_text("utf-8"), locked_versions()), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
