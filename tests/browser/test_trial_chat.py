"""The trial chat of a bot in a real browser: it remembers what was said in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.companies import Company
from tests.console.people import PASSWORD
from tests.support.phrases import spoken

pytestmark = pytest.mark.browser
pytest_plugins = ("tests.console.running_web",)

CHROMIUM = Path("/usr/bin/chromium")


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


def test_the_trial_chat_collects_a_request_over_several_messages(
    browser: Browser, web_url: str, acme: Company, tmp_path: Path
) -> None:
    page = browser.new_page(base_url=web_url, locale="es-CO", reduced_motion="reduce")
    page.set_default_timeout(15_000)
    page.goto("/login")
    page.locator("[name=email]").fill(acme.people["owner"].email)
    page.locator("[name=password]").fill(PASSWORD)
    page.locator("form button[type=submit]").first.click()
    page.wait_for_url("**/console/**")
    page.goto(f"/console/bots/{acme.bot_id}")
    page.locator("#settings [name=system_prompt]").fill("Responde con los documentos.")
    thread = page.locator("#trial-thread")
    for message, answer in (
        ("quiero reservar un turno para mañana", spoken("ask_service")),
        ("lavado de cortinas", spoken("ask_name")),
        ("Ana Ruiz", spoken("ask_contact")),
        ("300 555 0123", "lavado de cortinas"),
    ):
        page.locator("#trial-form textarea").fill(message)
        page.locator("#trial-form button").click()
        expect(thread.locator(".msg--bot").last).to_contain_text(answer)
    page.locator("#trial-panel").screenshot(path=tmp_path / "trial.png")
    page.close()
