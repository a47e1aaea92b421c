"""Founding a company: names that are free, limits on trying, races, and what its set-up asks next."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import psycopg
import pytest

from neurant.companies.service import name_from_email
from neurant.installation.embedded import Urls
from neurant.texts import LANGUAGES, catalogue
from tests.api.api_resources import Place, conversation
from tests.companies import Company, make_company

pytest_plugins = ("tests.console.running_web",)
SignIn = Callable[[Company, str], httpx.Client]
FOUND = (
    "select outcome, company_id, slug from private.found_company(%s, 'Ana', 'Ruiz', %s, %s, %s,"
    " '2-10', null, null, 'America/Lima', %s, now() + %s * interval '1 minute')"
)


@pytest.fixture
def db(urls: Urls) -> Iterator[psycopg.Connection]:
    with psycopg.connect(urls.admin, autocommit=True) as connection:
        yield connection


def login(db: psycopg.Connection, *, verified: bool = True) -> str:
    query = (
        "insert into auth.users (email, encrypted_password, email_confirmed_at)"
        " values (%s, '!', case when %s then now() end) returning id"
    )
    address = f"ana-{secrets.token_hex(6)}@nueva.example"
    return db.execute(query, (address, verified)).fetchone()[0]


def address() -> str:
    return f"2001:db8::{secrets.randbelow(65536):x}:{secrets.randbelow(65536):x}"


def found(
    urls: Urls,
    who: str,
    name: str,
    *,
    slug: str | None = None,
    industry: str = "health",
    ip: str | None = None,
    minutes: int = 0,
) -> tuple[str, str | None, str | None]:
    with psycopg.connect(urls.app) as app:
        return app.execute(FOUND, (who, name, slug, industry, ip, minutes)).fetchone()


def test_a_company_begins_free_with_what_was_entered_for_it(
    urls: Urls, db: psycopg.Connection
) -> None:
    who, name = login(db), f"Clínica Ñandú {secrets.token_hex(4)}"
    outcome, company, slug = found(urls, who, name)
    assert outcome == "created"
    assert slug == name.lower().replace("í", "i").replace("ñ", "n").replace("ú", "u").replace(
        " ", "-"
    )
    row = db.execute(
        "select c.subscription_plan::text, c.industry, c.size, c.timezone, u.role::text, u.auth_user_id"
        " from companies c join users u on u.company_id = c.id where c.id = %s",
        (company,),
    ).fetchone()
    assert row == ("free", "health", "2-10", "America/Lima", "owner", who)


def test_an_unverified_person_and_an_unknown_industry_found_nothing(
    urls: Urls, db: psycopg.Connection
) -> None:
    assert found(urls, login(db, verified=False), "Sin verificar")[0] == "unverified"
    who = login(db)
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        found(urls, who, "Astrología Acme", industry="astrology")
    assert db.execute("select count(*) from users where auth_user_id = %s", (who,)).fetchone() == (
        0,
    )


def test_eight_at_once_with_one_name_get_eight_short_names(
    urls: Urls, db: psycopg.Connection
) -> None:
    name = f"Panadería {secrets.token_hex(4)}"
    people = [login(db) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda who: found(urls, who, name), people))
    assert [outcome for outcome, _, _ in made] == ["created"] * 8
    slugs = {slug for _, _, slug in made}
    assert len(slugs) == 8
    assert all(slug is not None and len(slug) <= 50 for slug in slugs)


def test_of_eight_who_want_the_same_short_name_one_gets_it(
    urls: Urls, db: psycopg.Connection
) -> None:
    slug = f"unica-{secrets.token_hex(4)}"
    people = [login(db) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda who: found(urls, who, "Única", slug=slug), people))
    assert sorted(outcome for outcome, _, _ in made) == ["created"] + ["slug_taken"] * 7


def test_five_companies_an_hour_from_one_address_also_at_once(
    urls: Urls, db: psycopg.Connection
) -> None:
    ip, who = address(), login(db)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: found(urls, who, f"Serie {ip} {n}", ip=ip)[0], range(8)))
    assert sorted(made) == ["created"] * 5 + ["too_many"] * 3
    assert found(urls, who, f"Otra {ip}", ip=address())[0] == "created"
    assert found(urls, who, f"Más tarde {ip}", ip=ip, minutes=61)[0] == "created"


def test_thirty_name_checks_a_minute_then_a_pause(urls: Urls) -> None:
    ip, query = address(), "select slug from private.suggest_slugs('Acme', %s, now() + %s)"
    with psycopg.connect(urls.app, autocommit=True) as app:
        for _ in range(30):
            app.execute(query, (ip, "0")).fetchone()
        with pytest.raises(psycopg.Error) as refused:
            app.execute(query, (ip, "0"))
        assert refused.value.sqlstate == "NA005"
        assert app.execute(query, (ip, "61 seconds")).fetchone()
        assert app.execute(query, (address(), "0")).fetchone()


def test_a_taken_name_gets_up_to_three_that_are_free(
    sign_in: SignIn, acme: Company, urls: Urls, db: psycopg.Connection
) -> None:
    name = f"Ferretería {secrets.token_hex(4)}"
    found(urls, login(db), name)
    client = httpx.Client(base_url=sign_in(acme, "owner").base_url)
    told = client.get("/v1/companies/slug-suggestions", params={"name": name}).json()
    assert told["is_free"] is False
    assert 1 <= len(told["alternatives"]) <= 3
    for one in told["alternatives"]:
        again = client.get("/v1/companies/slug-suggestions", params={"name": one}).json()
        assert (again["slug"], again["is_free"]) == (one, True)
    refused = client.get("/v1/companies/slug-suggestions", params={"name": "x"})
    assert refused.status_code == 422


@pytest.mark.parametrize(
    ("email", "name"),
    [
        ("ana@ferreteria-el-roble.com.mx", "Ferreteria El Roble"),
        ("ana@LosCedros.example", "Loscedros"),
        ("ana@mail.acme.co", "Acme"),
        ("ana@gmail.com", ""),
        ("ana@hotmail.com.ar", ""),
        ("ana@xn--caf-dma.example", ""),
    ],
)
def test_the_name_is_guessed_by_the_mailbox_unless_it_is_a_public_one(
    email: str, name: str
) -> None:
    assert name_from_email(email) == name


def test_the_catalogue_names_every_industry_in_every_language(db: psycopg.Connection) -> None:
    known = {row[0] for row in db.execute("select industry from industries")}
    for language in LANGUAGES:
        named = {n.removeprefix("industries.") for n in catalogue(language)
                 if n.startswith("industries.")}  # fmt: skip
        assert named == known


def test_a_company_is_founded_and_set_up_over_http(
    sign_in: SignIn, acme: Company, rival: Company, db: psycopg.Connection
) -> None:
    client = sign_in(acme, "owner")  # a person may own several companies
    db.execute(
        "update auth.users set email_confirmed_at = now() where id = %s",
        (acme.people["owner"].auth_user_id,),
    )
    name = f"Segunda {secrets.token_hex(4)}"
    try:
        wrong = client.post("/v1/companies", json={"name": name, "industry": "astrology"})
        assert (wrong.status_code, wrong.json()["code"]) == (409, "companies.unknown_industry")
        made = client.post(
            "/v1/companies",
            json={"name": name, "industry": "retail"},
            headers={"X-Request-Id": "founding-1"},
        )
        assert made.status_code == 201, made.text
        trail = db.execute(
            "select a.resource_type, u.auth_user_id, a.details ->> 'by', a.request_id, a.session_id is null,"
            " a.ip_address is null from audit_logs a left join users u on u.company_id = a.company_id"
            " and u.id = a.user_id where a.company_id = %s and a.action <> 'login'",
            (made.json()["id"],),
        ).fetchall()
        founder = (acme.people["owner"].auth_user_id, "staff", "founding-1", False, False)
        assert {line[0] for line in trail} >= {"companies", "users"}
        assert {line[1:] for line in trail if line[0] in ("companies", "users")} == {founder}
        mine = client.get("/v1/company").json()  # the session goes on in it
        assert (mine["id"], mine["slug"], mine["industry"]) == (
            made.json()["id"],
            made.json()["slug"],
            "retail",
        )
        steps = [client.get("/v1/onboarding").json()]
        assert steps[0]["next_step"] == "plan"
        steps.append(client.post("/v1/onboarding", json={"step": "plan"}).json())
        assert (steps[1]["next_step"], steps[1]["done"]) == ("bot", 0)
        template = client.get("/v1/chatbot-templates", params={"industry": "retail"}).json()
        bot = client.post("/v1/chatbots", json={"template_id": template["data"][0]["id"]}).json()
        assert bot["name"] == f"Asistente {name}"
        assert client.get("/v1/onboarding").json()["next_step"] == "test"
        told = client.post(f"/v1/chatbots/{bot['id']}/preview", json={"message": "hola"})
        assert told.status_code == 200
        client.post(f"/v1/chatbots/{bot['id']}/channels", json={"channel": "web"})
        state = client.get("/v1/onboarding").json()
        assert (state["next_step"], state["done"], state["is_hidden"]) == (None, 3, False)
        assert client.post("/v1/onboarding", json={"step": "hide"}).json()["is_hidden"] is True
        second = client.post("/v1/chatbots", json={"name": "Dos", "system_prompt": "Responde ya."})
        assert (second.status_code, second.json()["code"]) == (409, "limit.next.max_chatbots")
        assert "Starter" in second.json()["detail"]
        other = sign_in(rival, "owner").get("/v1/onboarding").json()
        assert other["is_hidden"] is False
    finally:
        client.post("/v1/session/company", json={"company_id": str(acme.id)})


def test_a_company_that_is_older_than_the_set_up_is_done_with_it(
    urls: Urls, sign_in: SignIn, known_password: str, db: psycopg.Connection
) -> None:
    firm = make_company(urls.admin, "acme", password_hash=known_password)
    client = sign_in(firm, "owner")
    assert client.get("/v1/onboarding").json()["has_bot"]
    assert client.post("/v1/onboarding", json={"step": "hide"}).json()["next_step"] == "plan"
    conversation(db, firm, Place.SERVED, "owner", {})
    assert client.get("/v1/onboarding").json()["next_step"] is None
    assert client.get("/onboarding").headers["location"] == "/console/home"


def test_the_profile_changes_sparsely_for_who_may(
    sign_in: SignIn, acme: Company, rival: Company
) -> None:
    client = sign_in(acme, "administrador")
    read = client.get("/v1/company")
    phone = "+57 300 123 4567"
    changed = client.patch(
        "/v1/company",
        json={"phone": phone, "industry": "health", "size": "11-50", "timezone": "America/Lima",
              "logo_url": "https://cdn.example/logo.png"},
        headers={"if-match": read.headers["etag"]},
    )  # fmt: skip
    assert changed.status_code == 200, changed.text
    assert (changed.json()["name"], changed.json()["phone"]) == (acme.name, phone)
    late = client.patch(
        "/v1/company", json={"phone": None}, headers={"if-match": read.headers["etag"]}
    )
    assert late.status_code == 412
    assert sign_in(acme, "operador").get("/v1/company").json()["phone"] == phone
    assert sign_in(rival, "owner").get("/v1/company").json()["phone"] is None
    for role in ("supervisor", "operador"):
        assert sign_in(acme, role).patch("/v1/company", json={"phone": None}).status_code == 403
    for field, value in (
        ("name", "x"),
        ("industry", "ASTRO"),
        ("logo_url", "http://inseguro.example/x.png"),
        ("website", "javascript:alert(1)"),
        ("timezone", "Luna"),
        ("size", "muchos"),
        ("slug", "otro"),
        ("subscription_plan", "enterprise"),
    ):
        refused = client.patch("/v1/company", json={field: value})
        assert (refused.status_code, field in refused.json()["detail"]) == (422, True)


def test_a_name_check_needs_no_company_and_founding_needs_a_person(
    sign_in: SignIn, acme: Company
) -> None:
    nobody = httpx.Client(base_url=sign_in(acme, "owner").base_url)
    assert nobody.get("/v1/industries").status_code == 200
    refused = nobody.post("/v1/companies", json={"name": "Nadie", "industry": "retail"})
    assert refused.status_code == 401


def test_the_steps_are_walked_by_who_may_set_the_company_up_and_nobody_else(
    urls: Urls, sign_in: SignIn, known_password: str, db: psycopg.Connection
) -> None:
    firm = make_company(urls.admin, "acme", password_hash=known_password)
    steps = ("/onboarding/plan", "/onboarding/bot", "/onboarding/test")
    assert sign_in(firm, "owner").get("/onboarding").headers["location"] == "/onboarding/plan"
    assert sign_in(firm, "owner").get(steps[0]).status_code == 200
    operador = sign_in(firm, "operador")
    assert operador.get("/onboarding").headers["location"] == "/console/home"
    for path in steps:
        page = operador.get(path)
        assert (page.status_code, 'href="/console/home"' in page.text) == (403, True)
    for path in (steps[0], "/onboarding/skip", "/console/home/hide"):
        assert operador.post(path).status_code == 403
    assert (
        db.execute("select 1 from onboarding where company_id = %s", (firm.id,)).fetchone() is None
    )
