"""A short-lived child of ``neurant up``: migrations, passwords, and the sample company.

It is a separate process so that the supervisor never loads a database driver. It reports its
steps as lines of JSON on stdout: ``{"step": "migrated" | "demo" | "documents", ...}``, or
``{"failed": {"es": "...", "en": "..."}}``.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from neurant.core.errors import NeurantError, SetupError

_DOCUMENT_SECONDS = 180.0
_POLL_SECONDS = 0.2


def main() -> int:
    """Prepare the database (and, with ``--demo``, the sample company). Status 0 is success."""
    try:
        asyncio.run(_prepare(demo="--demo" in sys.argv[1:]))
    except NeurantError as error:
        _tell(failed={"es": error.detail("es"), "en": error.detail("en")})
        return 1
    return 0


def _tell(**event: Any) -> None:
    print(json.dumps(event, ensure_ascii=False), flush=True)


async def _prepare(*, demo: bool) -> None:
    from neurant.core.settings import get_settings
    from neurant.installation.embedded import connection_urls
    from neurant.installation.install import read_secrets
    from neurant.installation.migrate import migrate, set_login_passwords
    from neurant.runtime.startup import ready_to_start

    data_dir = Path(os.environ["NEURANT_DATA_DIR"])
    urls = connection_urls(data_dir)
    admin_url = urls.admin
    applied = migrate(admin_url)
    secret = read_secrets(data_dir)
    set_login_passwords(admin_url, app=secret.app_password, jobs=secret.jobs_password)
    ready_to_start(get_settings(), urls.jobs)
    _tell(step="migrated", applied=len(applied))
    if demo:
        await _load_demo(admin_url)


async def _load_demo(admin_url: str) -> None:
    from neurant.core.db.connection import be_patient
    from neurant.core.settings import get_settings
    from neurant.demo.load import demo_documents_ready, load_demo

    be_patient(_DOCUMENT_SECONDS)
    company = await load_demo(get_settings(), admin_url)
    _tell(
        step="demo",
        logins=[[role, email] for role, email in company.logins],
        password=company.password,
        chat_path=company.chat_path,
        bot_name=company.bot_name,
    )
    deadline = time.monotonic() + _DOCUMENT_SECONDS
    while not await demo_documents_ready(admin_url):
        if time.monotonic() > deadline:
            raise SetupError("setup.documents_slow", seconds=int(_DOCUMENT_SECONDS))
        await asyncio.sleep(_POLL_SECONDS)
    _tell(step="documents")


if __name__ == "__main__":
    sys.exit(main())
