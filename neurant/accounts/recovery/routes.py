"""A forgotten password, as JSON."""

from __future__ import annotations

from fastapi import Request
from pydantic import Field as Bounded

from neurant.accounts.recovery import service
from neurant.accounts.schemas import Body
from neurant.api.route import api_router
from neurant.auth.current import trail_of
from neurant.auth.passwords import LONGEST_PASSWORD
from neurant.core.language import reader_language
from neurant.core.services import services_of
from neurant.core.text_types import EmailText, PasswordText, Text

router = api_router("accounts", "/v1/password-resets")


class Asked(Body):
    """Whose password is forgotten."""

    email: EmailText = Bounded(max_length=320)


class Reset(Body):
    """The token of the mailed link, and the new password."""

    token: Text = Bounded(max_length=200)
    password: PasswordText = Bounded(max_length=LONGEST_PASSWORD)


@router.post("", status_code=202)
async def ask(request: Request, asked: Asked) -> None:
    """A link by mail (one hour, once). The answer is the same where there is no such account."""
    state = services_of(request)
    await service.ask(
        state.pool,
        state.settings,
        asked.email,
        trail=trail_of(request),
        language=reader_language(request),
    )


@router.post("/confirm", status_code=204)
async def confirm(request: Request, reset: Reset) -> None:
    """Set the password. Every session of the person ends; sign in with the new one."""
    state = services_of(request)
    await service.set_password(
        state.pool,
        state.settings,
        reset.token,
        reset.password,
        trail=trail_of(request),
        language=reader_language(request),
    )
