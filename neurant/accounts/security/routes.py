"""The endpoints for a person's own account."""

from __future__ import annotations

from dataclasses import asdict
from uuid import UUID

from fastapi import Request, Response

from neurant.accounts.factor_queries import find_factor
from neurant.accounts.schemas import OpenedSession, SessionOut
from neurant.accounts.security import queries, service
from neurant.accounts.security.devices import device_of
from neurant.accounts.security.queries import Profile
from neurant.accounts.security.schemas import (
    AccountOut,
    AuthSessionOut,
    AuthSessionsOut,
    CodeOnly,
    EndedOut,
    NewFactorOut,
    PasswordAndCode,
    PasswordChange,
    PasswordOnly,
    ProfilePatch,
    RecoveryCodesOut,
    TurnedOnOut,
)
from neurant.api.etag import check_match, tagged
from neurant.api.route import api_router
from neurant.auth.current import ApiPerson
from neurant.core.language import reader_language
from neurant.core.services import services_of

router = api_router("account", "/v1/account")


def _session(opened: OpenedSession) -> SessionOut:
    return SessionOut(**asdict(opened))


@router.get("")
async def read_account(request: Request, person: ApiPerson, response: Response) -> AccountOut:
    """Return the caller's own account.

    For a session that a company's single sign-on opened (``is_limited``), ``two_step`` is null.
    """
    pool = services_of(request).pool
    factor = None if person.is_limited else await find_factor(pool, person.auth_user_id)
    on = factor is not None and factor.is_confirmed
    profile = await service.read_profile(pool, person)
    account = AccountOut(
        email=person.email,
        first_name=profile.first_name if profile else person.first_name,
        last_name=profile.last_name if profile else person.last_name,
        phone=profile.phone if profile else None,
        avatar_url=profile.avatar_url if profile else None,
        is_limited=person.is_limited,
        two_step=None if person.is_limited else on,
        recovery_codes_left=factor.codes_left if factor and on else 0,
    )
    tagged(response, account, ProfilePatch)
    return account


@router.patch("")
async def change_account(
    request: Request, patch: ProfilePatch, person: ApiPerson, response: Response
) -> AccountOut:
    """Change the caller's own profile in the company in which the session works.

    A field that is left out keeps its value. Answers with the account.

    Refuses: 403 ``accounts.profile_not_yours`` if the caller may not change the profile; 403
    ``api.read_only`` if the company's subscription is inactive or cancelled; 409
    ``accounts.no_company_yet`` if the caller belongs to no company; 422 ``accounts.bad_name``,
    ``accounts.bad_phone`` or ``accounts.bad_picture`` if that value is not acceptable.
    """

    def check(current: Profile) -> None:
        check_match(request, ProfilePatch.model_construct(**asdict(current)), ProfilePatch)

    changes = patch.model_dump(include=patch.model_fields_set)
    await service.change_profile(services_of(request).pool, person, changes, check)
    return await read_account(request, person, response)


@router.put("/password")
async def change_password(
    request: Request, change: PasswordChange, person: ApiPerson
) -> SessionOut:
    """Set another password for the caller's account.

    Every other session ends; this session continues under the token of the answer.

    Refuses: 403 ``accounts.wrong_password`` if the current password is wrong; 403
    ``accounts.limited_session`` if the single sign-on of a company opened the session; 422
    ``accounts.weak_password`` or ``accounts.leaked_password`` if the new password is quickly
    guessed; 429 ``accounts.slow_down`` after several wrong attempts; 422
    ``accounts.password_characters``, ``accounts.password_emoji``,
    ``accounts.password_new_character`` or ``accounts.password_symbol`` if the password contains a
    character that passwords cannot contain.
    """
    return _session(
        await service.change_password(
            services_of(request).pool,
            services_of(request).settings,
            person,
            change.current_password,
            change.new_password,
            language=reader_language(request),
        )
    )


@router.get("/sessions")
async def list_sessions(request: Request, person: ApiPerson) -> AuthSessionsOut:
    """List the caller's open sessions, the current one first."""
    found = await queries.list_sessions(services_of(request).pool, person.digest)
    return AuthSessionsOut(
        data=[
            AuthSessionOut(
                session_id=one.session_id,
                device=device_of(one.user_agent),
                ip_address=str(one.ip_address) if one.ip_address else None,
                company_name=one.company_name,
                created_at=one.created_at,
                last_seen_at=one.last_seen_at,
                expires_at=one.expires_at,
                is_current=one.is_current,
            )
            for one in found
        ]
    )


@router.delete("/sessions")
async def end_other_sessions(request: Request, person: ApiPerson) -> EndedOut:
    """End every session of the caller except the current one."""
    ended = await service.end_other_sessions(services_of(request).pool, person)
    return EndedOut(ended=ended)


@router.delete("/sessions/{session_id}", status_code=204)
async def end_session(request: Request, session_id: UUID, person: ApiPerson) -> None:
    """End one of the caller's own sessions."""
    await service.end_session(services_of(request).pool, person, session_id)


@router.post("/two-step", status_code=201)
async def begin_two_step(request: Request, proof: PasswordOnly, person: ApiPerson) -> NewFactorOut:
    """Create a secret for an authenticator app.

    Two-step verification is on after POST /v1/account/two-step/confirm has accepted the first code.

    Refuses: 403 ``accounts.wrong_password`` if the password is wrong; 403
    ``accounts.limited_session`` if the single sign-on of a company opened the session; 409
    ``accounts.two_step_is_on`` if two-step verification is on already; 429 ``accounts.slow_down``
    after several wrong attempts.
    """
    state = services_of(request)
    made = await service.begin_two_step(state.pool, state.settings, person, proof.password)
    return NewFactorOut(**asdict(made))


@router.post("/two-step/confirm")
async def confirm_two_step(request: Request, proof: CodeOnly, person: ApiPerson) -> TurnedOnOut:
    """Turn two-step verification on with the first code of the app.

    Answers with ten recovery codes, and the session continues under the token of the answer.

    Refuses: 403 ``accounts.wrong_code`` if the code is wrong; 403 ``accounts.limited_session`` if
    the single sign-on of a company opened the session; 409 ``accounts.no_two_step_begun`` if no
    secret waits for its first code; 429 ``accounts.slow_down`` after several wrong attempts.
    """
    state = services_of(request)
    done = await service.confirm_two_step(state.pool, state.settings, person, proof.code)
    return TurnedOnOut(recovery_codes=done.recovery_codes, session=_session(done.session))


@router.post("/two-step/recovery-codes")
async def renew_recovery_codes(
    request: Request, proof: PasswordAndCode, person: ApiPerson
) -> RecoveryCodesOut:
    """Replace the recovery codes with ten new ones.

    Refuses: 403 ``accounts.wrong_password`` or ``accounts.wrong_code`` if the proof is wrong; 403
    ``accounts.limited_session`` if the single sign-on of a company opened the session; 409
    ``accounts.two_step_is_off`` if two-step verification is off; 429 ``accounts.slow_down`` after
    several wrong attempts.
    """
    state = services_of(request)
    codes = await service.renew_recovery_codes(
        state.pool, state.settings, person, proof.password, proof.code
    )
    return RecoveryCodesOut(recovery_codes=codes)


@router.post("/two-step/disable")
async def disable_two_step(
    request: Request, proof: PasswordAndCode, person: ApiPerson
) -> SessionOut:
    """Turn two-step verification off.

    The session continues under the token of the answer.

    Refuses: 403 ``accounts.wrong_password`` or ``accounts.wrong_code`` if the proof is wrong; 403
    ``accounts.limited_session`` if the single sign-on of a company opened the session; 409
    ``accounts.two_step_is_off`` if two-step verification is off; 429 ``accounts.slow_down`` after
    several wrong attempts.
    """
    state = services_of(request)
    return _session(
        await service.disable_two_step(
            state.pool, state.settings, person, proof.password, proof.code
        )
    )
