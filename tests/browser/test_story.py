"""The main job, seen from outside in a real browser: a visitor, the bot, and a person who steps in."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.running import Platform, demo

pytestmark = [pytest.mark.browser, pytest.mark.platform]

CHROMIUM = Path("/usr/bin/chromium")
AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
KEPT = os.environ.get("NEURANT_SCREENSHOTS")
DESK, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
LIVE = 10_000  # ms: far above what live takes, so that a slow machine does not fail the test


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with TemporaryDirectory(prefix="neurant-demo-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)  # PostgreSQL's account must be able to pass through
        with demo(Path(folder)) as running:
            yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.skip("Debian's chromium is not installed")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=str(CHROMIUM),
            args=["--no-sandbox", "--disable-background-networking", "--disable-component-update"],
        )
        yield opened
        opened.close()


def new_page(browser: Browser, size: dict[str, int] = DESK, scheme: str = "light") -> Page:
    context = browser.new_context(
        viewport=size,
        color_scheme=scheme,
        locale="es-CO",
        timezone_id="America/Bogota",
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.set_default_timeout(LIVE)
    return page


def keep(page: Page, name: str) -> None:
    if KEPT:
        page.screenshot(path=Path(KEPT) / f"{name}.png")


def say(page: Page, words: str) -> None:
    expect(page.locator("#send")).to_be_enabled()
    page.locator("#draft").fill(words)
    page.locator("#draft").press("Enter")


def sign_in(page: Page, platform: Platform, email: str, password: str) -> None:
    page.goto(f"{platform.url}/login")
    page.get_by_label("Correo de trabajo").fill(email)
    page.get_by_label("Contraseña", exact=True).fill(password)
    page.get_by_role("button", name="Entrar").click()


def assert_accessible(page: Page) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not installed: run make setup")
    page.evaluate(AXE.read_text("utf-8"))
    found = page.evaluate("axe.run()")["violations"]
    assert not found, [(one["id"], [n["html"][:120] for n in one["nodes"]]) for one in found]


def test_a_visitor_is_answered_then_attended_by_a_person_then_by_the_bot_again(
    platform: Platform, browser: Browser
) -> None:
    visitor = new_page(browser, PHONE)
    visitor.goto(f"{platform.url}/chat/demo-los-cedros")
    say(visitor, "¿Cuánto cuesta una limpieza dental?")
    answer = visitor.locator("#thread .msg--bot").last
    expect(answer).to_contain_text("Tarifas y tratamientos 2026")
    expect(answer).to_contain_text(re.compile(r"\$\s?\d"))
    keep(visitor, "chat-answer-phone")

    operator = new_page(browser)
    sign_in(operator, platform, "marcela@loscedros.example", platform.demo_password)
    expect(operator).to_have_url(re.compile("/console/inbox"))

    say(visitor, "Quiero hablar con una persona, por favor")
    expect(visitor.locator("#thread")).to_contain_text("Ya avisamos a nuestro equipo")

    row = operator.locator("#rows .conv").first
    expect(row).to_contain_text("Quiero hablar con una persona")
    row.click()
    expect(operator.locator("#takeover")).to_be_visible()
    keep(operator, "inbox-queue")
    operator.get_by_role("button", name="Tomar").first.click()
    expect(visitor.locator("#thread")).to_contain_text("Marcela se unió al chat")
    say(visitor, "¿La limpieza duele?")
    expect(operator.locator("#messages")).to_contain_text("¿La limpieza duele?")

    operator.locator("#draft").fill("Hola, soy Marcela. No duele; usamos anestesia si hace falta.")
    operator.locator("#composer button[type=submit], #composer .btn--primary").first.click()
    expect(visitor.locator("#thread")).to_contain_text("usamos anestesia")
    keep(operator, "inbox-attended")
    keep(visitor, "chat-person-phone")
    before = visitor.locator("#thread .msg--bot").count()

    operator.locator("[data-open=resolve]").click()
    operator.locator("dialog[open] button[type=submit], dialog[open] .btn--primary").first.click()
    expect(visitor.locator("#thread")).to_contain_text(
        "El asistente automático vuelve a atender este chat"
    )
    say(visitor, "¿A qué hora abren los sábados?")
    expect(visitor.locator("#thread .msg--bot")).to_have_count(before + 1)
    expect(visitor.locator("#thread .msg--bot").last).to_contain_text("8:00")


def test_a_reload_shows_the_same_conversation_once(platform: Platform, browser: Browser) -> None:
    visitor = new_page(browser)
    visitor.goto(f"{platform.url}/chat/demo-los-cedros")
    say(visitor, "¿Dónde queda la clínica?")
    expect(visitor.locator("#thread .msg--bot")).to_have_count(2)
    expect(visitor.locator("#thread .msg--bot").last).to_contain_text("Calle 57")
    visitor.reload()
    expect(visitor.locator("#thread .msg--me")).to_have_count(1)
    expect(visitor.locator("#thread .msg--bot")).to_have_count(2)


def test_a_wrong_password_says_so_in_spanish(platform: Platform, browser: Browser) -> None:
    page = new_page(browser)
    sign_in(page, platform, "marcela@loscedros.example", "no es esta")
    expect(page.get_by_role("alert")).to_contain_text("no coinciden")
    keep(page, "login-wrong")


@pytest.fixture
def serve_folder() -> Iterator[Callable[[Path], str]]:
    """Serves a folder on a port of its own: for the browser, another site."""
    servers: list[ThreadingHTTPServer] = []

    def serve(folder: Path) -> str:
        handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield serve
    for server in servers:
        server.shutdown()


def test_the_widget_opens_the_chat_on_another_site(
    platform: Platform,
    browser: Browser,
    tmp_path: Path,
    serve_folder: Callable[[Path], str],
) -> None:
    site = tmp_path / "site.html"
    site.write_text(
        "<!doctype html><html lang=es><title>Mi tienda</title><h1>Mi tienda</h1>"
        f'<script src="{platform.url}/widget.js" data-bot="demo-los-cedros" async></script>',
        "utf-8",
    )
    page = new_page(browser)
    page.goto(serve_folder(tmp_path) + "/site.html")
    page.get_by_role("button").first.click()
    chat = page.frame_locator("iframe")
    expect(chat.locator("#send")).to_be_enabled()
    chat.locator("#draft").fill("¿Atienden los domingos?")
    chat.locator("#draft").press("Enter")
    expect(chat.locator("#thread .msg--bot")).to_have_count(2)
    keep(page, "widget")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_no_page_has_an_accessibility_violation(
    platform: Platform, browser: Browser, scheme: str, size: dict[str, int]
) -> None:
    name = f"{scheme}-{'desk' if size is DESK else 'phone'}"
    page = new_page(browser, size, scheme)
    page.goto(f"{platform.url}/login")
    assert_accessible(page)
    keep(page, f"login-{name}")
    sign_in(page, platform, "diana@loscedros.example", platform.demo_password)
    page.wait_for_url("**/console/inbox*")
    assert_accessible(page)
    rows = page.locator("#rows .conv")
    if rows.count():
        rows.first.click()
        page.wait_for_url("**/console/inbox/*")
        assert_accessible(page)
        keep(page, f"inbox-{name}")
    page.goto(f"{platform.url}/console/knowledge")
    assert_accessible(page)
    keep(page, f"knowledge-{name}")
    page.goto(f"{platform.url}/chat/demo-los-cedros")
    say(page, "¿Qué formas de pago reciben?")
    expect(page.locator("#thread .msg--bot")).to_have_count(2)
    assert_accessible(page)
    keep(page, f"chat-{name}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_why_the_bot_said_it_is_shown_in_the_trial_chat_and_on_the_desk(
    platform: Platform, browser: Browser, scheme: str, size: dict[str, int]
) -> None:
    name = f"{scheme}-{'desk' if size is DESK else 'phone'}"
    visitor = new_page(browser)
    visitor.goto(f"{platform.url}/chat/demo-los-cedros")
    say(visitor, "Hola, me llamo Laura")
    expect(visitor.locator("#thread .msg--bot").last).to_contain_text("Laura")
    say(visitor, "¿Cuánto cuesta una limpieza dental?")
    expect(visitor.locator("#thread .msg--bot")).to_have_count(3)

    page = new_page(browser, size, scheme)
    sign_in(page, platform, "diana@loscedros.example", platform.demo_password)
    page.wait_for_url("**/console/inbox*")
    page.locator("#rows .conv", has_text="limpieza").first.click()
    page.wait_for_url("**/console/inbox/*")
    why = page.locator("#messages details", has_text="¿Por qué?").last
    expect(why.get_by_text("Pasajes encontrados")).to_be_hidden()
    why.locator("summary").click()
    expect(why).to_contain_text("con una confianza de")
    expect(why).to_contain_text("Tarifas y tratamientos 2026")
    assert_accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    keep(page, f"why-inbox-{name}")
    page.goto(page.url.split("?")[0] + "/customer")
    expect(page.locator("#fold-known")).to_contain_text("Laura")
    assert_accessible(page)
    keep(page, f"known-{name}")

    page.goto(f"{platform.url}/console/bots")
    page.get_by_role("link", name=re.compile("^Ajustes de")).first.click()
    page.wait_for_url("**/console/bots/*")
    assert_accessible(page)
    page.locator("#address").scroll_into_view_if_needed()
    keep(page, f"bot-manner-{name}")
    page.locator("#max_context_messages").scroll_into_view_if_needed()
    keep(page, f"bot-answers-{name}")
    page.locator("#trial-form textarea").fill("¿Tienen parqueadero para cohetes espaciales?")
    page.locator("#trial-form button").click()
    trial = page.locator("#trial-thread details", has_text="¿Por qué?").last
    trial.locator("summary").click()
    expect(trial).to_contain_text("con una confianza de")
    trial.scroll_into_view_if_needed()
    assert_accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    keep(page, f"why-trial-{name}")
