"""The commands ``neurant sso`` with which the operator manages companies' single sign-on."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from neurant.cli.command_line import DataDir, group, reaching, say, settings_of_running

sso_group = group("sso")


@sso_group.callback()
def _several() -> None:
    """Keep ``sso`` a group although it has a single command."""


@sso_group.command("prove-domain", help=say("sso_prove_domain"))
def prove_domain(
    slug: Annotated[str, typer.Argument(help=say("option.slug"))],
    domain: Annotated[str, typer.Argument(help=say("option.domain"))],
    data_dir: DataDir = None,
) -> None:
    """Confirm as the operator that a company owns a mail domain."""
    from neurant.accounts.sso.domains import prove_domain as prove

    asyncio.run(reaching(prove, settings_of_running(data_dir), slug, domain))
    typer.echo(say("sso_domain_proven", company=slug, domain=domain))
