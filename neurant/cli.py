"""The command line. It loads the rest only when a command needs it, so that help is instant.

Expected errors are one line on stderr in the person's language, and status 1.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from neurant.errors import NeurantError, SetupError, first_line
from neurant.texts import Language, text

if TYPE_CHECKING:
    from neurant.settings import Settings


def language() -> Language:
    """Spanish, unless the locale (LC_ALL, LC_MESSAGES, LANG: the first that is set) is English."""
    named = next(
        (os.environ[v] for v in ("LC_ALL", "LC_MESSAGES", "LANG") if os.environ.get(v)), ""
    )
    return "en" if named.lower().startswith("en") else "es"


def _say(name: str, **params: object) -> str:
    return text(f"cli.{name}", language(), **params)


def _group(name: str) -> typer.Typer:
    return typer.Typer(help=_say(name), no_args_is_help=True, pretty_exceptions_enable=False)


app = _group("about")
archive = _group("archive")
audit = _group("audit")
channels = _group("channels")
company_group = _group("company")
connect = _group("channels_connect")
db = _group("db")
knowledge = _group("knowledge")
app.add_typer(db, name="db")
app.add_typer(company_group, name="company")
app.add_typer(knowledge, name="knowledge")
app.add_typer(channels, name="channels")
channels.add_typer(connect, name="connect")
app.add_typer(archive, name="archive")
app.add_typer(audit, name="audit")

DataDir = Annotated[Path | None, typer.Option("--data-dir", help=_say("option.data_dir"))]
Host = Annotated[str | None, typer.Option(help=_say("option.host"))]
Port = Annotated[int | None, typer.Option(min=1, max=65535, help=_say("option.port"))]
Bot = Annotated[str, typer.Option(help=_say("option.bot"))]
Company = Annotated[str | None, typer.Option(help=_say("option.company"))]


def _settings(**given: Any) -> Settings:
    """The environment's settings, with what the command line says in their place."""
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from neurant.settings import Settings

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


def _settings_of_running(data_dir: Path | None) -> Settings:
    """Settings to act on a platform: the one that the environment names, else the embedded one.

    Where a person acts for a company, the address of an administrator's login is needed too.
    """
    settings = _settings(data_dir=data_dir)
    if settings.app_database_url is not None:
        return settings
    from neurant.database.embedded import connection_urls
    from neurant.database.install import read_secrets

    urls = connection_urls(settings.data_dir)
    secret = read_secrets(settings.data_dir.expanduser().resolve())
    key = settings.master_key.get_secret_value() if settings.master_key else secret.master_key
    return _settings(
        data_dir=settings.data_dir.expanduser().resolve(),
        admin_database_url=urls.admin,
        app_database_url=urls.app,
        jobs_database_url=urls.jobs,
        master_key=key,
    )


@app.command(help=_say("up"))
def up(
    demo: Annotated[bool, typer.Option("--demo", help=_say("option.demo"))] = False,
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    stop_with_parent: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Run everything on this machine until Ctrl-C."""
    from neurant import supervisor
    from neurant.console_output import Teller
    from neurant.startup import check_settings

    settings = _settings(host=host, port=port, data_dir=data_dir)
    check_settings(settings)
    teller = Teller(settings, language())
    supervisor.up(settings, teller, demo=demo, stop_with_parent=stop_with_parent)


@app.command(help=_say("serve"))
def serve(
    host: Host = None,
    port: Port = None,
    inherited: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run the web process."""
    from neurant import serve as web

    web.serve(_settings(host=host, port=port), inherited)


@app.command(help=_say("worker"))
def worker() -> None:
    """Run the worker process."""
    import uvloop

    from neurant.logs import configure_logging
    from neurant.worker import run_worker

    settings = _settings()
    configure_logging(settings, "worker")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run_worker(settings))


@app.command(help=_say("migrate"))
def migrate(
    url: Annotated[
        str | None,
        typer.Argument(help=_say("option.url"), envvar="NEURANT_ADMIN_DATABASE_URL"),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Migrate the database of this URL, or the embedded one that runs."""
    from neurant.database import migrate as module
    from neurant.database.embedded import connection_urls

    target = url or connection_urls(_settings(data_dir=data_dir).data_dir).admin
    applied = module.migrate(target)
    for file in applied:
        typer.echo(_say("applied", file=file))
    if not applied:
        typer.echo(_say("up_to_date"))


@app.command(help=_say("verify"))
def verify(
    url: Annotated[
        str | None,
        typer.Argument(help=_say("option.url"), envvar="NEURANT_ADMIN_DATABASE_URL"),
    ] = None,
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help=_say("option.json"))] = False,
) -> None:
    """Verify the database of this URL, or the embedded one; status 1 if a cell is wrong."""
    from neurant.database.embedded import connection_urls
    from neurant.database.verify.command import verify as verify_database

    target = url or connection_urls(_settings(data_dir=data_dir).data_dir).admin
    report = verify_database(target)
    if as_json:
        typer.echo(report.as_json())
    else:
        for line in report.lines(language()):
            typer.echo(line)
    if report.wrong:
        raise typer.Exit(1)


@db.command("url", help=_say("db_url"))
def db_url(data_dir: DataDir = None) -> None:
    """Print the superuser's URL, and nothing else, on stdout: also where migrating fails."""
    from neurant.database.embedded import ensure_detached
    from neurant.database.install import read_secrets
    from neurant.database.migrate import migrate as bring_up_to_date
    from neurant.database.migrate import set_login_passwords

    folder = _settings(data_dir=data_dir).data_dir.expanduser().resolve()
    urls = ensure_detached(folder)
    typer.echo(urls.admin)
    try:
        bring_up_to_date(urls.admin)
    except SetupError as error:  # whoever mends it needs the URL most of all
        typer.echo(error.detail(language()), err=True)
        return
    secret = read_secrets(folder)
    set_login_passwords(urls.admin, app=secret.app_password, jobs=secret.jobs_password)


@db.command("stop", help=_say("db_stop"))
def db_stop(data_dir: DataDir = None) -> None:
    """Stop a detached server; a platform's own is left to the platform."""
    from neurant.database.embedded import stop
    from neurant.supervisor import is_up

    folder = _settings(data_dir=data_dir).data_dir
    if is_up(folder):
        raise SetupError("setup.stop_the_platform", folder=folder)
    typer.echo(_say("stopped" if stop(folder) else "nothing_to_stop"))


@knowledge.command("add", help=_say("knowledge_add"))
def knowledge_add(
    file: Annotated[Path, typer.Argument(help=_say("option.file"))],
    bot: Bot,
    company: Company = None,
    data_dir: DataDir = None,
) -> None:
    """Add a document and wait until the bot knows it."""
    from neurant.knowledge.commands import add_document
    from neurant.knowledge.service import unread_pages

    settings = _settings_of_running(data_dir)
    told: list[str] = []

    def show(progress: str) -> None:
        if progress not in told:
            told.append(progress)
            typer.echo(progress)

    added = asyncio.run(_reaching(add_document, settings, file, bot, company, show, language()))
    typer.echo(_say("added", bot=bot, file=file.name, passages=added.chunks))
    if unread := unread_pages(added.unread_pages, language()):
        typer.echo(unread)


@connect.command("telegram", help=_say("telegram"))
def connect_telegram(
    bot: Bot,
    token: Annotated[
        str,
        typer.Option(
            help=_say("option.token"),
            envvar="NEURANT_TELEGRAM_TOKEN",
            prompt=True,
            hide_input=True,
            show_envvar=True,
        ),
    ],
    company: Company = None,
    data_dir: DataDir = None,
) -> None:
    """Connect a Telegram bot; prints its name there."""
    from neurant.channels.telegram.setup import connect as connect_bot

    settings = _settings_of_running(data_dir)
    there = asyncio.run(_reaching(connect_bot, settings, bot, token, company))
    typer.echo(_say("connected", bot=bot, there=there))


@company_group.command("create", help=_say("company_create"))
def company_create(
    name: Annotated[str, typer.Argument(help=_say("option.company_name"))],
    email: Annotated[str, typer.Option(help=_say("option.owner_email"), prompt=_say("ask.email"))],
    password: Annotated[
        str,
        typer.Option(
            help=_say("option.owner_password"),
            envvar="NEURANT_OWNER_PASSWORD",
            prompt=_say("ask.password"),
            confirmation_prompt=_say("ask.password_again"),
            hide_input=True,
            show_envvar=True,
        ),
    ],
    first_name: Annotated[str, typer.Option(help=_say("option.first_name"))] = "",
    last_name: Annotated[str, typer.Option(help=_say("option.last_name"))] = "",
    slug: Annotated[str | None, typer.Option(help=_say("option.new_slug"))] = None,
    plan: Annotated[str, typer.Option(help=_say("option.plan"))] = "free",
    data_dir: DataDir = None,
) -> None:
    """Found a company; prints its short name."""
    from neurant.companies.create import NewCompany, create_company

    settings = _settings_of_running(data_dir)
    first = first_name or email.partition("@")[0]
    new = NewCompany(name, email, password, first, last_name, slug, plan)
    made = asyncio.run(_reaching(create_company, settings, new))
    typer.echo(_say("company_created", company=name, slug=made, email=email))


@company_group.command("plan", help=_say("company_plan"))
def company_plan(
    slug: Annotated[str, typer.Argument(help=_say("option.slug"))],
    plan: Annotated[str, typer.Argument(help=_say("option.plan"))],
    data_dir: DataDir = None,
) -> None:
    """Confirm a company's plan."""
    from neurant.plans.commands import give_plan

    asyncio.run(_reaching(give_plan, _settings_of_running(data_dir), slug, plan))
    typer.echo(_say("plan_confirmed", company=slug, plan=plan))


@company_group.command("past-due", help=_say("company_past_due"))
def company_past_due(
    slug: Annotated[str, typer.Argument(help=_say("option.slug"))],
    data_dir: DataDir = None,
) -> None:
    """Note that a company's payment is missing."""
    from neurant.plans.commands import miss_payment

    noted = asyncio.run(_reaching(miss_payment, _settings_of_running(data_dir), slug))
    typer.echo(_say("past_due_noted" if noted else "past_due_unchanged", company=slug))


@company_group.command("requests", help=_say("company_requests"))
def company_requests(data_dir: DataDir = None) -> None:
    """The plans that wait to be confirmed."""
    from neurant.plans.commands import list_requests

    waiting = asyncio.run(_reaching(list_requests, _settings_of_running(data_dir)))
    for one in waiting:
        typer.echo(f"{one.created_at:%Y-%m-%d}  {one.slug:<30}  {one.plan:<14}  {one.email}")
    if not waiting:
        typer.echo(_say("no_requests"))


@audit.command("verify", help=_say("audit_verify"))
def audit_verify(
    url: Annotated[
        str | None,
        typer.Argument(help=_say("option.url"), envvar="NEURANT_ADMIN_DATABASE_URL"),
    ] = None,
    data_dir: DataDir = None,
    heads: Annotated[str | None, typer.Option(help=_say("option.heads"))] = None,
    company: Annotated[str | None, typer.Option(help=_say("option.any_company"))] = None,
    public_key: Annotated[list[str] | None, typer.Option(help=_say("option.public_key"))] = None,
    as_json: Annotated[bool, typer.Option("--json", help=_say("option.json"))] = False,
) -> None:
    """Verify audit against its seals and signed heads; status 1 if anything is wrong."""
    import psycopg

    from neurant.audit import commands
    from neurant.database.embedded import connection_urls

    settings = commands.with_master_key(_settings(data_dir=data_dir))
    target = url or connection_urls(settings.data_dir).admin
    try:
        report = commands.run_verify(settings, target, heads, company, public_key or [])
    except psycopg.Error as error:
        reason = first_line(error)
        raise SetupError("setup.database_refused", reason=reason) from error
    typer.echo(commands.as_json(report) if as_json else commands.as_text(report, language()))
    raise typer.Exit(0 if report.ok else 1)


@audit.command("export", help=_say("audit_export"))
def audit_export(data_dir: DataDir = None) -> None:
    """Seal and export now."""
    from neurant.audit.commands import run_export

    settings = _settings_of_running(data_dir)
    sealed, exported, key = asyncio.run(_reaching(run_export, settings))
    typer.echo(_say("audit_exported", sealed=sealed, heads=exported, key=key))


@archive.command("run", help=_say("archive_run"))
def archive_run(data_dir: DataDir = None) -> None:
    """Archive what is old enough, now."""
    from neurant.retention.commands import archive_now

    moved = asyncio.run(_reaching(archive_now, _settings_of_running(data_dir)))
    typer.echo(_say("archived", conversations=moved))


@archive.command("list", help=_say("archive_list"))
def archive_list(company: Company = None, data_dir: DataDir = None) -> None:
    """The newest archived conversations of a company."""
    from neurant.retention.commands import list_archived

    rows = asyncio.run(_reaching(list_archived, _settings_of_running(data_dir), company))
    for row in rows:
        day = row.last_message_at.date().isoformat()
        typer.echo(f"{row.id}  {day}  {row.channel:<8}  {row.message_count:>5}  {row.who}")
    if not rows:
        typer.echo(_say("archive_empty"))


@archive.command("restore", help=_say("archive_restore"))
def archive_restore(
    conversation: Annotated[UUID, typer.Argument(help=_say("option.conversation"))],
    company: Company = None,
    data_dir: DataDir = None,
) -> None:
    """Bring an archived conversation back."""
    from neurant.retention.commands import restore

    asyncio.run(_reaching(restore, _settings_of_running(data_dir), conversation, company))
    typer.echo(_say("restored", conversation=conversation))


@company_group.command("erase", help=_say("company_erase"))
def company_erase(
    slug: Annotated[str, typer.Argument(help=_say("option.slug"))],
    yes: Annotated[bool, typer.Option("--yes", help=_say("option.erase_yes"))] = False,
    force: Annotated[bool, typer.Option("--force", help=_say("option.erase_force"))] = False,
    data_dir: DataDir = None,
) -> None:
    """Erase a closed company for good."""
    from neurant.retention.commands import erase_company

    if not yes:
        raise SetupError("retention.erase_needs_yes", company=slug)
    settings = _settings_of_running(data_dir)

    async def erase() -> int:
        return await erase_company(
            settings, slug, force=force, on_progress=lambda n: typer.echo(_say("erasing", rows=n))
        )

    typer.echo(_say("erased", company=slug, rows=asyncio.run(_reaching(erase))))


async def _reaching(work: Callable[..., Any], *arguments: Any) -> Any:
    """``await work(...)``, where a database that does not answer is an expected error."""
    import psycopg
    import psycopg_pool

    try:
        return await work(*arguments)
    except (psycopg.OperationalError, psycopg_pool.PoolTimeout) as error:
        reason = first_line(error)
        raise SetupError("setup.database_unreachable", reason=reason) from error


def main() -> None:
    """Entry point of the ``neurant`` program."""
    try:
        app()
    except NeurantError as error:
        print(error.detail(language()), file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output left (`neurant --help | head -1`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
