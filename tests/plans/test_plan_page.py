"""The plan page: who sees what, what a change means before it happens, and the banner of the frame."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from neurant.installation.embedded import Urls
from tests.companies import ROLES, Company, make_company
from tests.plans.sql_as_role import query_as_admin

pytest_plugins = ("tests.console.running_web",)
PAGE = "/console/plan"


@pytest.fixture(scope="module")
def firm(urls: Urls, known_password: str) -> Company:
    made = make_company(urls.admin, "acme", password_hash=known_password)
    query_as_admin(urls, "select private.apply_plan(%s, 'starter')", made.id)
    return made


def test_the_owner_acts_the_administrador_reads_and_others_see_the_use(
    sign_in: Callable[[Company, str], httpx.Client], firm: Company
) -> None:
    pages = {role: sign_in(firm, role).get(PAGE) for role in ROLES}
    assert {page.status_code for page in pages.values()} == {200}
    shown = {role: page.text for role, page in pages.items()}
    assert all("Personas e invitaciones" in text for text in shown.values())
    assert {role for role in ROLES if "US$ 89" in shown[role]} == {"owner", "administrador"}
    assert {role for role in ROLES if "Cancelar el plan" in shown[role]} == {"owner"}
    assert {role for role in ROLES if "/choose/professional" in shown[role]} == {"owner"}
    for role in ROLES[1:]:
        client = sign_in(firm, role)
        assert client.get(f"{PAGE}/choose/free").status_code == 403
        for deed in ("keep", "cancel", "close", "reopen", "bills"):
            assert client.post(f"{PAGE}/{deed}").status_code == 403, (role, deed)
        assert client.post(f"{PAGE}/choose", data={"plan": "free"}).status_code == 403


def test_a_change_is_explained_before_it_happens_and_confirmed_after(
    urls: Urls, sign_in: Callable[[Company, str], httpx.Client], firm: Company
) -> None:
    client = sign_in(firm, "owner")
    before = client.get(f"{PAGE}/choose/free").text
    assert "Personas e invitaciones: usas 4, y el plan permite 2" in before
    assert client.get(f"{PAGE}/choose/gold").status_code == 404
    assert client.post(f"{PAGE}/choose", data={"plan": "free"}).headers["location"] == PAGE
    after = client.get(PAGE).text
    assert "El plan Free empieza el" in after
    assert "canales conectados que el plan no incluye (1)" in after
    assert client.post(f"{PAGE}/keep").status_code == 303
    assert "El plan Free empieza el" not in client.get(PAGE).text
    again = client.post(f"{PAGE}/keep")
    assert again.status_code == 409
    assert "No había ningún cambio pendiente" in again.text
    english = client.get(PAGE, headers={"accept-language": "en"}).text
    assert "All plans" in english
    wrong = client.post(f"{PAGE}/choose", data={"plan": "gold"})
    assert (wrong.status_code, "Ese plan no existe" in wrong.text) == (422, True)
    assert client.post(f"{PAGE}/paint").status_code == 404
    cross = client.post(f"{PAGE}/cancel", headers={"sec-fetch-site": "cross-site"})
    assert cross.status_code == 403
    assert query_as_admin(
        urls, "select subscription_ends_at from companies where id = %s", firm.id
    ) == [(None,)]


@pytest.mark.parametrize(
    ("status", "seen_by"),
    [
        ("active", ()),
        ("trialing", ("owner", "administrador")),
        ("past_due", ROLES),
        ("inactive", ROLES),
    ],
)
def test_the_frame_tells_everybody_what_they_must_know(
    urls: Urls,
    sign_in: Callable[[Company, str], httpx.Client],
    firm: Company,
    status: str,
    seen_by: tuple[str, ...],
) -> None:
    query_as_admin(
        urls,
        "update companies set subscription_status = %s, subscription_ends_at = now() where id = %s",
        status,
        firm.id,
    )
    for role in ROLES:
        client = sign_in(firm, role)
        answer = client.get(f"{PAGE}/banner")
        assert (answer.status_code == 200) == (role in seen_by), role
        assert ('href="/console/plan"' in answer.text) == (
            role in seen_by and role in ("owner", "administrador")
        )
        assert 'hx-get="/console/plan/banner"' in client.get("/console/inbox").text
        assert client.get(PAGE).status_code == 200


def test_a_company_is_closed_by_typing_its_short_name(
    urls: Urls, sign_in: Callable[[Company, str], httpx.Client], known_password: str
) -> None:
    own = make_company(urls.admin, "acme", password_hash=known_password)
    client = sign_in(own, "owner")
    assert f"«{own.slug}»" in client.get(PAGE).text
    for typed in ({}, {"confirm": "acme"}):
        refused = client.post(f"{PAGE}/close", data=typed)
        assert (refused.status_code, "tal como está" in refused.text) == (409, True)
    assert client.post(f"{PAGE}/close", data={"confirm": f" {own.slug} "}).status_code == 303
    assert 'action="/console/plan/reopen"' in client.get(PAGE).text
