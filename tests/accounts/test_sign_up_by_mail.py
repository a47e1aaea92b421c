"""Signing up: a mailbox is proven first, and nobody learns whether an address has an account."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import httpx
import psycopg
import pytest

from neurant.mail.message import words
from tests.accounts.sent_mails import (
    PASSWORD,
    advance_one_hour,
    bearer,
    begin_sign_up,
    new_address,
    sent_mails,
    sign_in,
)
from tests.companies import Company

pytest_plugins = ("tests.console.running_web",)


def prove(client: httpx.Client, **proof: str) -> httpx.Response:
    return client.post("/v1/accounts/verification", json=proof)


def state_of(client: httpx.Client, token: str) -> str:
    answer = client.post("/v1/accounts/verification/state", json={"verification_token": token})
    return answer.json()["state"]


def signed_up(client: httpx.Client, database: psycopg.Connection) -> tuple[str, str, str, str]:
    """The address, the browser's token, the mailed code and link."""
    email = new_address()
    answer = begin_sign_up(client, email)
    assert answer.status_code == 202, answer.text
    [letter] = sent_mails(database, email)
    assert letter.template == "accounts.verify_email"
    return email, answer.json()["verification_token"], letter.params["code"], letter.link


def logins(database: psycopg.Connection, email: str) -> int:
    return database.execute(
        "select count(*) from auth.users where lower(email) = %s", (email,)
    ).fetchone()[0]


def test_the_mailed_code_signs_in_a_person_without_a_company(
    nobody: httpx.Client, database: psycopg.Connection
) -> None:
    email, token, code, _ = signed_up(nobody, database)
    assert logins(database, email) == 0
    who = nobody.get(
        "/v1/session", headers=bearer(prove(nobody, verification_token=token, code=code))
    )
    assert who.json()["email"] == email
    assert (who.json()["first_name"], who.json()["company_id"]) == ("Ana", None)
    assert who.json()["companies"] == []
    assert logins(database, email) == 1
    assert sign_in(nobody, email.upper())


def test_a_person_without_a_company_reaches_nothing_of_one(
    nobody: httpx.Client, database: psycopg.Connection, acme: Company
) -> None:
    _, token, code, _ = signed_up(nobody, database)
    mine = bearer(prove(nobody, verification_token=token, code=code))
    assert nobody.get("/v1/canned-responses", headers=mine).status_code == 401
    chosen = {"company_id": str(acme.id)}
    assert nobody.post("/v1/session/company", json=chosen, headers=mine).status_code == 404
    unknown = {"company_id": "019a0000-0000-7000-8000-000000000000"}
    assert (
        nobody.post("/v1/session/company", json=unknown, headers=mine).json()["code"] == "not_found"
    )
    patch = nobody.patch("/v1/account", json={"first_name": "Eva"}, headers=mine)
    assert (patch.status_code, patch.json()["code"]) == (409, "accounts.no_company_yet")


def test_a_taken_address_is_answered_alike_and_notified_by_mail(
    nobody: httpx.Client, database: psycopg.Connection, acme: Company
) -> None:
    taken = acme.people["supervisor"].email
    answer, fresh = begin_sign_up(nobody, taken.upper()), begin_sign_up(nobody, new_address())
    assert (answer.status_code, set(answer.json())) == (fresh.status_code, set(fresh.json()))
    [letter] = sent_mails(database, taken)
    assert letter.template == "accounts.already_registered"
    assert "code" not in letter.params
    said = words(letter.template, "es", letter.params)
    assert said.link is not None
    assert said.link.endswith("/login")
    assert "/forgot" in (said.after or "")
    told = []
    for token in (answer.json()["verification_token"], fresh.json()["verification_token"]):
        assert state_of(nobody, token) == "pending"
        tries = [prove(nobody, verification_token=token, code="000000") for _ in range(6)]
        told.append([(one.status_code, one.json()["code"]) for one in tries])
        again = nobody.post("/v1/accounts/verification/resend", json={"verification_token": token})
        told.append([(again.status_code, again.json()["code"])])
    assert told[0:2] == told[2:4]
    assert told[0][-1] == (410, "accounts.code_used_up")
    assert sign_in(nobody, taken)  # the account is as it was


def test_a_link_in_another_browser_asks_for_the_password_and_the_first_goes_on(
    nobody: httpx.Client, database: psycopg.Connection
) -> None:
    email, token, _, link = signed_up(nobody, database)
    stranger = prove(nobody, link_token=link)
    assert (stranger.status_code, stranger.json()["code"]) == (
        403,
        "accounts.sign_up_password_needed",
    )
    wrong = prove(nobody, link_token=link, password="otra-cosa-larga")
    assert wrong.json()["code"] == "accounts.wrong_sign_up_password"
    early = prove(nobody, verification_token=token)
    assert (early.status_code, early.json()["code"]) == (409, "accounts.not_verified_yet")
    assert logins(database, email) == 0
    phone = bearer(prove(nobody, link_token=link, password=PASSWORD))
    assert state_of(nobody, token) == "verified"
    desk = bearer(prove(nobody, verification_token=token))
    for headers in (phone, desk):
        assert nobody.get("/v1/session", headers=headers).json()["email"] == email
    replayed = prove(nobody, verification_token=token)
    assert replayed.json()["code"] == "accounts.not_verified_yet"  # once
    assert prove(nobody, link_token=link).json()["code"] == "accounts.verified_before"


def test_the_link_in_the_same_browser_needs_no_password(
    nobody: httpx.Client, database: psycopg.Connection
) -> None:
    email, token, _, link = signed_up(nobody, database)
    assert bearer(prove(nobody, link_token=link, verification_token=token))
    assert logins(database, email) == 1


@pytest.mark.parametrize(
    ("link", "code"), [("x", None), ("á" * 60, None), (None, "123456"), (None, "１２３４５６")]
)
def test_what_we_never_sent_proves_nothing(
    nobody: httpx.Client, link: str | None, code: str | None
) -> None:
    proof = {"link_token": link} if link else {"code": code, "verification_token": "x"}
    answer = prove(nobody, **proof)
    assert (answer.status_code, answer.json()["code"]) == (404, "accounts.unknown_proof")
    assert state_of(nobody, "x") == "expired"


def test_an_old_code_and_an_old_link_are_reported(
    nobody: httpx.Client, database: psycopg.Connection
) -> None:
    email, token, code, link = signed_up(nobody, database)
    database.execute(
        "update sign_ups set code_expires_at = now() - interval '1 second',"
        " link_expires_at = now() - interval '1 second' where email = %s",
        (email,),
    )
    for proof in ({"code": code}, {"link_token": link}):
        answer = prove(nobody, verification_token=token, **proof)
        assert (answer.status_code, answer.json()["code"]) == (410, "accounts.proof_expired")
    assert logins(database, email) == 0


def test_another_mail_voids_the_one_before(
    nobody: httpx.Client, database: psycopg.Connection
) -> None:
    email, token, code, link = signed_up(nobody, database)
    pending = {"verification_token": token}
    early = nobody.post("/v1/accounts/verification/resend", json=pending)
    assert early.status_code == 429
    assert 0 < int(early.headers["retry-after"]) <= 60
    advance_one_hour(database)
    assert nobody.post("/v1/accounts/verification/resend", json=pending).status_code == 202
    new = sent_mails(database, email)[-1]
    assert prove(nobody, link_token=link).json()["code"] == "accounts.unknown_proof"
    if code != new.params["code"]:
        assert (
            prove(nobody, code=code, verification_token=token).json()["code"]
            == "accounts.wrong_mail_code"
        )
    assert bearer(prove(nobody, code=f" {new.params['code'][:3]}-{new.params['code'][3:]} ",
                        verification_token=token))  # fmt: skip


def test_a_code_has_five_tries_also_side_by_side(
    nobody: httpx.Client, database: psycopg.Connection
) -> None:
    email, token, code, _ = signed_up(nobody, database)
    wrong = [f"{number:06}" for number in range(30) if f"{number:06}" != code]
    with ThreadPoolExecutor(12) as pool:
        answers = list(
            pool.map(lambda guess: prove(nobody, code=guess, verification_token=token), wrong)
        )
    codes = [answer.json()["code"] for answer in answers]
    assert codes.count("accounts.wrong_mail_code") == 4
    assert set(codes) == {"accounts.wrong_mail_code", "accounts.code_used_up"}
    assert prove(nobody, code=code, verification_token=token).status_code == 410
    assert logins(database, email) == 0


def test_of_two_who_sign_up_with_one_address_the_first_to_prove_it_has_it(
    nobody: httpx.Client, database: psycopg.Connection
) -> None:
    email = new_address()
    pairs = []
    for password in (PASSWORD, "otra-frase-muy-larga"):
        token = begin_sign_up(nobody, email, password).json()["verification_token"]
        pairs.append((token, sent_mails(database, email)[-1].params["code"]))
        advance_one_hour(database)
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda p: prove(nobody, verification_token=p[0], code=p[1]), pairs))
    assert sorted(answer.status_code for answer in answers) == [201, 409]
    loser = next(answer for answer in answers if answer.status_code == 409)
    assert loser.json()["code"] == "accounts.has_account"
    assert logins(database, email) == 1


def test_nothing_mailed_is_kept_in_a_form_that_opens_anything(
    nobody: httpx.Client, database: psycopg.Connection
) -> None:
    email, token, code, link = signed_up(nobody, database)
    row = database.execute("select * from sign_ups where email = %s", (email,)).fetchone()
    kept = b"|".join(bytes(v) if isinstance(v, bytes) else str(v).encode() for v in row)
    assert sha256(link.encode()).digest() in kept
    assert sha256(code.encode()).digest() not in kept  # six digits can be tried out
    for secret in (token, link, PASSWORD):
        assert secret.encode() not in kept
    stored = database.execute("select params_encrypted from mails where to_address = %s", (email,))
    assert link.encode() not in bytes(stored.fetchone()[0])


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"first_name": "   "}, "accounts.bad_name"),
        ({"first_name": "Gana en http://malo.example"}, "accounts.bad_name"),
        ({"last_name": "A\u202eB"}, "accounts.bad_name"),
        ({"first_name": "x" * 101}, "invalid_fields"),
        ({"last_name": "a\0b"}, "invalid_fields"),
        ({"email": "no es un correo"}, "accounts.bad_email"),
        ({"email": "x" * 400}, "invalid_fields"),
        ({"password": "1234567890"}, "accounts.weak_password"),
        ({"password": "corta"}, "accounts.weak_password"),
        ({"password": "ñ" * 1025}, "invalid_fields"),
        ({"is_admin": True}, "invalid_fields"),
    ],
)
def test_bad_input_is_reported_and_leaves_nothing(
    nobody: httpx.Client, database: psycopg.Connection, change: dict[str, object], code: str
) -> None:
    count = "select count(*) from sign_ups"
    before = database.execute(count).fetchone()
    body = {"first_name": "Ana", "last_name": "Ruiz", "email": new_address(),
            "password": PASSWORD, "accept_terms": True} | change  # fmt: skip
    answer = nobody.post("/v1/accounts", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert database.execute(count).fetchone() == before


def test_names_and_passwords_of_any_script_are_fine(
    nobody: httpx.Client, database: psycopg.Connection
) -> None:
    email = f"niña-{new_address('x')}".replace("acme.example", "clínica.example")
    body = {"first_name": "Ñandú José", "last_name": "O’Brien 陳", "email": email,
            "password": "пароль-漢字-ñ-😀", "accept_terms": True}  # fmt: skip
    token = nobody.post("/v1/accounts", json=body).json()["verification_token"]
    stored = email.replace("clínica", "xn--clnica-4va")
    [letter] = sent_mails(database, stored)
    assert bearer(prove(nobody, verification_token=token, code=letter.params["code"]))
    assert sign_in(nobody, email.upper(), body["password"])


def test_the_pages_lead_through_it(nobody: httpx.Client, database: psycopg.Connection) -> None:
    email = new_address()
    form = {"first_name": "Ana", "last_name": "Ruiz", "email": email, "terms": "yes"}
    weak = nobody.post("/signup", data=form | {"password": "corta"})
    assert weak.status_code == 422
    assert "contraseña más difícil" in weak.text
    assert email in weak.text
    sent = nobody.post("/signup", data=form | {"password": PASSWORD})
    assert (sent.status_code, sent.headers["location"]) == (303, "/verify")
    assert email in nobody.get("/verify").text
    assert nobody.get("/verify/state").json() == {"state": "pending"}
    [letter] = sent_mails(database, email)
    with httpx.Client(base_url=nobody.base_url) as phone:
        page = phone.get("/verify", params={"link": letter.link})
        assert 'name="password"' in page.text
        assert page.headers["referrer-policy"] == "no-referrer"
        assert logins(database, email) == 0  # opening it does nothing: scanners open every link
        wrong = phone.post("/verify", data={"link": letter.link, "password": "otra-cosa-mas"})
        assert wrong.status_code == 403
        done = phone.post("/verify", data={"link": letter.link, "password": PASSWORD})
        assert (done.status_code, done.headers["location"]) == (303, "/onboarding")
        over = phone.get("/verify", params={"link": letter.link})
        assert over.headers["location"] == "/login?verified=1"
        assert phone.get("/verify", params={"link": "x"}).status_code == 410
    assert nobody.get("/verify/state").json() == {"state": "verified"}
    gone_on = nobody.get("/verify")
    assert (gone_on.status_code, gone_on.headers["location"]) == (303, "/onboarding")
    assert nobody.get("/console/inbox").headers["location"] == "/console/companies"
