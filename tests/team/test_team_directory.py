"""Who a colleague is and whether they are there: names, faces and presence, nothing to call them by."""

from __future__ import annotations

import secrets
from uuid import UUID

import psycopg
import pytest

from neurant.installation.embedded import Urls
from tests.companies import Company, make_company
from tests.plans.sql_as_role import add_bot, connect_as, query_as_admin, staff

COLUMNS = ["user_id", "first_name", "last_name", "avatar_url", "role", "last_seen_at"]


@pytest.fixture
def acme(urls: Urls) -> Company:
    return make_company(urls.admin, "acme")


@pytest.fixture
def rival(urls: Urls) -> Company:
    return make_company(urls.admin, "rival")


def directory(urls: Urls, company: Company, role: str) -> set[UUID]:
    with staff(urls, company, role) as db:
        return {row[0] for row in db.execute("select user_id from private.team_directory()")}


def add_operador(urls: Urls, company: Company, bot: UUID | None, *, is_active: bool = True) -> UUID:
    """An operador, assigned to the bot if there is one."""
    with psycopg.connect(urls.admin) as db:
        [person] = db.execute(
            "insert into users (company_id, email, first_name, last_name, role, is_active)"
            " values (%s, %s, 'Ana', 'Ruiz', 'operador', %s) returning id",
            (company.id, f"ana-{secrets.token_hex(4)}@{company.slug}.example", is_active),
        ).fetchone()
        if bot:
            db.execute(
                "insert into chatbot_operators (company_id, chatbot_id, operator_id, assigned_by)"
                " values (%s, %s, %s, %s)",
                (company.id, bot, person, company.people["owner"].id),
            )
    return person


def test_from_supervisor_up_everybody_active_is_known(
    urls: Urls, acme: Company, rival: Company
) -> None:
    free = add_operador(urls, acme, None)
    add_operador(urls, acme, acme.bot_id, is_active=False)
    everybody = {person.id for person in acme.people.values()} | {free}
    for role in ("owner", "administrador", "supervisor"):
        assert directory(urls, acme, role) == everybody
        assert directory(urls, rival, role) == {person.id for person in rival.people.values()}


def test_an_operador_knows_who_serves_the_same_bots_and_whoever_stands_above(
    urls: Urls, acme: Company, rival: Company
) -> None:
    same = add_operador(urls, acme, acme.bot_id)
    add_operador(urls, acme, None)
    add_operador(urls, rival, rival.bot_id)
    with psycopg.connect(urls.admin) as db:
        other_bot = add_bot(db, acme)
    elsewhere = add_operador(urls, acme, other_bot)
    four = {person.id for person in acme.people.values()}
    assert directory(urls, acme, "operador") == four | {same}
    left = "update chatbot_operators set is_active = false where operator_id = %s"
    query_as_admin(urls, left, same)
    assert directory(urls, acme, "operador") == four
    query_as_admin(urls, left, acme.people["operador"].id)
    assert directory(urls, acme, "operador") == four - {acme.people["operador"].id}
    assert elsewhere in directory(urls, acme, "supervisor")


def test_it_tells_no_address_and_no_phone(urls: Urls, acme: Company) -> None:
    owner = acme.people["owner"]
    seen = "update users set avatar_url = 'https://x.example/a.png', last_seen_at = now() where id = %s"
    query_as_admin(urls, seen, owner.id)
    with staff(urls, acme, "operador") as db:
        cursor = db.execute(
            "select * from private.team_directory() where user_id = %s", (owner.id,)
        )
        assert [column.name for column in cursor.description] == COLUMNS
        row = cursor.fetchone()
        assert row[:5] == (owner.id, "Owner", "Acme", "https://x.example/a.png", "owner")
        assert row[5] is not None
        assert db.execute("select id from users").fetchall() == [(acme.people["operador"].id,)]


def test_who_was_let_out_or_is_of_another_company_sees_nobody(
    urls: Urls, acme: Company, rival: Company
) -> None:
    claims = {"sub": str(acme.people["owner"].auth_user_id), "company_id": str(rival.id)}
    with connect_as(urls.app, "authenticated", claims) as db:
        assert db.execute("select * from private.team_directory()").fetchall() == []
    query_as_admin(
        urls, "update users set is_active = false where id = %s", acme.people["operador"].id
    )
    assert directory(urls, acme, "operador") == set()
