"""The common parts of all commands: language, settings, and errors of an unreachable database."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neurant.core.errors import SetupError, first_line
from neurant.texts import Language, text

_PATIENCE = 600.0  # seconds per statement; long, because a person can press Ctrl-C

if TYPE_CHECKING:
    from neurant.core.settings import Settings


def language() -> Language:
    """Return ``en`` for an English locale and ``es`` for every other.

    The locale is the first of LC_ALL, LC_MESSAGES and LANG that is set.
    """
    named = next(
        (os.environ[v] for v in ("LC_ALL", "LC_MESSAGES", "LANG") if os.environ.get(v)), ""
    )
    return "en" if named.lower().startswith("en") else "es"


def say(name: str, **params: object) -> str:
    """Return a text of the command line in the person's language."""
    return text(f"cli.{name}", language(), **params)


def group(name: str) -> typer.Typer:
    """Return a group of commands with this help text."""
    return typer.Typer(help=say(name), no_args_is_help=True, pretty_exceptions_enable=False)


DataDir = Annotated[Path | None, typer.Option("--data-dir", help=say("option.data_dir"))]


def settings_from(**given: Any) -> Settings:
    """Return the environment's settings, overridden by the given ones. Raises SetupError."""
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from neurant.core.settings import Settings

    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        setting = "NEURANT_" + "_".join(map(str, first["loc"])).upper()
        raise SetupError("setup.bad_setting", setting=setting, reason=first["msg"]) from error
    except SettingsError as error:
        named = str(error).partition('field "')[2].partition('"')[0]
        setting = f"NEURANT_{named}".upper()
        raise SetupError("setup.bad_setting", setting=setting, reason="not JSON") from error


def settings_of_running(data_dir: Path | None) -> Settings:
    """Return the settings of the platform to act on.

    They come from the environment if it names a database, else from the embedded server. A command
    that acts for a company also needs the migrating login's URL.
    """
    settings = settings_from(data_dir=data_dir)
    if settings.app_database_url is not None:
        return settings
    from neurant.installation.embedded import connection_urls
    from neurant.installation.install import read_secrets

    urls = connection_urls(settings.data_dir)
    secret = read_secrets(settings.data_dir.expanduser().resolve())
    key = settings.master_key.get_secret_value() if settings.master_key else secret.master_key
    return settings_from(
        data_dir=settings.data_dir.expanduser().resolve(),
        admin_database_url=urls.admin,
        app_database_url=urls.app,
        jobs_database_url=urls.jobs,
        master_key=key,
    )


async def reaching(work: Callable[..., Any], *arguments: Any) -> Any:
    """Await ``work(...)`` and raise SetupError if the database is unreachable."""
    import psycopg
    import psycopg_pool

    from neurant.core.db.connection import be_patient

    be_patient(_PATIENCE)
    try:
        return await work(*arguments)
    except (psycopg.OperationalError, psycopg_pool.PoolTimeout) as error:
        reason = first_line(error)
        raise SetupError("setup.database_unreachable", reason=reason) from error
