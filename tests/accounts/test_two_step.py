"""The second step: RFC 6238 with a telephone's clock a little off, each code once, and a way back in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import httpx
import psycopg
import pyotp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurant.accounts.service import check_code
from neurant.auth import codes
from neurant.core.db.pool import make_pool
from neurant.core.db.tenancy import Trail
from neurant.core.errors import NeurantError
from neurant.installation.embedded import Urls
from tests.accounts.sent_mails import PASSWORD, bearer, settings_of_tests, sign_in
from tests.companies import ROLES, Company, make_company
from tests.plans.sql_as_role import call_as

pytest_plugins = ("tests.console.running_web",)


@pytest.fixture
def own(urls: Urls, known_password: str) -> Company:
    """A company of this test alone: its people turn the second step on."""
    return make_company(urls.admin, "acme", password_hash=known_password)


def turn_on(client: httpx.Client, email: str) -> tuple[str, list[str], dict[str, str]]:
    """The shared secret, the recovery codes, and the session after it."""
    mine = sign_in(client, email)
    made = client.post("/v1/account/two-step", json={"password": PASSWORD}, headers=mine)
    assert made.status_code == 201, made.text
    secret = made.json()["secret"]
    code = pyotp.TOTP(secret).now()
    done = client.post("/v1/account/two-step/confirm", json={"code": code}, headers=mine)
    return secret, done.json()["recovery_codes"], bearer(done)


def enter(client: httpx.Client, email: str, code: str | None = None) -> httpx.Response:
    body = {"email": email, "password": PASSWORD} | ({"code": code} if code else {})
    return client.post("/v1/session", json=body)


def next_code(secret: str) -> str:
    """The present one is spent when the second step is turned on; a fast telephone shows this."""
    return pyotp.TOTP(secret).at(datetime.now(UTC) + timedelta(seconds=30))


def test_signing_in_asks_for_a_code_and_takes_each_once(nobody: httpx.Client, own: Company) -> None:
    email = own.people["owner"].email
    secret, recovery, _ = turn_on(nobody, email)
    needed = enter(nobody, email)
    assert (needed.status_code, needed.json()["code"]) == (401, "accounts.second_factor_needed")
    code = next_code(secret)
    assert enter(nobody, email, f"{code[:3]} {code[3:]}").status_code == 201
    again = enter(nobody, email, code)
    assert (again.status_code, again.json()["code"]) == (401, "accounts.wrong_code")
    assert len(set(recovery)) == 10
    typed = recovery[0].upper().replace("-", " ").replace("0", "O").replace("1", "L")
    assert enter(nobody, email, typed).status_code == 201
    assert enter(nobody, email, recovery[0]).json()["code"] == "accounts.wrong_code"


def test_a_wrong_password_is_refused_before_any_code_is_asked_for(
    nobody: httpx.Client, own: Company
) -> None:
    email = own.people["owner"].email
    secret, _, _ = turn_on(nobody, email)
    body = {"email": email, "password": "otra", "code": next_code(secret)}
    assert nobody.post("/v1/session", json=body).json()["code"] == "accounts.wrong_login"


def test_codes_are_guessed_five_times_and_then_slowly_also_side_by_side(
    nobody: httpx.Client, own: Company
) -> None:
    email = own.people["supervisor"].email
    secret, recovery, _ = turn_on(nobody, email)
    right = next_code(secret)
    guesses = [f"{number:06}" for number in range(12) if f"{number:06}" != right]
    with ThreadPoolExecutor(4) as pool:
        statuses = [one.status_code for one in pool.map(lambda c: enter(nobody, email, c), guesses)]
    assert statuses.count(401) == 5
    assert statuses.count(429) == len(guesses) - 5
    slow = enter(nobody, email, recovery[0])
    assert slow.status_code == 429
    assert int(slow.headers["retry-after"]) > 0


def test_one_code_used_twice_at_once_opens_one_session(nobody: httpx.Client, own: Company) -> None:
    email = own.people["operador"].email
    secret, recovery, _ = turn_on(nobody, email)
    for code in (next_code(secret), recovery[3]):
        with ThreadPoolExecutor(3) as pool:
            answers = list(pool.map(lambda c: enter(nobody, email, c), [code] * 3))
        assert sorted(answer.status_code for answer in answers) == [201, 401, 401]


SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"


@given(moment=st.integers(0, 4_000_000_000), skew=st.integers(-300, 300))
def test_a_telephone_may_be_one_step_off_and_no_more(moment: int, skew: int) -> None:
    there = moment + 1000 + skew
    ours = datetime.fromtimestamp(moment + 1000, UTC)
    step = codes.matching_step(SECRET, pyotp.TOTP(SECRET).at(there), ours)
    away = there // 30 - (moment + 1000) // 30
    if abs(away) <= 1:
        assert step == there // 30
    elif step is not None:  # one in three hundred thousand: two steps with the same digits
        assert pyotp.TOTP(SECRET).generate_otp(step) == pyotp.TOTP(SECRET).at(there)


@pytest.mark.parametrize("code", ["", "12345", "1234567", "١٢٣٤٥٦", "１２３４５６", "12 456", "-12345", "\0"])  # fmt: skip
def test_only_six_plain_digits_are_a_code(code: str) -> None:
    assert codes.matching_step(SECRET, code, datetime(2030, 1, 1, tzinfo=UTC)) is None


def test_the_codes_of_the_rfc(  # RFC 6238, appendix B (SHA-1), the last six of eight digits
) -> None:
    import base64

    secret = base64.b32encode(b"12345678901234567890").decode()
    for seconds, told in [(59, "287082"), (1111111109, "081804"), (20000000000, "353130")]:
        moment = datetime.fromtimestamp(seconds, UTC)
        assert codes.matching_step(secret, told, moment) == seconds // 30


def test_an_earlier_code_is_refused_after_a_later_one(
    urls: Urls, nobody: httpx.Client, own: Company
) -> None:
    person = own.people["owner"]
    secret, _, _ = turn_on(nobody, person.email)
    start = datetime.now(UTC)

    async def tell(offset: int) -> str:
        moment = start + timedelta(seconds=30 * offset)
        code = pyotp.TOTP(secret).at(moment)
        async with make_pool(urls.app, size=2, pooled=False) as pool:
            try:
                await check_code(
                    pool, settings_of_tests(), person.auth_user_id, person.email, code, trail=Trail(), now=moment
                )  # fmt: skip
            except NeurantError as error:
                return error.code
            return "taken"

    assert [asyncio.run(tell(offset)) for offset in (1, 0, 1, 2)] == [
        "taken",
        "accounts.wrong_code",
        "accounts.wrong_code",
        "taken",
    ]


def test_turning_it_off_or_renewing_codes_takes_password_and_code(
    nobody: httpx.Client, own: Company
) -> None:
    email = own.people["owner"].email
    secret, recovery, mine = turn_on(nobody, email)
    path = "/v1/account/two-step"
    twice = nobody.post(path, json={"password": PASSWORD}, headers=mine)
    assert (twice.status_code, twice.json()["code"]) == (409, "accounts.two_step_is_on")
    renew, off = f"{path}/recovery-codes", f"{path}/disable"
    for target in (renew, off):
        wrong = nobody.post(target, json={"password": "otra", "code": recovery[0]}, headers=mine)
        assert (wrong.status_code, wrong.json()["code"]) == (403, "accounts.wrong_password")
        wrong = nobody.post(target, json={"password": PASSWORD, "code": "000"}, headers=mine)
        assert (wrong.status_code, wrong.json()["code"]) == (403, "accounts.wrong_code")
    proof = {"password": PASSWORD, "code": recovery[0]}
    fresh = nobody.post(renew, json=proof, headers=mine).json()["recovery_codes"]
    assert enter(nobody, email, recovery[1]).status_code == 401
    assert enter(nobody, email, fresh[0]).status_code == 201
    done = nobody.post(off, json={"password": PASSWORD, "code": next_code(secret)}, headers=mine)
    renewed = bearer(done)
    assert nobody.get("/v1/account", headers=mine).status_code == 401  # another token since
    assert nobody.get("/v1/account", headers=renewed).json()["two_step"] is False
    assert enter(nobody, email).status_code == 201


def test_an_unconfirmed_secret_does_not_count(nobody: httpx.Client, own: Company) -> None:
    email = own.people["owner"].email
    mine = sign_in(nobody, email)
    wrong = nobody.post("/v1/account/two-step", json={"password": "otra"}, headers=mine)
    assert (wrong.status_code, wrong.json()["code"]) == (403, "accounts.wrong_password")
    secrets = [
        nobody.post("/v1/account/two-step", json={"password": PASSWORD}, headers=mine).json()["secret"]
        for _ in range(2)
    ]  # fmt: skip
    assert len(set(secrets)) == 2
    refused = nobody.post(
        "/v1/account/two-step/confirm", json={"code": next_code(secrets[0])}, headers=mine
    )
    assert (refused.status_code, refused.json()["code"]) == (403, "accounts.wrong_code")
    assert enter(nobody, email).status_code == 201


def test_neither_the_secret_nor_a_recovery_code_is_in_the_database(
    nobody: httpx.Client, own: Company, database: psycopg.Connection
) -> None:
    secret, recovery, _ = turn_on(nobody, own.people["owner"].email)
    kept = [
        bytes(value)
        for query in (
            "select secret_encrypted from auth_factors",
            "select code_digest from recovery_codes",
        )
        for (value,) in database.execute(query).fetchall()
    ]
    for told in (secret, *recovery):
        assert all(told.encode() not in one for one in kept)
        assert codes.digest(codes.plain_recovery_code(told)) not in kept  # keyed, not plain


def test_who_manages_people_sees_who_has_it_and_nobody_else_does(
    urls: Urls, nobody: httpx.Client, own: Company, rival: Company
) -> None:
    turn_on(nobody, own.people["operador"].email)
    seen = {role: call_as(urls, own, role, "select private.two_step_users()") for role in ROLES}
    assert seen.pop("owner") == seen.pop("administrador") == [own.people["operador"].id]
    assert all(found is None for found in seen.values())
    assert call_as(urls, rival, "owner", "select private.two_step_users()") == []


def test_the_login_page_has_a_second_step(nobody: httpx.Client, own: Company) -> None:
    email = own.people["owner"].email
    secret, recovery, _ = turn_on(nobody, email)
    assert nobody.get("/login/code").headers["location"] == "/login?expired=1"
    form = {"email": email, "password": PASSWORD, "keep": "yes", "next": "/console/knowledge"}
    first = nobody.post("/login", data=form)
    assert first.headers["location"] == "/login/code?next=/console/knowledge"
    assert "neurant_session" not in nobody.cookies
    assert "Escribe el código" in nobody.get("/login/code").text
    assert nobody.post("/login/code", data={"code": "000000"}).status_code == 401
    code = {"code": next_code(secret), "next": "/console/knowledge"}
    done = nobody.post("/login/code", data=code)
    assert done.headers["location"] == "/console/knowledge"
    assert "max-age=2592000" in done.headers["set-cookie"].lower()
    assert nobody.get("/console/knowledge").status_code == 200
    spent = nobody.post("/login/code", data={"code": recovery[0]})
    assert spent.headers["location"] == "/login?expired=1"


def test_the_account_page_turns_it_on_and_off(
    sign_in: Callable[[Company, str], httpx.Client], own: Company
) -> None:
    client = sign_in(own, "administrador")
    page = "/console/account"
    wrong = client.post(f"{page}/two-step", data={"password": "otra"})
    assert wrong.status_code == 403
    assert "La contraseña actual no coincide" in wrong.text
    shown = client.post(f"{page}/two-step", data={"password": PASSWORD})
    secret = shown.text.split('class="secret">')[1].split("<")[0].replace(" ", "")
    assert "<svg" in shown.text
    again = client.post(f"{page}/two-step/confirm", data={"code": "12345"})
    assert again.status_code == 403
    assert secret[:4] in again.text  # the same secret is still there to be scanned
    code = pyotp.TOTP(secret).now()
    done = client.post(f"{page}/two-step/confirm", data={"code": code})
    assert "Guarda estos códigos" in done.text
    assert "Activa" in client.get(page).text
    proof = {"password": PASSWORD, "code": next_code(secret)}
    off = client.post(f"{page}/two-step/disable", data=proof)
    assert (off.status_code, off.headers["location"]) == (303, f"{page}?done=two_step_off")
    assert "Desactivada" in client.get(page).text
