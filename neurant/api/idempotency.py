"""``Idempotency-Key``: a repeated request has no second effect and gets its first answer.

This follows the IETF draft "The Idempotency-Key HTTP Header Field": the same key with another
request is answered with 422, and with 409 while the first request is still being served. Key and
answer are written in the transaction of the effects, so that neither exists without the other. A
request that was refused may be repeated with its key. The answer is kept for one day, encrypted
under a key derived from the Idempotency-Key itself.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

import orjson
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from fastapi import Request, Response

from neurant.core.db.pool import Connection, Pool, fetch_one
from neurant.core.db.tenancy import Caller
from neurant.core.errors import BadInputError, ConflictError

HEADER = "idempotency-key"
_WRITES = ("POST", "PATCH", "PUT", "DELETE")
_KEY = re.compile(r"^[\x21-\x7e]{1,255}$")
_NONCE = 12  # bytes, NIST SP 800-38D
_KEPT_HEADERS = ("content-type", "location", "etag")
_outside: set[bytes] = set()
_BEGIN = "select outcome, status, answer_encrypted from private.begin_idempotent(%s, %s)"
_END = "select private.end_idempotent(%s, %s::smallint, %s)"


@dataclass(frozen=True, slots=True)
class _Begun:
    outcome: Literal["new", "answered", "in_flight", "other_request", "nobody"]
    status: int | None
    answer_encrypted: bytes | None


@dataclass(frozen=True, slots=True)
class _Open:
    """A request whose answer will be kept."""

    connection: Connection
    key: str
    digest: bytes


class AnsweredBeforeError(Exception):
    """The request was answered before; ``response`` is that answer."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


async def drop_old_keys(pool: Pool) -> None:
    """Delete the answers that are older than one day."""
    async with pool.connection() as connection:
        await connection.execute("select private.drop_idempotency_keys()")


def is_claimed(request: Request) -> bool:
    """Return whether the request's key is claimed in its transaction."""
    return getattr(request.state, "idempotent", None) is not None


@contextmanager
def held_outside(request: Request) -> Iterator[None]:
    """Keep the request's key in flight in this process while it has no transaction.

    Another process may begin a second request with the key meanwhile. Both requests then get the
    answer of the one that commits first.
    """
    begun: _Open | None = getattr(request.state, "idempotent", None)
    if begun is None:
        yield
        return
    request.state.idempotent = None
    request.state.held_key = begun.digest
    _outside.add(begun.digest)
    try:
        yield
    finally:
        request.state.held_key = None
        _outside.discard(begun.digest)


def carries_key(request: Request) -> bool:
    """Return whether the request asks to be served only once."""
    return request.method in _WRITES and HEADER in request.headers


async def begin(request: Request, connection: Connection, caller: Caller) -> None:
    """Claim the request's key in its transaction; do nothing if the request carries none.

    Raises AnsweredBeforeError, ConflictError (``api.idempotency_in_flight``) and BadInputError
    (``api.idempotency_key_malformed``, ``api.idempotency_key_reused``).
    """
    if not carries_key(request):
        return
    key, *more = request.headers.getlist(HEADER)
    if more or not _KEY.match(key):
        raise BadInputError("api.idempotency_key_malformed")
    who = caller.key_id or caller.user_id
    key_digest = sha256(who.bytes + key.encode()).digest()
    if key_digest in _outside and getattr(request.state, "held_key", None) != key_digest:
        raise ConflictError("api.idempotency_in_flight")
    request_digest: bytes = request.state.request_digest
    begun = await fetch_one(connection, _Begun, _BEGIN, (key_digest, request_digest))
    outcome = begun.outcome if begun else "nobody"
    if outcome == "in_flight":
        raise ConflictError("api.idempotency_in_flight")
    if outcome == "other_request":
        raise BadInputError("api.idempotency_key_reused")
    if begun and outcome == "answered" and begun.status and begun.answer_encrypted:
        raise AnsweredBeforeError(_opened(key, key_digest, begun.status, begun.answer_encrypted))
    request.state.idempotent = _Open(connection, key, key_digest)


async def digest_request(request: Request) -> None:
    """Digest the request before a connection is taken, because its files may have to be read.

    The digest of a form covers its parts, because the boundary differs each time the form is sent.
    """
    request.state.request_digest = await _digest(request)


async def _digest(request: Request) -> bytes:
    # The digest includes the key, which is not stored: from the stored digest alone nobody can
    # guess the content, which may include a password.
    place = f"{request.headers[HEADER]}\n{request.method} {request.url.path}?{request.url.query}\n"
    asked = sha256(place.encode())
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        asked.update(await request.body())
        return asked.digest()
    for name, value in (await request.form()).multi_items():
        told: list[str | None]
        if isinstance(value, str):
            told, content = [name], value.encode()
        else:
            told, content = [name, value.filename, value.content_type], await value.read()
            await value.seek(0)
        asked.update(orjson.dumps([*told, len(content)]) + b"\n" + content)
    return asked.digest()


async def end(request: Request, response: Response) -> None:
    """Keep the answer of a request that carried a key, before its transaction commits."""
    begun: _Open | None = getattr(request.state, "idempotent", None)
    if begun is None:
        return
    headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
    plain = orjson.dumps(headers) + b"\n" + bytes(response.body)
    nonce = os.urandom(_NONCE)
    sealed = nonce + AESGCM(_answer_key(begun.key)).encrypt(nonce, plain, begun.digest)
    await begun.connection.execute(_END, (begun.digest, response.status_code, sealed))


def _opened(key: str, key_digest: bytes, status: int, sealed: bytes) -> Response:
    plain = AESGCM(_answer_key(key)).decrypt(sealed[:_NONCE], sealed[_NONCE:], key_digest)
    headers, _, body = plain.partition(b"\n")
    answer = Response(body, status, headers=orjson.loads(headers))
    if status == 204:
        del answer.headers["content-length"]
    answer.headers["idempotency-replayed"] = "true"
    return answer


def _answer_key(key: str) -> bytes:
    return HKDF(SHA256(), 32, salt=None, info=b"neurant idempotent answer").derive(key.encode())
