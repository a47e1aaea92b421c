"""What every endpoint shares, tried on canned responses: calls, pages, ETags, idempotency, refusals."""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import Callable

import httpx
import psycopg
import pytest

from neurant.core.db.pool import make_pool
from neurant.core.settings import Settings
from neurant.installation.embedded import Urls
from neurant.runtime.worker import periodic_jobs
from tests.companies import Company, make_company

pytest_plugins = ("tests.console.running_web",)
PATH = "/v1/canned-responses"


@pytest.fixture
def shared(sign_in: Callable[[Company, str], httpx.Client], acme: Company) -> dict[str, str]:
    """A canned response that the owner shares."""
    return make(sign_in(acme, "owner"), is_shared=True)


def make(client: httpx.Client, **values: object) -> dict[str, str]:
    answer = client.post(PATH, json={"shortcut": mark(), "content": "Hola", **values})
    assert answer.status_code == 201, answer.text
    return answer.json()


def mark() -> str:
    return f"s-{secrets.token_hex(6)}"


def test_a_foreign_id_answers_like_an_unknown_one(
    sign_in: Callable[[Company, str], httpx.Client],
    acme: Company,
    rival: Company,
    shared: dict[str, str],
) -> None:
    client = sign_in(rival, "owner")
    for method in ("GET", "PATCH", "DELETE"):
        body = {"json": {"content": "Hola"}} if method == "PATCH" else {}
        foreign = client.request(
            method, f"{PATH}/{shared['id']}", headers={"x-request-id": "one"}, **body
        )
        unknown = client.request(
            method, f"{PATH}/{uuid.uuid4()}", headers={"x-request-id": "one"}, **body
        )
        assert (foreign.status_code, foreign.content) == (404, unknown.content)
        assert foreign.headers["content-type"] == "application/problem+json"


def test_nobody_is_401_and_says_so_as_a_problem(web_url: str) -> None:
    answer = httpx.get(f"{web_url}{PATH}")
    assert answer.status_code == 401
    assert answer.json()["code"] == "accounts.session_missing"
    forged = httpx.get(
        f"{web_url}{PATH}", headers={"authorization": f"Bearer {secrets.token_hex()}"}
    )
    assert (forged.status_code, forged.json()["code"]) == (401, "accounts.session_expired")


def test_pages_go_through_everything_once_in_both_directions(
    sign_in: Callable[[Company, str], httpx.Client], acme: Company
) -> None:
    client = sign_in(acme, "supervisor")
    mine = {make(client)["id"] for _ in range(5)}
    for sort in ("shortcut", "-created_at"):
        seen, cursor = [], None
        while True:
            params = {"limit": 2, "sort": sort, "is_shared": False} | (
                {"cursor": cursor} if cursor else {}
            )
            page = client.get(PATH, params=params).json()
            seen += page["data"]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        ids = [one["id"] for one in seen]
        assert len(ids) == len(set(ids))
        assert mine <= set(ids)
        keys = [(one[sort.strip("-")], one["id"]) for one in seen]
        assert keys == sorted(keys, reverse=sort.startswith("-"))


@pytest.mark.parametrize("cursor", ["x", "AAAA", "WyJzaG9ydGN1dCIsICJhIiwgImIiXQ"])
def test_a_cursor_of_another_list_is_unknown(
    sign_in: Callable[[Company, str], httpx.Client], acme: Company, cursor: str
) -> None:
    answer = sign_in(acme, "owner").get(PATH, params={"cursor": cursor})
    assert (answer.status_code, answer.json()["code"]) == (404, "api.cursor_unknown")


def test_an_unknown_filter_is_refused_by_name(
    sign_in: Callable[[Company, str], httpx.Client], acme: Company
) -> None:
    answer = sign_in(acme, "owner").get(PATH, params={"color": "red"})
    assert answer.status_code == 422
    assert "color" in answer.json()["detail"]


def test_a_patch_changes_what_it_names_and_holds_to_if_match(
    sign_in: Callable[[Company, str], httpx.Client], acme: Company, shared: dict[str, str]
) -> None:
    client = sign_in(acme, "owner")
    tag = client.get(f"{PATH}/{shared['id']}").headers["etag"]
    changed = client.patch(
        f"{PATH}/{shared['id']}", json={"content": "Adiós"}, headers={"if-match": tag}
    )
    assert (changed.status_code, changed.json()["shortcut"]) == (200, shared["shortcut"])
    late = client.patch(
        f"{PATH}/{shared['id']}", json={"content": "Tarde"}, headers={"if-match": tag}
    )
    assert (late.status_code, late.json()["code"]) == (412, "api.changed_meanwhile")
    assert client.get(f"{PATH}/{shared['id']}").json()["content"] == "Adiós"
    again = {"if-match": changed.headers["etag"]}
    assert client.patch(f"{PATH}/{shared['id']}", json={}, headers=again).status_code == 200


def test_what_may_be_read_but_not_changed_is_403_and_in_audit(
    sign_in: Callable[[Company, str], httpx.Client],
    acme: Company,
    shared: dict[str, str],
    database: psycopg.Connection,
) -> None:
    client = sign_in(acme, "operador")
    for answer in (
        client.patch(f"{PATH}/{shared['id']}", json={"content": "Mío"}),
        client.delete(f"{PATH}/{shared['id']}"),
        client.post(PATH, json={"shortcut": mark(), "content": "Hola", "is_shared": True}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "api.not_permitted")


def narrow(database: psycopg.Connection, company: Company, role: str, *denied: str) -> None:
    database.execute(
        "update users set permissions = (select coalesce(jsonb_object_agg(d, false), '{}')"
        " from unnest(%s::text[]) d) where company_id = %s and id = %s",
        (list(denied), company.id, company.people[role].id),
    )


def test_what_is_taken_from_one_person_is_refused_at_the_next_request(
    sign_in: Callable[[Company, str], httpx.Client],
    acme: Company,
    rival: Company,
    database: psycopg.Connection,
) -> None:
    client = sign_in(acme, "administrador")
    assert client.get(PATH).status_code == 200
    narrow(database, acme, "administrador", "canned_responses.read")
    try:
        answer = client.get(PATH, headers={"x-request-id": f"r-{mark()}"})
        assert (answer.status_code, answer.json()["code"]) == (403, "api.not_permitted")
        assert sign_in(rival, "administrador").get(PATH).status_code == 200
        denied = database.execute(
            "select user_id, user_role::text, session_id is not null, details ->> 'permission',"
            " details ->> 'operation' from audit_logs where action = 'denied' and request_id = %s",
            (answer.json()["request_id"],),
        ).fetchall()
        person = acme.people["administrador"].id
        assert denied == [(person, "administrador", True, "canned_responses.read", f"GET {PATH}")]
    finally:
        narrow(database, acme, "administrador")


def test_the_same_key_has_one_effect_and_one_answer(
    sign_in: Callable[[Company, str], httpx.Client], acme: Company
) -> None:
    client, key = sign_in(acme, "owner"), {"idempotency-key": mark()}
    body = {"shortcut": mark(), "content": "Una vez"}
    first = client.post(PATH, json=body, headers=key)
    again = client.post(PATH, json=body, headers=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content
    assert first.headers["location"] == again.headers["location"]
    assert again.headers["idempotency-replayed"] == "true"
    other = client.post(PATH, json=body | {"content": "Otra"}, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "api.idempotency_key_reused")


def test_a_key_is_its_callers_own(
    sign_in: Callable[[Company, str], httpx.Client], acme: Company, rival: Company
) -> None:
    key, body = {"idempotency-key": mark()}, {"shortcut": mark(), "content": "Hola"}
    answers = [
        sign_in(company, role).post(PATH, json=body, headers=key)
        for company, role in ((acme, "owner"), (acme, "supervisor"), (rival, "owner"))
    ]
    assert [one.status_code for one in answers] == [201, 201, 201]
    assert len({one.json()["id"] for one in answers}) == 3


def test_a_refused_request_may_be_repeated_with_its_key(
    sign_in: Callable[[Company, str], httpx.Client], acme: Company
) -> None:
    client, key, taken = (
        sign_in(acme, "owner"),
        {"idempotency-key": mark()},
        make(sign_in(acme, "owner")),
    )
    body = {"shortcut": taken["shortcut"], "content": "Hola"}
    assert client.post(PATH, json=body, headers=key).status_code == 409
    client.delete(f"{PATH}/{taken['id']}")
    assert client.post(PATH, json=body, headers=key).status_code == 201


@pytest.mark.anyio
async def test_of_requests_side_by_side_with_one_key_one_has_an_effect(
    web_url: str, sign_in: Callable[[Company, str], httpx.Client], acme: Company
) -> None:
    cookies, key = sign_in(acme, "owner").cookies, {"idempotency-key": mark()}
    body = {"shortcut": mark(), "content": "Una vez"}
    async with httpx.AsyncClient(base_url=web_url, cookies=cookies) as client:
        answers = await asyncio.gather(
            *(client.post(PATH, json=body, headers=key) for _ in range(8))
        )
    assert {one.status_code for one in answers} <= {201, 409}
    assert len({one.json()["id"] for one in answers if one.status_code == 201}) == 1
    assert all(
        one.json()["code"] == "api.idempotency_in_flight"
        for one in answers
        if one.status_code == 409
    )


def test_nothing_readable_is_kept_of_an_answer(
    sign_in: Callable[[Company, str], httpx.Client], acme: Company, database: psycopg.Connection
) -> None:
    key, secret = f"k-{mark()}", f"secreto-{mark()}"
    sign_in(acme, "owner").post(
        PATH, json={"shortcut": mark(), "content": secret}, headers={"idempotency-key": key}
    )
    kept = database.execute(
        "select answer_encrypted, key_digest from idempotency_keys where company_id = %s",
        (acme.id,),
    ).fetchall()
    assert kept
    assert not any(secret.encode() in row[0] or key.encode() in row[1] for row in kept)


def test_an_unpaid_company_reads_and_changes_nothing(
    sign_in: Callable[[Company, str], httpx.Client],
    database: psycopg.Connection,
    urls: Urls,
    known_password: str,
) -> None:
    company = make_company(urls.admin, "acme", password_hash=known_password)
    client = sign_in(company, "owner")
    made = make(client)
    database.execute(
        "update companies set subscription_status = 'inactive' where id = %s", (company.id,)
    )
    assert client.get(f"{PATH}/{made['id']}").status_code == 200
    answer = client.patch(f"{PATH}/{made['id']}", json={"content": "No"})
    assert (answer.status_code, answer.json()["code"]) == (403, "api.read_only")


def test_too_many_requests_wait_as_long_as_the_answer_says(
    urls: Urls,
    database: psycopg.Connection,
    sign_in: Callable[[Company, str], httpx.Client],
    known_password: str,
    rival: Company,
) -> None:
    company = make_company(urls.admin, "acme", password_hash=known_password)
    database.execute("update companies set subscription_plan = 'free' where id = %s", (company.id,))
    client = sign_in(company, "owner")
    for _ in range(2000):
        answer = client.get(PATH, params={"limit": 1})
        assert answer.headers["ratelimit-policy"] == '"company";q=120;w=60'
        if answer.status_code == 429:
            break
    assert (answer.status_code, answer.json()["code"]) == (429, "api.rate_limited")
    assert 1 <= int(answer.headers["retry-after"]) <= 2
    assert answer.headers["ratelimit"].startswith('"company";r=0')
    assert sign_in(rival, "owner").get(PATH).status_code == 200


def test_a_method_that_an_address_does_not_take_is_reported_with_those_that_it_does(
    sign_in: Callable[[Company, str], httpx.Client], acme: Company
) -> None:
    answer = sign_in(acme, "owner").request("OPTIONS", f"{PATH}/{uuid.uuid4()}")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, PATCH, DELETE")
    assert sign_in(acme, "owner").post("/v1/nothing").status_code == 404


@pytest.mark.anyio
async def test_the_worker_forgets_answers_after_a_day_of_every_company(
    urls: Urls,
    sign_in: Callable[[Company, str], httpx.Client],
    acme: Company,
    rival: Company,
    database: psycopg.Connection,
) -> None:
    for company in (acme, rival):
        for _ in range(2):
            key = {"Idempotency-Key": mark()}
            body = {"shortcut": mark(), "content": "Hola"}
            made = sign_in(company, "owner").post(PATH, json=body, headers=key)
            assert made.status_code == 201
        database.execute(
            "update idempotency_keys set created_at = now() - interval '25 hours' where id ="
            " (select id from idempotency_keys where company_id = %s order by id desc limit 1)",
            (company.id,),
        )
    old = "select count(*) filter (where created_at < now() - interval '1 day'), count(*) > 0"
    async with make_pool(urls.jobs, size=2, pooled=False) as pool:
        pieces = {
            one.name: one for one in periodic_jobs(pool, Settings(jobs_database_url=urls.jobs))
        }
        assert database.execute(f"{old} from idempotency_keys").fetchone() >= (2, True)
        await pieces["idempotency keys"].run()
    assert database.execute(f"{old} from idempotency_keys").fetchone() == (0, True)
