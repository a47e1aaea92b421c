"""Style sheets, scripts and icons: named by their content's hash, so they can be kept for good."""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from fastapi import FastAPI, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

ROOT = Path(__file__).parent / "static"
_YEAR = 365 * 24 * 3600


@lru_cache(maxsize=256)
def _version(name: str, _changed_ns: int) -> str:
    return sha256((ROOT / name).read_bytes()).hexdigest()[:12]


def static_url(name: str) -> str:
    """Address of ``static/<name>`` that changes when its content does.

    Raises FileNotFoundError for a file that is not there (``make setup`` builds ``vendor/``).
    """
    return f"/static/{name}?v={_version(name, (ROOT / name).stat().st_mtime_ns)}"


class _KeptFiles(StaticFiles):
    """With its version in the address a file never changes; without, it is revalidated."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        versioned = scope["query_string"].startswith(b"v=")
        kept = f"public, max-age={_YEAR}, immutable" if versioned else "no-cache"
        response.headers["Cache-Control"] = kept
        return response


def mount_static(app: FastAPI) -> None:
    """Serve ``static/`` under ``/static``."""
    app.mount("/static", _KeptFiles(directory=ROOT), name="static")
