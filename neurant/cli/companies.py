"""The commands ``neurant company``: create and erase companies, and change their plan."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from neurant.cli.command_line import DataDir, group, reaching, say, settings_of_running
from neurant.core.errors import SetupError

company_group = group("company")


@company_group.command("create", help=say("company_create"))
def company_create(
    name: Annotated[str, typer.Argument(help=say("option.company_name"))],
    email: Annotated[str, typer.Option(help=say("option.owner_email"), prompt=say("ask.email"))],
    password: Annotated[
        str,
        typer.Option(
            help=say("option.owner_password"),
            envvar="NEURANT_OWNER_PASSWORD",
            prompt=say("ask.password"),
            confirmation_prompt=say("ask.password_again"),
            hide_input=True,
            show_envvar=True,
        ),
    ],
    first_name: Annotated[str, typer.Option(help=say("option.first_name"))] = "",
    last_name: Annotated[str, typer.Option(help=say("option.last_name"))] = "",
    slug: Annotated[str | None, typer.Option(help=say("option.new_slug"))] = None,
    plan: Annotated[str | None, typer.Option(help=say("option.new_plan"))] = None,
    data_dir: DataDir = None,
) -> None:
    """Create a company with its owner and print its short name."""
    from neurant.companies.create import NewCompany, create_company

    settings = settings_of_running(data_dir)
    first = first_name or email.partition("@")[0]
    new = NewCompany(name, email, password, first, last_name, slug, plan)
    made = asyncio.run(reaching(create_company, settings, new))
    typer.echo(say("company_created", company=name, slug=made, email=email))


@company_group.command("plan", help=say("company_plan"))
def company_plan(
    slug: Annotated[str, typer.Argument(help=say("option.slug"))],
    plan: Annotated[str, typer.Argument(help=say("option.plan"))],
    data_dir: DataDir = None,
) -> None:
    """Confirm a company's plan."""
    from neurant.cli.plans import give_plan

    asyncio.run(reaching(give_plan, settings_of_running(data_dir), slug, plan))
    typer.echo(say("plan_confirmed", company=slug, plan=plan))


@company_group.command("past-due", help=say("company_past_due"))
def company_past_due(
    slug: Annotated[str, typer.Argument(help=say("option.slug"))],
    data_dir: DataDir = None,
) -> None:
    """Record that a company's payment is overdue."""
    from neurant.cli.plans import miss_payment

    noted = asyncio.run(reaching(miss_payment, settings_of_running(data_dir), slug))
    typer.echo(say("past_due_noted" if noted else "past_due_unchanged", company=slug))


@company_group.command("requests", help=say("company_requests"))
def company_requests(data_dir: DataDir = None) -> None:
    """Print the plan requests that wait for confirmation."""
    from neurant.cli.plans import list_requests

    waiting = asyncio.run(reaching(list_requests, settings_of_running(data_dir)))
    for one in waiting:
        typer.echo(f"{one.created_at:%Y-%m-%d}  {one.slug:<30}  {one.plan:<14}  {one.email}")
    if not waiting:
        typer.echo(say("no_requests"))


@company_group.command("erase", help=say("company_erase"))
def company_erase(
    slug: Annotated[str, typer.Argument(help=say("option.slug"))],
    yes: Annotated[bool, typer.Option("--yes", help=say("option.erase_yes"))] = False,
    force: Annotated[bool, typer.Option("--force", help=say("option.erase_force"))] = False,
    data_dir: DataDir = None,
) -> None:
    """Erase a closed company permanently."""
    from neurant.cli.retention import erase_company

    if not yes:
        raise SetupError("retention.erase_needs_yes", company=slug)
    settings = settings_of_running(data_dir)

    async def erase() -> int:
        return await erase_company(
            settings, slug, force=force, on_progress=lambda n: typer.echo(say("erasing", rows=n))
        )

    typer.echo(say("erased", company=slug, rows=asyncio.run(reaching(erase))))
