"""A person's own pages in a real browser: signing up, the second step, and what is on screen for everybody."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pyotp
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from neurant.installation.embedded import Urls
from tests.accounts.sent_mails import PASSWORD, new_address, sent_mails
from tests.companies import Company, make_company
from tests.console.running_web import serving, web_settings

pytestmark = pytest.mark.browser
pytest_plugins = ("tests.console.running_web",)

CHROMIUM = Path("/usr/bin/chromium")
AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.skip("Debian's chromium is not installed")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-background-networking"]
        )
        yield opened
        opened.close()


@pytest.fixture
def with_terms(urls: Urls, tmp_path: Path) -> Iterator[str]:
    """Address of a web process whose installation has terms."""
    pages = {"terms_url": "https://acme.example/t", "privacy_url": "https://acme.example/p"}
    with serving(web_settings(urls.app, tmp_path, **pages)) as url:
        yield url


def open_page(browser: Browser, url: str, *, phone: bool = False, dark: bool = False) -> Page:
    page = browser.new_page(
        base_url=url,
        viewport={"width": 390, "height": 844} if phone else {"width": 1280, "height": 800},
        color_scheme="dark" if dark else "light",
        locale="es-CO",
        reduced_motion="reduce",
    )
    page.set_default_timeout(10_000)
    return page


def assert_fine(page: Page) -> None:
    """Nothing is wider than the screen, and axe finds nothing (where it is installed)."""
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    if AXE.exists():
        page.evaluate(AXE.read_text("utf-8"))
        found = page.evaluate("axe.run()")["violations"]
        assert not found, [(one["id"], [n["html"][:120] for n in one["nodes"]]) for one in found]


def test_somebody_signs_up_and_the_page_goes_on_when_the_link_is_opened_on_the_telephone(
    browser: Browser, with_terms: str, database: psycopg.Connection
) -> None:
    email = new_address("una-persona-con-una-direccion-larga")
    desk = open_page(browser, with_terms)
    phone = open_page(browser, with_terms, phone=True, dark=True)
    desk.goto("/login")
    assert_fine(desk)
    desk.get_by_role("link", name="Créala gratis").click()
    desk.get_by_label("Nombre").fill("Ana")
    desk.get_by_label("Apellido").fill("Ruiz")
    desk.get_by_label("Correo de trabajo").fill(email)
    desk.get_by_label("Contraseña", exact=True).fill("1234567890")
    desk.get_by_role("checkbox").check()
    assert_fine(desk)
    desk.get_by_role("button", name="Crear cuenta").click()
    expect(desk.get_by_role("alert")).to_contain_text("contraseña más difícil")
    assert_fine(desk)
    desk.get_by_label("Contraseña", exact=True).fill(PASSWORD)
    desk.keyboard.press("Enter")  # the names and the address were kept
    expect(desk).to_have_url(re.compile("/verify$"))
    expect(desk.get_by_text("Esta página avanza sola")).to_be_visible()
    expect(desk.get_by_role("button", name="Enviar otro correo en")).to_be_disabled()
    assert_fine(desk)
    phone.goto(f"/verify?link={sent_mails(database, email)[-1].link}")
    assert_fine(phone)
    phone.get_by_label("La contraseña que elegiste").fill(PASSWORD)
    phone.get_by_role("button", name="Confirmar y entrar").click()
    for page in (phone, desk):
        expect(page).to_have_url(re.compile("/onboarding"))


def test_the_account_page_turns_the_second_step_on_and_the_login_asks_for_it(
    browser: Browser, web_url: str, urls: Urls, known_password: str
) -> None:
    company = make_company(urls.admin, "acme", password_hash=known_password)
    email = company.people["owner"].email
    page = open_page(browser, web_url, phone=True)
    _enter(page, company, email)
    page.goto("/console/account")
    assert_fine(page)
    part = page.locator("#two-step")
    part.get_by_label("Contraseña actual").fill(PASSWORD)
    part.get_by_role("button", name="Activar").click()
    expect(part.get_by_role("img", name="Código QR")).to_be_visible()
    assert_fine(page)
    secret = part.locator(".secret").inner_text().replace(" ", "")
    part.get_by_label("El código que muestra la aplicación").fill(pyotp.TOTP(secret).now())
    part.get_by_role("button", name="Confirmar y activar").click()
    codes = page.locator("#codes li")
    expect(codes).to_have_count(10)
    assert_fine(page)
    other = open_page(browser, web_url, dark=True)
    _enter(other, company, email)
    expect(other).to_have_url(re.compile("/login/code"))
    assert_fine(other)
    other.get_by_label("Código").fill(codes.first.inner_text())
    other.keyboard.press("Enter")
    expect(other).to_have_url(re.compile("/console/"))
    other.goto("/console/account")
    expect(other.locator("#sessions li")).to_have_count(2)
    assert_fine(other)
    other.get_by_role("button", name="Cerrar todas las demás").click()
    expect(other.locator("#sessions li")).to_have_count(1)


def _enter(page: Page, company: Company, email: str) -> None:
    page.goto("/login")
    page.get_by_label("Correo de trabajo").fill(email)
    page.get_by_label("Contraseña", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Entrar").click()
    page.wait_for_url(re.compile("/console/|/login/code"))


LONG_NAME = "Clínica Dental y Centro de Ortodoncia Los Cedros del Norte S.A"


def test_long_names_make_no_page_wider_than_the_smallest_phone_and_leave_no_card(
    browser: Browser, web_url: str, urls: Urls, known_password: str
) -> None:
    company = make_company(urls.admin, "acme", password_hash=known_password)
    operator = company.people["operador"].id
    with psycopg.connect(urls.admin) as admin:
        admin.execute("update companies set name = %s where id = %s", (LONG_NAME, company.id))
        admin.execute(
            "update users set first_name = %s, last_name = %s where id = %s",
            ("Marcela Alejandra de los Ángeles", "Gómez-Villarreal Santamaría", operator),
        )
    page = open_page(browser, web_url)
    page.set_viewport_size({"width": 320, "height": 700})
    _enter(page, company, company.people["owner"].email)
    for path in (
        *("home", "inbox", "bots", "knowledge", "notifications", "team", "account", "companies"),
        *("plan", "plan/choose/business", "settings/permissions", "settings/api-keys/new"),
        f"team/{operator}",
    ):
        page.goto(f"/console/{path}")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
    page.goto("/console/settings/permissions")
    assert_fine(page)
    page.set_viewport_size({"width": 1280, "height": 800})
    page.goto(f"/console/team/{operator}")
    buttons = page.locator(".card .btn--danger")
    assert buttons.count() == 2
    assert all(
        button.evaluate("b => b.getBoundingClientRect().right < b.closest('.card').getBoundingClientRect().right - 8")
        for button in buttons.all()
    )  # fmt: skip


def test_the_icons_of_the_rail_stand_in_one_line(
    browser: Browser, web_url: str, urls: Urls, known_password: str
) -> None:
    company = make_company(urls.admin, "acme", password_hash=known_password)
    page = open_page(browser, web_url)
    _enter(page, company, company.people["owner"].email)
    page.goto("/console/inbox")
    icons = page.locator(".nav__item > .icon")
    assert icons.count() > 5
    assert len({icon.bounding_box()["x"] for icon in icons.all()}) == 1
