"""Sessions are a person's: listed, ended, moved between companies, and gone with what they stand on."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from neurant.accounts.security.devices import device_of
from neurant.installation.embedded import Urls
from tests.accounts.sent_mails import PASSWORD, bearer, sign_in
from tests.companies import Company, make_company
from tests.plans.sql_as_role import call_as

pytest_plugins = ("tests.console.running_web",)
PHONE = "Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 Chrome/140.0 Mobile Safari/537.36"


@pytest.fixture
def own(urls: Urls, known_password: str) -> Company:
    """A company of this test alone: its people change."""
    return make_company(urls.admin, "acme", password_hash=known_password)


def join(database: psycopg.Connection, company: Company, person: UUID, email: str, role: str) -> UUID:  # fmt: skip
    """Somebody of another company becomes a member of this one, too."""
    return database.execute(
        "insert into users (company_id, auth_user_id, email, first_name, last_name, role)"
        " values (%s, %s, %s, 'Ana', 'Dos', %s) returning id",
        (company.id, person, email, role),
    ).fetchone()[0]


def who(client: httpx.Client, headers: dict[str, str]) -> dict[str, Any]:
    answer = client.get("/v1/session", headers=headers)
    return answer.json() if answer.is_success else {"status": answer.status_code}


def test_a_person_sees_and_ends_their_own_sessions_and_nobody_elses(
    nobody: httpx.Client, own: Company, rival: Company
) -> None:
    email = own.people["supervisor"].email
    mine, theirs = sign_in(nobody, email), sign_in(nobody, rival.people["administrador"].email)
    credentials = {"email": email, "password": PASSWORD}
    phone = bearer(nobody.post("/v1/session", json=credentials, headers={"User-Agent": PHONE}))
    listed = nobody.get("/v1/account/sessions", headers=mine).json()["data"]
    assert [one["is_current"] for one in listed] == [True, False]
    assert listed[1]["device"] == "Chrome · Android"
    assert {one["company_name"] for one in listed} == {"Acme"}
    foreign = nobody.get("/v1/account/sessions", headers=theirs).json()["data"]
    assert not {one["session_id"] for one in foreign} & {one["session_id"] for one in listed}
    refused = [
        nobody.delete(f"/v1/account/sessions/{one}", headers=mine)
        for one in (foreign[0]["session_id"], uuid4())
    ]
    assert {answer.status_code for answer in refused} == {404}
    assert len({answer.json()["detail"] for answer in refused}) == 1
    assert who(nobody, theirs)["email"] == rival.people["administrador"].email
    ended = nobody.delete(f"/v1/account/sessions/{listed[1]['session_id']}", headers=mine)
    assert ended.status_code == 204
    assert who(nobody, phone) == {"status": 401}
    assert who(nobody, mine)["email"] == email


def test_signing_out_everywhere_leaves_this_one(
    nobody: httpx.Client, own: Company, rival: Company
) -> None:
    email = own.people["owner"].email
    here, *others = (sign_in(nobody, email) for _ in range(4))
    theirs = sign_in(nobody, rival.people["owner"].email)
    assert nobody.delete("/v1/account/sessions", headers=here).json() == {"ended": 3}
    assert [who(nobody, one) for one in others] == [{"status": 401}] * 3
    assert "email" in who(nobody, here)
    assert "email" in who(nobody, theirs)
    assert nobody.delete("/v1/session", headers=here).status_code == 204
    assert who(nobody, here) == {"status": 401}


def test_a_browser_ends_its_session_by_the_api_too(nobody: httpx.Client, own: Company) -> None:
    form = {"email": own.people["supervisor"].email, "password": PASSWORD}
    assert nobody.post("/login", data=form).status_code == 303
    elsewhere = nobody.delete("/v1/session", headers={"sec-fetch-site": "cross-site"})
    assert (elsewhere.status_code, elsewhere.json()["code"]) == (403, "accounts.cross_origin")
    assert nobody.get("/v1/session").status_code == 200
    assert nobody.delete("/v1/session").status_code == 204
    assert nobody.get("/v1/session").status_code == 401
    assert nobody.delete("/v1/session").status_code == 401


def test_another_password_ends_the_others_and_renews_this_token(
    nobody: httpx.Client, own: Company
) -> None:
    email = own.people["operador"].email
    here, there = sign_in(nobody, email), sign_in(nobody, email)
    change = {"current_password": "otra", "new_password": "una-frase-nueva-larga"}
    wrong = nobody.put("/v1/account/password", json=change, headers=here)
    assert (wrong.status_code, wrong.json()["code"]) == (403, "accounts.wrong_password")
    change["current_password"] = PASSWORD
    weak = change | {"new_password": "password123"}
    assert nobody.put("/v1/account/password", json=weak, headers=here).status_code == 422
    renewed = bearer(nobody.put("/v1/account/password", json=change, headers=here))
    assert [who(nobody, one) for one in (here, there)] == [{"status": 401}] * 2
    assert who(nobody, renewed)["email"] == email
    assert nobody.get("/v1/canned-responses", headers=renewed).status_code == 200
    assert sign_in(nobody, email, "una-frase-nueva-larga")


def test_a_person_of_two_companies_moves_between_them_and_sees_one_at_a_time(
    nobody: httpx.Client, own: Company, rival: Company, database: psycopg.Connection
) -> None:
    ana = own.people["supervisor"]
    join(database, rival, ana.auth_user_id, ana.email, "administrador")
    mine = sign_in(nobody, ana.email)
    start = who(nobody, mine)
    assert [(one["name"], one["role"]) for one in start["companies"]] == [
        ("Acme", "supervisor"),
        ("Rival", "administrador"),
    ]
    made = {"shortcut": f"s{secrets.token_hex(4)}", "content": "De acme", "is_shared": True}
    here, there = own.id, rival.id
    for company in (here, there):
        moved = nobody.post("/v1/session/company", json={"company_id": str(company)}, headers=mine)
        assert moved.json()["company_id"] == str(company)
        if company == here:
            created = nobody.post("/v1/canned-responses", json=made, headers=mine)
            assert created.status_code == 201
    shown = nobody.get("/v1/canned-responses", headers=mine).json()["data"]
    assert made["shortcut"] not in [one["shortcut"] for one in shown]
    assert nobody.get(created.headers["location"], headers=mine).status_code == 404
    unknown = nobody.post("/v1/session/company", json={"company_id": str(uuid4())}, headers=mine)
    assert unknown.status_code == 404
    left = call_count(database, own.id, "logout")
    assert left >= 1  # acme's audit knows that she left, rival's that she came
    assert call_count(database, rival.id, "login", ana.auth_user_id) == 1


def call_count(
    database: psycopg.Connection, company: UUID, action: str, person: UUID | None = None
) -> int:
    return database.execute(
        "select count(*) from audit_logs a where company_id = %s and action = %s::audit_action_enum"
        " and (%s::uuid is null or exists (select from users u where u.company_id = a.company_id"
        " and u.id = a.user_id and u.auth_user_id = %s))",
        (company, action, person, person),
    ).fetchone()[0]


def test_who_is_deactivated_is_out_with_the_next_statement_and_stays_in_the_other_company(
    urls: Urls, nobody: httpx.Client, own: Company, rival: Company, database: psycopg.Connection
) -> None:
    ana = own.people["operador"]
    join(database, rival, ana.auth_user_id, ana.email, "operador")
    mine = sign_in(nobody, ana.email)
    entered = nobody.post("/v1/session/company", json={"company_id": str(own.id)}, headers=mine)
    assert entered.status_code == 200
    done = call_as(urls, own, "owner", "select private.set_user_active(%s, false)", ana.id)
    assert done == "deactivated"
    assert nobody.get("/v1/canned-responses", headers=mine).status_code == 401
    known = who(nobody, mine)
    assert known["company_id"] is None
    assert [one["name"] for one in known["companies"]] == ["Rival"]
    again = nobody.post("/v1/session/company", json={"company_id": str(own.id)}, headers=mine)
    assert again.status_code == 404
    moved = nobody.post("/v1/session/company", json={"company_id": str(rival.id)}, headers=mine)
    assert moved.status_code == 200
    assert nobody.get("/v1/canned-responses", headers=mine).status_code == 200


def test_a_session_that_a_company_opened_leads_into_no_other(
    nobody: httpx.Client, own: Company, rival: Company, database: psycopg.Connection
) -> None:
    """Single sign-on: acme's provider vouches for acme, and for nothing that the person has besides."""
    ana = own.people["administrador"]
    join(database, rival, ana.auth_user_id, ana.email, "administrador")
    sign_in(nobody, ana.email)
    token = secrets.token_urlsafe(32)
    database.execute(
        "insert into login_sessions (company_id, user_id, token_digest, expires_at)"
        " values (%s, %s, sha256(%s), now() + interval '1 hour')",
        (own.id, ana.id, token.encode()),
    )
    mine = {"Authorization": f"Bearer {token}"}
    assert [one["name"] for one in who(nobody, mine)["companies"]] == ["Acme"]
    moved = nobody.post("/v1/session/company", json={"company_id": str(rival.id)}, headers=mine)
    assert moved.status_code == 404
    assert len(nobody.get("/v1/account/sessions", headers=mine).json()["data"]) == 1
    assert nobody.delete("/v1/account/sessions", headers=mine).json() == {"ended": 0}


def test_an_expired_session_is_over_everywhere(
    nobody: httpx.Client, own: Company, database: psycopg.Connection
) -> None:
    mine = sign_in(nobody, own.people["owner"].email)
    for table in ("auth_sessions", "login_sessions"):
        database.execute(
            f"update {table} set expires_at = now() where token_digest = sha256(%s)",
            (mine["Authorization"].removeprefix("Bearer ").encode(),),
        )
    for path in ("/v1/session", "/v1/account/sessions", "/v1/canned-responses"):
        answer = nobody.get(path, headers=mine)
        assert (answer.status_code, answer.json()["code"]) == (401, "accounts.session_expired")


def test_audit_tells_each_company_of_the_person_what_happened_to_their_login(
    nobody: httpx.Client, own: Company, rival: Company, database: psycopg.Connection
) -> None:
    ana = own.people["owner"]
    join(database, rival, ana.auth_user_id, ana.email, "operador")
    trail = {"X-Request-Id": f"r-{secrets.token_hex(4)}"}
    wrong = {"email": ana.email, "password": "adivino"}
    for _ in range(5):
        nobody.post("/v1/session", json=wrong, headers=trail)
    database.execute("delete from account_brakes")
    mine = sign_in(nobody, ana.email)
    change = {"current_password": PASSWORD, "new_password": "una-frase-nueva-larga"}
    nobody.put("/v1/account/password", json=change, headers=mine | trail)
    for company in (own, rival):
        rows = database.execute(
            "select action::text, details, host(ip_address), request_id from audit_logs a"
            " join users u on u.company_id = a.company_id and u.id = a.user_id"
            " where a.company_id = %s and u.auth_user_id = %s and request_id = %s"
            " and (action = 'login_denied' or resource_type = 'logins') order by a.created_at",
            (company.id, ana.auth_user_id, trail["X-Request-Id"]),
        ).fetchall()
        assert [row[0] for row in rows] == ["login_denied"] * 5 + ["update"]
        assert rows[0][1]["reason"] == "password"
        assert "locked_seconds" not in rows[0][1]
        assert rows[4][1]["locked_seconds"] == 5
        assert rows[5][1]["event"] == "password_changed"
        assert {row[2] for row in rows} == {"127.0.0.0"}
    told = database.execute(
        "select string_agg(details::text, '') from audit_logs where company_id = %s", (own.id,)
    ).fetchone()[0]
    for secret in (PASSWORD, "una-frase-nueva-larga", "adivino", ana.email):
        assert secret not in told


def test_the_account_page_changes_profile_password_and_sessions(
    sign_in: Callable[[Company, str], httpx.Client], own: Company, nobody: httpx.Client
) -> None:
    client = sign_in(own, "supervisor")
    other = {"email": own.people["supervisor"].email, "password": PASSWORD}
    assert nobody.post("/login", data=other).status_code == 303
    form = {"first_name": " Ana  María ", "last_name": "Ruiz", "phone": "+57 300 123", "avatar_url": ""}  # fmt: skip
    saved = client.post("/console/account/profile", data=form)
    assert saved.headers["location"] == "/console/account?done=profile"
    page = client.get("/console/account?done=profile").text
    assert "Guardamos tu perfil" in page
    assert 'value="Ana María"' in page
    for change, told in (
        ({"first_name": ""}, "Revisa tu nombre"),
        ({"phone": "llámame"}, "Revisa el teléfono"),
        ({"avatar_url": "javascript:alert(1)"}, "Revisa la imagen"),
        ({"avatar_url": "http://x.example/a.png"}, "Revisa la imagen"),
        ({"avatar_url": "https://[" + "x" * 50}, "Revisa la imagen"),
    ):
        refused = client.post("/console/account/profile", data=form | change)
        assert (refused.status_code, told in refused.text) == (422, True)
    before = client.cookies["neurant_session"]
    wrong = client.post("/console/account/password", data={"current": "x", "new": "frase-larga-nueva"})  # fmt: skip
    assert (wrong.status_code, "no coincide" in wrong.text) == (403, True)
    done = client.post("/console/account/password", data={"current": PASSWORD, "new": "frase-larga-nueva"})  # fmt: skip
    assert done.headers["location"] == "/console/account?done=password"
    assert client.cookies["neurant_session"] != before
    assert client.get("/console/account").status_code == 200
    assert nobody.get("/console/inbox").status_code == 303
    cross = client.post("/console/account/sessions", headers={"Origin": "https://evil.example"})
    assert cross.status_code == 403
    assert client.post("/console/account/sessions").headers["location"].endswith("done=sessions")


def test_the_profile_in_an_unpaid_company_is_only_read_and_says_so(
    sign_in: Callable[[Company, str], httpx.Client],
    own: Company,
    rival: Company,
    database: psycopg.Connection,
) -> None:
    for status in ("inactive", "cancelled"):
        database.execute(
            "update companies set subscription_status = %s, subscription_ends_at = now()"
            " where id = %s",
            (status, own.id),
        )
        client = sign_in(own, "operador")
        assert client.get("/v1/account").status_code == 200
        refused = client.patch("/v1/account", json={"first_name": "Otra"})
        assert (refused.status_code, refused.json()["code"]) == (403, "api.read_only"), status
    other = sign_in(rival, "operador")
    name = other.get("/v1/account").json()["first_name"]
    assert other.patch("/v1/account", json={"first_name": name}).status_code == 200


def test_the_companies_page_offers_them_and_goes_on(
    nobody: httpx.Client, own: Company, rival: Company, database: psycopg.Connection
) -> None:
    ana = own.people["administrador"]
    join(database, rival, ana.auth_user_id, ana.email, "operador")
    nobody.post("/login", data={"email": ana.email, "password": PASSWORD})
    page = nobody.get("/console/companies").text
    assert "Acme" in page
    assert "Rival" in page
    for bad in ("x", str(uuid4())):
        assert nobody.post("/console/companies", data={"company_id": bad}).status_code == 404
    done = nobody.post("/console/companies", data={"company_id": str(rival.id)})
    assert done.headers["location"] == "/console/inbox"
    assert "Rival" in nobody.get("/console/account").text


@pytest.mark.parametrize(
    ("agent", "device"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox · Linux"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/140 Safari/537.36 Edg/140", "Edge · Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1", "Safari · iPhone"),
        (PHONE, "Chrome · Android"),
        ("python-httpx/0.28", "python-httpx/0.28"),
        ("x" * 500, "x" * 40),
        ("", None),
        (None, None),
    ],
)  # fmt: skip
def test_a_browser_is_reported_in_two_words(agent: str | None, device: str | None) -> None:
    assert device_of(agent) == device
