"""A call of the API: an authenticated request and the one transaction that serves it.

``needs("documents.edit")`` is the dependency of every handler under ``/v1``. In one round trip it
authenticates the caller, asks the database whether the caller has the permission, and opens the
transaction. The transaction is committed before the answer is sent, or rolled back if the request
is refused. In this transaction, a handler waits for nothing but the database
(``Call.without_connection``).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

from fastapi import Depends, Request
from psycopg_pool import PoolTimeout

from neurant.api import idempotency
from neurant.api.replica import Replica
from neurant.auth import denials, throttling
from neurant.auth.codes import digest
from neurant.auth.cookies import read_cookie
from neurant.auth.current import KEY_PREFIX, bearer, check_origin, trail_of
from neurant.auth.jwks import KeyCache
from neurant.auth.sessions import count_memberships
from neurant.auth.supabase import is_configured, looks_like_token, verify
from neurant.core.db.pool import Connection, DatabaseDown, Pool
from neurant.core.db.tenancy import (
    Caller,
    Credential,
    KeyToken,
    SessionToken,
    Subject,
    Trail,
    entered,
)
from neurant.core.errors import (
    ConflictError,
    ForbiddenError,
    MalformedError,
    NeurantError,
    UnauthenticatedError,
)
from neurant.core.services import services_of

_READS = ("GET", "HEAD")
_WRITABLE = ("active", "trialing", "past_due")


class Call:
    """A request of a known caller, in its transaction.

    ``connection`` is valid for the current transaction only: ``outside`` and ``leave`` give it
    back, and ``outside`` opens another one afterwards.
    """

    def __init__(self, request: Request, permission: str | None, credential: Credential) -> None:
        self.request = request
        self.connection: Connection
        self.caller: Caller
        self._trail = trail_of(request, getattr(request.state, "token_session", None))
        self._as_caller = (credential, permission, self._trail)

    async def leave(self) -> None:
        """Commit the transaction and give the connection back; the rest of the answer needs
        none.
        """
        await self._stack.aclose()

    @asynccontextmanager
    async def without_connection(self) -> AsyncIterator[None]:
        """Leave the transaction for the time of the block, then begin a new one.

        The block is for waits that do not concern the database: a thread, a file, another server.
        Nothing may have been written before the block: a claimed Idempotency-Key is released, kept
        in flight in this process, and claimed again. After the block the caller is authenticated
        and authorized again. Raises the same errors as ``needs``.
        """
        with idempotency.held_outside(self.request):
            if idempotency.is_claimed(self.request):
                await self.connection.rollback()
            await self.leave()
            yield
            await self.enter()
            await self.begin()

    async def enter(self) -> None:
        """Begin a transaction as the caller. Raises UnauthenticatedError, ConflictError."""
        request, pool = self.request, services_of(self.request).pool
        connection, caller = await self._stack.enter_async_context(entered(pool, *self._as_caller))
        if caller is None:
            await self._stack.aclose()
            raise await _nobody(request, self._as_caller[0])
        self.connection, self.caller = connection, caller
        request.state.caller = caller
        session = caller.session_id or self._trail.session_id
        here = replace(self._trail, session_id=str(session) if session else None)
        denials.note_actor(request, replace(caller.principal, trail=here), self._as_caller[1])

    async def begin(self) -> None:
        """Check the permission, claim the Idempotency-Key, and move a read to the replica if
        possible.

        Raises ForbiddenError, and the errors of ``idempotency.begin``.
        """
        request, caller = self.request, self.caller
        if not caller.may:
            # A repeated request gets its first answer, even if that request removed the permission.
            await idempotency.begin(request, self.connection, caller)
            if not idempotency.carries_key(request):
                await self._stack.aclose()  # commits the time at which the caller was last seen
            paid = caller.subscription_status in _WRITABLE
            code = "api.not_permitted" if paid else "api.read_only"
            raise ForbiddenError(code, permission=self._as_caller[1])
        await idempotency.begin(request, self.connection, caller)
        replica = services_of(request).find(Replica)
        if replica and request.method in _READS and replica.is_worth_asking():
            await self._go_to(replica)

    async def _go_to(self, replica: Replica) -> None:
        wanted = await replica.position_on(self.connection)
        await self._stack.aclose()
        if await replica.has(wanted):
            pool = services_of(self.request).pool
            self.connection = await _entered_there(self._stack, replica, pool, self._as_caller)
        else:
            await self.enter()
            if not self.caller.may:
                raise UnauthenticatedError("accounts.session_expired")

    @property
    def _stack(self) -> AsyncExitStack:
        stack: AsyncExitStack = self.request.state.transaction
        return stack


async def check_known(request: Request) -> None:
    """Refuse an unknown caller before a large body is read. Raises UnauthenticatedError."""
    credential = await find_credential(request)
    async with AsyncExitStack() as request.state.transaction:
        await Call(request, None, credential).enter()


class Needs:
    """The dependency that opens a call; a ``permission`` of None admits every signed-in caller."""

    def __init__(self, permission: str | None) -> None:
        self.permission = permission

    async def __call__(self, request: Request) -> Call:
        """Return the call in its transaction. Raises UnauthenticatedError, ForbiddenError."""
        call = Call(request, self.permission, await find_credential(request))
        await call.enter()
        if not throttling.take_at_hand(request, call.caller):
            await call.leave()  # another connection leases the share of requests
            await throttling.take(request, call.caller)
            await call.enter()
        await call.begin()
        return call


async def _entered_there(
    stack: AsyncExitStack,
    replica: Replica,
    primary: Pool,
    as_caller: tuple[Credential, str | None, Trail],
) -> Connection:
    """Open a transaction on the replica as a caller whom the primary admitted, else on the
    primary.
    """
    try:
        connection, caller = await stack.enter_async_context(entered(replica.pool, *as_caller))
    except (*DatabaseDown, PoolTimeout) as error:
        replica.mark_unavailable(error)
        connection, caller = await stack.enter_async_context(entered(primary, *as_caller))
    if caller is None or not caller.may:  # the caller lost access since the primary admitted them
        raise UnauthenticatedError("accounts.session_expired")
    return connection


def needs(permission: str | None) -> Any:
    """Return the dependency of a handler: ``call: Annotated[Call, needs("documents.read")]``."""
    return Depends(Needs(permission))


def permission_of(call: Callable[..., Any] | None) -> Needs | None:
    """Return ``call`` if it is a dependency of ``needs``, else None."""
    return call if isinstance(call, Needs) else None


async def find_credential(request: Request) -> Credential:
    """Return the credential of the request. Raises UnauthenticatedError if it has none."""
    token = bearer(request)
    if token is None:
        check_origin(request)  # a browser sends a cookie without being asked to
        cookie = read_cookie(request)
        if not cookie:
            raise UnauthenticatedError("accounts.session_missing")
        return SessionToken(digest(cookie))
    if token.startswith(KEY_PREFIX):
        return KeyToken(digest(token))
    if looks_like_token(token) and is_configured(services_of(request).settings):
        return await _subject(request, token)
    return SessionToken(digest(token))


async def _subject(request: Request, token: str) -> Subject:
    """Return the person of a Supabase token, in the company of ``X-Company-Id`` or their
    only one.
    """
    state = services_of(request)
    verified = await verify(token, state.settings, state.get(KeyCache))
    request.state.token_session = (
        verified.session_id
    )  # the project's name of the session, for the audit
    named = request.headers.get("x-company-id")
    try:
        return Subject(verified.sub, UUID(named) if named else None)
    except ValueError:
        raise MalformedError("tokens.bad_company") from None


async def _nobody(request: Request, credential: Credential) -> NeurantError:
    """Return the error for a credential that the database does not accept."""
    if isinstance(credential, KeyToken):
        return UnauthenticatedError("tokens.bad_key")
    if isinstance(credential, SessionToken):
        return UnauthenticatedError("accounts.session_expired")
    found = await count_memberships(services_of(request).pool, credential.auth_user_id)
    if credential.company_id is None and found > 1:
        return ConflictError("tokens.choose_company", count=found)
    return UnauthenticatedError("tokens.nobody")
