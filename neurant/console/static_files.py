"""Style sheets, scripts and icons, with a content hash in the address for permanent caching."""

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
    """Return the address of ``static/<name>``, which changes when its content does.

    Raises FileNotFoundError for a missing file (``make setup`` builds ``vendor/``).
    """
    return f"/static/{name}?v={_version(name, (ROOT / name).stat().st_mtime_ns)}"


class _KeptFiles(StaticFiles):
    """Static files: cached for a year with a version in the address, else revalidated."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        versioned = scope["query_string"].startswith(b"v=")
        kept = f"public, max-age={_YEAR}, immutable" if versioned else "no-cache"
        response.headers["Cache-Control"] = kept
        return response


def mount_static(app: FastAPI) -> None:
    """Serve ``static/`` under ``/static``."""
    app.mount("/static", _KeptFiles(directory=ROOT), name="static")
