"""Invitations over HTTP: by mail, once, below one's own role, and never two in one seat."""

from __future__ import annotations

import secrets
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import httpx
import psycopg
import pytest

from neurant.installation.embedded import Urls
from tests.companies import ROLES, Company, make_company
from tests.team.waiting_mails import invitation_token, waiting_mails

pytest_plugins = ("tests.console.running_web",)
PATH = "/v1/invitations"
SignIn = Callable[[Company, str], httpx.Client]


@pytest.fixture
def acme(urls: Urls, known_password: str) -> Company:
    """One of its own for each test: seats are counted."""
    return make_company(urls.admin, "acme", password_hash=known_password)


def address() -> str:
    return f"eva-{secrets.token_hex(5)}@casa.example"


def invited(
    client: httpx.Client, email: str, role: str = "operador", **more: str
) -> dict[str, Any]:
    answer = client.post(PATH, json={"email": email, "role": role, **more})
    assert answer.status_code == 201, answer.text
    return answer.json()


def accept(web_url: str, token: str, **more: str) -> httpx.Response:
    given = {"first_name": "Eva", "last_name": "Paz", "password": "una clave larga 77"} | more
    return httpx.post(f"{web_url}{PATH}/accept", json={"token": token, **given}, timeout=60)


def seen(web_url: str, token: str) -> httpx.Response:
    return httpx.get(f"{web_url}{PATH}/by-token", headers={"invitation-token": token})


def test_a_person_is_invited_by_mail_and_comes_in(
    sign_in: SignIn, acme: Company, rival: Company, database: psycopg.Connection, web_url: str
) -> None:
    email = address()
    made = invited(sign_in(acme, "owner"), email.upper(), "supervisor", first_name="Eva")
    assert (made["email"], made["status"], made["mail_status"]) == (email, "pending", "pending")
    assert "token" not in made
    [(template, params)] = waiting_mails(database, email)
    assert template == "team.invitation"
    assert (params["inviter"], params["company"]) == ("Owner Acme", "Acme")
    assert params["role"] == "supervisor/a"
    token = invitation_token(database, email)
    told = seen(web_url, token).json()
    assert (told["company_name"], told["email"], told["has_login"]) == ("Acme", email, False)
    joined = accept(web_url, token)
    assert joined.status_code == 201, joined.text
    assert joined.json()["company_id"] == str(acme.id)
    assert waiting_mails(database, email)[-1][0] == "team.welcome"
    with httpx.Client(base_url=web_url) as client:
        client.post("/login", data={"email": email, "password": "una clave larga 77"})
        me = client.get(f"/v1/users/{joined.json()['user_id']}").json()
        assert (me["role"], me["first_name"]) == ("supervisor", "Eva")
    rows = database.execute(
        "select action::text, resource_type::text, user_id::text, details ->> 'by', request_id is null"
        " from audit_logs where company_id = %s and resource_id in (%s, %s)"
        " and created_at > now() - interval '1 minute'",
        (acme.id, made["id"], joined.json()["user_id"]),
    ).fetchall()
    inviter, who = str(acme.people["owner"].id), joined.json()["user_id"]
    assert {
        ("create", "user_invitations", inviter, "staff", False),
        ("update", "user_invitations", who, "staff", False),
        ("create", "users", who, "staff", False),
    } <= set(rows)
    assert email not in sign_in(rival, "owner").get("/v1/users").text


@pytest.mark.parametrize("role", ROLES)
def test_who_may_invite_to_what(sign_in: SignIn, acme: Company, role: str) -> None:
    client = sign_in(acme, role)
    level = {"owner": 4, "administrador": 3, "supervisor": 2, "operador": 1}
    for given in ROLES[1:]:
        answer = client.post(PATH, json={"email": address(), "role": given})
        may = role in ("owner", "administrador") and level[given] < level[role]
        assert answer.status_code == (201 if may else 403), answer.text
    assert client.get(PATH).status_code == (200 if level[role] > 2 else 403)


def test_lists_are_filtered_and_show_what_became_of_the_mail(
    sign_in: SignIn, acme: Company, database: psycopg.Connection
) -> None:
    client = sign_in(acme, "owner")
    first, second = address(), address()
    old = invited(client, first, "supervisor")["id"]
    invited(client, second)
    client.post(f"{PATH}/{old}/cancel")
    database.execute(
        "update mails set status = 'failed', params_encrypted = null, last_error = '550 no such mailbox'"
        " where to_address = %s",
        (second,),
    )

    def found(**params: object) -> list[str]:
        answer = client.get(PATH, params=params)
        assert answer.status_code == 200, answer.text
        return [one["email"] for one in answer.json()["data"]]

    assert found() == [second, first]
    assert found(sort="sent_at") == [first, second]
    assert found(status="cancelled") == [first]
    assert found(role="operador") == [second]
    assert found(invited_by=acme.people["owner"].id) == [second, first]
    assert found(invited_by=uuid.uuid4()) == []
    assert found(sent_before=(datetime.now(UTC) - timedelta(days=1)).isoformat()) == []
    [pending] = client.get(PATH, params={"status": "pending"}).json()["data"]
    assert (pending["mail_status"], pending["mail_error"]) == ("failed", "550 no such mailbox")
    assert pending["inviter_name"] == "Owner Acme"


def test_inviting_again_says_what_to_do_instead(
    sign_in: SignIn, acme: Company, database: psycopg.Connection
) -> None:
    client, email = sign_in(acme, "owner"), address()
    made = invited(client, email)

    def refused(to: str) -> tuple[int, str]:
        answer = client.post(PATH, json={"email": to, "role": "operador"})
        return answer.status_code, answer.json()["code"]

    assert refused(f" {email.title()} ") == (409, "invitations.already_invited")
    operador = acme.people["operador"]
    assert refused(operador.email) == (409, "invitations.already_member")
    client.post(f"/v1/users/{operador.id}/deactivate")
    assert refused(operador.email) == (409, "invitations.deactivated")
    assert refused("eva@") == (422, "accounts.bad_email")
    assert refused("eva@x.example\r\nbcc: z@x.example") == (422, "accounts.bad_email")
    for _ in range(5):
        assert client.post(f"{PATH}/{made['id']}/renew").status_code == 200
    late = client.post(f"{PATH}/{made['id']}/renew")
    assert (late.status_code, late.json()["code"]) == (429, "invitations.too_many")
    assert 0 < int(late.headers["retry-after"]) <= 86400
    assert len(waiting_mails(database, email)) == 6


def test_an_address_is_one_however_it_is_written(
    sign_in: SignIn, acme: Company, web_url: str, database: psycopg.Connection
) -> None:
    client, mark = sign_in(acme, "owner"), secrets.token_hex(4)
    made = invited(client, f"José{mark}@Ñandú.example")
    assert made["email"] == f"josé{mark}@xn--and-6ma2c.example"
    again = client.post(PATH, json={"email": f"JOSÉ{mark}@xn--and-6ma2c.EXAMPLE", "role": "operador"})  # fmt: skip
    assert again.json()["code"] == "invitations.already_invited"
    assert accept(web_url, invitation_token(database, made["email"])).status_code == 201


def test_a_renewed_link_replaces_the_old_one(
    sign_in: SignIn, acme: Company, database: psycopg.Connection, web_url: str
) -> None:
    client, email = sign_in(acme, "owner"), address()
    made = invited(client, email)
    old = invitation_token(database, email)
    assert client.post(f"{PATH}/{made['id']}/renew").json()["sent_count"] == 2
    assert (seen(web_url, old).status_code, accept(web_url, old).status_code) == (404, 404)
    assert seen(web_url, old).json()["code"] == "invitations.unknown"
    assert accept(web_url, invitation_token(database, email)).status_code == 201
    closed = client.post(f"{PATH}/{made['id']}/renew")
    assert (closed.status_code, closed.json()["code"]) == (409, "invitations.closed")


def test_what_is_over_is_gone_and_says_why(
    sign_in: SignIn, acme: Company, database: psycopg.Connection, web_url: str
) -> None:
    client = sign_in(acme, "owner")
    cancelled, expired, accepted = address(), address(), address()
    for email in (cancelled, expired, accepted):
        invited(client, email)
    tokens = {email: invitation_token(database, email) for email in (cancelled, expired, accepted)}
    client.post(f"{PATH}/{client.get(PATH, params={'sort': 'sent_at'}).json()['data'][0]['id']}/cancel")  # fmt: skip
    database.execute(
        "update user_invitations set sent_at = now() - interval '8 days', expires_at = now() - interval '1 minute' where email = %s",
        (expired,),
    )
    assert accept(web_url, tokens[accepted]).status_code == 201
    for email, code in (
        (cancelled, "cancelled"),
        (expired, "expired"),
        (accepted, "accepted_before"),
    ):
        for answer in (seen(web_url, tokens[email]), accept(web_url, tokens[email])):
            assert (answer.status_code, answer.json()["code"]) == (410, f"invitations.{code}")
    status = "select status::text from user_invitations where email = %s"
    assert database.execute(status, (expired,)).fetchone() == ("expired",)
    login = "select count(*) from auth.users where email = any(%s)"
    assert database.execute(login, ([cancelled, expired],)).fetchone() == (0,)


def test_somebody_elses_account_does_not_take_it(
    sign_in: SignIn, acme: Company, rival: Company, database: psycopg.Connection
) -> None:
    email = address()
    invited(sign_in(acme, "owner"), email)
    token = invitation_token(database, email)
    answer = sign_in(rival, "operador").post(f"{PATH}/accept", json={"token": token})
    assert (answer.status_code, answer.json()["code"]) == (403, "invitations.other_address")


def test_a_known_person_joins_a_second_company_with_the_account_they_have(
    sign_in: SignIn, acme: Company, rival: Company, database: psycopg.Connection, web_url: str
) -> None:
    person = rival.people["operador"]
    invited(sign_in(acme, "owner"), person.email, "supervisor")
    token = invitation_token(database, person.email)
    assert seen(web_url, token).json()["has_login"] is True
    nobody = accept(web_url, token)
    assert (nobody.status_code, nobody.json()["code"]) == (401, "invitations.sign_in_first")
    joined = sign_in(rival, "operador").post(f"{PATH}/accept", json={"token": token})
    assert joined.status_code == 201, joined.text
    rows = database.execute(
        "select company_id, role::text from users where auth_user_id = %s", (person.auth_user_id,)
    ).fetchall()
    assert set(rows) == {(rival.id, "operador"), (acme.id, "supervisor")}
    again = sign_in(rival, "operador").post(f"{PATH}/accept", json={"token": token})
    assert (again.status_code, again.json()["code"]) == (410, "invitations.accepted_before")


def test_a_weak_password_leaves_nothing_behind(
    sign_in: SignIn, acme: Company, database: psycopg.Connection, web_url: str
) -> None:
    email = address()
    invited(sign_in(acme, "owner"), email)
    token = invitation_token(database, email)
    for given in ({"password": "corta"}, {"password": "aaaaaaaaaaaaaa"}):
        assert accept(web_url, token, **given).status_code == 422
    bare = httpx.post(f"{web_url}{PATH}/accept", json={"token": token})
    assert (bare.status_code, bare.json()["code"]) == (422, "invitations.name_and_password")
    count = "select count(*) from auth.users where email = %s"
    assert database.execute(count, (email,)).fetchone() == (0,)
    assert seen(web_url, token).status_code == 200


def test_another_companys_invitation_answers_like_an_unknown_one(
    sign_in: SignIn, acme: Company, rival: Company
) -> None:
    known = invited(sign_in(acme, "owner"), address())["id"]
    client = sign_in(rival, "owner")
    for method, path in (("GET", ""), ("POST", "/renew"), ("POST", "/cancel")):
        answers = [
            client.request(method, f"{PATH}/{one}{path}", headers={"x-request-id": "one"})
            for one in (known, uuid.uuid4())
        ]
        assert answers[0].status_code == 404
        assert answers[0].content == answers[1].content


def test_an_invitation_that_an_administrador_may_not_see_is_unknown_to_them(
    sign_in: SignIn, acme: Company
) -> None:
    hidden = invited(sign_in(acme, "owner"), address(), "administrador")["id"]
    client = sign_in(acme, "administrador")
    for method, path in (("GET", ""), ("POST", "/renew"), ("POST", "/cancel")):
        assert client.request(method, f"{PATH}/{hidden}{path}").status_code == 404
    assert client.get(PATH).json()["data"] == []


def test_64_invitations_for_the_last_seat_are_one(
    sign_in: SignIn, acme: Company, database: psycopg.Connection
) -> None:
    database.execute("update companies set max_users = 5 where id = %s", (acme.id,))
    cookies = dict(sign_in(acme, "owner").cookies)
    base = str(sign_in(acme, "owner").base_url)
    gate = threading.Barrier(16)

    def invite(_: int) -> int:
        with httpx.Client(base_url=base, cookies=cookies, timeout=60) as client:
            gate.wait()
            answers = [
                client.post(PATH, json={"email": address(), "role": "operador"}) for _ in range(4)
            ]
            assert all(a.status_code in (201, 409) for a in answers), [a.text for a in answers]
            assert all("limit" in a.json()["code"] for a in answers if a.status_code == 409)
            return sum(a.status_code == 201 for a in answers)

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(invite, range(16))) == 1
    counted = "select current_user_count, max_users from companies where id = %s"
    assert database.execute(counted, (acme.id,)).fetchone() == (5, 5)


def test_64_who_accept_one_link_are_one_member(
    acme: Company, database: psycopg.Connection, urls: Urls, sign_in: SignIn
) -> None:
    """In the database: 64 argon2 hashes would only tell that those are slow."""
    email = address()
    invited(sign_in(acme, "owner"), email)
    digest = sha256(invitation_token(database, email).encode()).digest()
    [login] = database.execute("insert into auth.users (email) values (%s) returning id", (email,)).fetchone()  # fmt: skip
    database.execute("update companies set max_users = 5 where id = %s", (acme.id,))
    gate = threading.Barrier(16)

    def take(_: int) -> list[str]:
        with psycopg.connect(urls.app, autocommit=True) as db:
            gate.wait()
            query = "select outcome from private.accept_invitation(%s, %s)"
            return [db.execute(query, (digest, login)).fetchone()[0] for _ in range(4)]

    with ThreadPoolExecutor(16) as pool:
        outcomes = [one for many in pool.map(take, range(16)) for one in many]
    assert sorted(outcomes) == ["accepted", *["accepted_before"] * 63]
    counted = "select current_user_count from companies where id = %s"
    assert database.execute(counted, (acme.id,)).fetchone() == (5,)


def test_two_who_accept_over_http_at_once_are_one(
    sign_in: SignIn, acme: Company, database: psycopg.Connection, web_url: str
) -> None:
    email = address()
    invited(sign_in(acme, "owner"), email)
    token, gate = invitation_token(database, email), threading.Barrier(2)

    def take(name: str) -> httpx.Response:
        gate.wait()
        return accept(web_url, token, first_name=name)

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(take, ("Eva", "Ada")))
    assert sorted(a.status_code for a in answers)[0] == 201
    [late] = [a for a in answers if a.status_code != 201]
    assert late.json()["code"] in ("invitations.sign_in_first", "invitations.accepted_before")
    assert late.status_code in (401, 410)
    count = "select count(*) from users where email = %s"
    assert database.execute(count, (email,)).fetchone() == (1,)


def test_a_seat_that_went_meanwhile_is_reported_and_nothing_is_half_done(
    sign_in: SignIn, acme: Company, database: psycopg.Connection, web_url: str
) -> None:
    email = address()
    invited(sign_in(acme, "owner"), email)
    database.execute("update companies set max_users = 3 where id = %s", (acme.id,))
    answer = accept(web_url, invitation_token(database, email))
    assert (answer.status_code, answer.json()["code"]) == (409, "invitations.no_seat")
    count = "select count(*) from auth.users where email = %s"
    assert database.execute(count, (email,)).fetchone() == (0,)
    assert [name for name, _ in waiting_mails(database, email)] == ["team.invitation"]


def test_a_key_invites_within_its_scopes_and_below_its_role(
    acme: Company, database: psycopg.Connection, web_url: str, sign_in: SignIn
) -> None:
    token = f"na_key_{secrets.token_urlsafe(24)}"
    database.execute(
        "insert into api_keys (company_id, name, prefix, key_digest, role, created_by, scopes)"
        " values (%s, 'k', 'na_key_x', %s, 'administrador', %s, '{invitations.read,invitations.manage}')",
        (acme.id, sha256(token.encode()).digest(), acme.people["owner"].id),
    )
    with httpx.Client(base_url=web_url, headers={"authorization": f"Bearer {token}"}) as client:
        made = invited(client, address())
        assert made["invited_by"] == str(acme.people["owner"].id)
        answer = client.post(PATH, json={"email": address(), "role": "administrador"})
        assert (answer.status_code, answer.json()["code"]) == (403, "invitations.role_not_below")
        assert client.get("/v1/users").status_code == 403


@pytest.mark.parametrize(
    "token", ["x", "a" * 200, secrets.token_urlsafe(32)], ids=["short", "long", "random"]
)
def test_a_made_up_token_is_unknown(web_url: str, token: str) -> None:
    assert seen(web_url, token).status_code == 404
    assert accept(web_url, token).status_code == 404


@pytest.mark.parametrize("token", ["", "ñ".encode().decode("latin-1"), "a b", "a" * 201])
def test_what_cannot_be_a_token_is_malformed(web_url: str, token: str) -> None:
    assert accept(web_url, token).status_code == 422
