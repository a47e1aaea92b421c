"""A company begins with its owner and its plan's limits, in one transaction; and it is closed by its owner."""

from __future__ import annotations

import json
import secrets
from uuid import UUID, uuid4

import psycopg
import pytest

from neurant.installation.embedded import Urls
from tests.companies import ROLES, make_company
from tests.plans.sql_as_role import add_login, call_as, query_as_admin, staff

SIGN_UP = (
    "select outcome, company_id, user_id from private.sign_up(%s, %s, %s, %s, 'Ana', 'Ruiz',"
    " p_plan => %s, p_trial_days => %s)"
)


def mark() -> str:
    return secrets.token_hex(5)


def sign_up(
    urls: Urls, login: UUID, slug: str, *, plan: str = "free", trial: int = 0, name: str = "Acme"
) -> tuple[str, UUID | None, UUID | None]:
    with psycopg.connect(urls.app) as db:
        return db.execute(
            SIGN_UP, (login, name, slug, f"Hola@{slug}.example", plan, trial)
        ).fetchone()


def sees(urls: Urls, login: UUID, company: UUID) -> list[str]:
    """The companies that a login sees when it says that it works in this one."""
    with psycopg.connect(urls.app) as db:
        claims = json.dumps({"sub": str(login), "company_id": str(company)})
        db.execute("select set_config('role', 'authenticated', true)")
        db.execute("select set_config('request.jwt.claims', %s, true)", (claims,))
        return [row[0] for row in db.execute("select slug from companies").fetchall()]


def test_a_company_begins_with_its_owner_and_its_plans_limits(urls: Urls) -> None:
    one = mark()
    login = add_login(urls, f"Ana@{one}.example")
    outcome, company, user = sign_up(urls, login, one, plan="starter")
    assert outcome == "created"
    assert query_as_admin(
        urls,
        "select c.subscription_plan::text, c.subscription_status::text, c.max_chatbots, c.max_users,"
        " c.max_storage_mb, c.monthly_message_limit, c.current_user_count, c.email, c.created_by,"
        " u.id, u.email, u.role::text, u.is_owner, u.auth_user_id"
        " from companies c join users u on u.company_id = c.id where c.id = %s",
        company,
    ) == [
        ("starter", "active", 2, 3, 5, 3000, 1, f"hola@{one}.example", login, user,
         f"ana@{one}.example", "owner", True, login)
    ]  # fmt: skip
    assert sees(urls, login, company) == [one]


def test_a_person_owns_several_companies_and_acts_in_one_at_a_time(urls: Urls) -> None:
    first, second = mark(), mark()
    login = add_login(urls, f"ana@{first}.example")
    _, acme, _ = sign_up(urls, login, first)
    _, other, _ = sign_up(urls, login, second)
    assert sees(urls, login, acme) == [first]
    assert sees(urls, login, other) == [second]
    assert sees(urls, login, uuid4()) == []


def test_a_taken_short_name_and_an_unknown_login_leave_nothing_behind(urls: Urls) -> None:
    one = mark()
    login = add_login(urls, f"ana@{one}.example")
    sign_up(urls, login, one)
    before = query_as_admin(urls, "select count(*) from companies")
    assert sign_up(urls, login, one) == ("slug_taken", None, None)
    assert sign_up(urls, uuid4(), mark()) == ("unknown_login", None, None)
    with pytest.raises(psycopg.errors.CheckViolation):
        sign_up(urls, login, "Not A Slug")
    with pytest.raises(psycopg.errors.CheckViolation):
        sign_up(urls, login, mark(), trial=31)
    assert query_as_admin(urls, "select count(*) from companies") == before


def test_a_trial_says_when_it_ends(urls: Urls) -> None:
    one = mark()
    _, company, _ = sign_up(urls, add_login(urls, f"a@{one}.example"), one, trial=14)
    assert query_as_admin(
        urls,
        "select subscription_status::text, subscription_ends_at = now() + interval '14 days'"
        " or subscription_ends_at between now() + interval '13 days' and now() + interval '14 days'"
        " from companies where id = %s",
        company,
    ) == [("trialing", True)]


def test_a_short_name_is_made_of_the_name_and_numbered_where_it_is_taken(urls: Urls) -> None:
    one = mark()
    login = add_login(urls, f"a@{one}.example")

    def suggested(name: str) -> str:
        with psycopg.connect(urls.app) as db:
            return db.execute("select private.suggest_slug(%s)", (name,)).fetchone()[0]

    name = f"  Peluquería «Ñandú» & Cía. {one}"
    assert suggested(name) == f"peluqueria-nandu-cia-{one}"
    for slug in (f"peluqueria-nandu-cia-{one}", f"peluqueria-nandu-cia-{one}-2"):
        assert suggested(name) == slug
        assert sign_up(urls, login, slug)[0] == "created"
    assert suggested(name) == f"peluqueria-nandu-cia-{one}-3"
    assert suggested("¡¿?!").startswith("empresa")
    assert sign_up(urls, login, suggested("x" * 300 + one))[0] == "created"


def test_one_mailbox_has_one_login_however_it_is_written(urls: Urls) -> None:
    one = mark()

    def create(email: str) -> UUID | None:
        with psycopg.connect(urls.app) as db:
            return db.execute("select private.create_login(%s, 'hash')", (email,)).fetchone()[0]

    assert create(f"Ana@{one}.example") is not None
    assert create(f"ana@{one.upper()}.EXAMPLE") is None


def test_the_e_mail_of_a_member_is_one_however_it_is_written(urls: Urls) -> None:
    """D38: no two spellings, since only one is kept."""
    acme = make_company(urls.admin, "acme")
    for email in (acme.people["owner"].email.upper(), "Otra@Acme.Example"):
        with pytest.raises(psycopg.errors.CheckViolation):
            query_as_admin(
                urls,
                "insert into users (company_id, email, first_name, last_name) values (%s, %s, 'a', 'b')",
                acme.id,
                email,
            )


def test_the_owner_closes_the_company_and_people_read_it_and_change_nothing(urls: Urls) -> None:
    acme, rival = make_company(urls.admin, "acme"), make_company(urls.admin, "rival")
    for role in ROLES[1:]:
        assert call_as(urls, acme, role, "select private.close_company()") == "forbidden"
    before = query_as_admin(urls, "select count(*) from users where company_id = %s", acme.id)
    with psycopg.connect(urls.app) as db:
        login = acme.people["operador"].auth_user_id
        opened = db.execute(
            "select * from private.open_login_session(%s, %s, null, null, '1 day')",
            (login, secrets.token_bytes(32)),
        ).fetchall()
    assert len(opened) == 1
    assert call_as(urls, acme, "owner", "select private.close_company()") == "closed"
    for role in ROLES:
        with staff(urls, acme, role) as db:
            assert db.execute("select id from companies").fetchall() == [(acme.id,)]
            assert db.execute("update users set first_name = 'x'").rowcount == 0
        again = "closed_before" if role == "owner" else "forbidden"
        assert call_as(urls, acme, role, "select private.close_company()") == again
    assert (
        query_as_admin(urls, "select count(*) from users where company_id = %s", acme.id) == before
    )
    # Sessions stay: for thirty days people read, and the owner may think better of it.
    assert (
        len(query_as_admin(urls, "select id from login_sessions where company_id = %s", acme.id))
        == 1
    )
    assert call_as(urls, rival, "operador", "select count(*) from companies") == 1


def test_nobody_deletes_a_company_a_bot_or_a_person(urls: Urls) -> None:
    """D03, D05, D36: they are closed, retired or deactivated, and what they leave stays."""
    acme = make_company(urls.admin, "acme")
    for role in ROLES:
        for table in ("companies", "users", "chatbots", "chatbot_operators", "documents"):
            statement = psycopg.sql.SQL("delete from {}").format(psycopg.sql.Identifier(table))
            with (
                pytest.raises(psycopg.errors.InsufficientPrivilege),
                staff(urls, acme, role) as db,
            ):
                db.execute(statement)
    for role in ("supervisor", "operador"):
        answer = call_as(urls, acme, role, "select private.retire_chatbot(%s)", acme.bot_id)
        assert answer == "not_found"


def test_staff_cannot_sign_anybody_up(urls: Urls) -> None:
    acme = make_company(urls.admin, "acme")
    with pytest.raises(psycopg.errors.InsufficientPrivilege), staff(urls, acme, "owner") as db:
        db.execute(SIGN_UP, (acme.people["owner"].auth_user_id, "a", mark(), "a@b.co", "free", 0))
