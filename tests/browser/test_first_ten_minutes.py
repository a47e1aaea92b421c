"""The first ten minutes of a new company: from sign-up to an answer from a document of its own."""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from neurant.mail.folder import mail_folder, newest_mails, part_of, read_mail
from tests.browser.running import installation

pytestmark = [pytest.mark.browser, pytest.mark.platform]

CHROMIUM = Path("/usr/bin/chromium")
AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
KEPT = os.environ.get("NEURANT_SCREENSHOTS")
MAX_CLICKS, MAX_SECONDS = 10, 180
MAIL_SECONDS = 30
READ_MS = 90_000  # far above the seconds that a short document takes
PASSWORD = "un-paraguas-amarillo"
SHOP = """# Envíos

Enviamos a todo el país. Domicilio en Bogotá: $ 8.000, al día siguiente.

# Cambios y devoluciones

Tienes 30 días para cambiar un producto sin usar, con la factura.

# Horarios de la tienda

Lunes a sábado de 9:00 a 19:00. Domingos y festivos cerrado.
"""


@dataclass(frozen=True)
class Installed:
    url: str
    mail: Path


@pytest.fixture(scope="module")
def installed() -> Iterator[Installed]:
    """An installation with everything at its default, in which nobody has signed up yet."""
    with TemporaryDirectory(prefix="neurant-first-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)  # PostgreSQL's account must be able to pass through
        with installation(folder) as url:
            yield Installed(url, mail_folder(folder / "data"))


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


def open_browser(
    browser: Browser,
    installed: Installed,
    *,
    width: int = 1280,
    dark: bool = False,
    locale: str = "es-CO",
    script: bool = True,
) -> BrowserContext:
    context = browser.new_context(
        base_url=installed.url,
        viewport={"width": width, "height": 800},
        color_scheme="dark" if dark else "light",
        locale=locale,
        reduced_motion="reduce",
        java_script_enabled=script,
    )
    context.set_default_timeout(15_000)
    return context


@dataclass
class Hand:
    """Someone at a page: typing is free, and every press, choice and opened link is a click."""

    page: Page
    clicks: int = 0
    trail: list[str] = field(default_factory=list)

    def press(self, what: Locator) -> None:
        self.trail.append(what.inner_text().strip())
        what.click()
        self.clicks += 1

    def button(self, name: str) -> None:
        self.press(self.page.get_by_role("button", name=name, exact=True))

    def choose(self, label: str, value: str) -> None:
        self.page.get_by_label(label).select_option(value)
        self.trail.append(f"{label}: {value}")
        self.clicks += 1

    def open(self, link: str) -> None:
        self.page.goto(link)
        self.trail.append("the link in the mail")
        self.clicks += 1


def mailed_link(installed: Installed, email: str) -> str:
    deadline = time.monotonic() + MAIL_SECONDS
    while True:
        for name in newest_mails(installed.mail):
            message = read_mail(installed.mail, name)
            if message is not None and email in str(message["to"]):
                return re.search(r"https?://\S+/verify\?link=[\w%.~-]+", part_of(message, "plain"))[
                    0
                ]
        assert time.monotonic() < deadline, "no mail arrived"
        time.sleep(0.1)


def sign_up(hand: Hand, installed: Installed) -> None:
    """From the sign-up form to the step after the company; five times an hour from one address."""
    page, email = hand.page, f"ana-{secrets.token_hex(6)}@tienda-sol.example"
    page.goto("/signup")
    page.get_by_label("Nombre").fill("Ana")
    page.get_by_label("Apellido").fill("Ruiz")
    page.get_by_label("Correo de trabajo").fill(email)
    page.get_by_label("Contraseña", exact=True).fill(PASSWORD)
    hand.button("Crear cuenta")
    expect(page).to_have_url(re.compile("/verify$"))
    hand.open(mailed_link(installed, email))
    hand.button("Confirmar y entrar")
    page.get_by_label("Nombre de la empresa").fill(f"Tienda Sol {secrets.token_hex(3)}")
    hand.choose("Sector", "retail")
    hand.button("Crear empresa")


def keep(page: Page, name: str) -> None:
    if KEPT:
        page.screenshot(path=Path(KEPT) / f"{name}.png", full_page=True)


def assert_fine(page: Page, name: str) -> None:
    """Nothing is wider than the screen, and axe finds nothing (where it is installed)."""
    keep(page, name)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
    if AXE.exists():
        page.evaluate(AXE.read_text("utf-8"))
        found = page.evaluate("axe.run()")["violations"]
        assert not found, [(one["id"], [n["html"][:120] for n in one["nodes"]]) for one in found]


def test_from_sign_up_to_a_cited_answer_in_ten_clicks_and_three_minutes(
    browser: Browser, installed: Installed
) -> None:
    began = time.monotonic()
    page = open_browser(browser, installed).new_page()
    hand = Hand(page)
    sign_up(hand, installed)
    hand.button("Continuar")
    hand.button("Crear bot")
    page.get_by_label("O pega un texto").fill(SHOP)
    hand.button("Agregar y probar")
    first = page.locator("#suggestions button").first
    expect(first).to_be_visible(timeout=READ_MS)
    hand.press(first)
    answer = page.locator("#trial-thread .msg--bot").last
    expect(answer.locator(".source")).to_contain_text("Envíos")
    took = time.monotonic() - began
    assert hand.clicks <= MAX_CLICKS, hand.trail
    assert took <= MAX_SECONDS
    print(f"{hand.clicks} clicks, {took:.0f} s: {hand.trail}")


def add_and_try(page: Page) -> None:
    """Paste the shop's text and wait until the bot answers from it."""
    page.get_by_label("O pega un texto").fill(SHOP)
    page.get_by_role("button", name="Agregar y probar").click()
    expect(page.locator("#suggestions button").first).to_be_visible(timeout=READ_MS)


def begin(page: Page, installed: Installed) -> None:
    """Sign up, begin the trial and create the bot."""
    hand = Hand(page)
    sign_up(hand, installed)
    hand.button("Continuar")
    hand.button("Crear bot")


def drop(page: Page, name: str, content: str) -> None:
    """Drop a file on the zone for documents."""
    page.wait_for_load_state("load")
    dropped = page.evaluate_handle(
        """([name, content]) => {
          const data = new DataTransfer();
          data.items.add(new File([content], name));
          return data;
        }""",
        [name, content],
    )
    page.dispatch_event(".drop", "drop", {"dataTransfer": dropped})


LOOKS = [(320, False), (390, True), (1280, False), (1280, True)]


def test_every_step_fits_the_screen_and_is_accessible(
    browser: Browser, installed: Installed
) -> None:
    context = open_browser(browser, installed)
    page = context.new_page()
    sign_up(Hand(page), installed)
    views = [
        open_browser(browser, installed, width=width, dark=dark).new_page() for width, dark in LOOKS
    ]
    for view in views:
        view.context.add_cookies(context.cookies())
    english = open_browser(browser, installed, locale="en-US", width=390).new_page()
    english.context.add_cookies([one for one in context.cookies() if "language" not in one["name"]])

    def look(step: str, path: str) -> None:
        for view, (width, dark) in zip(views, LOOKS, strict=True):
            view.goto(path)
            assert_fine(view, f"{step}-{width}-{'dark' if dark else 'light'}")
        english.goto(path)
        expect(english.locator("html")).to_have_attribute("lang", "en")
        assert_fine(english, f"{step}-en")

    look("plan", "/onboarding/plan")
    page.get_by_role("button", name="Continuar", exact=True).click()
    look("bot", "/onboarding/bot")
    page.get_by_role("button", name="Crear bot").click()
    look("documents", "/onboarding/documents")
    look("test-nothing", "/onboarding/test")
    look("home-nothing", "/console/home")
    page.goto("/onboarding/documents")
    add_and_try(page)
    look("test-ready", "/onboarding/test")
    page.locator("#suggestions button").first.click()
    expect(page.locator("#trial-thread .source").first).to_be_visible()
    assert_fine(page, "test-answered")
    look("home-ready", "/console/home")
    for view in views:
        view.goto("/console/knowledge")
        view.locator("#paste summary").click()
        assert_fine(view, f"knowledge-{view.viewport_size['width']}")


def test_with_the_keyboard_alone(browser: Browser, installed: Installed) -> None:
    page = open_browser(browser, installed).new_page()
    sign_up(Hand(page), installed)

    def reach(target: Locator) -> None:
        """Press Tab until the element has the focus."""
        for _ in range(60):
            if target.evaluate("e => e === document.activeElement"):
                return
            page.keyboard.press("Tab")
        raise AssertionError(f"Tab does not reach {target}")

    page.wait_for_url(re.compile("/onboarding/plan"))
    reach(page.get_by_role("button", name="Continuar", exact=True))
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/onboarding/bot"))
    reach(page.get_by_role("button", name="Crear bot"))
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/onboarding/documents"))
    reach(page.get_by_label("O pega un texto"))
    page.keyboard.insert_text(SHOP)
    reach(page.get_by_role("button", name="Agregar y probar"))
    page.keyboard.press("Enter")
    first = page.locator("#suggestions button").first
    expect(first).to_be_visible(timeout=READ_MS)
    reach(first)
    page.keyboard.press("Enter")
    expect(page.locator("#trial-thread .source").first).to_be_visible()


def test_without_a_script_every_form_works(browser: Browser, installed: Installed) -> None:
    page = open_browser(browser, installed, script=False).new_page()
    begin(page, installed)
    page.get_by_label("O pega un texto").fill(SHOP)
    page.get_by_role("button", name="Agregar y probar").click()
    deadline = time.monotonic() + READ_MS / 1000
    while page.locator("#suggestions button").count() == 0:
        assert time.monotonic() < deadline, page.locator("#learned").inner_text()
        page.get_by_role("link", name="Actualizar").click()
    page.get_by_label("Mensaje de prueba", exact=True).last.fill(
        "¿Cuánto cuesta el domicilio en Bogotá?"
    )
    page.get_by_role("button", name="Enviar").click()
    expect(page.locator("#trial-thread .source").first).to_be_visible()
    expect(page.locator("#trial-thread")).to_contain_text("8.000")
    page.locator("#suggestions button").first.click()
    expect(page.locator("#trial-thread .source").first).to_be_visible()


def test_a_skipped_step_is_the_next_at_home_and_an_unreadable_file_says_what_to_do(
    browser: Browser, installed: Installed
) -> None:
    page = open_browser(browser, installed, width=390).new_page()
    begin(page, installed)
    page.get_by_role("button", name="Ahora no").click()
    expect(page.get_by_text("El bot todavía no sabe nada de tu empresa")).to_be_visible()
    page.get_by_role("link", name="Ir al inicio").click()
    page.get_by_role("link", name="Seguir: Subir documentos").click()
    blank = {"name": "blanco.txt", "mimeType": "text/plain", "buffer": b"\n \n"}
    page.locator("#files").set_input_files(blank)
    expect(page.get_by_text("blanco.txt")).to_be_visible()
    page.get_by_role("button", name="Agregar y probar").click()
    expect(page.get_by_text("No pudimos leer blanco.txt")).to_be_visible(timeout=READ_MS)
    assert_fine(page, "test-failed-390")
    page.get_by_role("link", name="Agregar otro documento").click()
    drop(page, "tienda.md", SHOP)
    expect(page.get_by_text("tienda.md")).to_be_visible()
    page.get_by_role("button", name="Agregar y probar").click()
    expect(page.locator("#suggestions button").first).to_be_visible(timeout=READ_MS)
    page.get_by_role("link", name="Ir al inicio").click()
    expect(page.get_by_text("Tu bot todavía no sabe nada")).to_have_count(0)
