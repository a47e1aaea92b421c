"""The endpoints that recover a forgotten password."""

from __future__ import annotations

from fastapi import Request
from pydantic import Field as Bounded

from neurant.accounts.recovery import service
from neurant.accounts.schemas import Body
from neurant.api.route import api_router
from neurant.auth.current import trail_of
from neurant.auth.passwords import MAX_PASSWORD_LENGTH
from neurant.core.language import reader_language
from neurant.core.services import services_of
from neurant.core.text_types import EmailText, PasswordText, Text

router = api_router("accounts", "/v1/password-resets")


class PasswordResetIn(Body):
    """The account whose password is forgotten."""

    email: EmailText = Bounded(max_length=320, description="E-mail address of the account")


class Reset(Body):
    """The token of the mailed link, and the new password."""

    token: Text = Bounded(max_length=200, description="Part of the mailed link after link=")
    password: PasswordText = Bounded(
        max_length=MAX_PASSWORD_LENGTH, description="New password of at least 10 characters"
    )


@router.post("", status_code=202)
async def ask(request: Request, asked: PasswordResetIn) -> None:
    """Send a link that sets a new password to an address.

    The link is valid for one hour and once. The answer is always 202 without content, also if the
    address has no account.

    Refuses: 422 ``accounts.bad_email`` if the text is no e-mail address; 429 ``accounts.slow_down``
    if this client has asked too often.
    """
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
    """Set a new password with the token of a mailed link.

    Every session of the person ends; sign in with the new password. The answer has no content.

    Refuses: 404 ``accounts.reset_unknown`` if the link was never sent; 410 ``accounts.reset_used``
    or ``accounts.reset_expired`` if the link was used or is older than one hour; 422
    ``accounts.weak_password`` or ``accounts.leaked_password`` if the password is quickly guessed;
    422 ``accounts.password_characters``, ``accounts.password_emoji``,
    ``accounts.password_new_character`` or ``accounts.password_symbol`` if the password contains a
    character that passwords cannot contain.
    """
    state = services_of(request)
    await service.set_password(
        state.pool,
        state.settings,
        reset.token,
        reset.password,
        trail=trail_of(request),
        language=reader_language(request),
    )
