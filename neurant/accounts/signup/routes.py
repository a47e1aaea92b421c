"""Signing up, as JSON."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import Request

from neurant.accounts.schemas import SessionOut
from neurant.accounts.signup import queries, service
from neurant.accounts.signup.schemas import (
    BegunOut,
    NewAccount,
    Pending,
    Proof,
    ResentOut,
    StateOut,
)
from neurant.api.route import api_router
from neurant.auth.codes import digest
from neurant.auth.current import trail_of
from neurant.core.language import reader_language
from neurant.core.services import services_of

router = api_router("accounts", "/v1/accounts")


@router.post("", status_code=202)
async def sign_up(request: Request, new: NewAccount) -> BegunOut:
    """Begin: a mail with a link (24 hours) and a code (15 minutes, five tries) is on its way.

    An address that has an account is answered the same, and told so by mail.
    """
    state = services_of(request)
    begun = await service.begin(
        state.pool,
        state.settings,
        new,
        trail=trail_of(request),
        language=reader_language(request),
    )
    return BegunOut(
        verification_token=begun.token,
        expires_at=begun.expires_at,
        resend_after_seconds=service.RESEND_AFTER,
    )


@router.post("/verification/resend", status_code=202)
async def resend(request: Request, pending: Pending) -> ResentOut:
    """Another mail; the link and the code before are void. Once a minute, five times an hour."""
    state = services_of(request)
    await service.resend(
        state.pool, state.settings, pending.verification_token, language=reader_language(request)
    )
    return ResentOut(resend_after_seconds=service.RESEND_AFTER)


@router.post("/verification/state")
async def read_state(request: Request, pending: Pending) -> StateOut:
    """Has the link been opened (perhaps on another device)? Ask every two seconds at most."""
    found = await queries.find_sign_up(
        services_of(request).pool, digest(pending.verification_token), None
    )
    return StateOut.model_validate({"state": found.state if found else "expired"})


@router.post("/verification", status_code=201)
async def verify(request: Request, proof: Proof) -> SessionOut:
    """Prove the mailbox and be signed in, without a company yet."""
    opened = await service.prove(
        services_of(request).pool,
        services_of(request).settings,
        trail=trail_of(request),
        token=proof.verification_token,
        link=proof.link_token,
        code=proof.code,
        password=proof.password,
    )
    return SessionOut(**asdict(opened))
