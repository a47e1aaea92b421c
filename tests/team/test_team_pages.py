"""The team's pages, and the page that a mail's link opens, as a browser without scripts uses them."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator

import httpx
import psycopg
import pytest

from neurant.installation.embedded import Urls
from tests.companies import ROLES, Company, make_company
from tests.console.people import PASSWORD
from tests.team.waiting_mails import invitation_token, waiting_mails

pytest_plugins = ("tests.console.running_web",)
SignIn = Callable[[Company, str], httpx.Client]


@pytest.fixture
def own(urls: Urls, known_password: str) -> Company:
    """A company of its own: people are changed."""
    return make_company(urls.admin, "acme", password_hash=known_password)


@pytest.fixture
def browser(web_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=web_url, follow_redirects=True) as client:
        yield client


def address() -> str:
    return f"eva-{secrets.token_hex(5)}@casa.example"


def page(client: httpx.Client, path: str = "/console/team") -> str:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.text


def invite(client: httpx.Client, email: str, role: str = "operador") -> httpx.Response:
    form = {"email": email, "role": role, "first_name": "Eva", "last_name": "", "language": "es"}
    return client.post("/console/team/invitations", data=form)


def test_each_role_sees_its_team(sign_in: SignIn, acme: Company, rival: Company) -> None:
    for role in ROLES:
        html = page(sign_in(acme, role))
        for colleague in acme.people.values():
            assert colleague.first_name in html
        assert rival.slug not in html
        manages = role in ("owner", "administrador")
        assert ('action="/console/team/invitations"' in html) == manages
        assert (acme.people["owner"].email in html) == manages
        assert (acme.people["supervisor"].email in html) == (role != "operador")


def test_who_manages_people_sees_who_has_two_steps(
    sign_in: SignIn, own: Company, database: psycopg.Connection
) -> None:
    person = own.people["operador"]
    sign_in(own, "operador")  # before a code is asked for
    database.execute(
        "insert into auth_factors (auth_user_id, secret_encrypted, confirmed_at)"
        " values (%s, decode(repeat('ab', 40), 'hex'), now())",
        (person.auth_user_id,),
    )
    for role in ROLES:
        client, manages = sign_in(own, role), role in ("owner", "administrador")
        assert page(client).count("Entra con verificación en dos pasos") == manages
        told = {one["id"]: one["has_two_step"] for one in client.get("/v1/users").json()["data"]}
        assert told[str(person.id)] is (True if manages else None)


def test_inviting_from_the_page_sends_the_mail_and_shows_it_waiting(
    sign_in: SignIn, own: Company, database: psycopg.Connection
) -> None:
    client, email = sign_in(own, "owner"), address()
    done = invite(client, email)
    assert (done.status_code, done.headers["location"]) == (303, "/console/team?done=invited")
    html = page(client, "/console/team?done=invited")
    assert "Invitación enviada" in html
    assert email in html
    [(template, params)] = waiting_mails(database, email)
    assert (template, params["inviter"]) == ("team.invitation", "Owner Acme")
    [renew] = re.findall(r'action="(/console/team/invitations/[^"]+/renew)"', html)
    assert client.post(renew).status_code == 303
    assert len(waiting_mails(database, email)) == 2
    assert client.post(renew.replace("renew", "cancel")).status_code == 303
    assert email not in page(client)


def test_what_is_refused_says_why_and_keeps_what_was_typed(sign_in: SignIn, own: Company) -> None:
    client = sign_in(own, "owner")
    for email, words in (("eva@", "no es una dirección"), (own.people["operador"].email, "ya es parte")):  # fmt: skip
        answer = invite(client, email)
        assert answer.status_code in (409, 422)
        assert words in answer.text
        assert f'value="{email}"' in answer.text
        assert "data-failed" in answer.text
    assert invite(client, address(), "owner").status_code == 422


def test_a_mail_that_did_not_arrive_is_shown_with_what_to_do(
    sign_in: SignIn, own: Company, database: psycopg.Connection
) -> None:
    client, email = sign_in(own, "owner"), address()
    invite(client, email)
    database.execute(
        "update mails set status = 'failed', params_encrypted = null, last_error = '550 <b>no</b> such mailbox' where to_address = %s",
        (email,),
    )
    html = page(client)
    assert "El correo no llegó" in html
    assert "550 &lt;b&gt;no&lt;/b&gt; such mailbox" in html


def test_a_person_is_managed_by_forms(sign_in: SignIn, own: Company, rival: Company) -> None:
    client, person = sign_in(own, "owner"), own.people["supervisor"]
    path = f"/console/team/{person.id}"
    ticked = re.findall(r'name="allowed" value="([a-z_.]+)" checked', page(client, path))
    assert "documents.edit" in ticked
    assert "invitations.manage" not in ticked  # no role of theirs
    kept = [one for one in ticked if one != "documents.edit"]
    assert client.post(f"{path}/permissions", data={"allowed": kept}).status_code == 303
    after = re.findall(r'name="allowed" value="([a-z_.]+)"( checked)?', page(client, path))
    assert [name for name, checked in after if not checked] == ["documents.edit"]
    assert "1 permiso quitado" in page(client)
    assert client.post(f"{path}/role", data={"role": "operador"}).status_code == 303
    assert client.post(f"{path}/role", data={"role": "owner"}).status_code == 422
    theirs = sign_in(own, "supervisor")
    assert theirs.get("/console/team").status_code == 200
    assert client.post(f"{path}/active", data={"active": "no"}).status_code == 303
    assert theirs.get("/console/team").status_code == 303  # to the login
    assert "Acceso desactivado" in page(client)
    assert client.post(f"{path}/active", data={"active": "yes"}).status_code == 303
    for stranger in (sign_in(rival, "owner"), sign_in(own, "operador")):
        assert stranger.get(path).status_code == 404
        assert stranger.post(f"{path}/active", data={"active": "no"}).status_code == 404


def test_the_company_changes_hands_only_once_its_name_is_typed(
    sign_in: SignIn, own: Company, database: psycopg.Connection
) -> None:
    client, path = sign_in(own, "owner"), f"/console/team/{own.people['administrador'].id}"
    wrong = client.post(f"{path}/ownership", data={"confirm": "Rival"})
    assert wrong.status_code == 422
    assert "No se cambió nada" in wrong.text
    assert "/ownership" not in page(sign_in(own, "administrador"), path)
    for password in ("", "no-es-esta"):
        form = {"confirm": "Acme", "password": password}
        refused = client.post(f"{path}/ownership", data=form)
        assert (refused.status_code, 'name="password"' in refused.text) == (403, True)
        assert "No se hizo el cambio" in refused.text
    form = {"confirm": " acme ", "password": PASSWORD}
    assert client.post(f"{path}/ownership", data=form).status_code == 303
    role = "select role::text from users where id = %s"
    for person, expected in (("administrador", "owner"), ("owner", "administrador")):
        assert database.execute(role, (own.people[person].id,)).fetchone() == (expected,)


def test_an_invitation_s_mail_is_in_the_inviter_s_language_unless_they_choose(
    sign_in: SignIn, own: Company, database: psycopg.Connection
) -> None:
    client, english = sign_in(own, "owner"), {"accept-language": "en"}
    assert 'value="en" selected' in client.get("/console/team", headers=english).text
    assert 'value="es" selected' in client.get("/console/team").text
    emails = [address(), address()]
    for email, more in zip(emails, ({}, {"language": "es"}), strict=True):
        form = {"email": email, "role": "operador", **more}
        told = client.post("/console/team/invitations", data=form, headers=english)
        assert told.status_code == 303
    kept = "select language from mails where to_address = any (%s) order by language"
    assert database.execute(kept, (emails,)).fetchall() == [("en",), ("es",)]


def test_no_other_site_makes_a_browser_change_people(sign_in: SignIn, own: Company) -> None:
    client, path = sign_in(own, "owner"), f"/console/team/{own.people['operador'].id}/active"
    answer = client.post(path, data={"active": "no"}, headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 403


def opened(browser: httpx.Client, token: str) -> str:
    """What the link's script does, or a person who pastes the link."""
    answer = browser.post(
        "/invitation/open", data={"token": f"https://x.example/invitation#{token}"}
    )
    return answer.text


def test_a_new_person_opens_the_link_names_a_password_and_is_in(
    sign_in: SignIn, own: Company, database: psycopg.Connection, browser: httpx.Client
) -> None:
    email = address()
    invite(sign_in(own, "owner"), email, "supervisor")
    token = invitation_token(database, email)
    html = opened(browser, token)
    assert "Únete a Acme" in html
    assert token not in html
    cookie = next(one for one in browser.cookies.jar if "invitation" in one.name)
    assert cookie.has_nonstandard_attr("HttpOnly")
    weak = browser.post("/invitation", data={"first_name": "Eva", "password": "corta"})
    assert weak.status_code == 422
    assert 'value="Eva"' in weak.text
    done = browser.post("/invitation", data={"first_name": "Eva", "password": "una clave larga 77"})
    assert done.url.path == "/console/inbox"
    assert "Eva" in done.text
    assert not [one for one in browser.cookies.jar if "invitation" in one.name]
    assert "ya se aceptó" in opened(browser, token)


def test_the_browser_that_accepted_is_known_when_strangers_guess_the_password(
    sign_in: SignIn, own: Company, database: psycopg.Connection, browser: httpx.Client, web_url: str
) -> None:
    email, password = address(), "una clave larga 77"
    invite(sign_in(own, "owner"), email)
    opened(browser, invitation_token(database, email))
    browser.post("/invitation", data={"first_name": "Eva", "password": password})
    browser.post("/logout")
    with httpx.Client(base_url=web_url) as stranger:
        while stranger.post("/login", data={"email": email, "password": "?"}).status_code != 429:
            pass
        assert stranger.post("/login", data={"email": email, "password": password}).is_error
    entered = browser.post("/login", data={"email": email, "password": password})
    assert entered.url.path == "/console/inbox"


def test_a_known_person_signs_in_first_and_works_in_both_companies(
    sign_in: SignIn,
    own: Company,
    rival: Company,
    database: psycopg.Connection,
    browser: httpx.Client,
) -> None:
    person = rival.people["supervisor"]
    invite(sign_in(own, "owner"), person.email)
    html = opened(browser, invitation_token(database, person.email))
    assert 'href="/login?next=/invitation"' in html
    assert 'name="password"' not in html
    form = {"email": person.email, "password": PASSWORD, "next": "/invitation"}
    back = browser.post("/login", data=form)
    assert back.url.path == "/invitation"
    assert "Unirme a Acme" in back.text
    joined = browser.post("/invitation")
    assert joined.url.path == "/console/inbox"
    assert "Acme" in joined.text
    companies = "select count(*) from users where auth_user_id = %s"
    assert database.execute(companies, (person.auth_user_id,)).fetchone() == (2,)


def test_somebody_else_who_is_signed_in_is_shown_whose_it_is(
    sign_in: SignIn,
    own: Company,
    rival: Company,
    database: psycopg.Connection,
    browser: httpx.Client,
) -> None:
    email, other = address(), rival.people["operador"]
    invite(sign_in(own, "owner"), email)
    browser.post("/login", data={"email": other.email, "password": PASSWORD})
    html = opened(browser, invitation_token(database, email))
    assert f"La invitación es para {email}" in html
    refused = browser.post("/invitation", data={"first_name": "Eva", "password": "x" * 12})
    assert refused.status_code == 403
    left = browser.post("/invitation/leave")
    assert 'name="password"' in left.text


@pytest.mark.parametrize("token", ["", "x", "ñ" * 300, "<script>", "a" * 5000])
def test_a_link_that_is_none_is_explained(browser: httpx.Client, token: str) -> None:
    html = opened(browser, token)
    assert "<script>" not in html.replace("<script type", "<script-type").replace("<script src", "")
    assert "Este enlace no sirve" in html or "Enlace o código" in html
    answer = browser.post("/invitation", data={"first_name": "Eva", "password": "x" * 12})
    assert answer.status_code in (404, 422)


def test_who_was_let_out_reads_that_and_what_they_can_do(
    sign_in: SignIn, own: Company, rival: Company, browser: httpx.Client
) -> None:
    theirs, gone = sign_in(own, "operador"), own.people["operador"]
    assert sign_in(own, "owner").post(f"/v1/users/{gone.id}/deactivate").status_code == 200
    assert theirs.get("/console/inbox").status_code == 303  # the session ended with it
    html = browser.post("/login", data={"email": gone.email, "password": PASSWORD}).text
    assert f"Ya no tienes acceso a {own.name}" in html
    assert "Quien administra el equipo" in html
    assert 'href="/onboarding/company"' in html
    assert 'action="/logout"' in html
    for kept in (own.people["owner"].email, own.people["owner"].first_name, rival.name):
        assert kept not in html
    assert browser.get("/onboarding/company").status_code == 200
    assert browser.get("/console/inbox").url.path == "/console/companies"
    assert sign_in(own, "owner").post(f"/v1/users/{gone.id}/activate").status_code == 200
    assert 'value="' + str(own.id) in browser.get("/console/companies").text
