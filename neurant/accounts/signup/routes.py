"""The endpoints that create an account."""

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
    """Begin a sign-up and send a mail with a link and a code.

    The link is valid for 24 hours, the code for 15 minutes and five attempts. An address that has
    an account gets the same answer and a mail that says so.

    Refuses: 422 ``accounts.bad_email``, ``accounts.bad_name``, ``accounts.weak_password``,
    ``accounts.leaked_password`` or ``accounts.terms_not_accepted`` if that value is not acceptable;
    429 ``accounts.slow_down`` or ``accounts.mailed_just_now`` if the client signs up or the address
    is written to too often; 422 ``accounts.password_characters``, ``accounts.password_emoji``,
    ``accounts.password_new_character`` or ``accounts.password_symbol`` if the password contains a
    character that passwords cannot contain.
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
    """Send another mail for a sign-up.

    The previous link and code are no longer valid. At most one mail a minute and five an hour are
    sent.

    Refuses: 404 ``accounts.sign_up_over`` if the sign-up is finished or has expired; 429
    ``accounts.mailed_just_now`` if the last mail is less than a minute old.
    """
    state = services_of(request)
    await service.resend(
        state.pool, state.settings, pending.verification_token, language=reader_language(request)
    )
    return ResentOut(resend_after_seconds=service.RESEND_AFTER)


@router.post("/verification/state")
async def read_state(request: Request, pending: Pending) -> StateOut:
    """Return whether the link of a sign-up has been opened, perhaps on another device.

    Ask at most every two seconds. An unknown token is answered as expired.
    """
    found = await queries.find_sign_up(
        services_of(request).pool, digest(pending.verification_token), None
    )
    return StateOut.model_validate({"state": found.state if found else "expired"})


@router.post("/verification", status_code=201)
async def verify(request: Request, proof: Proof) -> SessionOut:
    """Prove the ownership of the mailbox and open a session.

    The session works in no company yet.

    Refuses: 403 ``accounts.sign_up_password_needed`` or ``accounts.wrong_sign_up_password`` if the
    link was opened in another browser without the right password; 404 ``accounts.unknown_proof`` if
    link or token is unknown; 409 ``accounts.not_verified_yet``, ``accounts.verified_before`` or
    ``accounts.has_account`` if the sign-up is in another state; 410 ``accounts.proof_expired`` or
    ``accounts.code_used_up`` if link or code is no longer valid; 422 ``accounts.wrong_mail_code``
    if the code is wrong.
    """
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
