"""Pages say who invited a person, who made and staffed a bot, and since when a plan holds."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import psycopg
import pytest

from neurant.installation.embedded import Urls
from tests.companies import Company, make_company

pytest_plugins = ("tests.console.running_web",)
SignIn = Callable[[Company, str], httpx.Client]
ENGLISH = {"accept-language": "en"}


def words(page: httpx.Response) -> str:
    assert page.status_code == 200, page.text
    return " ".join(page.text.split())


@pytest.fixture
def firm(urls: Urls, known_password: str) -> Company:
    return make_company(urls.admin, "acme", password_hash=known_password)


def name_of(database: psycopg.Connection, company: Company, role: str) -> str:
    row = database.execute(
        "select trim(first_name || ' ' || last_name) from users where company_id = %s and id = %s",
        (company.id, company.people[role].id),
    ).fetchone()
    assert row is not None
    return str(row[0])


def test_a_persons_page_says_who_invited_them_and_when_they_accepted(
    firm: Company, sign_in: SignIn, database: psycopg.Connection
) -> None:
    owner, path = sign_in(firm, "owner"), f"/console/team/{firm.people['supervisor'].id}"
    assert "Invitación" not in words(owner.get(path))  # whoever was invited by nobody
    database.execute(
        "update users set invited_by = %s, invited_at = '2025-03-03T12:00Z',"
        " accepted_invitation_at = '2025-03-04T12:00Z' where company_id = %s and id = %s",
        (firm.people["administrador"].id, firm.id, firm.people["supervisor"].id),
    )
    inviter = name_of(database, firm, "administrador")
    spanish, english = words(owner.get(path)), words(owner.get(path, headers=ENGLISH))
    assert f"La envió {inviter} el 3 de marzo de 2025" in spanish
    assert "Aceptó la invitación</dt><dd>4 de marzo de 2025" in spanish
    assert f"Sent by {inviter} on March 3, 2025" in english
    database.execute("update users set invited_by = null where company_id = %s", (firm.id,))
    assert "Enviada el 3 de marzo de 2025" in words(owner.get(path))


def test_a_bots_page_says_who_made_it_and_who_gave_it_its_people(
    firm: Company, sign_in: SignIn, database: psycopg.Connection
) -> None:
    boss, operador = firm.people["administrador"], firm.people["operador"]
    maker = name_of(database, firm, "administrador")
    where = (boss.id, firm.id, firm.bot_id)
    database.execute(
        "update chatbots set created_by = %s, created_at = '2025-03-03T12:00Z'"
        " where company_id = %s and id = %s",
        where,
    )
    database.execute(
        "insert into chatbot_operators (company_id, chatbot_id, operator_id, assigned_by,"
        " assigned_at) values (%s, %s, %s, %s, '2025-03-05T12:00Z')"
        " on conflict (company_id, chatbot_id, operator_id) do update"
        " set assigned_by = excluded.assigned_by, assigned_at = excluded.assigned_at,"
        " is_active = true",
        (firm.id, firm.bot_id, operador.id, boss.id),
    )
    path = f"/console/bots/{firm.bot_id}"
    for role in ("owner", "operador"):
        shown = words(sign_in(firm, role).get(path))
        assert f"{maker} creó este bot el 3 de marzo de 2025." in shown, role
        assert f"Asignó: {maker}, el 5 de marzo de 2025" in shown, role
    english = words(sign_in(firm, "owner").get(path, headers=ENGLISH))
    assert f"{maker} created this bot on March 3, 2025." in english
    assert f"Assigned by {maker} on March 5, 2025" in english


def test_the_page_of_the_plan_says_since_when(
    firm: Company, sign_in: SignIn, database: psycopg.Connection
) -> None:
    database.execute(
        "update companies set subscription_started_at = '2025-03-03T12:00Z',"
        " plan_changed_at = '2025-04-05T12:00Z' where id = %s",
        (firm.id,),
    )
    owner = sign_in(firm, "owner")
    spanish = words(owner.get("/console/plan"))
    assert (
        "Suscripción desde el 3 de marzo de 2025. Último cambio de plan: 5 de abril de 2025."
        in spanish
    )
    english = words(owner.get("/console/plan", headers=ENGLISH))
    assert "Subscribed since March 3, 2025. Last plan change: April 5, 2025." in english
    assert "3 de marzo de 2025" not in words(sign_in(firm, "operador").get("/console/plan"))
