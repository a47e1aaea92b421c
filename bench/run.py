"""Find the measurements by their names, and run one of them."""

from __future__ import annotations

import importlib
import pkgutil
import time
import traceback
from dataclasses import dataclass, field

from bench import database, measurements, platform
from bench.figures import Figure, NotMeasuredError, line


@dataclass(frozen=True)
class Outcome:
    """The outcome of one measurement. ``crashed`` and ``not_measured`` hold the reason, if any."""

    name: str
    seconds: float
    figures: list[Figure] = field(default_factory=list)
    not_measured: str | None = None
    crashed: str | None = None


def names() -> list[str]:
    """Return the names of all measurements, in alphabetical order."""
    return sorted(module.name for module in pkgutil.iter_modules(measurements.__path__))


def run(name: str) -> Outcome:
    """Run one measurement and print its figures. An exception becomes the outcome's reason."""
    print(f"-- {name}", flush=True)
    began = time.monotonic()
    figures: list[Figure] = []
    not_measured = crashed = None
    try:
        module = importlib.import_module(f"bench.measurements.{name}")
        for figure in module.measure():
            figures.append(figure)
            print(line(figure), flush=True)
        if not figures:
            raise RuntimeError("the measurement gave no figure")
    except NotMeasuredError as error:
        not_measured = str(error)
        print(f"not measured: {error}", flush=True)
    except Exception as error:
        crashed = f"{type(error).__name__}: {error}"
        traceback.print_exc()
    return Outcome(name, time.monotonic() - began, figures, not_measured, crashed)


def close_shared() -> None:
    """Stop the platform and the server that the measurements of a tiny run share."""
    platform.close_shared()
    database.close_shared()
