"""What visitors may do: generous to people, narrow for a flood, the same over all web processes."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from neurant.auth.codes import digest
from neurant.channels.webchat.limits import CHARACTERS_PER_COST
from neurant.channels.webchat.open_streams import OpenStreams
from neurant.core.db.pool import make_pool
from neurant.core.settings import Settings
from neurant.core.turns import Turns
from neurant.installation.embedded import Urls
from neurant.texts import LANGUAGES
from tests.companies import Company, make_company
from tests.support.platform import eventually, rows, settled, working
from tests.support.visiting import Site, addresses, many, site, solve

pytest_plugins = ("tests.support.fixtures",)
pytestmark = pytest.mark.anyio

CALM, MAX_SESSIONS = 220, 400  # sessions of one address
BURST = 30  # messages of one session


@pytest.fixture
def acme(own: Urls) -> Company:
    return make_company(own.admin, "acme")


@pytest.fixture
def rival(own: Urls) -> Company:
    return make_company(own.admin, "rival")


@pytest.fixture
async def two(settings: Callable[..., Settings]) -> AsyncIterator[Site]:
    """Two web processes on one database."""
    async with site(settings(log_level="error", database_pool_size=4), processes=2) as running:
        yield running


def used(urls: Urls, action: str, dimension: str, value: str, units: float) -> None:
    """As if so much of an allowance had been used just now."""
    with psycopg.connect(urls.admin) as db:
        db.execute(
            "insert into visitor_allowances (key_digest, used_until)"
            " select sha256(convert_to(concat_ws('|', %(a)s::text, %(d)s::text, %(v)s::text), 'UTF8')),"
            "  clock_timestamp() + %(u)s::float8 / l.refill * interval '1 second'"
            " from private.visitor_limits(%(a)s::text) l where l.dimension = %(d)s::text"
            " on conflict (key_digest) do update set used_until = excluded.used_until",
            {"a": action, "d": dimension, "v": value, "u": units},
        )


async def a_session(site: Site, company: Company, address: str = "127.0.0.1") -> str:
    answer = await site.open(company.web, address)
    assert answer.status_code == 201, answer.text
    return answer.json()["token"]


def is_too_much(answer: httpx.Response, code: str) -> bool:
    """A problem with the code that says when to try again, in the header and in words."""
    assert answer.status_code == 429, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    seconds = int(answer.headers["retry-after"])
    told = answer.json()
    assert told["code"] == code
    assert 1 <= seconds <= 3600
    assert "{" not in told["detail"]
    return True


# Opening -----------------------------------------------------------------------------------------
async def test_an_office_of_200_behind_one_address_comes_in_unasked(
    two: Site, acme: Company
) -> None:
    answers = await many(200, lambda n: two.open(acme.web, process=n % 2))
    assert Counter(one.status_code for one in answers) == {201: 200}


async def test_one_address_that_opens_five_hundred_is_stopped_over_both_processes(
    two: Site, acme: Company, rival: Company, own: Urls
) -> None:
    answers = await many(500, lambda n: two.open(acme.web, process=n % 2))
    opened = sum(one.status_code == 201 for one in answers)
    assert CALM <= opened <= CALM + 30  # some allowance comes back meanwhile
    refused = [one for one in answers if one.status_code != 201]
    assert {one.json()["code"] for one in refused} == {"visitors.proof_needed"}
    assert await rows(own.admin, "select count(*) from visitor_sessions") == [(opened,)]
    # Nobody else notices: another address in the same chat, and nobody at another company.
    assert (await two.open(acme.web, "127.9.9.9")).status_code == 201
    assert (await two.open(rival.web, "127.9.9.9")).status_code == 201


async def test_after_a_tv_spot_visitors_of_many_networks_come_in_unasked(
    two: Site, acme: Company
) -> None:
    places = [f"127.30.{n % 250}.{1 + n // 250}" for n in range(400)]
    answers = await many(400, lambda n: two.open(acme.web, places[n], process=n % 2))
    assert Counter(one.status_code for one in answers) == {201: 400}


@pytest.mark.parametrize("dimension", ["address", "network", "bot", "company"])
async def test_each_dimension_of_opening_holds_over_both_processes(
    two: Site, acme: Company, own: Urls, dimension: str
) -> None:
    [[account]] = await rows(
        own.admin, "select id::text from channel_accounts where routing_id = %s", (acme.web,)
    )
    value = {
        "address": "127.40.1.7", "network": "127.40.1.0/24", "bot": account, "company": str(acme.id),
    }[dimension]  # fmt: skip
    most = {"address": 400, "network": 1500, "bot": 6000, "company": 10_000}[dimension]
    used(own, "open", dimension, value, most + 100)
    for process in (0, 1):
        answer = await two.open(acme.web, "127.40.1.7", process)
        assert is_too_much(answer, "visitors.too_many_chats")
    elsewhere = (await two.open(acme.web, "127.40.2.7")).status_code
    assert elsewhere == (201 if dimension in ("address", "network") else 429)


async def test_what_was_refused_is_possible_at_the_time_that_is_reported(
    two: Site, acme: Company, own: Urls
) -> None:
    token = await a_session(two, acme)
    [[session]] = await rows(own.admin, "select id::text from visitor_sessions")
    used(own, "message", "session", session, BURST - 0.5)
    answer = await two.write(acme.web, token, "hola")
    assert is_too_much(answer, "visitors.too_much_written")
    wait = int(answer.headers["retry-after"])
    assert wait <= 4
    held = await two.write(acme.web, token, "hola")
    assert is_too_much(held, "visitors.too_much_written"), "the process remembers it"

    async def again() -> bool:
        return (await two.write(acme.web, token, "hola")).status_code == 200

    await eventually(again, wait + 2)


async def test_loopback_with_a_forged_header_is_limited_like_any_address(
    two: Site, acme: Company, own: Urls
) -> None:
    used(own, "open", "address", "127.0.0.1", MAX_SESSIONS)
    client = await two.http()
    answer = await client.post(
        f"/chat/{acme.web}/session", headers={"X-Forwarded-For": "203.0.113.9"}
    )
    assert is_too_much(answer, "visitors.too_many_chats")


async def test_behind_a_configured_proxy_the_limits_count_the_client_by_its_64(
    settings: Callable[..., Settings], acme: Company, own: Urls
) -> None:
    used(own, "open", "address", "2001:db8:1:2::/64", MAX_SESSIONS)
    async with site(settings(log_level="error", trusted_proxies="127.0.0.1")) as behind:
        client = await behind.http()
        for claimed, status in (
            ("2001:db8:1:2::1", 429),
            ("203.0.113.9, 2001:db8:1:2:ffff::9", 429),
            ("2001:db8:1:2::1, 2001:db8:1:3::1", 201),
            ("2001:db8:1:2::1, ::ffff:203.0.113.9", 201),
        ):
            answer = await client.post(
                f"/chat/{acme.web}/session", headers={"X-Forwarded-For": claimed}
            )
            assert answer.status_code == status, claimed


# Proof of work -----------------------------------------------------------------------------------
async def test_under_a_flood_a_proof_opens_one_session_and_only_where_it_was_made_for(
    two: Site, acme: Company, rival: Company, own: Urls
) -> None:
    for address in ("127.0.0.1", "127.9.9.9"):
        used(own, "open", "address", address, CALM + 20)
    asked = await two.open(acme.web)
    assert asked.status_code == 429
    assert asked.headers["retry-after"] == "0"
    assert asked.json()["code"] == "visitors.proof_needed"
    proof = solve(asked.json()["proof"])

    def wrong(answer: httpx.Response, code: str) -> bool:
        return answer.status_code == 422 and answer.json()["code"] == code

    assert wrong(await two.open(rival.web, proof=proof), "visitors.proof_wrong")
    assert wrong(await two.open(acme.web, "127.9.9.9", proof=proof), "visitors.proof_wrong")
    broken = proof | {"numbers": [1, *proof["numbers"][1:]]}
    assert wrong(await two.open(acme.web, proof=broken), "visitors.proof_wrong")
    unsigned = proof | {"challenge": proof["challenge"][:-6] + "AAAAA="}
    assert wrong(await two.open(acme.web, proof=unsigned), "visitors.proof_wrong")

    answers = await asyncio.gather(
        *(two.open(acme.web, process=n % 2, proof=proof) for n in range(8))
    )
    assert Counter(one.status_code for one in answers) == {201: 1, 422: 7}
    assert wrong(await two.open(acme.web, process=1, proof=proof), "visitors.proof_used")


async def test_a_proof_does_not_pass_the_limit_and_stays_good_until_there_is_room(
    two: Site, acme: Company, own: Urls
) -> None:
    used(own, "open", "address", "127.0.0.1", CALM + 20)
    proof = solve((await two.open(acme.web)).json()["proof"])
    used(own, "open", "address", "127.0.0.1", MAX_SESSIONS + 1)
    assert is_too_much(await two.open(acme.web, process=1, proof=proof), "visitors.too_many_chats")
    used(own, "open", "address", "127.0.0.1", CALM + 20)
    assert (await two.open(acme.web, process=0, proof=proof)).status_code == 201


@pytest.mark.parametrize(
    "given",
    [
        {"challenge": "", "numbers": [0] * 8},
        {"challenge": "a.b", "numbers": [0] * 8},
        {"challenge": "é.ü", "numbers": [0] * 8},
        {"challenge": ".", "numbers": [0] * 8},
        {"challenge": "bnVsbA==.bnVsbA==", "numbers": [0] * 8},
        {"challenge": "x" * 1001, "numbers": [0] * 8},
        {"challenge": "x", "numbers": []},
        {"challenge": "x", "numbers": [0] * 9},
        {"challenge": "x", "numbers": ["a"] * 8},
        {"challenge": "x", "numbers": [2**80] * 8},
        "x",
    ],
)
async def test_a_solution_that_is_none_is_a_clear_problem(
    two: Site, acme: Company, given: object
) -> None:
    answer = await two.open(acme.web, proof=given)
    assert answer.status_code == 422, answer.text
    assert answer.json()["code"] in ("visitors.proof_wrong", "invalid_fields")


async def test_nobody_is_asked_for_a_proof_without_a_flood(two: Site, acme: Company) -> None:
    answers = await many(40, lambda n: two.open(acme.web, process=n % 2))
    assert {one.status_code for one in answers} == {201}
    client = await two.http()
    assert (await client.post(f"/chat/{acme.web}/session")).status_code == 201, "without a body"


# Writing -----------------------------------------------------------------------------------------
async def test_a_session_may_write_a_burst_and_no_thousand(
    two: Site, acme: Company, own: Urls
) -> None:
    token = await a_session(two, acme)
    answers = await many(200, lambda n: two.write(acme.web, token, f"m{n}", process=n % 2))
    taken = sum(one.status_code == 200 for one in answers)
    assert BURST - 2 <= taken <= BURST + 8
    for one in answers:
        assert one.status_code == 200 or is_too_much(one, "visitors.too_much_written")
    assert await rows(own.admin, "select count(*) from messages") == [(taken,)]


async def test_one_address_cannot_write_four_million_characters_over_many_sessions(
    two: Site, acme: Company, own: Urls
) -> None:
    tokens = [await a_session(two, acme) for _ in range(20)]
    answers = await many(
        300, lambda n: two.write(acme.web, tokens[n % 20], "x" * 4000, process=n % 2)
    )
    taken = sum(one.status_code == 200 for one in answers)
    cost = 1 + 4000 / CHARACTERS_PER_COST
    assert 30 <= taken <= (400 + 5 * 30) / cost
    other = await a_session(two, acme, "127.9.9.9")
    assert (await two.write(acme.web, other, "hola", "127.9.9.9")).status_code == 200


async def test_opinions_count_as_messages_do(two: Site, acme: Company, own: Urls) -> None:
    token = await a_session(two, acme)
    await two.write(acme.web, token, "hola")
    client, headers = await two.http(), {"Authorization": f"Bearer {token}"}
    used(own, "message", "address", "127.0.0.1", 405)
    rating = await client.put(f"/chat/{acme.web}/satisfaction", json={"rating": 5}, headers=headers)
    assert is_too_much(rating, "visitors.too_much_written")
    path = f"/chat/{acme.web}/messages/{uuid4()}/reaction"
    gone = await client.delete(path, headers=headers)
    assert is_too_much(gone, "visitors.too_much_written")


async def test_guessed_tokens_are_counted_for_the_address(
    two: Site, acme: Company, own: Urls
) -> None:
    assert (await two.write(acme.web, "guess", "hola")).status_code == 401
    used(own, "message", "address", "127.0.0.1", 500)
    answers = await many(20, lambda n: two.write(acme.web, f"guess-{n}", "hola", process=n % 2))
    assert all(is_too_much(one, "visitors.too_much_written") for one in answers)


async def test_telegram_is_no_visitor(two: Site, acme: Company, own: Urls) -> None:
    used(own, "message", "address", "127.0.0.1", 1000)
    used(own, "message", "company", str(acme.id), 10_000)
    client = await two.http()
    update = {"update_id": 1, "message": {"message_id": 1, "chat": {"id": 5}, "text": "hola"}}
    secret = {"X-Telegram-Bot-Api-Secret-Token": acme.telegram_secret}
    answer = await client.post(f"/webhooks/telegram/{acme.telegram}", json=update, headers=secret)
    assert answer.status_code == 200


@given(st.lists(st.tuples(st.floats(0.1, 40), st.floats(0, 5)), min_size=1, max_size=60))
@hypothesis_settings(max_examples=40, deadline=None)
def test_no_order_of_costs_takes_more_than_the_allowance(
    urls: Urls, steps: list[tuple[float, float]]
) -> None:
    """Every step lets time pass first; the database's clock is moved by moving the row."""
    with psycopg.connect(urls.admin) as db:
        taken = passed = 0.0
        values = [None, None, str(uuid4()), None, None]
        for cost, seconds in steps:
            db.execute(
                "update visitor_allowances set used_until = used_until - %s * interval '1 second'",
                (seconds,),
            )
            passed += seconds
            [outcome, wait] = db.execute(
                "select outcome, wait_seconds from private.take_visitor_allowance('message', %s, %s, true)",
                (cost, values),
            ).fetchone()
            taken += cost if outcome == "taken" else 0
            assert taken <= BURST + (passed + 2) * 0.15
            assert (outcome == "taken") == (wait == 0)
        db.rollback()


# A company's number of conversations an hour -----------------------------------------------------
async def test_520_visitors_do_not_use_up_a_free_company_s_month(
    two: Site, acme: Company, own: Urls, settings: Callable[..., Settings]
) -> None:
    with psycopg.connect(own.admin) as db:
        db.execute(
            "update companies set subscription_plan = 'free', monthly_message_limit = 500"
            " where id = %s",
            (acme.id,),
        )

    async def visit(n: int) -> httpx.Response:
        address = f"127.50.{n % 250}.{1 + n // 250}"
        opened = await two.open(acme.web, address, n % 2)
        return await two.write(acme.web, opened.json()["token"], "hola", address, n % 2)

    async with working(settings()):
        answers = await many(520, visit)
        assert Counter(one.status_code for one in answers) == {200: 60, 429: 460}
        assert all(is_too_much(one, "visitors.full") for one in answers if one.status_code == 429)
        await settled(own.admin)
    assert await rows(own.admin, "select count(*) from messages where sender_type = 'bot'") == [
        (60,)
    ]
    told = await rows(
        own.admin,
        "select u.role::text, n.details from notifications n join users u on u.id = n.user_id"
        " where n.kind = 'visitors_full' order by u.role",
    )
    assert told == [("owner", {"number": 60}), ("administrador", {"number": 60})]


async def test_the_company_s_own_number_holds_and_open_conversations_go_on(
    two: Site, acme: Company, rival: Company, own: Urls
) -> None:
    with psycopg.connect(own.admin) as db:
        db.execute(
            "update companies set visitor_conversations_per_hour = 3 where id = %s", (acme.id,)
        )
    places = list(addresses())
    tokens = [await a_session(two, acme, place) for place in places[:6]]
    first = [await two.write(acme.web, tokens[n], "hola", places[n], n % 2) for n in range(6)]
    assert [one.status_code for one in first] == [200, 200, 200, 429, 429, 429]
    assert all(is_too_much(one, "visitors.full") for one in first[3:])
    more = [await two.write(acme.web, tokens[n], "¿sigue ahí?", places[n], n % 2) for n in range(3)]
    assert [one.status_code for one in more] == [200, 200, 200]
    assert await rows(own.admin, "select count(*) from conversations") == [(3,)]
    elsewhere = await a_session(two, rival)
    assert (await two.write(rival.web, elsewhere, "hola")).status_code == 200
    with psycopg.connect(own.admin) as db:  # an hour later
        db.execute(
            "update visitor_sessions set conversation_at = conversation_at - interval '1 hour'"
            " where conversation_at is not null"
        )
    assert (await two.write(acme.web, tokens[3], "hola", places[3], 1)).status_code == 200
    assert await rows(
        own.admin, "select count(*) from notifications where kind = 'visitors_full'"
    ) == [(2,)], "owner and administrador, once"


async def test_first_messages_side_by_side_are_one_conversation_for_the_number(
    two: Site, acme: Company, own: Urls
) -> None:
    with psycopg.connect(own.admin) as db:
        db.execute(
            "update companies set visitor_conversations_per_hour = 2 where id = %s", (acme.id,)
        )
    token = await a_session(two, acme)
    answers = await asyncio.gather(
        *(two.write(acme.web, token, f"m{n}", process=n % 2) for n in range(8))
    )
    assert {one.status_code for one in answers} == {200}
    other = await a_session(two, acme)
    assert (await two.write(acme.web, other, "hola")).status_code == 200


_ADMIT = "select outcome from private.admit_visitor('message', %s, %s, 1, '127.0.0.1', '127.0.0.0')"


async def waits_for_a_lock(own: Urls) -> bool:
    with psycopg.connect(own.admin) as db:
        row = db.execute(
            "select count(*) from pg_stat_activity where usename = 'neurant_app'"
            " and datname = current_database() and wait_event_type = 'Lock'"
        ).fetchone()
    return row == (1,)


def occupied(own: Urls) -> int:
    """The slots of the shares of address and network that a conversation occupies for an hour."""
    with psycopg.connect(own.admin) as db:
        row = db.execute(
            "select count(*) from visitor_allowances where used_until > now() + interval '59 minutes'"
        ).fetchone()
    return row[0]


async def test_a_message_that_waited_for_the_first_one_begins_no_second_conversation(
    two: Site, acme: Company, own: Urls
) -> None:
    with psycopg.connect(own.admin) as db:
        db.execute(
            "update companies set visitor_conversations_per_hour = 2 where id = %s", (acme.id,)
        )
    session, free = digest(await a_session(two, acme)), occupied(own)
    with (
        psycopg.connect(own.app) as first,
        psycopg.connect(own.app) as second,
        ThreadPoolExecutor() as thread,
    ):
        assert first.execute(_ADMIT, (acme.web, session)).fetchone() == ("taken",)
        waiting = thread.submit(lambda: second.execute(_ADMIT, (acme.web, session)).fetchone())
        await eventually(lambda: waits_for_a_lock(own))
        first.commit()
        assert waiting.result(20) == ("taken",)
        second.commit()
    assert occupied(own) - free == 2


def on_plan(own: Urls, company: Company, plan: str) -> None:
    """Give the company a plan with its number of bot answers a month."""
    with psycopg.connect(own.admin) as db:
        db.execute(
            "update companies c set subscription_plan = p.plan,"
            " monthly_message_limit = p.monthly_message_limit"
            " from plans p where p.plan::text = %s and c.id = %s",
            (plan, company.id),
        )


async def ask(
    site: Site, company: Company, token: str, address: str, count: int
) -> list[httpx.Response]:
    """The answers to this many messages of one session."""
    return [await site.write(company.web, token, "hola", address, n % 2) for n in range(count)]


def statuses(answers: list[httpx.Response]) -> Counter[int]:
    return Counter(one.status_code for one in answers)


async def test_one_address_takes_a_tenth_of_a_month_s_answers_and_others_go_on(
    two: Site, acme: Company, rival: Company, own: Urls
) -> None:
    on_plan(own, acme, "free")
    on_plan(own, rival, "free")
    tokens = [await a_session(two, acme, "127.60.1.1") for _ in range(3)]
    answers = [one for token in tokens for one in await ask(two, acme, token, "127.60.1.1", 29)]
    assert statuses(answers) == {200: 50, 429: 37}, "a tenth of 500"
    refused = [one for one in answers if one.status_code == 429]
    assert all(is_too_much(one, "visitors.share") for one in refused)
    assert 86_400 / 50 - 60 <= int(refused[0].headers["retry-after"]) <= 86_400 / 50
    assert await rows(own.admin, "select count(*) from messages") == [(50,)]
    neighbour = await a_session(two, acme, "127.60.1.2")
    assert statuses(await ask(two, acme, neighbour, "127.60.1.2", 2)) == {200: 2}
    other = await a_session(two, rival, "127.60.1.1")
    assert statuses(await ask(two, rival, other, "127.60.1.1", 2)) == {200: 2}


async def test_one_network_takes_a_quarter_of_a_month_s_answers(
    two: Site, acme: Company, own: Urls
) -> None:
    on_plan(own, acme, "free")
    answers = []
    for host in range(1, 7):
        address = f"127.61.1.{host}"
        answers += await ask(two, acme, await a_session(two, acme, address), address, 25)
    assert statuses(answers) == {200: 125, 429: 25}, "a quarter of 500"
    outside = await a_session(two, acme, "127.61.2.1")
    assert statuses(await ask(two, acme, outside, "127.61.2.1", 2)) == {200: 2}


async def test_a_used_share_comes_back_within_a_day(two: Site, acme: Company, own: Urls) -> None:
    on_plan(own, acme, "free")
    tokens = [await a_session(two, acme, "127.62.1.1") for _ in range(2)]
    assert statuses(await ask(two, acme, tokens[0], "127.62.1.1", 25)) == {200: 25}
    assert statuses(await ask(two, acme, tokens[1], "127.62.1.1", 26)) == {200: 25, 429: 1}
    with psycopg.connect(own.admin) as db:  # half an hour later: one answer more
        db.execute("update visitor_allowances set used_until = used_until - interval '30 minutes'")
    assert statuses(await ask(two, acme, tokens[1], "127.62.1.1", 2)) == {200: 1, 429: 1}


async def test_messages_to_a_person_and_on_an_unlimited_plan_use_no_share(
    two: Site, acme: Company, rival: Company, own: Urls
) -> None:
    on_plan(own, acme, "free")
    address = "127.63.1.1"
    with_person, with_bot = [await a_session(two, acme, address) for _ in range(2)]
    assert statuses(await ask(two, acme, with_person, address, 1)) == {200: 1}
    with psycopg.connect(own.admin) as db:
        db.execute(
            "insert into hitl_sessions (company_id, chatbot_id, conversation_id, reason)"
            " select company_id, chatbot_id, id, 'user_request' from conversations"
        )
    assert statuses(await ask(two, acme, with_person, address, 20)) == {200: 20}
    answers = await ask(two, acme, with_bot, address, 29)
    more = await a_session(two, acme, address)
    assert statuses(answers + await ask(two, acme, more, address, 21)) == {200: 49, 429: 1}
    assert statuses(await ask(two, acme, with_person, address, 2)) == {200: 2}, "still free"
    unlimited = [await a_session(two, rival, address) for _ in range(3)]
    answers = [one for token in unlimited for one in await ask(two, rival, token, address, 25)]
    assert statuses(answers) == {200: 75}


async def test_an_office_of_30_behind_one_address_is_served_for_an_hour_on_a_starter_plan(
    two: Site, acme: Company, own: Urls
) -> None:
    """Each of the 30 asks a question every eight minutes. The database's clock is moved."""
    on_plan(own, acme, "starter")
    tokens = [await a_session(two, acme, "127.64.1.1") for _ in range(30)]
    for question in range(8):
        answers = await many(
            30,
            lambda n, q=question: two.write(
                acme.web, tokens[n], f"¿Qué horario tienen? {q}", "127.64.1.1", n % 2
            ),
        )
        assert statuses(answers) == {200: 30}
        with psycopg.connect(own.admin) as db:
            db.execute("update visitor_allowances set used_until = used_until - interval '8 min'")
    assert await rows(own.admin, "select count(*) from conversations") == [(30,)]


async def start(site: Site, company: Company, address: str, count: int) -> list[httpx.Response]:
    """The answers to the first message of this many new sessions of one address."""
    answers = []
    for n in range(count):
        token = await a_session(site, company, address)
        answers.append(await site.write(company.web, token, "hola", address, n % 2))
    return answers


async def test_one_address_does_not_shut_a_chat_for_an_hour(
    two: Site, acme: Company, rival: Company, own: Urls
) -> None:
    on_plan(own, acme, "free")
    answers = await start(two, acme, "127.65.1.1", 62)
    assert statuses(answers) == {200: 15, 429: 47}, "a quarter of 60"
    assert all(is_too_much(one, "visitors.share") for one in answers[15:])
    assert 3500 <= int(answers[-1].headers["retry-after"]) <= 3600
    for address in ("127.65.1.2", "127.65.2.1"):
        assert statuses(await start(two, acme, address, 1)) == {200: 1}
    assert statuses(await start(two, rival, "127.65.1.1", 1)) == {200: 1}
    assert await rows(own.admin, "select count(*) from notifications") == [(0,)]
    with psycopg.connect(own.admin) as db:  # 30 minutes later: a share is a number an hour
        db.execute("update visitor_allowances set used_until = used_until - interval '30 minutes'")
    [again] = await start(two, acme, "127.65.1.1", 1)
    assert is_too_much(again, "visitors.share")
    with psycopg.connect(own.admin) as db:
        db.execute("update visitor_allowances set used_until = used_until - interval '30 minutes'")
    assert statuses(await start(two, acme, "127.65.1.1", 2)) == {200: 2}


async def test_one_network_starts_half_of_the_conversations_of_an_hour(
    two: Site, acme: Company, own: Urls
) -> None:
    on_plan(own, acme, "free")
    answers = []
    for host in range(1, 5):
        answers += await start(two, acme, f"127.66.1.{host}", 10)
    assert statuses(answers) == {200: 30, 429: 10}, "half of 60"
    assert statuses(await start(two, acme, "127.66.2.1", 1)) == {200: 1}


@pytest.mark.parametrize(("number", "of_address", "of_network"), [(4, 3, 4), (8, 3, 6)])
async def test_a_small_number_leaves_an_address_three_and_a_network_six(
    two: Site, acme: Company, own: Urls, number: int, of_address: int, of_network: int
) -> None:
    with psycopg.connect(own.admin) as db:
        db.execute(
            "update companies set visitor_conversations_per_hour = %s where id = %s",
            (number, acme.id),
        )
    answers = await start(two, acme, "127.67.1.1", 5)
    assert statuses(answers)[200] == of_address
    for host in (2, 3):
        answers += await start(two, acme, f"127.67.1.{host}", 3)
    assert statuses(answers)[200] == of_network


async def test_sessions_of_one_address_side_by_side_take_no_more_than_its_share(
    two: Site, acme: Company, own: Urls
) -> None:
    on_plan(own, acme, "free")
    tokens = [await a_session(two, acme, "127.68.1.1") for _ in range(40)]
    answers = await many(40, lambda n: two.write(acme.web, tokens[n], "hola", "127.68.1.1", n % 2))
    assert statuses(answers) == {200: 15, 429: 25}


async def test_the_true_time_and_reason_are_reported_in_both_languages(
    two: Site, acme: Company, own: Urls
) -> None:
    with psycopg.connect(own.admin) as db:
        db.execute(
            "update companies set visitor_conversations_per_hour = 4 where id = %s", (acme.id,)
        )
    tokens = {place: await a_session(two, acme, place) for place in ("127.69.1.1", "127.69.2.1")}
    assert statuses(await start(two, acme, "127.69.1.1", 3)) == {200: 3}

    async def told(address: str) -> dict[str, str]:
        client = await two.http(address)
        details = {}
        for language in LANGUAGES:
            answer = await client.post(
                f"/chat/{acme.web}/messages",
                json={"client_id": str(uuid4()), "text": "hola"},
                headers={
                    "Authorization": f"Bearer {tokens[address]}", "Accept-Language": language,
                },
            )  # fmt: skip
            assert 3500 <= int(answer.headers["retry-after"]) <= 3600
            details[language] = answer.json()["detail"]
        return details

    share = await told("127.69.1.1")
    assert "desde tu conexión" in share["es"]
    assert "from your internet connection" in share["en"]
    assert statuses(await start(two, acme, "127.69.3.1", 1)) == {200: 1}
    full = await told("127.69.2.1")
    assert "en una hora" in full["es"]
    assert "per hour" in full["en"]
    for details in (share, full):
        assert all("60 minut" in detail for detail in details.values()), details
        assert "personas" not in details["es"]
        assert "people" not in details["en"]


async def test_the_refusals_are_reported_in_both_languages(
    two: Site, acme: Company, own: Urls
) -> None:
    used(own, "open", "address", "127.0.0.1", MAX_SESSIONS + 12)
    client = await two.http()
    told = {}
    for language in LANGUAGES:
        answer = await client.post(
            f"/chat/{acme.web}/session", headers={"Accept-Language": language}
        )
        told[language] = answer.json()["detail"]
    assert "minuto" in told["es"]
    assert "minute" in told["en"]


# Streams -----------------------------------------------------------------------------------------
async def streams_open(own: Urls) -> int:
    [[total]] = await rows(
        own.admin,
        "select coalesce(max(s.open_streams), 0)::integer from visitor_streams s",
    )
    return total


@asynccontextmanager
async def listening(
    site: Site, company: Company, token: str, process: int = 0
) -> AsyncIterator[httpx.Response]:
    client = await site.http(process=process)
    headers = {"Authorization": f"Bearer {token}"}
    async with client.stream("GET", f"/chat/{company.web}/stream", headers=headers) as answer:
        if answer.status_code != 200:
            await answer.aread()
        yield answer


async def test_a_session_holds_ten_streams_over_both_processes_and_gives_them_back(
    two: Site, acme: Company, own: Urls
) -> None:
    token = await a_session(two, acme)
    async with AsyncExitStack() as stack:
        for n in range(10):
            answer = await stack.enter_async_context(listening(two, acme, token, n % 2))
            assert answer.status_code == 200
        for process in (0, 1):
            async with listening(two, acme, token, process) as refused:
                assert is_too_much(refused, "visitors.too_many_streams")

    async def all_closed() -> bool:
        return await streams_open(own) == 0

    await eventually(all_closed)
    async with listening(two, acme, token) as answer:
        assert answer.status_code == 200


async def test_the_streams_of_a_process_that_died_are_not_counted_after_a_minute(
    two: Site, acme: Company, own: Urls
) -> None:
    token = await a_session(two, acme)
    async with AsyncExitStack() as stack:
        for _ in range(10):
            await stack.enter_async_context(listening(two, acme, token, 1))
        async with listening(two, acme, token) as refused:
            assert refused.status_code == 429
        with psycopg.connect(own.admin) as db:  # it was last heard of more than a minute ago
            db.execute("update visitor_processes set alive_until = clock_timestamp()")
        async with listening(two, acme, token) as answer:
            assert answer.status_code == 200
        with psycopg.connect(own.admin) as db:
            db.execute(
                "update visitor_processes set alive_until = alive_until - interval '2 minutes'"
            )
        with psycopg.connect(own.jobs) as db:
            assert db.execute("select private.forget_visitor_limits() > 0").fetchone() == (True,)
        assert await rows(own.admin, "select count(*) from visitor_streams") == [(0,)]


async def test_a_process_that_ends_closes_its_streams_and_a_forgotten_one_enters_them_anew(
    own: Urls, two: Site, acme: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neurant.channels.webchat.open_streams._HEARTBEAT", 0.05)
    token = await a_session(two, acme)
    from neurant.channels.webchat.limits import Doing
    from neurant.channels.webchat.visitors import digest
    from neurant.core.client_address import place_of

    doing = Doing(place_of("127.0.0.1"), acme.web, digest(token))
    async with make_pool(own.app, size=1, pooled=False) as pool:
        async with OpenStreams(pool, Turns(1)).running() as streams:
            await streams.open(doing)
            with psycopg.connect(own.admin) as db:
                db.execute("delete from visitor_processes")
                db.execute("delete from visitor_streams")

            async def counted_again() -> bool:
                return await streams_open(own) == 1

            await eventually(counted_again)
        assert await streams_open(own) == 0


async def test_a_stream_of_another_conversation_does_not_wake_a_visitor_s_own(
    two: Site, acme: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    from neurant.channels.webchat import stream

    reads: Counter[str] = Counter()
    read = stream._read

    async def counting(pool: Any, visitor: Any, position: Any) -> object:
        reads[visitor.token_digest.hex()] += 1
        return await read(pool, visitor, position)

    monkeypatch.setattr(stream, "_read", counting)
    quiet, busy = await a_session(two, acme), await a_session(two, acme)
    async with listening(two, acme, quiet) as heard:
        lines = heard.aiter_lines()
        for n in range(5):
            assert (await two.write(acme.web, busy, f"m{n}")).status_code == 200
        assert (await two.write(acme.web, quiet, "yo", process=1)).status_code == 200
        async with asyncio.timeout(15):
            async for line in lines:
                if line.startswith("data:") and json.loads(line[5:]).get("text") == "yo":
                    break
    assert max(reads.values()) <= 5


async def test_what_is_used_no_more_is_forgotten(own: Urls, two: Site, acme: Company) -> None:
    await a_session(two, acme)
    with psycopg.connect(own.admin) as db:
        db.execute("update visitor_allowances set used_until = now() - interval '1 second'")
        db.execute("insert into visitor_proofs values (sha256('x'), now() - interval '1 second')")
    with psycopg.connect(own.jobs) as db:
        db.execute("select private.forget_visitor_limits()")
    for table in ("visitor_allowances", "visitor_proofs"):
        assert await rows(own.admin, f"select count(*) from {table}") == [(0,)]


# Fairness ----------------------------------------------------------------------------------------
async def test_a_backlog_of_one_company_does_not_hold_up_another_s_answer(
    two: Site, acme: Company, rival: Company, own: Urls, settings: Callable[..., Settings]
) -> None:
    """300 of acme's visitors wait for an answer when rival's visitor asks: it is among the first."""
    with psycopg.connect(own.admin) as db:
        db.execute(
            "insert into visitor_sessions (company_id, channel_account_id, token_digest, expires_at)"
            " select company_id, id, sha256(n::text::bytea), now() + interval '1 day'"
            " from channel_accounts, generate_series(1, 300) n where routing_id = %s",
            (acme.web,),
        )
        db.execute(
            "select private.ingest(array_fill(%s::text, array[300]), array_fill('web'::text, array[300]),"
            " array_agg(sha256(n::text::bytea)), array_fill(''::text, array[300]),"
            " array_fill(null::text, array[300]), array_agg(n::text), array_fill('text'::text, array[300]),"
            " array_fill('hola'::text, array[300]), array_fill(null::text, array[300]))"
            " from generate_series(1, 300) n",
            (acme.web,),
        )
    token = await a_session(two, rival)
    assert (await two.write(rival.web, token, "hola")).status_code == 200
    async with working(settings()):
        await settled(own.admin, 60)
    order = await rows(
        own.admin, "select company_id from messages where sender_type = 'bot' order by created_at"
    )
    assert len(order) == 301
    assert order.index((rival.id,)) < 20
