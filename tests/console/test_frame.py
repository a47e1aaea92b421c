"""The console's frame: who is led where, and the bell."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import httpx
import psycopg
import pytest

from neurant.console.navigation import COMPANY, OWN, SETTINGS, WORK
from neurant.texts import LANGUAGES, catalogue
from tests.companies import ROLES, Company

pytest_plugins = ("tests.console.running_web",)

SignIn = Callable[[Company, str], httpx.Client]
ENTRIES = (*WORK, *COMPANY, *SETTINGS, *OWN)


def links(page: str) -> set[str]:
    """Where the navigation of a page leads."""
    frames = re.findall(
        r'<nav class="(?:nav|parts)".*?</nav>|<section class="menu.*?</section>', page, re.S
    )
    return {path for part in frames for path in re.findall(r'href="(/console/[a-z/-]+)"', part)}


@pytest.mark.parametrize("role", ROLES)
def test_the_navigation_leads_everybody_only_where_they_may_go(
    sign_in: SignIn, acme: Company, role: str
) -> None:
    client, seen, waiting = sign_in(acme, role), set(), {"/console/inbox"}
    while waiting:
        path = waiting.pop()
        seen.add(path)
        answer = client.get(path, follow_redirects=True)
        assert answer.status_code == 200, path
        waiting |= links(answer.text) - seen
    assert {"/console/inbox", "/console/notifications", "/console/settings"} <= seen


def test_what_is_taken_from_a_person_leaves_their_navigation_at_once(
    sign_in: SignIn, acme: Company, rival: Company, database: psycopg.Connection
) -> None:
    person = acme.people["supervisor"].id
    assert "/console/knowledge" in links(sign_in(acme, "supervisor").get("/console/inbox").text)
    database.execute(
        "update users set permissions = %s where id = %s",
        (json.dumps({"documents.read": False}), person),
    )
    try:
        page = sign_in(acme, "supervisor").get("/console/inbox").text
        assert "/console/knowledge" not in links(page)
        other = sign_in(rival, "supervisor").get("/console/inbox").text
        assert "/console/knowledge" in links(other)
    finally:
        database.execute("update users set permissions = '{}' where id = %s", (person,))


def test_the_page_that_is_open_is_marked_and_no_other(sign_in: SignIn, acme: Company) -> None:
    page = sign_in(acme, "owner").get("/console/settings/permissions").text
    marked = re.findall(r'<a class="(?:nav__item|parts__item)" href="([^"]+)" aria-current', page)
    assert marked[0] == "/console/settings"
    assert set(marked) <= {"/console/settings", "/console/settings/permissions"}


def test_every_entry_has_its_name_and_a_permission_that_exists(
    database: psycopg.Connection,
) -> None:
    known = {row[0] for row in database.execute("select name from permissions")}
    for entry in ENTRIES:
        assert entry.permission is None or entry.permission in known
        assert all(catalogue(language)[f"console.nav.{entry.name}"] for language in LANGUAGES)


def test_the_bell_counts_what_is_unread_and_opening_it_reads_it(
    sign_in: SignIn, acme: Company, rival: Company, database: psycopg.Connection
) -> None:
    client = sign_in(acme, "operador")
    made = [
        database.execute(
            "insert into notifications (company_id, user_id, kind, details)"
            " values (%s, %s, %s, %s) returning id",
            (acme.id, acme.people["operador"].id, kind, json.dumps(details)),
        ).fetchone()[0]
        for kind, details in (
            ("usage_alert", {"limit": "max_users", "level": 80, "used": 8, "allowed": 10}),
            ("new_kind", {}),
        )
    ]
    assert ">2<span" in client.get("/console/notifications/unread").text
    assert ">2<span" in client.get("/console/inbox").text
    page = client.get("/console/notifications").text
    assert page.count("Hay novedades en tu empresa.") >= 1
    assert "{" not in re.sub(r"<[^>]+>", "", page)
    for who in (sign_in(acme, "owner"), sign_in(rival, "operador")):
        refused = who.post("/console/notifications/open", data={"notification_id": str(made[0])})
        assert refused.status_code == 404
    opened = client.post("/console/notifications/open", data={"notification_id": str(made[0])})
    assert (opened.status_code, opened.headers["location"]) == (303, "/console/plan")
    assert ">1<span" in client.get("/console/notifications/unread").text
    client.post("/console/notifications/read-all")
    assert "count" not in client.get("/console/notifications/unread").text
