"""Tokens of a Supabase project: only the project's, for us, and of now."""

from __future__ import annotations

import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, Key, KeySet, OctKey, OKPKey, RSAKey
from pydantic import SecretStr

from neurant.auth.jwks import KeyCache
from neurant.auth.supabase import is_configured, looks_like_token, verify
from neurant.core.errors import NeurantError, UnauthenticatedError
from neurant.core.settings import Settings

pytestmark = pytest.mark.anyio

PROJECT = "https://acme.supabase.co"
ISSUER = f"{PROJECT}/auth/v1"
SUB = uuid4()
RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
EC = ECKey.generate_key("P-256", {"kid": "ec"})
ED = OKPKey.generate_key("Ed25519", {"kid": "ed"})
SHARED = "a-secret-that-the-project-shares-with-us"


def settings(**more: Any) -> Settings:
    return Settings(supabase_url=PROJECT, **more)


class Project:
    """The project's key set, and how often it was asked for."""

    def __init__(self, *keys: Key) -> None:
        self.keys = list(keys)
        self.asked: list[str] = []
        self.is_down = False
        self.now = 0.0
        self.cache = KeyCache(
            httpx.AsyncClient(transport=httpx.MockTransport(self.answer)), lambda: self.now
        )

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(str(request.url))
        if self.is_down:
            return httpx.Response(503)
        return httpx.Response(200, content=orjson.dumps(KeySet(self.keys).as_dict()))


FIXED = Project(EC)


def claims(**changed: Any) -> dict[str, Any]:
    now = int(time.time())
    base = {
        "iss": ISSUER, "aud": "authenticated", "role": "authenticated", "sub": str(SUB),
        "iat": now, "exp": now + 3600, "session_id": "s-1", "email": "ana@acme.example",
    } | changed  # fmt: skip
    return {name: value for name, value in base.items() if value is not None}


def token(key: Key = EC, alg: str = "ES256", header: Any = None, **changed: Any) -> str:
    told = {"alg": alg, "kid": key.kid} | (header or {})
    return jwt.encode(told, claims(**changed), key, algorithms=[alg])


@pytest.mark.parametrize(
    ("key", "alg"), [(RSA, "RS256"), (EC, "ES256"), (ED, "EdDSA"), (ED, "Ed25519")]
)
async def test_a_token_of_the_project_says_who_somebody_is(key: Key, alg: str) -> None:
    project = Project(RSA, EC, ED)
    found = await verify(token(key, alg), settings(), project.cache)
    assert (found.sub, found.session_id) == (SUB, "s-1")
    assert abs(found.expires_at.timestamp() - time.time() - 3600) < 5
    assert project.asked == [f"{ISSUER}/.well-known/jwks.json"]


WRONG: dict[str, dict[str, Any]] = {
    "expired": {"exp": int(time.time()) - 61},
    "no expiry": {"exp": None},
    "an expiry that is no number": {"exp": "2099"},
    "an expiry beyond any calendar": {"exp": 10**30},
    "not yet": {"nbf": int(time.time()) + 86_400},
    "of the future": {"iat": int(time.time()) + 86_400},
    "another project": {"iss": "https://rival.supabase.co/auth/v1"},
    "no issuer": {"iss": None},
    "another audience": {"aud": "anon"},
    "no audience": {"aud": None},
    "the anon key": {"role": "anon", "sub": None},
    "the service key": {"role": "service_role"},
    "no role": {"role": None},
    "no subject": {"sub": None},
    "a subject that is no id": {"sub": "root"},
    "a subject that is a list": {"sub": [str(SUB)]},
}


@pytest.mark.parametrize("changed", WRONG.values(), ids=WRONG)
async def test_any_other_token_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(UnauthenticatedError) as refused:
        await verify(token(**changed), settings(), Project(EC).cache)
    expired = changed.get("exp", 10**30) != 10**30 and isinstance(changed["exp"], int)
    assert refused.value.code == f"tokens.{'expired' if expired else 'invalid'}"
    assert refused.value.detail("es") != refused.value.detail("en")


@pytest.mark.parametrize("seconds", [-50, 50])
async def test_a_clock_that_is_a_little_off_is_forgiven(seconds: int) -> None:
    now = int(time.time()) + seconds
    shown = token(iat=now, nbf=now, exp=now + 5)
    assert (await verify(shown, settings(), Project(EC).cache)).sub == SUB


def by_hand(header: dict[str, Any], key: bytes) -> str:
    def part(content: bytes) -> str:
        return urlsafe_b64encode(content).rstrip(b"=").decode()

    signed = f"{part(json.dumps(header).encode())}.{part(json.dumps(claims()).encode())}"
    return f"{signed}.{part(hmac.digest(key, signed.encode(), 'sha256')) if key else ''}"


FORGED: dict[str, Callable[[], str]] = {
    "none": lambda: by_hand({"alg": "none"}, b""),
    "None": lambda: by_hand({"alg": "None", "kid": "ec"}, b""),
    "the public key as a secret": lambda: by_hand(
        {"alg": "HS256", "kid": "ec"}, EC.as_pem(private=False)
    ),
    "a guessed secret": lambda: by_hand({"alg": "HS256"}, b"secret"),
    "another key of the same name": lambda: token(ECKey.generate_key("P-256", {"kid": "ec"})),
    "its own key inside": lambda: token(
        ECKey.generate_key("P-256", {"kid": "x"}), header={"jwk": EC.as_dict(private=False)}
    ),
    "a key elsewhere": lambda: token(
        ECKey.generate_key("P-256", {"kid": "x"}), header={"jku": "https://evil.example/jwks"}
    ),
    "an algorithm that is not taken": lambda: token(RSA, "RS512"),
    "another payload": lambda: swapped(token(), token(sub=str(uuid4()))),
    "without its signature": lambda: token().rpartition(".")[0] + ".",
    "a bit changed": lambda: flipped(token()),
    "huge": lambda: token(more="x" * 20_000),
    "critical and unknown": lambda: by_hand({"alg": "ES256", "kid": "ec", "crit": ["x"]}, b"x"),
    "a list as its name": lambda: by_hand({"alg": "ES256", "kid": ["ec"]}, b"x"),
    "no algorithm": lambda: by_hand({"kid": "ec"}, b"x"),
    "a list as its header": lambda: "W10.e30.x",
    "nothing": lambda: "..",
    "not of this alphabet": lambda: "ñ.ñ.ñ",
}


def swapped(one: str, other: str) -> str:
    header, _, signature = one.split(".")
    return f"{header}.{other.split('.')[1]}.{signature}"


def flipped(one: str) -> str:
    head, _, signature = one.rpartition(".")
    return f"{head}.{'B' if signature[0] != 'B' else 'C'}{signature[1:]}"


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
@pytest.mark.parametrize("more", [{}, {"supabase_jwt_secret": SecretStr(SHARED)}], ids=["", "hs"])
async def test_a_forged_token_is_refused(forge: Callable[[], str], more: dict[str, Any]) -> None:
    with pytest.raises(UnauthenticatedError) as refused:
        await verify(forge(), settings(**more), Project(EC, RSA).cache)
    assert refused.value.code == "tokens.invalid"


@given(st.text(max_size=300))
async def test_garbage_is_refused_whatever_it_is(garbage: str) -> None:
    cache = FIXED.cache
    for shown in (garbage, f"{garbage}.{garbage}.{garbage}", f"e30.{garbage}.e30"):
        with pytest.raises(UnauthenticatedError):
            await verify(shown, settings(), cache)


async def test_a_shared_secret_is_taken_only_where_one_is_configured() -> None:
    shown = jwt.encode({"alg": "HS256"}, claims(), OctKey.import_key(SHARED), algorithms=["HS256"])
    with_it = settings(supabase_jwt_secret=SecretStr(SHARED))
    assert (await verify(shown, with_it, Project(EC).cache)).sub == SUB
    with pytest.raises(UnauthenticatedError):
        await verify(shown, settings(), Project(EC).cache)
    # A project in the middle of its migration has both.
    assert (await verify(token(), with_it, Project(EC).cache)).sub == SUB


async def test_nothing_is_taken_where_no_project_is_configured() -> None:
    bare = Settings(supabase_jwt_secret=SecretStr(SHARED))
    assert not is_configured(bare)
    shown = jwt.encode({"alg": "HS256"}, claims(), OctKey.import_key(SHARED), algorithms=["HS256"])
    with pytest.raises(UnauthenticatedError):
        await verify(shown, bare, Project(EC).cache)


async def test_rotated_keys_are_found_and_withdrawn_ones_expire() -> None:
    project, old = Project(EC), token()
    await verify(old, settings(), project.cache)
    new = ECKey.generate_key("P-256", {"kid": "new"})
    project.keys = [new]
    project.now = 31
    assert (await verify(token(new), settings(), project.cache)).sub == SUB
    assert len(project.asked) == 2
    with pytest.raises(UnauthenticatedError):
        await verify(old, settings(), project.cache)


async def test_unknown_keys_do_not_make_us_ask_the_project_again_and_again() -> None:
    project = Project(EC)
    await verify(token(), settings(), project.cache)
    for number in range(20):
        with pytest.raises(UnauthenticatedError):
            await verify(
                token(ECKey.generate_key("P-256", {"kid": f"x{number}"})), settings(), project.cache
            )
    assert len(project.asked) == 1
    assert (await verify(token(), settings(), project.cache)).sub == SUB


async def test_a_project_that_is_away_is_not_a_wrong_token() -> None:
    project = Project(EC)
    project.is_down = True
    with pytest.raises(NeurantError) as away:
        await verify(token(), settings(), project.cache)
    assert (away.value.code, away.value.status) == ("sso.provider_away", 503)
    project.is_down, project.now = False, 31
    await verify(token(), settings(), project.cache)
    project.is_down, project.now = True, 31 + 700  # known keys serve for an hour more
    assert (await verify(token(), settings(), project.cache)).sub == SUB
    project.now = 31 + 3700
    with pytest.raises(NeurantError, match="does not respond"):
        await verify(token(), settings(), project.cache)


async def test_keys_that_are_weak_or_secret_are_none() -> None:
    class Told(Project):
        def answer(self, request: httpx.Request) -> httpx.Response:
            listed = [
                OctKey.import_key(SHARED, {"kid": "oct"}).as_dict(),
                {"kty": "RSA", "kid": "odd", "n": "!", "e": "AQAB"},
                {"kty": "XX", "kid": "new"},
                EC.as_dict(private=False) | {"use": "enc"},
                "not a key",
            ]
            return httpx.Response(200, content=orjson.dumps({"keys": listed}))

    shown = jwt.encode(
        {"alg": "HS256", "kid": "oct"}, claims(), OctKey.import_key(SHARED), algorithms=["HS256"]
    )
    for one in (shown, token()):
        with pytest.raises(UnauthenticatedError):
            await verify(one, settings(), Told().cache)


@pytest.mark.parametrize(
    ("session", "kept"), [("s" * 500, "s" * 100), (7, None), ("a\nb", None), (None, None)]
)
async def test_the_session_s_name_is_bounded_and_plain(session: Any, kept: str | None) -> None:
    found = await verify(token(session_id=session), settings(), Project(EC).cache)
    assert found.session_id == kept


def test_our_own_tokens_do_not_look_like_the_project_s() -> None:
    assert looks_like_token(token())
    assert not looks_like_token("Zm9vYmFyYmF6")
    assert isinstance(SUB, UUID)
