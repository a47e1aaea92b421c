"""Statistics and measures over HTTP: who sees which, and that the sums are the days'."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import psycopg
import pytest

from neurant.installation.embedded import Urls
from tests.analytics.facts import add_bot, add_conversation, add_message, roll_up
from tests.companies import Company

pytest_plugins = ("tests.console.running_web",)
SignIn = Callable[[Company, str], httpx.Client]
NOON = datetime(2026, 5, 4, 17, tzinfo=UTC)


@pytest.fixture(scope="module")
def other_bot(urls: Urls, acme: Company, rival: Company) -> object:
    """A bot that acme's operador does not serve; each bot has two messages on one day."""
    bots = []
    with (
        psycopg.connect(urls.admin, autocommit=True) as db,
        psycopg.connect(urls.jobs, autocommit=True) as jobs,
    ):
        for company in (acme, rival):
            bots.append(add_bot(db, company, "Otro"))
            for bot in (company.bot_id, bots[-1]):
                conversation = add_conversation(db, company, bot, NOON)
                for _ in range(2):
                    add_message(db, company, conversation, NOON)
            roll_up(jobs, company)
            db.execute(
                "insert into system_metrics (metric_type, value, unit, company_id)"
                " values ('replies_owed', 3, 'count', %s)",
                (company.id,),
            )
    return bots[0]


def days(client: httpx.Client, **params: object) -> list[dict[str, Any]]:
    answer = client.get("/v1/analytics", params={"since": "2026-05-01", **params})
    assert answer.status_code == 200, answer.text
    return [one for one in answer.json()["data"] if one["date"] <= "2026-05-31"]


def test_managers_see_every_bot_and_totals_an_operador_only_their_bots(
    sign_in: SignIn, acme: Company, other_bot: object
) -> None:
    bots = {str(acme.bot_id), str(other_bot)}
    for role in ("owner", "administrador", "supervisor"):
        assert {one["chatbot_id"] for one in days(sign_in(acme, role))} == {*bots, None}
    operador = sign_in(acme, "operador")
    assert {one["chatbot_id"] for one in days(operador)} == {str(acme.bot_id)}
    assert days(operador, totals=True) == []
    assert days(operador, chatbot_id=str(other_bot)) == []


def test_filters_and_the_sum(sign_in: SignIn, acme: Company, other_bot: object) -> None:
    owner = sign_in(acme, "owner")
    [total] = days(owner, totals=True)
    assert (total["chatbot_id"], total["total_messages"]) == (None, 4)
    assert {one["chatbot_id"] for one in days(owner, totals=False)} == {
        str(acme.bot_id),
        str(other_bot),
    }
    assert owner.get("/v1/analytics", params={"until": "2026-05-03"}).json()["data"] == []
    span = {"since": "2026-05-01", "until": "2026-05-31"}
    for client, messages in ((owner, 4), (sign_in(acme, "operador"), 2)):
        summary = client.get("/v1/analytics/summary", params=span).json()
        assert (summary["total_messages"], summary["days"]) == (messages, 1)
    one = owner.get("/v1/analytics/summary", params=span | {"chatbot_id": str(other_bot)}).json()
    assert one["total_messages"] == 2
    assert owner.get("/v1/analytics/summary", params={"until": "2001-01-01"}).json()["days"] == 0


def test_measures_are_the_companys_own_and_for_who_runs_it(
    sign_in: SignIn, acme: Company, rival: Company, other_bot: object
) -> None:
    for company in (acme, rival):
        params = {"metric_type": "replies_owed"}
        data = sign_in(company, "administrador").get("/v1/metrics", params=params).json()["data"]
        assert [one["value"] for one in data] == [3.0]
    for role in ("supervisor", "operador"):
        assert sign_in(acme, role).get("/v1/metrics").status_code == 403
    future = {"since": "2099-01-01T00:00:00Z"}
    assert sign_in(acme, "owner").get("/v1/metrics", params=future).json()["data"] == []
