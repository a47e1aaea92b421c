"""The command line. It imports the rest only when a command needs it, so that help is fast.

An expected error is one line on stderr in the person's language, with exit status 1.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from neurant import __version__
from neurant.cli.command_line import (
    DataDir,
    group,
    language,
    reaching,
    say,
    settings_from,
    settings_of_running,
)
from neurant.cli.companies import company_group
from neurant.cli.sso import sso_group
from neurant.core.errors import NeurantError, SetupError, first_line
from neurant.core.stopping import StopRequestedError, let_sigint_end_us, stop_signals

app = group("about")
archive = group("archive")
audit = group("audit")
channels = group("channels")
connect = group("channels_connect")
db = group("db")
knowledge = group("knowledge")
app.add_typer(db, name="db")
app.add_typer(company_group, name="company")
app.add_typer(sso_group, name="sso")
app.add_typer(knowledge, name="knowledge")
app.add_typer(channels, name="channels")
channels.add_typer(connect, name="connect")
app.add_typer(archive, name="archive")
app.add_typer(audit, name="audit")

Host = Annotated[str | None, typer.Option(help=say("option.host"))]
Port = Annotated[int | None, typer.Option(min=1, max=65535, help=say("option.port"))]
Bot = Annotated[str, typer.Option(help=say("option.bot"))]
Company = Annotated[str | None, typer.Option(help=say("option.company"))]


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"neurant {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help=say("option.version"), is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    """Read the options that belong to no command."""


@app.command(help=say("up"))
def up(
    demo: Annotated[bool, typer.Option("--demo", help=say("option.demo"))] = False,
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    stop_with_parent: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Run all processes on this machine until Ctrl-C."""
    let_sigint_end_us()
    from neurant.cli.output import Teller
    from neurant.runtime import supervisor
    from neurant.runtime.startup import check_settings

    settings = settings_from(host=host, port=port, data_dir=data_dir)
    check_settings(settings)
    teller = Teller(settings, language())
    supervisor.up(settings, teller, demo=demo, stop_with_parent=stop_with_parent)


@app.command(help=say("serve"))
def serve(
    host: Host = None,
    port: Port = None,
    inherited: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run the web process."""
    let_sigint_end_us()
    from neurant.runtime import serve as web

    web.serve(settings_from(host=host, port=port), inherited)


@app.command("proxy-check", help=say("proxy_check"))
def proxy_check(data_dir: DataDir = None) -> None:
    """Check that the reverse proxy reports the client's address and that it cannot be forged."""
    from neurant.runtime.proxy_check import check_proxy
    from neurant.runtime.startup import with_master_key

    settings = with_master_key(settings_from(data_dir=data_dir))
    found = asyncio.run(check_proxy(settings))
    typer.echo(say(f"proxy.{found}", url=settings.base_url()))
    if found not in ("right", "direct"):
        raise typer.Exit(1)


@app.command(help=say("worker"))
def worker() -> None:
    """Run the worker process."""
    let_sigint_end_us()
    import uvloop

    from neurant.core.logs import configure_logging
    from neurant.runtime.worker import run_worker

    settings = settings_from()
    configure_logging(settings, "worker")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run_worker(settings))


def _database(url: str | None, data_dir: Path | None) -> str:
    """Return the given URL, or the embedded database's. Raises SetupError for a malformed URL."""
    from neurant.core.settings import is_database_url
    from neurant.installation.embedded import connection_urls

    if not url:
        return connection_urls(settings_from(data_dir=data_dir).data_dir).admin
    if not is_database_url(url):
        raise SetupError("setup.not_a_database_url")
    return url


@app.command(help=say("migrate"))
def migrate(
    url: Annotated[
        str | None,
        typer.Argument(help=say("option.url"), envvar="NEURANT_ADMIN_DATABASE_URL"),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Migrate the database of this URL, or the running embedded one."""
    from neurant.installation import migrate as module

    applied = module.migrate(_database(url, data_dir))
    for file in applied:
        typer.echo(say("applied", file=file))
    if not applied:
        typer.echo(say("up_to_date"))


@app.command(help=say("verify"))
def verify(
    url: Annotated[
        str | None,
        typer.Argument(help=say("option.url"), envvar="NEURANT_ADMIN_DATABASE_URL"),
    ] = None,
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help=say("option.json"))] = False,
) -> None:
    """Verify the database of this URL, or the embedded one; exit status 1 if a cell is wrong."""
    from neurant.verify.command import verify as verify_database

    report = verify_database(_database(url, data_dir))
    if as_json:
        typer.echo(report.as_json())
    else:
        for line in report.lines(language()):
            typer.echo(line)
    if report.wrong:
        raise typer.Exit(1)


@db.command("url", help=say("db_url"))
def db_url(data_dir: DataDir = None) -> None:
    """Start the embedded server and print its superuser URL alone on stdout, then migrate.

    The URL is printed before the migration, so that it is available when the migration fails.
    """
    from neurant.installation.embedded import ensure_detached
    from neurant.installation.install import read_secrets
    from neurant.installation.migrate import migrate as bring_up_to_date
    from neurant.installation.migrate import set_login_passwords

    folder = settings_from(data_dir=data_dir).data_dir.expanduser().resolve()
    with stop_signals():  # an interrupt stops a server that is still starting
        urls = ensure_detached(folder)
    typer.echo(urls.admin)
    try:
        bring_up_to_date(urls.admin)
    except SetupError as error:  # the URL is needed to repair the database
        typer.echo(error.detail(language()), err=True)
        return
    secret = read_secrets(folder)
    set_login_passwords(urls.admin, app=secret.app_password, jobs=secret.jobs_password)


@db.command("stop", help=say("db_stop"))
def db_stop(data_dir: DataDir = None) -> None:
    """Stop a detached database server; refuse if ``neurant up`` runs it."""
    from neurant.installation.embedded import stop
    from neurant.runtime.supervisor import is_up

    folder = settings_from(data_dir=data_dir).data_dir
    if is_up(folder):
        raise SetupError("setup.stop_the_platform", folder=folder)
    with stop_signals():
        stopped = stop(folder)
    typer.echo(say("stopped" if stopped else "nothing_to_stop"))


@knowledge.command("add", help=say("knowledge_add"))
def knowledge_add(
    file: Annotated[Path, typer.Argument(help=say("option.file"))],
    bot: Bot,
    company: Company = None,
    data_dir: DataDir = None,
) -> None:
    """Add a document to a bot and wait until its passages are searchable."""
    from neurant.cli.knowledge import add_document
    from neurant.knowledge.service import unread_pages

    settings = settings_of_running(data_dir)
    told: list[str] = []

    def show(progress: str) -> None:
        if progress not in told:
            told.append(progress)
            typer.echo(progress)

    added = asyncio.run(reaching(add_document, settings, file, bot, company, show, language()))
    typer.echo(say("added", bot=bot, file=file.name, passages=added.chunks))
    if unread := unread_pages(added.unread_pages, language()):
        typer.echo(unread)


@connect.command("telegram", help=say("telegram"))
def connect_telegram(
    bot: Bot,
    token: Annotated[
        str,
        typer.Option(
            help=say("option.token"),
            envvar="NEURANT_TELEGRAM_TOKEN",
            prompt=True,
            hide_input=True,
            show_envvar=True,
        ),
    ],
    company: Company = None,
    data_dir: DataDir = None,
) -> None:
    """Connect a bot to Telegram and print its name there."""
    from neurant.cli.telegram import connect as connect_bot

    settings = settings_of_running(data_dir)
    there = asyncio.run(reaching(connect_bot, settings, bot, token, company))
    typer.echo(say("connected", bot=bot, there=there))


@audit.command("verify", help=say("audit_verify"))
def audit_verify(
    url: Annotated[
        str | None,
        typer.Argument(help=say("option.url"), envvar="NEURANT_ADMIN_DATABASE_URL"),
    ] = None,
    data_dir: DataDir = None,
    heads: Annotated[str | None, typer.Option(help=say("option.heads"))] = None,
    company: Annotated[str | None, typer.Option(help=say("option.any_company"))] = None,
    public_key: Annotated[list[str] | None, typer.Option(help=say("option.public_key"))] = None,
    as_json: Annotated[bool, typer.Option("--json", help=say("option.json"))] = False,
) -> None:
    """Verify audit against its seals and signed chain heads; exit status 1 on any problem."""
    import psycopg

    from neurant.cli import audit as commands
    from neurant.runtime.startup import with_master_key

    settings = with_master_key(settings_from(data_dir=data_dir))
    target = _database(url, data_dir)
    try:
        report = commands.run_verify(settings, target, heads, company, public_key or [])
    except psycopg.Error as error:
        reason = first_line(error)
        raise SetupError("setup.database_refused", reason=reason) from error
    typer.echo(commands.as_json(report) if as_json else commands.as_text(report, language()))
    raise typer.Exit(0 if report.ok else 1)


@audit.command("export", help=say("audit_export"))
def audit_export(data_dir: DataDir = None) -> None:
    """Seal audit rows and export the chain heads now."""
    from neurant.cli.audit import run_export

    settings = settings_of_running(data_dir)
    sealed, exported, key = asyncio.run(reaching(run_export, settings))
    typer.echo(say("audit_exported", sealed=sealed, heads=exported, key=key))


@archive.command("run", help=say("archive_run"))
def archive_run(data_dir: DataDir = None) -> None:
    """Archive conversations that are old enough now."""
    from neurant.cli.retention import archive_now

    moved = asyncio.run(reaching(archive_now, settings_of_running(data_dir)))
    typer.echo(say("archived", conversations=moved))


@archive.command("list", help=say("archive_list"))
def archive_list(company: Company = None, data_dir: DataDir = None) -> None:
    """Print the newest archived conversations of a company."""
    from neurant.cli.retention import list_archived

    rows = asyncio.run(reaching(list_archived, settings_of_running(data_dir), company))
    for row in rows:
        day = row.last_message_at.date().isoformat()
        typer.echo(f"{row.id}  {day}  {row.channel:<8}  {row.message_count:>5}  {row.who}")
    if not rows:
        typer.echo(say("archive_empty"))


@archive.command("restore", help=say("archive_restore"))
def archive_restore(
    conversation: Annotated[UUID, typer.Argument(help=say("option.conversation"))],
    company: Company = None,
    data_dir: DataDir = None,
) -> None:
    """Restore an archived conversation."""
    from neurant.cli.retention import restore

    asyncio.run(reaching(restore, settings_of_running(data_dir), conversation, company))
    typer.echo(say("restored", conversation=conversation))


def main() -> None:
    """Run the ``neurant`` program and translate errors into exit statuses."""
    try:
        app()
    except NeurantError as error:
        print(error.detail(language()), file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except StopRequestedError as asked:
        sys.exit(128 + asked.number)
    except BrokenPipeError:  # the reader closed the pipe (`neurant --help | head -1`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
