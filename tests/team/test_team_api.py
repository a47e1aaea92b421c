"""People over HTTP: who sees whom, who changes whom, and what takes effect at once."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx
import psycopg
import pyotp
import pytest

from neurant.installation.embedded import Urls
from tests.companies import ROLES, Company, make_company
from tests.console.people import PASSWORD
from tests.team.waiting_mails import waiting_mails

pytest_plugins = ("tests.console.running_web",)
SignIn = Callable[[Company, str], httpx.Client]
LEVEL = {"owner": 4, "administrador": 3, "supervisor": 2, "operador": 1}


@pytest.fixture
def own(urls: Urls, known_password: str) -> Company:
    """One of its own for each test: people are changed."""
    return make_company(urls.admin, "acme", password_hash=known_password)


def names(client: httpx.Client, **params: object) -> set[str]:
    answer = client.get("/v1/users", params=params)
    assert answer.status_code == 200, answer.text
    return {one["role"] for one in answer.json()["data"]}


def path(company: Company, role: str, what: str = "") -> str:
    return f"/v1/users/{company.people[role].id}{what}"


def test_each_role_sees_whom_it_may(sign_in: SignIn, acme: Company, rival: Company) -> None:
    everybody = set(ROLES)
    assert names(sign_in(acme, "owner")) == everybody
    assert names(sign_in(acme, "administrador")) == everybody
    assert names(sign_in(acme, "supervisor")) == {"supervisor", "operador"}
    assert names(sign_in(acme, "operador")) == {"operador"}
    for reader in ROLES:
        client = sign_in(acme, reader)
        for role in ROLES:
            expected = 200 if role in names(client) else 404
            assert client.get(path(acme, role)).status_code == expected
            foreign = client.get(path(rival, role), headers={"x-request-id": "one"})
            unknown = client.get(f"/v1/users/{uuid.uuid4()}", headers={"x-request-id": "one"})
            assert foreign.content == unknown.content


def test_the_directory_tells_everybody_whom_to_turn_to_and_no_more(
    sign_in: SignIn, acme: Company, rival: Company
) -> None:
    team = sign_in(acme, "operador").get("/v1/team").json()["data"]
    assert [one["role"] for one in team] == list(ROLES)
    assert set(team[0]) == {"id", "first_name", "last_name", "avatar_url", "role", "last_seen_at"}
    me = next(one for one in team if one["role"] == "operador")
    assert me["last_seen_at"] is not None
    theirs = {str(person.id) for person in rival.people.values()}
    assert not theirs & {one["id"] for one in team}


def test_a_profile_is_its_owners_to_change(sign_in: SignIn, own: Company, rival: Company) -> None:
    client = sign_in(own, "operador")
    mine = path(own, "operador")
    tag = client.get(mine).headers["etag"]
    changed = client.patch(mine, json={"first_name": "Eva", "phone": "+57 300"}, headers={"if-match": tag})  # fmt: skip
    assert changed.status_code == 200, changed.text
    assert (changed.json()["first_name"], changed.json()["phone"]) == ("Eva", "+57 300")
    assert changed.json()["last_name"] == "Acme"
    late = client.patch(mine, json={"first_name": "Ada"}, headers={"if-match": tag})
    assert late.status_code == 412
    owner = sign_in(own, "owner")
    assert owner.patch(mine, json={"first_name": "Ada"}).status_code == 403
    assert sign_in(rival, "owner").patch(mine, json={"first_name": "Ada"}).status_code == 404
    for field, value in (("role", "owner"), ("email", "a@b.example"), ("is_active", False)):
        assert client.patch(mine, json={field: value}).status_code == 422
    assert client.patch(mine, json={"avatar_url": "javascript:alert(1)"}).status_code == 422


@pytest.mark.parametrize("changer", ROLES)
def test_who_changes_whose_role(sign_in: SignIn, own: Company, changer: str) -> None:
    client = sign_in(own, changer)
    manages = changer in ("owner", "administrador")
    for target in ROLES:
        for given in ("administrador", "supervisor"):
            answer = client.post(path(own, target, "/role"), json={"role": given})
            below = LEVEL[target] < LEVEL[changer] and LEVEL[given] < LEVEL[changer]
            assert answer.status_code == (200 if manages and below else 403), (target, given)
            if answer.status_code == 200:
                assert answer.json()["role"] == given
                back = client.post(path(own, target, "/role"), json={"role": target})
                assert back.status_code == 200
    never = client.post(path(own, "operador", "/role"), json={"role": "owner"})
    assert never.status_code == (422 if manages else 403)


def test_who_is_let_out_is_out_at_the_next_request_and_can_come_back(
    sign_in: SignIn, own: Company, rival: Company, database: psycopg.Connection
) -> None:
    theirs, owner = sign_in(own, "operador"), sign_in(own, "owner")
    assert theirs.get("/v1/team").status_code == 200
    seats = "select current_user_count from companies where id = %s"
    [before] = database.execute(seats, (own.id,)).fetchone()
    assert sign_in(rival, "owner").post(path(own, "operador", "/deactivate")).status_code == 404
    gone = owner.post(path(own, "operador", "/deactivate"))
    assert (gone.status_code, gone.json()["is_active"]) == (200, False)
    assert theirs.get("/v1/team").status_code == 401
    assert database.execute(seats, (own.id,)).fetchone() == (before - 1,)
    assert names(owner, is_active=False) == {"operador"}
    database.execute("update companies set max_users = 3 where id = %s", (own.id,))
    full = owner.post(path(own, "operador", "/activate"))
    assert (full.status_code, full.json()["code"].startswith("limit.")) == (409, True)
    database.execute("update companies set max_users = -1 where id = %s", (own.id,))
    assert owner.post(path(own, "operador", "/activate")).json()["is_active"] is True
    with httpx.Client(base_url=theirs.base_url) as again:
        email = own.people["operador"].email
        assert again.post("/login", data={"email": email, "password": PASSWORD}).status_code == 303


def test_what_is_taken_from_a_person_is_gone_at_once_and_nothing_is_ever_added(
    sign_in: SignIn, own: Company, rival: Company
) -> None:
    owner, theirs = sign_in(own, "owner"), sign_in(own, "supervisor")
    where = path(own, "supervisor", "/permissions")
    assert theirs.get("/v1/users").status_code == 200
    taken = owner.put(where, json={"denied": ["users.read", "documents.edit", "users.read"]})
    assert taken.json()["denied"] == ["documents.edit", "users.read"]
    assert theirs.get("/v1/users").status_code == 403
    # Denying what the role has not changes nothing, and giving is not possible.
    assert owner.put(where, json={"denied": ["invitations.manage"]}).status_code == 200
    assert theirs.post("/v1/invitations", json={"email": "a@b.example", "role": "operador"}).status_code == 403  # fmt: skip
    assert theirs.get("/v1/users").status_code == 200
    for denied in (["profile.edit"], ["no.such"]):
        answer = owner.put(where, json={"denied": denied})
        assert (answer.status_code, answer.json()["code"]) == (409, "team.not_narrowable")
    assert owner.put(path(own, "owner", "/permissions"), json={"denied": []}).status_code == 403
    assert theirs.put(where, json={"denied": []}).status_code == 403
    assert sign_in(rival, "owner").put(where, json={"denied": []}).status_code == 404
    assert owner.put(where, json={"denied": []}).json()["denied"] == []


def test_the_company_changes_hands_once_and_the_new_owner_is_notified(
    sign_in: SignIn, own: Company, rival: Company, database: psycopg.Connection
) -> None:
    owner, admin = sign_in(own, "owner"), sign_in(own, "administrador")
    proof = {"password": PASSWORD}
    give = {"user_id": str(own.people["administrador"].id), **proof}
    for role in ROLES[1:]:
        assert sign_in(own, role).post("/v1/company/ownership", json=give).status_code == 403
    for stranger in (rival.people["owner"].id, uuid.uuid4()):
        answer = owner.post("/v1/company/ownership", json={"user_id": str(stranger), **proof})
        assert answer.status_code == 404
    mine = {"user_id": str(own.people["owner"].id), **proof}
    assert owner.post("/v1/company/ownership", json=mine).json()["code"] == "team.owner_already"
    once = {"idempotency-key": "the-company-once"}
    done = owner.post("/v1/company/ownership", json=give, headers=once)
    assert (done.status_code, done.json()["role"]) == (200, "owner")
    # Whoever lost the answer gets it, also now that the right is gone; another request does not.
    again = owner.post("/v1/company/ownership", json=give, headers=once)
    assert (again.status_code, again.content) == (200, done.content)
    assert again.headers["idempotency-replayed"] == "true"
    assert owner.post("/v1/company/ownership", json=mine).status_code == 403
    assert owner.get(path(own, "owner")).json()["role"] == "administrador"
    assert admin.get(path(own, "owner")).status_code == 200
    [(template, params)] = waiting_mails(database, own.people["administrador"].email)
    assert (template, params["from_name"]) == ("team.ownership_received", "Owner Acme")
    owners = "select count(*) from users where company_id = %s and is_owner"
    assert database.execute(owners, (own.id,)).fetchone() == (1,)


def ownership(client: httpx.Client, company: Company, **proof: str) -> tuple[int, str]:
    give = {"user_id": str(company.people["administrador"].id), **proof}
    answer = client.post("/v1/company/ownership", json=give)
    return answer.status_code, answer.json().get("code", "")


def test_an_open_session_alone_gives_no_company_away(
    sign_in: SignIn, own: Company, database: psycopg.Connection
) -> None:
    owner = sign_in(own, "owner")
    assert ownership(owner, own) == (403, "accounts.proof_needed")
    assert ownership(owner, own, code="123456") == (403, "accounts.proof_needed")
    wrong = [ownership(owner, own, password="no-es-esta") for _ in range(6)]
    assert wrong == [(403, "accounts.wrong_password")] * 5 + [(429, "accounts.slow_down")]
    assert ownership(owner, own, password=PASSWORD) == (429, "accounts.slow_down")
    owners = "select id from users where company_id = %s and is_owner"
    assert database.execute(owners, (own.id,)).fetchall() == [(own.people["owner"].id,)]


def test_whoever_has_two_steps_gives_the_company_with_a_fresh_code(
    sign_in: SignIn, own: Company, database: psycopg.Connection
) -> None:
    owner = sign_in(own, "owner")
    with httpx.Client(base_url=owner.base_url) as other:
        login = {"email": own.people["owner"].email, "password": PASSWORD}
        bearer = {
            "Authorization": f"Bearer {other.post('/v1/session', json=login).json()['token']}"
        }
        begun = other.post("/v1/account/two-step", json={"password": PASSWORD}, headers=bearer)
        totp = pyotp.TOTP(begun.json()["secret"])
        first = {"code": totp.now()}
        done = other.post("/v1/account/two-step/confirm", json=first, headers=bearer)
        assert done.status_code == 200, done.text
    later = totp.at(datetime.now(UTC) + timedelta(seconds=30))
    assert ownership(owner, own, password=PASSWORD) == (403, "accounts.proof_needed")
    assert ownership(owner, own, code="000000") == (403, "accounts.wrong_code")
    assert ownership(owner, own, code=later) == (200, "")


def test_whoever_has_no_password_gives_the_company_only_just_after_signing_in(
    sign_in: SignIn, own: Company, database: psycopg.Connection
) -> None:
    owner, login = sign_in(own, "owner"), own.people["owner"].auth_user_id
    database.execute("update auth.users set encrypted_password = null where id = %s", (login,))
    late = "update auth_sessions set created_at = now() - %s::interval where auth_user_id = %s"
    database.execute(late, ("11 minutes", login))
    assert ownership(owner, own) == (403, "accounts.sign_in_again")
    database.execute(late, ("9 minutes", login))
    assert ownership(owner, own) == (200, "")


def test_the_list_is_paged_and_sorted(sign_in: SignIn, acme: Company) -> None:
    client = sign_in(acme, "owner")
    for sort in ("email", "-email", "created_at", "first_name"):
        seen, cursor = [], None
        while True:
            params = {"sort": sort, "limit": 3} | ({"cursor": cursor} if cursor else {})
            page = client.get("/v1/users", params=params).json()
            seen += [one[sort.strip("-")] for one in page["data"]]
            if (cursor := page["next_cursor"]) is None:
                break
        assert seen == sorted(seen, reverse=sort.startswith("-"))
        assert len(seen) == 4
    assert names(client, role="supervisor") == {"supervisor"}
