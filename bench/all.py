"""Every measurement, one after another, and then all figures together.

Run: ``make bench`` on a quiet machine. A red figure does not stop the others and is no failure of
the run; a measurement that crashes is one.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from support import OUT, told

HERE = Path(__file__).resolve().parent
MEASUREMENTS = (
    "start",
    "memory",
    "web_answer",
    "rates",
    "api_endpoints",
    "telegram_answer",
    "answers",
    "reading",
    "install",
    "newest_messages",
    "insert_message",
    "text_search",
    "recall",
    "hot_company",
    "ingest_sql",
    "import_conversations",
    "webhook_durable",
    "partitions",
)
SKIPPED = 2  # the exit status of a measurement that has said why it cannot be made here


def figures_since(moment: float) -> list[dict[str, Any]]:
    """What was written to ``out/`` since then; a file holds one figure or a list of them."""
    found: list[dict[str, Any]] = []
    for path in sorted(OUT.glob("*.json")):
        if path.stat().st_mtime >= moment:
            held = json.loads(path.read_text("utf-8"))
            found += held if isinstance(held, list) else [held]
    return found


def crashes(name: str) -> bool:
    """Run one measurement; whether it broke. One that ended well, or only in red, did not."""
    print(f"-- {name}", flush=True)
    began = time.time()
    status = subprocess.run([sys.executable, str(HERE / f"{name}.py")]).returncode
    return status not in (0, SKIPPED) and not figures_since(began)


def main() -> int:
    began = time.time()
    crashed = [name for name in MEASUREMENTS if crashes(name)]
    figures = figures_since(began)
    print("\nAll figures")
    for row in figures:
        print(told(row))
    red = [row["name"] for row in figures if not row["ok"]]
    print(f"\n{len(figures)} figures, {len(red)} RED, {len(crashed)} measurements crashed")
    for name in crashed:
        print(f"CRASHED: {name}")
    return 1 if crashed else 0


if __name__ == "__main__":
    sys.exit(main())
