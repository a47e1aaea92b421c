"""What every command shares: its language, its settings, and a database that does not answer."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neurant.core.errors import SetupError, first_line
from neurant.texts import Language, text

_PATIENCE = 600.0  # seconds for one statement of a command: somebody watches, and may press Ctrl-C

if TYPE_CHECKING:
    from neurant.core.settings import Settings


def language() -> Language:
    """Spanish, unless the locale (LC_ALL, LC_MESSAGES, LANG: the first that is set) is English."""
    named = next(
        (os.environ[v] for v in ("LC_ALL", "LC_MESSAGES", "LANG") if os.environ.get(v)), ""
    )
    return "en" if named.lower().startswith("en") else "es"


def say(name: str, **params: object) -> str:
    """A text of the command line's own, in the person's language."""
    return text(f"cli.{name}", language(), **params)


def group(name: str) -> typer.Typer:
    """A group of commands, under this help text."""
    return typer.Typer(help=say(name), no_args_is_help=True, pretty_exceptions_enable=False)


DataDir = Annotated[Path | None, typer.Option("--data-dir", help=say("option.data_dir"))]


def settings_from(**given: Any) -> Settings:
    """The environment's settings, with what the command line says in their place."""
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
    """Settings to act on a platform: the one that the environment names, else the embedded one.

    Where a person acts for a company, the address of an administrator's login is needed too.
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
    """``await work(...)``, where a database that does not answer is an expected error."""
    import psycopg
    import psycopg_pool

    from neurant.core.db.connection import be_patient

    be_patient(_PATIENCE)
    try:
        return await work(*arguments)
    except (psycopg.OperationalError, psycopg_pool.PoolTimeout) as error:
        reason = first_line(error)
        raise SetupError("setup.database_unreachable", reason=reason) from error
