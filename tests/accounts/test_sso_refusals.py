"""A provider that lies, forges, mixes up or breaks lets nobody in, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from base64 import b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import quote_plus

import psycopg
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from neurant.accounts.sso.provider import providers
from neurant.accounts.sso.queries import SsoConnection
from neurant.accounts.sso.service import SsoError
from neurant.auth.codes import digest
from neurant.auth.sessions import find_session
from neurant.core.db.pool import Pool, make_pool
from neurant.core.errors import NeurantError
from neurant.installation.embedded import Urls
from tests.companies import Company
from tests.support.sso import (
    Desk,
    Forger,
    Forgers,
    confirmed_company,
    connect,
    domain,
    ec_key,
    forgers,
    sso_settings,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
async def pool(urls: Urls) -> AsyncIterator[Pool]:
    async with make_pool(urls.app, size=4, pooled=False) as opened:
        yield opened


@pytest.fixture(scope="module")
def many() -> Iterator[Forgers]:
    with forgers() as running:
        yield running


@pytest.fixture
def forger(many: Forgers) -> Forger:
    return many.new()


@pytest.fixture
async def desk(pool: Pool, urls: Urls) -> AsyncIterator[Desk]:
    settings = sso_settings(urls)
    async with providers(settings) as known:
        yield Desk(pool, known, settings)


@pytest.fixture
def acme(urls: Urls) -> Company:
    return confirmed_company(urls.admin, "acme")


@pytest.fixture
def rival(urls: Urls) -> Company:
    return confirmed_company(urls.admin, "rival")


@pytest.fixture
async def connection(desk: Desk, acme: Company, forger: Forger) -> SsoConnection:
    return await connect(desk.pool, desk.settings, acme, forger.issuer)


def rows(urls: Urls, query: str, *parameters: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(urls.admin) as db:
        return db.execute(query, parameters).fetchall()


def sessions(urls: Urls, company: Company) -> int:
    return rows(urls, "select count(*) from login_sessions where company_id = %s", company.id)[0][0]


def denials(urls: Urls, company: Company) -> list[str]:
    found = rows(
        urls,
        "select details ->> 'reason' from audit_logs where company_id = %s"
        " and action = 'login_denied' order by created_at",
        company.id,
    )
    return [reason for (reason,) in found]


async def test_who_the_provider_names_is_in_and_the_audit_says_how(
    desk: Desk, acme: Company, rival: Company, forger: Forger, connection: SsoConnection, urls: Urls
) -> None:
    person = acme.people["operador"]
    gone = await desk.go(person.email.upper())
    arrived = await desk.come(acme.id, gone, forger.answer(gone, email=person.email))
    found = await find_session(desk.pool, digest(arrived.token))
    assert found is not None
    assert (found.user_id, found.company_id, found.role) == (person.id, acme.id, "operador")
    [(action, user, network, agent, request, shown)] = rows(
        urls,
        "select action::text, user_id, ip_address::text, user_agent is not null, request_id,"
        " details -> 'after' ->> 'sso_connection_id' from audit_logs"
        " where company_id = %s and resource_type = 'login_sessions'",
        acme.id,
    )
    assert (action, user, network) == ("login", person.id, "203.0.113.0/24")
    assert (agent, request, shown) == (True, "req-1", str(connection.id))
    assert sessions(urls, rival) == 0


ALTERED = {
    "another audience": {"aud": "somebody-else"},
    "no audience": {"aud": None},
    "many audiences and no azp": {"aud": ["acme", "other"]},
    "another azp": {"aud": ["acme", "other"], "azp": "other"},
    "another issuer": {"iss": "https://evil.example"},
    "no issuer": {"iss": None},
    "expired": {"exp": int(time.time()) - 61},
    "no expiry": {"exp": None},
    "an expiry that is no number": {"exp": "tomorrow"},
    "not yet valid": {"nbf": int(time.time()) + 3600},
    "issued in the future": {"iat": int(time.time()) + 3600},
    "another nonce": {"nonce": "x"},
    "no nonce": {"nonce": None},
    "no subject": {"sub": None},
    "an empty subject": {"sub": ""},
    "a subject that is a number": {"sub": 7},
    "a huge subject": {"sub": "s" * 256},
}


@pytest.mark.parametrize("claims", ALTERED.values(), ids=ALTERED)
async def test_a_token_that_is_not_for_this_sign_on_is_refused(
    desk: Desk,
    acme: Company,
    forger: Forger,
    connection: SsoConnection,
    urls: Urls,
    claims: dict[str, Any],
) -> None:
    person = acme.people["operador"]
    gone = await desk.go(person.email)
    with pytest.raises(SsoError) as refused:
        await desk.come(acme.id, gone, forger.answer(gone, email=person.email, **claims))
    assert refused.value.code in ("sso.bad_answer", "sso.bad_subject")
    assert sessions(urls, acme) == 0


@pytest.mark.parametrize("seconds", [-50, 50])
async def test_a_clock_that_is_a_little_off_is_forgiven(
    desk: Desk, acme: Company, forger: Forger, connection: SsoConnection, seconds: int
) -> None:
    person, now = acme.people["operador"], int(time.time())
    gone = await desk.go(person.email)
    answer = forger.answer(
        gone, email=person.email, iat=now + seconds, nbf=now + seconds, exp=now + seconds + 5
    )
    assert (await desk.come(acme.id, gone, answer)).token


def none_alg(claims: dict[str, Any]) -> str:
    return jwt.encode({"alg": "none"}, claims, OctKey.import_key("x" * 32), algorithms=["none"])


def signed_by_another(claims: dict[str, Any]) -> str:
    return jwt.encode({"alg": "ES256", "kid": "one"}, claims, ec_key("one"))


def with_its_own_key_inside(claims: dict[str, Any]) -> str:
    key = ec_key("two")
    header = {"alg": "ES256", "kid": "two", "jwk": key.as_dict(private=False)}
    return jwt.encode(header, claims, key)


@pytest.mark.parametrize(
    "sign",
    [
        none_alg,
        signed_by_another,
        with_its_own_key_inside,
        lambda claims: "a.b.c",
        lambda claims: "not a token",
        lambda claims: "x" * 20_000,
    ],
)
async def test_a_forged_token_is_refused(
    desk: Desk,
    acme: Company,
    forger: Forger,
    connection: SsoConnection,
    urls: Urls,
    sign: Any,
) -> None:
    person = acme.people["operador"]
    forger.sign = sign
    gone = await desk.go(person.email)
    with pytest.raises(SsoError, match="could not be verified"):
        await desk.come(acme.id, gone, forger.answer(gone, email=person.email))
    assert sessions(urls, acme) == 0


def hmac_signed(claims: dict[str, Any], key: bytes) -> str:
    """By hand: the library would not do such a thing."""

    def part(content: bytes) -> str:
        return urlsafe_b64encode(content).rstrip(b"=").decode()

    header = b'{"alg": "HS256", "kid": "one"}'
    signed = f"{part(header)}.{part(json.dumps(claims).encode())}"
    return f"{signed}.{part(hmac.digest(key, signed.encode(), 'sha256'))}"


async def test_a_public_key_is_no_shared_secret(
    desk: Desk, acme: Company, forger: Forger, connection: SsoConnection, urls: Urls
) -> None:
    person = acme.people["operador"]
    forger.key = RSAKey.generate_key(2048, {"kid": "one"})
    public = forger.key.as_pem(private=False)
    forger.sign = lambda claims: hmac_signed(claims, public)
    forger.metadata = {"id_token_signing_alg_values_supported": ["RS256", "HS256"]}
    gone = await desk.go(person.email)
    with pytest.raises(SsoError, match="could not be verified"):
        await desk.come(acme.id, gone, forger.answer(gone, email=person.email))
    assert sessions(urls, acme) == 0


async def test_rotated_keys_are_fetched_once_and_withdrawn_ones_serve_no_more(
    desk: Desk, acme: Company, forger: Forger, connection: SsoConnection
) -> None:
    person, old = acme.people["operador"], forger.key
    gone = await desk.go(person.email)
    await desk.come(acme.id, gone, forger.answer(gone, email=person.email))
    desk.known.keys._known[f"{forger.issuer}/jwks"].asked_at -= 31  # half a minute later
    forger.key = ec_key("two")
    gone = await desk.go(person.email)
    assert await desk.come(acme.id, gone, forger.answer(gone, email=person.email))
    assert forger.asked.count("/jwks") == 2
    forger.key, forger.published = old, [forger.key]
    for _ in range(5):  # each with a key that is not known, and none asks the provider again
        gone = await desk.go(person.email)
        with pytest.raises(SsoError):
            await desk.come(acme.id, gone, forger.answer(gone, email=person.email))
    assert forger.asked.count("/jwks") == 2


async def test_an_answer_serves_once_also_when_two_come_at_the_same_time(
    desk: Desk, acme: Company, forger: Forger, connection: SsoConnection, urls: Urls
) -> None:
    person = acme.people["operador"]
    gone = await desk.go(person.email)
    answer = forger.answer(gone, email=person.email)
    ended = await asyncio.gather(
        *(desk.come(acme.id, gone, answer) for _ in range(4)), return_exceptions=True
    )
    refused = [one for one in ended if isinstance(one, SsoError)]
    assert len(refused) == 3
    assert {one.code for one in refused} <= {"sso.used", "sso.unknown"}
    with pytest.raises(SsoError) as replayed:
        await desk.come(acme.id, gone, answer)
    assert replayed.value.code == "sso.unknown"
    assert sessions(urls, acme) == 1


async def test_an_answer_in_another_browser_is_refused_and_the_first_may_go_on(
    desk: Desk, acme: Company, forger: Forger, connection: SsoConnection, urls: Urls
) -> None:
    person = acme.people["operador"]
    gone = await desk.go(person.email)
    answer = forger.answer(gone, email=person.email)
    for secret in ("somebody else's", "\0"):
        with pytest.raises(SsoError) as refused:
            await desk.come(acme.id, gone, answer, secret)
        assert refused.value.code == "sso.other_browser"
    assert sessions(urls, acme) == 0
    assert await desk.come(acme.id, gone, answer)


async def test_an_attempt_ends_after_ten_minutes(
    desk: Desk, acme: Company, forger: Forger, connection: SsoConnection, urls: Urls
) -> None:
    person = acme.people["operador"]
    gone = await desk.go(person.email)
    with psycopg.connect(urls.admin) as db:
        db.execute(
            "update sso_attempts set expires_at = expires_at - interval '10 minutes'"
            " where company_id = %s",
            (acme.id,),
        )
    with pytest.raises(SsoError) as late:
        await desk.come(acme.id, gone, forger.answer(gone, email=person.email))
    assert late.value.code == "sso.expired"


@pytest.mark.parametrize("answer", [{}, {"state": "x" * 5000}, {"state": "é\0"}, {"state": "nope"}])
async def test_a_made_up_state_is_refused(
    desk: Desk, acme: Company, answer: dict[str, str]
) -> None:
    gone = type("Gone", (), {"secret": "s"})
    with pytest.raises(SsoError):
        await desk.come(acme.id, gone, answer)


async def test_a_provider_lets_nobody_into_another_company(
    desk: Desk, acme: Company, rival: Company, forger: Forger, connection: SsoConnection, urls: Urls
) -> None:
    victim = rival.people["owner"]
    gone = await desk.go(acme.people["operador"].email)
    with pytest.raises(SsoError) as refused:
        await desk.come(acme.id, gone, forger.answer(gone, email=victim.email))
    assert refused.value.code == "sso.other_domain"
    assert denials(urls, acme) == ["other_domain"]
    # Its answer at the other company's address, too.
    gone = await desk.go(acme.people["operador"].email)
    with pytest.raises(SsoError) as refused:
        await desk.come(rival.id, gone, forger.answer(gone, email=victim.email))
    assert refused.value.code == "sso.mixed_up"
    assert sessions(urls, rival) == sessions(urls, acme) == 0
    assert denials(urls, rival) == []


async def test_one_person_of_two_companies_is_let_into_the_provider_s_alone(
    desk: Desk, acme: Company, rival: Company, forger: Forger, connection: SsoConnection, urls: Urls
) -> None:
    person = acme.people["supervisor"]
    with psycopg.connect(urls.admin) as db:
        db.execute(
            "insert into users (company_id, auth_user_id, email, first_name, last_name, role,"
            " last_seen_at) values (%s, %s, %s, 'Ana', 'Paz', 'administrador', now())",
            (rival.id, person.auth_user_id, person.email),
        )
    gone = await desk.go(person.email)
    arrived = await desk.come(acme.id, gone, forger.answer(gone, email=person.email))
    found = await find_session(desk.pool, digest(arrived.token))
    assert found is not None
    assert found.company_id == acme.id
    assert sessions(urls, rival) == 0


@pytest.mark.parametrize(
    "iss", ["https://honest.example", "", None], ids=["another", "empty", "missing"]
)
async def test_an_answer_that_names_another_issuer_is_refused(
    desk: Desk,
    acme: Company,
    forger: Forger,
    connection: SsoConnection,
    urls: Urls,
    iss: str | None,
) -> None:
    person = acme.people["operador"]
    gone = await desk.go(person.email)
    answer = forger.answer(gone, email=person.email)
    del answer["iss"]
    if iss is not None:
        answer["iss"] = iss
    with pytest.raises(SsoError) as refused:
        await desk.come(acme.id, gone, answer)
    assert refused.value.code == "sso.mixed_up"
    assert "/token" not in forger.asked
    assert sessions(urls, acme) == 0


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"email_verified": False}, "sso.not_verified"),
        ({"email_verified": None}, "sso.not_verified"),
        ({"email_verified": 1}, "sso.not_verified"),
        ({"email_verified": "false"}, "sso.not_verified"),
        ({"email": None}, "sso.no_email"),
        ({"email": "no address"}, "sso.no_email"),
        ({"email": ["a@b.co"]}, "sso.no_email"),
        ({"email": "ana@elsewhere.example"}, "sso.other_domain"),
        ({"email": "ana@sub.{domain}"}, "sso.other_domain"),
        ({"email": "ana@{domain}.evil.example"}, "sso.other_domain"),
        ({"email": "new@{domain}"}, "sso.not_invited"),
    ],
)
async def test_only_a_verified_address_of_its_domains_is_linked(
    desk: Desk,
    acme: Company,
    forger: Forger,
    connection: SsoConnection,
    urls: Urls,
    claims: dict[str, Any],
    code: str,
) -> None:
    person = acme.people["operador"]
    told = {"email": person.email} | claims
    if isinstance(told["email"], str):
        told["email"] = told["email"].replace("{domain}", domain(acme))
    gone = await desk.go(person.email)
    with pytest.raises(SsoError) as refused:
        await desk.come(acme.id, gone, forger.answer(gone, **told))
    assert refused.value.code == code
    assert rows(urls, "select from external_identities where company_id = %s", acme.id) == []
    assert len(rows(urls, "select from users where company_id = %s", acme.id)) == 4
    assert denials(urls, acme) == [code.removeprefix("sso.")]


async def test_the_word_true_and_another_case_are_the_same_address(
    desk: Desk, acme: Company, forger: Forger, connection: SsoConnection, urls: Urls
) -> None:
    person = acme.people["operador"]
    gone = await desk.go(f"  {person.email.title()} ")
    answer = forger.answer(gone, email=person.email.upper(), email_verified="true")
    arrived = await desk.come(acme.id, gone, answer)
    found = await find_session(desk.pool, digest(arrived.token))
    assert found is not None
    assert found.user_id == person.id


async def test_a_deactivated_user_is_out_at_once_and_does_not_come_back(
    desk: Desk, acme: Company, forger: Forger, connection: SsoConnection, urls: Urls
) -> None:
    person = acme.people["operador"]
    gone = await desk.go(person.email)
    arrived = await desk.come(acme.id, gone, forger.answer(gone, email=person.email))
    with psycopg.connect(urls.admin) as db:
        db.execute(
            "update users set is_active = false where company_id = %s and id = %s",
            (acme.id, person.id),
        )
    assert await find_session(desk.pool, digest(arrived.token)) is None
    gone = await desk.go(person.email)
    with pytest.raises(SsoError) as refused:
        await desk.come(acme.id, gone, forger.answer(gone, email=person.email))
    assert refused.value.code == "sso.deactivated"
    assert denials(urls, acme) == ["deactivated"]


async def test_a_subject_stays_the_same_person_and_an_address_passed_on_is_not_linked(
    desk: Desk, acme: Company, forger: Forger, connection: SsoConnection, urls: Urls
) -> None:
    person, other = acme.people["operador"], acme.people["supervisor"]
    gone = await desk.go(person.email)
    await desk.come(acme.id, gone, forger.answer(gone, sub="one", email=person.email))
    gone = await desk.go(person.email)  # the provider calls this subject by another address now
    arrived = await desk.come(acme.id, gone, forger.answer(gone, sub="one", email=other.email))
    found = await find_session(desk.pool, digest(arrived.token))
    assert found is not None
    assert found.user_id == person.id
    gone = await desk.go(person.email)
    with pytest.raises(SsoError) as refused:
        await desk.come(acme.id, gone, forger.answer(gone, sub="two", email=person.email))
    assert refused.value.code == "sso.linked_to_other"
    assert denials(urls, acme) == ["linked_to_other"]


async def test_the_address_may_be_reported_by_userinfo_alone_and_only_of_the_same_subject(
    desk: Desk, acme: Company, forger: Forger, connection: SsoConnection
) -> None:
    person = acme.people["operador"]
    forger.userinfo = {"sub": "somebody else", "email": person.email, "email_verified": True}
    gone = await desk.go(person.email)
    with pytest.raises(SsoError, match="did not share"):
        await desk.come(acme.id, gone, forger.answer(gone, email_verified=None))
    forger.userinfo["sub"] = "sub-1"
    gone = await desk.go(person.email)
    assert await desk.come(acme.id, gone, forger.answer(gone, email_verified=None))
    assert "Bearer a" in forger.authorizations


BROKEN = {
    "down": ("/token", 503, b""),
    "garbage": ("/token", 200, b"<html>"),
    "a list": ("/token", 200, b"[1]"),
    "a number": ("/token", 200, b"7"),
    "no token": ("/token", 200, b"{}"),
    "refused": ("/token", 400, b'{"error": "invalid_grant"}'),
    "unknown client": ("/token", 401, b'{"error": "invalid_client"}'),
    "endless": ("/token", 200, b" " * 600_000),
    "a redirect": ("/token", 302, b""),
    "keys down": ("/jwks", 500, b""),
    "keys garbage": ("/jwks", 200, b"[]"),
    "no key set": ("/jwks", 200, b'{"keys": 7}'),
    "no keys": ("/jwks", 200, b'{"keys": []}'),
    "deep": ("/jwks", 200, b"[" * 100_000),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
async def test_a_provider_that_breaks_is_reported_and_lets_nobody_in(
    desk: Desk,
    acme: Company,
    forger: Forger,
    connection: SsoConnection,
    urls: Urls,
    broken: tuple[str, int, bytes],
) -> None:
    person = acme.people["operador"]
    path, status, content = broken
    forger.say[path] = (status, content)
    gone = await desk.go(person.email)
    with pytest.raises(NeurantError) as refused:
        await desk.come(acme.id, gone, forger.answer(gone, email=person.email))
    assert refused.value.code.startswith("sso.")
    assert refused.value.detail("es") != refused.value.detail("en")
    assert sessions(urls, acme) == 0
    del forger.say[path]  # it comes back, and all is well
    desk.known.keys._known.clear()
    gone = await desk.go(person.email)
    assert await desk.come(acme.id, gone, forger.answer(gone, email=person.email))


@pytest.mark.parametrize(
    "said",
    [
        {"issuer": "https://evil.example"},
        {"issuer": None},
        {"token_endpoint": "http://evil.example/token"},
        {"token_endpoint": "file:///etc/passwd"},
        {"jwks_uri": 7},
        {"authorization_endpoint": None},
        {"id_token_signing_alg_values_supported": ["HS256", "none"]},
        {"response_types_supported": ["id_token"]},
    ],
)
async def test_a_provider_that_describes_itself_wrongly_is_not_gone_to(
    desk: Desk, acme: Company, forger: Forger, connection: SsoConnection, said: dict[str, Any]
) -> None:
    forger.metadata = said
    with pytest.raises(NeurantError) as refused:
        await desk.go(acme.people["operador"].email)
    assert refused.value.code.startswith("sso.provider_")


async def test_a_provider_that_is_away_is_reported_quickly(
    desk: Desk, acme: Company, pool: Pool
) -> None:
    await connect(pool, desk.settings, acme, "http://127.0.0.1:9")
    began = time.monotonic()
    with pytest.raises(NeurantError) as refused:
        await desk.go(acme.people["operador"].email)
    assert (refused.value.code, refused.value.status) == ("sso.provider_away", 503)
    assert time.monotonic() - began < 5


async def test_the_secret_is_shown_to_the_provider_and_to_nobody_else(
    desk: Desk, acme: Company, forger: Forger, urls: Urls, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "very:secret+%value"
    made = await connect(desk.pool, desk.settings, acme, forger.issuer, client_secret=secret)
    person = acme.people["operador"]
    gone = await desk.go(person.email)
    await desk.come(acme.id, gone, forger.answer(gone, email=person.email))
    assert secret not in gone.url
    [shown] = [one for one in forger.authorizations if one.startswith("Basic ")]
    assert b64decode(shown.split()[1]).decode() == f"acme:{quote_plus(secret)}"
    stored = rows(
        urls, "select client_secret_encrypted from sso_connections where id = %s", made.id
    )
    assert secret.encode() not in stored[0][0]
    audit = rows(urls, "select details::text from audit_logs where company_id = %s", acme.id)
    assert not [one for (one,) in audit if "secret+" in one or shown.split()[1] in one]
    assert secret not in caplog.text
    assert secret not in repr(made)


async def test_a_closed_company_is_entered_by_those_who_are_in_it_to_read(
    desk: Desk, acme: Company, forger: Forger, connection: SsoConnection, urls: Urls
) -> None:
    person = acme.people["operador"]
    with psycopg.connect(urls.admin) as db:
        db.execute(
            "update companies set subscription_status = 'cancelled' where id = %s", (acme.id,)
        )
        db.execute(
            "update sso_connections set default_role = 'operador' where id = %s", (connection.id,)
        )
    gone = await desk.go(person.email)
    arrived = await desk.come(acme.id, gone, forger.answer(gone, email=person.email))
    assert await find_session(desk.pool, digest(arrived.token)) is not None
    gone = await desk.go(f"new@{domain(acme)}")
    with pytest.raises(SsoError) as refused:
        await desk.come(acme.id, gone, forger.answer(gone, sub="new", email=f"new@{domain(acme)}"))
    assert refused.value.code == "sso.not_invited"
    assert len(rows(urls, "select from users where company_id = %s", acme.id)) == 4
