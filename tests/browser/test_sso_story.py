"""Single sign-on in a real browser: the owner connects a provider, a colleague comes in by it."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from neurant.auth.passwords import hash_password
from neurant.installation.embedded import Urls
from tests.companies import Company
from tests.support.dns_server import DnsServer, running_dns
from tests.support.oidc_peer import Peer, running_peer
from tests.support.sso import confirmed_company, domain, sso_web

pytestmark = pytest.mark.browser

CHROMIUM = Path("/usr/bin/chromium")
AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
KEPT = os.environ.get("NEURANT_SCREENSHOTS")
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
PASSWORD = "un-paraguas-amarillo"


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    with running_peer() as running:
        yield running


@pytest.fixture(scope="module")
def dns_server() -> Iterator[DnsServer]:
    with running_dns() as server:
        yield server


@pytest.fixture(scope="module")
def web(
    urls: Urls, tmp_path_factory: pytest.TempPathFactory, dns_server: DnsServer
) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("sso-story")
    with sso_web(urls, folder, dns_servers=dns_server.address) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.skip("Debian's chromium is not installed")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def acme(urls: Urls) -> Company:
    return confirmed_company(urls.admin, "acme", password_hash=hash_password(PASSWORD))


def new_page(browser: Browser) -> Page:
    page = browser.new_context(
        viewport=DESK, locale="es-CO", reduced_motion="reduce", color_scheme="light"
    ).new_page()
    page.set_default_timeout(10_000)
    return page


def looked_at(page: Page, name: str) -> None:
    """Nothing that axe finds, in light and dark, on a desk and a phone; pictures where wanted."""
    for size, device in ((DESK, "desk"), (PHONE, "phone")):
        page.set_viewport_size(size)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            # Colours move from one scheme to the other; axe would measure them on their way.
            page.evaluate("Promise.allSettled(document.getAnimations().map((one) => one.finished))")
            page.evaluate(AXE.read_text("utf-8"))
            found = page.evaluate("axe.run()")["violations"]
            assert not found, [
                (one["id"], [n["html"][:120] for n in one["nodes"]]) for one in found
            ]
            wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0, f"{name} is wider than the {device}"
            if KEPT:
                page.screenshot(path=Path(KEPT) / f"{name}-{device}-{scheme}.png", full_page=True)
    page.set_viewport_size(DESK)
    page.emulate_media(color_scheme="light")


def test_the_owner_connects_a_provider_and_a_colleague_comes_in_by_it(
    browser: Browser, web: str, peer: Peer, acme: Company, dns_server: DnsServer
) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not installed: run make setup")
    owner = new_page(browser)
    owner.goto(f"{web}/login?next=/console/settings/sso")
    owner.get_by_label("Correo de trabajo").fill(acme.people["owner"].email)
    owner.get_by_label("Contraseña", exact=True).fill(PASSWORD)
    owner.get_by_role("button", name="Entrar", exact=True).click()
    expect(owner.get_by_role("heading", name="Todavía no hay un proveedor")).to_be_visible()
    looked_at(owner, "sso-empty")

    owner.get_by_label("Nombre").fill("Acme ID")
    owner.get_by_label("Emisor").fill(f"{peer.issuer}/")
    owner.get_by_label("Identificador de cliente").fill("acme")
    owner.get_by_label("Secreto de cliente").fill("secret-of-acme")
    owner.get_by_label("Dominios de correo").fill("gmail.com")
    owner.get_by_role("button", name="Conectar").click()
    expect(owner.locator("#new")).to_contain_text("gmail.com es de un servicio de correo público")
    expect(owner.get_by_label("Nombre")).to_have_value("Acme ID")
    owner.get_by_label("Dominios de correo").fill(domain(acme).upper())
    owner.get_by_label("Secreto de cliente").fill("secret-of-acme")
    owner.get_by_role("button", name="Conectar").click()
    card = owner.locator("section.card").first
    expect(card).to_contain_text(domain(acme))
    card.get_by_role("button", name="Probar").click()
    expect(card).to_contain_text("El proveedor dice llamarse")
    looked_at(owner, "sso-wrong")
    card.get_by_text("Eliminar", exact=True).click()
    card.get_by_role("button", name="Sí, eliminar la conexión").click()
    expect(owner.get_by_text("Conexión eliminada")).to_be_visible()

    owner.get_by_label("Nombre").fill("Acme ID")
    owner.get_by_label("Emisor").fill(peer.issuer)
    owner.get_by_label("Identificador de cliente").fill("acme")
    owner.get_by_label("Secreto de cliente").fill("secret-of-acme")
    owner.get_by_label("Dominios de correo").fill(domain(acme))
    owner.get_by_role("button", name="Conectar").click()
    card.get_by_role("button", name="Probar").click()
    expect(card).to_contain_text("Todo en orden")
    expect(card).to_contain_text("Por comprobar")
    expect(card).to_contain_text(f"_neurant-challenge.{domain(acme)}")
    card.get_by_text("Cambiar", exact=True).click()
    looked_at(owner, "sso-pending")
    card.get_by_role("button", name="Buscar el registro").click()
    expect(owner.get_by_text("Todavía no encontramos el registro TXT")).to_be_visible()
    record = dns_server.records_of(owner.locator(".record code").all_text_contents())
    dns_server.answers = record
    owner.locator("section.card").first.get_by_role("button", name="Buscar el registro").click()
    expect(owner.get_by_text("Dominio comprobado. Su gente")).to_be_visible()
    expect(card).to_contain_text("Volvemos a buscar el registro TXT cada día")
    looked_at(owner, "sso-proven")

    person = acme.people["supervisor"]
    login = f"sub-{time.time_ns()}"
    peer.person(login, email=person.email, email_verified=True, name="Ana Paz")
    page = new_page(browser)
    page.goto(f"{web}/login?next=/console/knowledge")
    page.get_by_label("Correo de trabajo").fill(person.email)
    page.get_by_label("Contraseña", exact=True).focus()
    offered = page.get_by_role("link", name="Continuar con Acme ID")
    expect(offered).to_be_visible()
    looked_at(page, "sso-login")
    offered.click()
    page.locator("input[name=login]").fill(login)
    page.locator("input[name=password]").fill("x")
    page.get_by_role("button").first.click()
    page.get_by_role("button", name="Continue").click()
    expect(page).to_have_url(re.compile("/console/knowledge"))

    lost = new_page(browser)
    lost.goto(f"{web}/login/sso/callback/{acme.id}?state=unknown&code=x")
    expect(lost.get_by_role("alert")).to_contain_text("Empieza de nuevo")
    looked_at(lost, "sso-lost")
