"""Plans, usage and the subscription over HTTP, where people confirm or nobody has to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import httpx
import pytest

from neurant.cli import plans as commands
from neurant.core.db.pool import make_pool
from neurant.core.errors import LimitReachedError
from neurant.core.settings import Settings
from neurant.installation.embedded import Urls
from neurant.plans.limits import within_limits
from tests.companies import ROLES, Company, make_company
from tests.console.running_web import serving
from tests.plans.sql_as_role import add_bot, call_as, limit, query_as_admin, staff

pytest_plugins = ("tests.console.running_web",)
CHANGE = "/v1/subscription/change"
CLOSE = "/v1/subscription/close"


@pytest.fixture
def firm(urls: Urls, known_password: str) -> Company:
    """A company of its own on plan starter, with the people and channels of the fixture."""
    made = make_company(urls.admin, "acme", password_hash=known_password)
    query_as_admin(urls, "select private.apply_plan(%s, 'starter')", made.id)
    return made


@pytest.fixture
def other(urls: Urls, known_password: str) -> Company:
    made = make_company(urls.admin, "rival", password_hash=known_password)
    query_as_admin(urls, "select private.apply_plan(%s, 'starter')", made.id)
    return made


@pytest.fixture(scope="module")
def steady(urls: Urls, known_password: str) -> Company:
    """One whose people need to sign in only once: it is read, or asked what is refused."""
    made = make_company(urls.admin, "acme", password_hash=known_password)
    query_as_admin(urls, "select private.apply_plan(%s, 'starter')", made.id)
    return made


def subscription(client: httpx.Client) -> dict[str, object]:
    return client.get("/v1/subscription").json()


def test_the_catalogue_tells_limits_channels_and_prices_to_everybody(
    sign_in: Callable[[Company, str], httpx.Client], steady: Company
) -> None:
    for role in ROLES:
        plans = sign_in(steady, role).get("/v1/plans").json()["data"]
        assert [one["plan"] for one in plans] == [
            "free", "starter", "professional", "business", "enterprise"
        ]  # fmt: skip
        assert [one["monthly_price_usd"] for one in plans] == ["0.00", "39.00", "89.00", None, None]
        assert plans[0]["channels"] == ["whatsapp", "web"]
        assert (plans[0]["max_hitl_concurrent"], plans[4]["max_chatbots"]) == (0, -1)


def test_usage_tells_how_near_each_limit_is_and_which_plan_allows_more(
    urls: Urls, sign_in: Callable[[Company, str], httpx.Client], firm: Company, other: Company
) -> None:
    limit(urls, firm, max_chatbots=10, max_users=4)
    with staff(urls, firm, "owner") as db:
        for _ in range(8):
            add_bot(db, firm)
    for role in ("owner", "operador"):
        told = sign_in(firm, role).get("/v1/usage").json()
        by_limit = {one["limit"]: one for one in told["data"]}
        assert told["plan"] == "starter"
        assert by_limit["max_chatbots"] == {
            "limit": "max_chatbots", "used": 9, "allowed": 10, "level": "high",
            "next_plan": "enterprise",
        }  # fmt: skip
        assert by_limit["max_users"]["level"] == "reached"
        assert by_limit["max_integrations"]["level"] == "ok"
    rivals = sign_in(other, "owner").get("/v1/usage").json()["data"]
    assert {one["limit"]: one["used"] for one in rivals}["max_chatbots"] == 1


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/plans", ROLES),
        ("GET", "/v1/usage", ROLES),
        ("GET", "/v1/subscription", ROLES[:2]),
        ("POST", "/v1/subscription/cancel", ROLES[:1]),
        ("POST", "/v1/subscription/portal", ROLES[:1]),
        ("DELETE", CHANGE, ROLES[:1]),
        ("POST", "/v1/subscription/reopen", ROLES[:1]),
    ],
)
def test_the_owner_acts_the_administrador_reads_the_others_see_usage(
    sign_in: Callable[[Company, str], httpx.Client],
    steady: Company,
    method: str,
    path: str,
    allowed: tuple[str, ...],
) -> None:
    for role in ROLES:
        answer = sign_in(steady, role).request(method, path)
        assert (answer.status_code == 403) == (role not in allowed), (role, answer.text)


def test_a_larger_plan_waits_until_the_operator_confirms_it(
    urls: Urls, sign_in: Callable[[Company, str], httpx.Client], firm: Company, other: Company
) -> None:
    client = sign_in(firm, "owner")
    wished = client.post(CHANGE, json={"plan": "professional"})
    assert wished.status_code == 200, wished.text
    assert wished.json()["outcome"] == "requested"
    assert wished.json()["subscription"]["requested_plan"] == "professional"
    assert subscription(client)["plan"] == "starter"
    assert sign_in(firm, "administrador").get("/v1/subscription").json()["requested_plan"]
    assert subscription(sign_in(other, "owner"))["requested_plan"] is None
    by_hand = client.post("/v1/subscription/checkout", json={"plan": "professional"})
    assert (by_hand.status_code, by_hand.json()["code"]) == (409, "billing.by_hand")
    operator = Settings(admin_database_url=urls.admin, app_database_url=urls.app)
    waiting = asyncio.run(commands.list_requests(operator))
    assert (firm.slug, "professional") in {(one.slug, one.plan) for one in waiting}
    asyncio.run(commands.give_plan(operator, firm.slug, "professional"))
    now = subscription(client)
    assert (now["plan"], now["requested_plan"]) == ("professional", None)
    assert asyncio.run(commands.miss_payment(operator, firm.slug))
    assert not asyncio.run(commands.miss_payment(operator, firm.slug))
    assert subscription(client)["status"] == "past_due"


def test_a_smaller_plan_says_what_does_not_fit_and_can_be_taken_back(
    sign_in: Callable[[Company, str], httpx.Client], firm: Company
) -> None:
    client = sign_in(firm, "owner")
    done = client.post(CHANGE, json={"plan": "free"}).json()
    assert done["outcome"] == "scheduled"
    assert done["excess"] == [
        {"limit": "max_users", "used": 4, "allowed": 2},
        {"limit": "channels", "used": 1, "allowed": 0},
    ]
    assert done["subscription"]["waits_for"] == done["excess"]
    assert done["subscription"]["changes_at"]
    kept = client.delete(CHANGE).json()
    assert (kept["next_plan"], kept["changes_at"]) == (None, None)
    again = client.delete(CHANGE)
    assert (again.status_code, again.json()["code"]) == (409, "billing.nothing_scheduled")


@pytest.mark.parametrize(
    ("plan", "status", "code"),
    [
        ("business", 409, "billing.not_for_sale"),
        ("gold", 422, "invalid_fields"),
        (None, 422, "invalid_fields"),
        (7, 422, "invalid_fields"),
    ],
)
def test_what_cannot_be_chosen_says_why(
    sign_in: Callable[[Company, str], httpx.Client],
    steady: Company,
    plan: str,
    status: int,
    code: str,
) -> None:
    answer = sign_in(steady, "owner").post(CHANGE, json={"plan": plan})
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_an_inactive_company_reads_and_chooses_but_changes_nothing_else(
    urls: Urls, sign_in: Callable[[Company, str], httpx.Client], firm: Company
) -> None:
    query_as_admin(
        urls, "update companies set subscription_status = 'inactive' where id = %s", firm.id
    )
    client = sign_in(firm, "owner")
    assert client.get("/v1/usage").status_code == 200
    body = {"shortcut": "hola", "content": "Hola"}
    refused = client.post("/v1/canned-responses", json=body)
    assert (refused.status_code, refused.json()["code"]) == (403, "api.read_only")
    small = client.post(CHANGE, json={"plan": "free"})
    assert (small.status_code, small.json()["code"]) == (409, "plan.does_not_fit")
    assert "Personas e invitaciones: usas 4, y el plan permite 2" in small.json()["detail"]
    assert "canales conectados que el plan no incluye (1)" in small.json()["detail"]
    assert client.post(CHANGE, json={"plan": "starter"}).json()["outcome"] == "requested"


def test_a_closed_company_is_read_and_reopened_as_it_was(
    sign_in: Callable[[Company, str], httpx.Client], firm: Company, other: Company
) -> None:
    client, administrador = sign_in(firm, "owner"), sign_in(firm, "administrador")
    for wrong in (None, {}, {"confirm": ""}):
        assert client.post(CLOSE, json=wrong).status_code == 422, wrong
    for slug in (other.slug, "acme"):
        assert client.post(CLOSE, json={"confirm": slug}).status_code == 409, slug
    untyped = client.post(CLOSE, json={"confirm": firm.slug.upper()}).json()
    assert (untyped["code"], firm.slug in untyped["detail"]) == ("billing.close_unconfirmed", True)
    assert administrador.post(CLOSE, json={"confirm": firm.slug}).status_code == 403
    assert subscription(client)["status"] == "active"
    closed = client.post(CLOSE, json={"confirm": firm.slug}).json()
    assert closed["status"] == "cancelled"
    again = client.post(CLOSE, json={"confirm": firm.slug})
    assert (again.status_code, again.json()["code"]) == (409, "billing.closed")
    assert client.get("/v1/canned-responses").status_code == 200
    refused = client.post(CHANGE, json={"plan": "professional"})
    assert (refused.status_code, refused.json()["code"]) == (409, "billing.closed")
    assert administrador.post("/v1/subscription/reopen").status_code == 403
    assert administrador.get("/v1/subscription").json()["status"] == "cancelled"
    assert client.post("/v1/subscription/reopen").json()["status"] == "active"
    again = client.post("/v1/subscription/reopen")
    assert (again.status_code, again.json()["code"]) == (409, "billing.not_closed")
    assert subscription(sign_in(other, "owner"))["status"] == "active"


def test_a_channel_that_the_plan_lacks_names_the_plan_that_has_it(
    urls: Urls, sign_in: Callable[[Company, str], httpx.Client], firm: Company
) -> None:
    async def connect() -> None:
        async with (
            make_pool(urls.app, size=1, pooled=False) as pool,
            within_limits(pool, firm.staff("owner")) as db,
        ):
            await db.execute(
                "insert into channel_accounts (company_id, chatbot_id, channel, routing_id,"
                " display_name, secret_digest) values (%s, %s, 'slack', %s, 'x', sha256('x'))",
                (firm.id, firm.bot_id, f"slack-{firm.slug}"),
            )

    with pytest.raises(LimitReachedError) as refused:
        asyncio.run(connect())
    assert refused.value.code == "limit.next.channels"
    assert "Professional" in refused.value.detail("es")
    paused = "update channel_accounts set status = 'paused' where routing_id = %s"
    query_as_admin(urls, paused, firm.telegram)
    query_as_admin(urls, "select private.apply_plan(%s, 'free')", firm.id)
    back = "update channel_accounts set status = 'connected' where channel = 'telegram'"
    with pytest.raises(Exception, match="limit reached: channels"):
        call_as(urls, firm, "owner", back + " returning 1")
    assert query_as_admin(
        urls, "select status from channel_accounts where routing_id = %s", firm.telegram
    ) == [("paused",)]


@pytest.fixture(scope="module")
def unbilled(urls: Urls) -> Iterator[str]:
    with serving(
        Settings(app_database_url=urls.app, billing="at_once", log_level="warning")
    ) as url:
        yield url


def test_where_nobody_bills_a_larger_plan_begins_at_once(
    unbilled: str, firm: Company, sign_in: Callable[[Company, str], httpx.Client]
) -> None:
    token = sign_in(firm, "owner").cookies
    with httpx.Client(base_url=unbilled, cookies=token) as client:
        done = client.post(CHANGE, json={"plan": "professional"}, headers={"origin": unbilled})
        assert done.status_code == 200, done.text
        assert done.json()["outcome"] == "applied"
        assert done.json()["subscription"]["plan"] == "professional"
