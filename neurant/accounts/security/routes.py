"""A person's own account, as JSON."""

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
    """The caller's own account. A session that a company's single sign-on opened
    (``is_limited``) is not told of the login's second step: ``two_step`` is null."""
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
    """Change the caller's own profile in the company they work in now; with If-Match only if it
    is as it was read."""

    def check(current: Profile) -> None:
        check_match(request, ProfilePatch.model_construct(**asdict(current)), ProfilePatch)

    changes = patch.model_dump(include=patch.model_fields_set)
    await service.change_profile(services_of(request).pool, person, changes, check)
    return await read_account(request, person, response)


@router.put("/password")
async def change_password(
    request: Request, change: PasswordChange, person: ApiPerson
) -> SessionOut:
    """Another password. Every other session ends; this one goes on under the token told here.
    A session that a company's single sign-on opened is refused (403)."""
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
    """Where the caller is signed in."""
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
    """Sign out everywhere but here."""
    ended = await service.end_other_sessions(services_of(request).pool, person)
    return EndedOut(ended=ended)


@router.delete("/sessions/{session_id}", status_code=204)
async def end_session(request: Request, session_id: UUID, person: ApiPerson) -> None:
    """Sign out one of the caller's own sessions."""
    await service.end_session(services_of(request).pool, person, session_id)


@router.post("/two-step", status_code=201)
async def begin_two_step(request: Request, proof: PasswordOnly, person: ApiPerson) -> NewFactorOut:
    """A secret for an authenticator app; it counts once POST /confirm takes its first code. A
    session that a company's single sign-on opened is refused (403), as in all that follows."""
    state = services_of(request)
    made = await service.begin_two_step(state.pool, state.settings, person, proof.password)
    return NewFactorOut(**asdict(made))


@router.post("/two-step/confirm")
async def confirm_two_step(request: Request, proof: CodeOnly, person: ApiPerson) -> TurnedOnOut:
    """The second step is on. The session goes on under the token told here."""
    state = services_of(request)
    done = await service.confirm_two_step(state.pool, state.settings, person, proof.code)
    return TurnedOnOut(recovery_codes=done.recovery_codes, session=_session(done.session))


@router.post("/two-step/recovery-codes")
async def renew_recovery_codes(
    request: Request, proof: PasswordAndCode, person: ApiPerson
) -> RecoveryCodesOut:
    """Ten other recovery codes."""
    state = services_of(request)
    codes = await service.renew_recovery_codes(
        state.pool, state.settings, person, proof.password, proof.code
    )
    return RecoveryCodesOut(recovery_codes=codes)


@router.post("/two-step/disable")
async def disable_two_step(
    request: Request, proof: PasswordAndCode, person: ApiPerson
) -> SessionOut:
    """The second step is off. The session goes on under the token told here."""
    state = services_of(request)
    return _session(
        await service.disable_two_step(
            state.pool, state.settings, person, proof.password, proof.code
        )
    )
