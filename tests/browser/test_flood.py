"""What a visitor sees while there is too much at once: a short moment, or when to try again."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from neurant.installation.embedded import connection_urls
from tests.browser.running import Platform, demo
from tests.browser.test_story import AXE, CHROMIUM, DESK, PHONE, assert_accessible, keep, new_page

pytestmark = [pytest.mark.browser, pytest.mark.platform]
CHAT = "/chat/demo-los-cedros"
USED = """
insert into visitor_allowances (key_digest, used_until)
select sha256(convert_to(concat_ws('|', %(a)s::text, %(d)s::text, %(v)s::text), 'UTF8')),
  clock_timestamp() + %(u)s::float8 / l.refill * interval '1 second'
from private.visitor_limits(%(a)s::text) l where l.dimension = %(d)s::text
on conflict (key_digest) do update set used_until = excluded.used_until
"""


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Platform, str]]:
    """The demo, and the administrator's address of its database."""
    with TemporaryDirectory(prefix="neurant-demo-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)  # PostgreSQL's account must be able to pass through
        with demo(Path(folder)) as platform:
            yield platform, connection_urls(Path(folder) / "data").admin


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


@pytest.fixture(autouse=True)
def closed_pages(browser: Browser) -> Iterator[None]:
    """No page of one test goes on trying in the next."""
    yield
    for context in browser.contexts:
        context.close()


def flood(admin: str, action: str, dimension: str, value: str, units: float) -> None:
    with psycopg.connect(admin) as db:
        db.execute(USED, {"a": action, "d": dimension, "v": value, "u": units})


def calm(admin: str) -> None:
    with psycopg.connect(admin) as db:
        db.execute("delete from visitor_allowances")
        db.execute("update companies set visitor_conversations_per_hour = null")
        db.execute("update visitor_sessions set conversation_at = null")


def violations_of_policy(page: Page) -> list[str]:
    told: list[str] = []
    page.on(
        "console", lambda one: told.append(one.text) if "Content Security" in one.text else None
    )
    return told


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_under_a_flood_the_page_solves_the_challenge_and_goes_on(
    running: tuple[Platform, str], browser: Browser, size: dict[str, int], scheme: str
) -> None:
    platform, admin = running
    calm(admin)
    flood(admin, "open", "address", "127.0.0.1", 300)
    page = new_page(browser, size, scheme)
    policy = violations_of_policy(page)
    # A slow phone: the moment is long enough to be seen.
    session = page.context.new_cdp_session(page)
    session.send("Emulation.setCPUThrottlingRate", {"rate": 4})
    page.goto(platform.url + CHAT)
    with psycopg.connect(admin) as db:
        # The stream's first attempt opens the session, by a proof of work.
        page.wait_for_function(
            "() => localStorage.getItem('neurant:demo-los-cedros:token') !== null"
        )
        assert db.execute("select count(*) from visitor_proofs").fetchone()[0] >= 1
    expect(page.locator("#solving")).to_be_hidden()
    page.locator("#draft").fill("¿Dónde queda la clínica?")
    page.locator("#draft").press("Enter")
    expect(page.locator("#thread .msg--bot").last).to_contain_text("Calle 57")
    assert policy == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_a_company_that_is_full_says_so_and_the_message_is_sent_by_itself_later(
    running: tuple[Platform, str], browser: Browser, size: dict[str, int], scheme: str
) -> None:
    platform, admin = running
    calm(admin)
    with psycopg.connect(admin) as db:
        db.execute("update companies set visitor_conversations_per_hour = 1")
        # The hour is over in a few seconds.
        db.execute(
            "insert into visitor_sessions (company_id, channel_account_id, token_digest, expires_at,"
            " conversation_at) select company_id, id, sha256(gen_random_uuid()::text::bytea),"
            " now() + interval '1 day', now() - interval '59 minutes 50 seconds'"
            " from channel_accounts where routing_id = 'demo-los-cedros'"
        )
    page = new_page(browser, size, scheme)
    page.goto(platform.url + CHAT)
    expect(page.locator("#send")).to_be_enabled()
    page.locator("#draft").fill("¿Dónde queda la clínica?")
    page.locator("#draft").press("Enter")
    mine = page.locator("#thread .msg--me")
    expect(mine).to_contain_text("todas las conversaciones nuevas que admite en una hora")
    expect(mine).to_contain_text("tu mensaje está guardado")
    keep(page, f"chat-full-{scheme}-{'desk' if size is DESK else 'phone'}")
    if AXE.exists():
        assert_accessible(page)
    expect(page.locator("#thread .msg--bot").last).to_contain_text("Calle 57", timeout=30_000)
    expect(mine).to_have_count(1)
    expect(mine.locator("[data-state=held]")).to_be_hidden()


def test_a_chat_that_cannot_be_opened_now_says_when(
    running: tuple[Platform, str], browser: Browser
) -> None:
    platform, admin = running
    calm(admin)
    flood(admin, "open", "address", "127.0.0.1", 401)
    page = new_page(browser, PHONE)
    page.goto(platform.url + CHAT)
    held = page.locator("#held")
    expect(held).to_contain_text(re.compile("se abrió muchas veces.*en .* segundos"))
    keep(page, "chat-held-phone")
    expect(held).to_be_hidden(timeout=30_000)
    calm(admin)


def test_the_short_moment_is_shown(running: tuple[Platform, str], browser: Browser) -> None:
    platform, admin = running
    calm(admin)
    flood(admin, "open", "address", "127.0.0.1", 300)
    page = new_page(browser, PHONE)
    # Solving waits until the test has looked.
    page.route("**/proof.js*", lambda route: route.fulfill(
        body="addEventListener('message', () => {});", content_type="text/javascript"))  # fmt: skip
    page.goto(platform.url + CHAT)
    expect(page.locator("#solving")).to_contain_text("Un momento…")
    keep(page, "chat-solving-phone")
    calm(admin)
    if os.environ.get("NEURANT_SCREENSHOTS"):
        dark = new_page(browser, DESK, "dark")
        dark.route("**/proof.js*", lambda route: route.fulfill(
            body="addEventListener('message', () => {});", content_type="text/javascript"))  # fmt: skip
        flood(admin, "open", "address", "127.0.0.1", 300)
        dark.goto(platform.url + CHAT)
        expect(dark.locator("#solving")).to_be_visible()
        keep(dark, "chat-solving-dark-desk")
        calm(admin)


def test_the_owner_sets_the_number_in_the_console(
    running: tuple[Platform, str], browser: Browser
) -> None:
    platform, admin = running
    calm(admin)
    page = new_page(browser, DESK)
    page.goto(f"{platform.url}/login")
    page.get_by_label("Correo de trabajo").fill("diana@loscedros.example")
    page.get_by_label("Contraseña", exact=True).fill(platform.demo_password)
    page.get_by_role("button", name="Entrar").click()
    page.wait_for_url("**/console/**")
    page.goto(f"{platform.url}/console/settings/company")
    number = page.get_by_label(re.compile("Conversaciones nuevas del chat web por hora"))
    keep(page, "company-visitors-desk")
    if number.is_enabled():
        number.fill("40")
        page.get_by_role("button", name="Guardar").click()
        expect(number).to_have_value("40")
    calm(admin)
