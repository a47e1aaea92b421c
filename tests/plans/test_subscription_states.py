"""What a subscription becomes: the database against a model, over two companies."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neurant.installation.embedded import Urls
from tests.companies import ROLES, Company, make_company
from tests.plans.sql_as_role import add_bot, call_as, query_as_admin

RANK = {"free": 1, "starter": 2, "professional": 3, "business": 4, "enterprise": 5}
BOTS = {"free": 1, "starter": 2, "professional": 3, "business": 6, "enterprise": 10**9}
SOLD = ("starter", "professional")
KINDS = ("subscription_ended", "subscription_inactive", "past_due", "company_closed")
GRACE, REOPEN = timedelta(days=14), timedelta(days=30)


@dataclass
class Model:
    """What we say that a subscription is; ``docs/decisions/0006-plans-and-billing.md``."""

    closed_at: datetime
    plan: str = "starter"
    status: str = "trialing"
    ends: datetime | None = None
    following: str | None = None
    changes: datetime | None = None
    asked: str | None = None
    before: tuple[str, datetime | None] | None = None
    bots: int = 1
    told: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))

    def fits(self, plan: str) -> bool:
        return self.bots <= BOTS[plan]

    def choose(self, plan: str, now: datetime) -> str:
        if self.status == "cancelled":
            return "closed"
        if self.status == "active" and plan == self.plan:
            return "unchanged"
        if plan == "free" and self.status in ("trialing", "inactive"):
            return "applied" if self.confirm(plan, now) == "confirmed" else "does_not_fit"
        smaller = RANK[plan] < RANK[self.plan]
        if smaller and self.status in ("active", "past_due"):
            self.following, self.changes = plan, month_after(now)
            self.ends = self.ends if self.status == "past_due" else None
            return "scheduled"
        if plan not in SOLD:
            return "not_for_sale"
        if smaller and not self.fits(plan):
            return "does_not_fit"
        self.asked = plan
        return "requested"

    def keep(self, _: str, now: datetime) -> str:
        if self.status == "cancelled":
            return "closed"
        cancelled = self.status == "active" and self.ends is not None
        pending = self.asked or self.following or cancelled
        self.asked = self.following = self.changes = None
        self.ends = None if self.status == "active" else self.ends
        return "cancelled" if pending else "nothing_scheduled"

    def cancel(self, _: str, now: datetime) -> str:
        if self.status == "cancelled":
            return "closed"
        self.asked = None
        if self.status == "past_due":
            return f"ended_{self.fall_back(now)}"
        if self.status != "active" or self.plan == "free":
            return "nothing_to_cancel"
        if self.ends is None:
            self.ends, self.following, self.changes = month_after(now), None, None
        return "scheduled"

    def confirm(self, plan: str, now: datetime) -> str:
        if self.status == "cancelled":
            return "closed"
        if RANK[plan] < RANK[self.plan] and not self.fits(plan):
            return "does_not_fit"
        if plan != self.plan:
            self.plan, self.following, self.changes = plan, None, None
        self.status, self.ends, self.asked = "active", None, None
        return "confirmed"

    def miss(self, _: str, now: datetime) -> str:
        if self.status not in ("active", "trialing") or self.plan == "free":
            return "unchanged"
        self.status, self.ends = "past_due", now + GRACE
        self.told["past_due"] += 1
        return "past_due"

    def close(self, _: str, now: datetime) -> str:
        if self.status == "cancelled":
            return "closed_before"
        self.before = self.status, self.ends
        self.status, self.ends = "cancelled", self.closed_at
        self.following = self.changes = self.asked = None
        self.told["company_closed"] += 1
        return "closed"

    def reopen(self, _: str, now: datetime) -> str:
        if self.status != "cancelled":
            return "not_closed"
        if now - REOPEN >= self.closed_at:
            return "too_late"
        assert self.before
        (self.status, self.ends), self.before = self.before, None
        return "reopened"

    def fall_back(self, now: datetime) -> str:
        self.following = self.changes = None
        if self.fits("free"):
            self.plan, self.status, self.ends = "free", "active", None
            self.told["subscription_ended"] += 1
            return "free"
        self.status, self.ends = "inactive", now
        self.told["subscription_inactive"] += 1
        return "inactive"

    def tick(self, now: datetime) -> None:
        if self.status in ("trialing", "active", "past_due") and self.ends and self.ends <= now:
            if self.status == "past_due":
                self.status, self.ends, self.following, self.changes = "inactive", now, None, None
                self.told["subscription_inactive"] += 1
            else:
                self.fall_back(now)
        if self.changes and self.changes <= now and self.following and self.fits(self.following):
            self.plan, self.following, self.changes = self.following, None, None

    def add(self, _: str, now: datetime) -> str:
        if self.bots >= BOTS[self.plan]:
            return "NA002"
        self.bots += 1
        return "added"

    def retire(self, _: str, now: datetime) -> str:
        self.bots = max(0, self.bots - 1)
        return "retired"


def month_after(now: datetime) -> datetime:
    """The companies' months begin on the first, in UTC."""
    return (now.replace(day=1) + timedelta(days=32)).replace(
        day=1, hour=0, minute=0, second=0, microsecond=0
    )


def owner(query: str) -> Any:
    def run(urls: Urls, company: Company, plan: str, now: datetime) -> str:
        given = {"plan": plan, "now": now}
        return call_as(urls, company, "owner", query, *(given[n] for n in named(query)))

    return run


def named(query: str) -> list[str]:
    return ["plan", "now"] if query.count("%s") == 2 else ["now"] * query.count("%s")


def biller(query: str) -> Any:
    def run(urls: Urls, company: Company, plan: str, now: datetime) -> str:
        given = (company.id, plan, now) if query.count("%s") == 3 else (company.id, now)
        with psycopg.connect(urls.app) as db:
            return db.execute(query, given).fetchone()[0]

    return run


def add(urls: Urls, company: Company, plan: str, now: datetime) -> str:
    try:
        with psycopg.connect(urls.admin) as db:
            add_bot(db, company)
    except psycopg.Error as error:
        return error.sqlstate or ""
    return "added"


def retire(urls: Urls, company: Company, plan: str, now: datetime) -> str:
    query_as_admin(
        urls,
        "update chatbots set retired_at = now(), is_active = false where id = (select id from"
        " chatbots where company_id = %s and retired_at is null order by id limit 1)",
        company.id,
    )
    return "retired"


DEEDS = {
    "choose": owner("select private.change_plan(%s, %s)"),
    "keep": owner("select private.cancel_plan_change()"),
    "cancel": owner("select private.cancel_subscription(%s)"),
    "close": owner("select private.close_company()"),
    "reopen": owner("select private.reopen_company(%s)"),
    "confirm": biller("select private.confirm_plan(%s, %s, %s)"),
    "miss": biller("select private.set_past_due(%s, %s)"),
    "add": add,
    "retire": retire,
}
SEEN = """
select c.subscription_plan::text, c.subscription_status::text, c.subscription_ends_at,
  c.next_plan::text, c.plan_change_scheduled_at,
  (select r.plan::text from plan_requests r where r.company_id = c.id and r.status = 'pending')
from companies c where c.id = %s
"""
LIVED = SEEN.replace(
    "from companies c where",
    """, current_chatbot_count,
  (select count(*) from chatbots b where b.company_id = c.id and b.retired_at is null),
  (select jsonb_object_agg(n.kind, n.told) from (select kind, count(*) as told
    from notifications where company_id = c.id group by kind) n)
from companies c where""",
)
deeds = st.tuples(
    st.integers(0, 1),
    st.sampled_from([*DEEDS, "choose", "choose", "confirm", "add"]),
    st.sampled_from(list(RANK)),
    st.sampled_from([0, 0, 1, 10, 15, 31]),
)


def small(urls: Urls, name: str, trial_ends: datetime, plan: str = "starter") -> Company:
    """A company of two people on the web alone, in a trial; only its bots may be too many."""
    company = make_company(urls.admin, name)
    for role in ("supervisor", "operador"):
        call_as(
            urls,
            company,
            "owner",
            "select private.set_user_active(%s, false)",
            company.people[role].id,
        )
    query_as_admin(
        urls,
        "update channel_accounts set status = 'disconnected' where routing_id = %s",
        company.telegram,
    )
    query_as_admin(urls, "select private.apply_plan(%s, %s)", company.id, plan)
    query_as_admin(
        urls,
        "update companies set timezone = 'UTC', monthly_reset_date = date_trunc('month', now())::date,"
        " monthly_anchor_day = 1, subscription_status = 'trialing', subscription_ends_at = %s"
        " where id = %s",
        trial_ends,
        company.id,
    )
    return company


def look(urls: Urls, companies: list[Company]) -> list[tuple[Any, ...]]:
    with psycopg.connect(urls.admin) as db:
        return [db.execute(LIVED, (company.id,)).fetchone() for company in companies]


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(life=st.lists(deeds, min_size=4, max_size=14))
def test_whatever_happens_a_subscription_is_what_the_model_says(
    urls: Urls, life: list[tuple[int, str, str, int]]
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    trial = now + timedelta(days=7)
    pair = [small(urls, name, trial) for name in ("acme", "rival")]
    models = [Model(closed_at=now, ends=trial) for _ in pair]
    for which, deed, plan, days in life:
        now += timedelta(days=days)
        with psycopg.connect(urls.jobs) as db:
            db.execute("select private.end_subscriptions(%s)", (now,))
            db.execute("select private.apply_due_plan_changes(%s)", (now,))
        for model in models:
            model.tick(now)
        expected = getattr(models[which], deed)(plan, now)
        assert DEEDS[deed](urls, pair[which], plan, now) == expected, (deed, plan)
        for company, model, row in zip(pair, models, look(urls, pair), strict=True):
            plan_, status, ends, following, changes, asked, bots, counted, heard = row
            assert (plan_, status, following, changes, asked) == (
                model.plan, model.status, model.following, model.changes, model.asked
            )  # fmt: skip
            if status == "cancelled":
                assert abs(ends - model.ends) < timedelta(minutes=5)
            else:
                assert ends == model.ends
            # Two people are told of everything: owner and administrador.
            assert {k: (heard or {}).get(k, 0) for k in KINDS} == {
                k: 2 * n for k, n in model.told.items()
            }, company.name
            assert bots == counted == model.bots


@pytest.fixture
def acme(urls: Urls) -> Company:
    return small(urls, "acme", datetime.now(UTC) + timedelta(days=2))


def test_the_end_of_a_trial_is_notified_once_three_days_before(urls: Urls, acme: Company) -> None:
    rival = small(urls, "rival", datetime.now(UTC) + timedelta(days=20))
    for _ in range(3):
        with psycopg.connect(urls.jobs) as db:
            db.execute("select private.tell_ending_trials()")
    heard = "select count(*) from notifications where company_id = %s and kind = 'trial_ends'"
    assert query_as_admin(urls, heard, acme.id) == [(2,)]
    assert query_as_admin(urls, heard, rival.id) == [(0,)]


def test_only_the_owner_moves_a_subscription_and_nobody_confirms_their_own(
    urls: Urls, acme: Company
) -> None:
    rival = small(urls, "rival", datetime.now(UTC) + timedelta(days=2))
    for role in ROLES[1:2]:
        for deed in (
            "select private.change_plan('professional')",
            "select private.cancel_subscription()",
            "select private.cancel_plan_change()",
            "select private.reopen_company()",
            "select private.close_company()",
        ):
            assert call_as(urls, acme, role, deed) == "forbidden"
    for role in ROLES:
        for deed in (
            "select private.confirm_plan(%s, 'enterprise')",
            "select private.set_past_due(%s)",
            "select private.fall_back(%s, 'x', now())",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                call_as(urls, acme, role, deed, rival.id)
    [seen] = query_as_admin(urls, SEEN, rival.id)
    assert seen[:2] == ("starter", "trialing")


def test_an_owner_reads_what_was_asked_for_and_another_company_does_not(
    urls: Urls, acme: Company
) -> None:
    rival = small(urls, "rival", datetime.now(UTC) + timedelta(days=2))
    assert call_as(urls, acme, "owner", "select private.change_plan('starter')") == "requested"
    assert call_as(urls, acme, "owner", "select private.change_plan('professional')") == "requested"
    assert query_as_admin(
        urls,
        "select plan::text, status from plan_requests where company_id = %s order by id",
        acme.id,
    ) == [("starter", "replaced"), ("professional", "pending")]
    count = "select count(*) from plan_requests"
    assert call_as(urls, acme, "owner", count) == 2
    assert call_as(urls, acme, "administrador", count) == 2
    assert call_as(urls, rival, "owner", count) == 0


def test_what_changes_is_audited_with_who_and_what(urls: Urls, acme: Company) -> None:
    call_as(urls, acme, "owner", "select private.change_plan('professional')")
    with psycopg.connect(urls.app) as db:
        db.execute("select private.confirm_plan(%s, 'professional')", (acme.id,))
    rows = query_as_admin(
        urls,
        "select resource_type::text, user_id is not null from audit_logs"
        " where company_id = %s and resource_type::text in ('plan_requests', 'companies')"
        " order by created_at desc",
        acme.id,
    )
    assert {kind for kind, _ in rows} == {"plan_requests", "companies"}
    assert ("plan_requests", True) in rows
