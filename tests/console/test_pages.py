"""What holds for every page: no inline script or style, no missing icon or text, no dead file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import httpx
import psycopg
import pytest

from neurant.console.static_files import ROOT, static_url
from neurant.installation.embedded import Urls
from neurant.texts import catalogue
from tests.companies import Company, make_company

pytest_plugins = ("tests.console.running_web",)

TEMPLATE_ROOT = ROOT.parent / "templates"
TEMPLATES = sorted(TEMPLATE_ROOT.rglob("*.html"))
SignIn = Callable[[Company, str], httpx.Client]
INLINE = re.compile(
    r"<script(?![^>]*\bsrc=)|<style|\sstyle\s*=|\son[a-z]+=|javascript:|hx-on", re.IGNORECASE
)


@pytest.mark.parametrize(
    "template", TEMPLATES, ids=lambda path: str(path.relative_to(TEMPLATE_ROOT))
)
def test_a_template_holds_no_inline_script_or_style(template: Path) -> None:
    assert INLINE.findall(template.read_text("utf-8")) == []


def test_every_icon_that_a_template_names_exists() -> None:
    sprite = set(re.findall(r'id="i-([a-z]+)"', (ROOT / "icons.svg").read_text("utf-8")))
    named = {
        name
        for template in TEMPLATES
        for name in re.findall(r'icon\("([a-z]+)"|#i-([a-z]+)"', template.read_text("utf-8"))
        for name in name
        if name
    }
    assert named
    assert named <= sprite


def test_every_text_that_a_template_names_exists() -> None:
    named = {
        name
        for template in TEMPLATES
        for name in re.findall(r'\bt\("([a-z_.0-9]+)"[,)]', template.read_text("utf-8"))
    }
    assert len(named) > 100
    assert named <= set(catalogue("es"))


def test_a_pages_policy_allows_nothing_inline(nobody: httpx.Client, acme: Company) -> None:
    for path in ("/login", f"/chat/{acme.web}"):
        policy = nobody.get(path).headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy


def test_only_the_chat_may_be_framed(nobody: httpx.Client, acme: Company) -> None:
    chat = nobody.get(f"/chat/{acme.web}").headers["content-security-policy"]
    login = nobody.get("/login").headers["content-security-policy"]
    assert chat.endswith("frame-ancestors *")
    assert login.endswith("frame-ancestors 'none'")


def test_a_file_with_its_version_is_kept_and_one_without_is_asked_for_again(
    nobody: httpx.Client,
) -> None:
    versioned = nobody.get(static_url("css/base.css"))
    assert "immutable" in versioned.headers["cache-control"]
    plain = nobody.get("/static/css/base.css")
    assert plain.headers["cache-control"] == "no-cache"
    known = {"If-None-Match": plain.headers["etag"]}
    assert nobody.get("/static/css/base.css", headers=known).status_code == 304


@pytest.mark.parametrize("path", ["../console/routes.py", "..%2f..%2fapp.py", "nothing.css"])
def test_nothing_outside_the_static_folder_is_served(nobody: httpx.Client, path: str) -> None:
    assert nobody.get(f"/static/{path}").status_code == 404


def test_every_file_that_a_page_links_is_there(
    nobody: httpx.Client, sign_in: SignIn, acme: Company
) -> None:
    pages = [nobody.get("/login").text, nobody.get(f"/chat/{acme.web}").text]
    owner = sign_in(acme, "owner")
    pages += [owner.get(path).text for path in ("/console/inbox", "/console/knowledge")]
    linked = {name for page in pages for name in re.findall(r'"(/static/[^"#]+)', page)}
    assert len(linked) > 10
    for name in linked:
        assert nobody.get(name).status_code == 200, name


def test_every_icon_that_a_page_shows_is_in_the_sprite(sign_in: SignIn, acme: Company) -> None:
    owner, sprite = sign_in(acme, "owner"), (ROOT / "icons.svg").read_text("utf-8")
    places = ("home", "inbox", "bots", f"bots/{acme.bot_id}", "team", "plan", "settings/audit")
    for place in places:
        shown = set(re.findall(r"#(i-[a-z]+)", owner.get(f"/console/{place}").text))
        assert len(shown) > 5
        assert {name for name in shown if f'id="{name}"' not in sprite} == set(), place
    for channel in ("whatsapp", "telegram", "slack"):
        assert f'id="i-{channel}"' in sprite


def test_the_chat_speaks_the_visitors_language(nobody: httpx.Client, acme: Company) -> None:
    spanish = nobody.get(f"/chat/{acme.web}").text
    english = nobody.get(f"/chat/{acme.web}", headers={"Accept-Language": "en-GB"}).text
    assert '<html lang="es"' in spanish
    assert "Hablar con una persona" in spanish
    assert '<html lang="en"' in english
    assert "Talk to a person" in english


def test_an_unknown_chat_is_a_page_that_says_so(nobody: httpx.Client) -> None:
    answer = nobody.get("/chat/no-such-chat")
    assert answer.status_code == 404
    assert "Este chat no está disponible" in answer.text


def test_the_widget_carries_its_texts_in_both_languages(nobody: httpx.Client) -> None:
    script = nobody.get("/widget.js")
    assert script.headers["content-type"].startswith("text/javascript")
    assert "Abrir chat" in script.text
    assert "Open chat" in script.text
    assert "const TEXTS = {};" not in script.text


def test_theme_and_language_are_kept_and_lead_back(
    sign_in: SignIn, acme: Company, web_url: str
) -> None:
    client = httpx.Client(base_url=web_url, cookies=sign_in(acme, "owner").cookies)
    form = {"theme": "dark", "language": "en", "back": "/console/knowledge"}
    answer = client.post("/console/preferences", data=form)
    assert answer.headers["location"] == "/console/knowledge"
    shown = client.get("/console/knowledge").text
    assert '<html lang="en" data-theme="dark"' in shown
    client.post("/console/preferences", data={"theme": "system"})
    assert "data-theme" not in client.get("/console/knowledge").text


def test_the_pages_script_cannot_start_before_its_live_extension_has_come(
    sign_in: SignIn, acme: Company
) -> None:
    # Deferred, htmx starts on its own clock, and a slow network left the inbox without its stream.
    shown = sign_in(acme, "operador").get("/console/inbox").text
    scripts = re.findall(r"<script src=\"/static/vendor/(htmx|hx-sse)\.min\.js[^>]*>", shown)
    assert scripts == ["htmx", "hx-sse"]
    assert not re.search(r"/static/vendor/[^>]*\b(defer|async)\b", shown)


OFFERED = (
    ("documents.edit", "/console/knowledge", 'id="upload"'),
    ("chatbots.edit", "/console/bots", 'href="/console/bots/new"'),
    ("chatbots.edit", "/console/home", 'href="/console/bots/new"'),
    ("conversations.read", "/console/home", 'class="btn btn--s" href="/console/inbox"'),
    ("chatbots.edit", "/console/bots/{bot}", 'class="savebar"'),
    ("chatbots.retire", "/console/bots/{bot}", 'id="retire-bot"'),
    ("chatbots.assign_operators", "/console/bots/{bot}", "/operators"),
    ("channels.manage", "/console/bots/{bot}", "/channels"),
    ("invitations.manage", "/console/team", 'action="/console/team/invitations"'),
    ("users.manage", "/console/team", 'class="person__manage"'),
    ("api_keys.manage", "/console/settings/api-keys", "/api-keys/new"),
    ("data.export", "/console/settings/audit", "/audit/export"),
)


def test_every_page_offers_only_what_its_reader_may_do(
    urls: Urls,
    sign_in: Callable[[Company, str], httpx.Client],
    known_password: str,
    database: psycopg.Connection,
) -> None:
    firm = make_company(urls.admin, "acme", password_hash=known_password)
    client = sign_in(firm, "administrador")
    narrow = "update users set permissions = %s where company_id = %s and id = %s"
    where = (firm.id, firm.people["administrador"].id)
    for permission, path, action in OFFERED:
        place = path.format(bot=firm.bot_id)
        assert action in client.get(place).text, (permission, path)
        database.execute(narrow, (json.dumps({permission: False}), *where))
        shown = client.get(place)
        assert (shown.status_code, action in shown.text) == (200, False), (permission, path)
        database.execute(narrow, ("{}", *where))
