"""An error is a page for a browser, a notice for a page's script, and JSON for an API client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from neurant.console.pages import chat as chat_routes
from neurant.console.pages import signup
from neurant.core.errors import UnavailableError
from neurant.installation.embedded import Urls
from tests.companies import Company, make_company
from tests.console.running_web import serving, web_settings

pytest_plugins = ("tests.console.running_web",)
SignIn = Callable[[Company, str], httpx.Client]

BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
ENGLISH = BROWSER | {"accept-language": "en-GB,en;q=0.9"}
SCRIPT = {"hx-request": "true", "accept": "text/html, */*"}
API_CLIENTS: tuple[dict[str, str], ...] = ({"accept": "application/json"}, {"accept": "*/*"}, {})
LARGE = b"x=" + b"y" * (2 * 1024 * 1024)
FORM = {"content-type": "application/x-www-form-urlencoded"}


def assert_page(answer: httpx.Response, status: int, heading: str, language: str = "es") -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert f'<html lang="{language}"' in answer.text
    assert f"<h1>{heading}</h1>" in answer.text
    assert answer.headers["x-request-id"] in answer.text
    assert 'class="btn btn--primary" href="/' in answer.text
    assert "urn:neurant" not in answer.text
    assert "Accept" in answer.headers["vary"].split(", ")


def assert_problem(answer: httpx.Response, status: int) -> None:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def assert_notice(answer: httpx.Response, status: int) -> None:
    assert answer.status_code == status
    assert answer.headers["hx-reswap"] == "none"
    assert answer.text.startswith('<hx-partial hx-target="#toasts"')
    assert "toast--bad" in answer.text


PLACES = (
    "/nothing",
    "/console/nada",
    "/chat/a/b/c",
    "/login/nada",
    "/static/nada.css",
    "/v1/nothing",
)


@pytest.mark.parametrize("path", PLACES)
def test_an_unknown_address_is_a_page_in_the_readers_language(
    nobody: httpx.Client, path: str
) -> None:
    heading = "No encontramos esta página", "We can&#39;t find this page"
    assert_page(nobody.get(path, headers=BROWSER), 404, heading[0])
    assert_page(nobody.get(path, headers=ENGLISH), 404, heading[1], "en")
    chosen = {"cookie": "neurant_language=en; neurant_theme=dark"} | BROWSER
    page = nobody.get(path, headers=chosen)
    assert_page(page, 404, heading[1], "en")
    assert 'data-theme="dark"' in page.text
    assert_notice(nobody.get(path, headers=SCRIPT), 404)
    for accepted in API_CLIENTS:
        assert_problem(nobody.get(path, headers=accepted), 404)


@pytest.mark.parametrize("path", ["/v1/session", "/v1/chatbots", "/webhooks/telegram/nobody"])
@pytest.mark.parametrize("headers", [BROWSER, SCRIPT, *API_CLIENTS])
def test_the_api_and_the_webhooks_answer_json_to_everybody(
    nobody: httpx.Client, path: str, headers: dict[str, str]
) -> None:
    answer = nobody.request("POST" if "webhooks" in path else "GET", path, headers=headers)
    assert answer.status_code in (401, 404, 405)
    assert_problem(answer, answer.status_code)


@pytest.mark.parametrize(
    ("accept", "is_page"),
    [
        ("text/html", True),
        ("application/json;q=0.5, text/html", True),
        ("application/json, text/html;q=0.5", False),
        ("text/html;q=0, */*", False),
        ("text/html;q=x", False),
        ("application/xhtml+xml", True),
        ("text/plain", False),
    ],
)
def test_the_format_that_the_request_likes_best_is_answered(
    nobody: httpx.Client, accept: str, is_page: bool
) -> None:
    answer = nobody.get("/nothing", headers={"accept": accept})
    assert answer.headers["content-type"].startswith("text/html") is is_page


def test_a_pages_own_fetch_reads_json_and_its_window_a_page(nobody: httpx.Client) -> None:
    fetched = BROWSER | {"sec-fetch-dest": "empty"}
    assert_problem(nobody.get("/nothing", headers=fetched), 404)
    assert_page(
        nobody.get("/nothing", headers=BROWSER | {"sec-fetch-dest": "document"}),
        404,
        "No encontramos esta página",
    )


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/login", "GET, POST"),
        ("POST", "/console/home", "GET"),
        ("PUT", "/chat/any", "GET"),
        ("GET", "/logout", "POST"),
    ],
)
def test_a_wrong_method_is_a_page_that_says_what_the_address_takes(
    nobody: httpx.Client, method: str, path: str, allowed: str
) -> None:
    spanish = nobody.request(method, path, headers=BROWSER)
    assert_page(spanish, 405, "Esta dirección no se abre así")
    assert spanish.headers["allow"] == allowed
    english = nobody.request(method, path, headers=ENGLISH)
    assert_page(english, 405, "This address cannot be opened that way", "en")
    assert_notice(nobody.request(method, path, headers=SCRIPT), 405)
    for accepted in API_CLIENTS:
        problem = nobody.request(method, path, headers=accepted)
        assert_problem(problem, 405)
        assert problem.headers["allow"] == allowed


@pytest.mark.parametrize("path", ["/login", "/signup", "/console/bots", "/nothing"])
def test_a_body_that_is_too_large_is_a_page_with_a_way_back_to_the_form(
    nobody: httpx.Client, path: str
) -> None:
    def post(headers: dict[str, str]) -> httpx.Response:
        return nobody.post(path, content=LARGE, headers=FORM | headers)

    from_form = {"referer": str(nobody.base_url.join("/signup?lang=es"))}
    spanish = post(BROWSER | from_form)
    assert_page(spanish, 413, "Lo que enviaste es demasiado grande")
    assert 'href="/signup?lang=es">Volver a la página anterior</a>' in spanish.text
    assert_page(post(ENGLISH), 413, "What you sent is too large", "en")
    assert_notice(post(SCRIPT), 413)
    for accepted in API_CLIENTS:
        assert_problem(post(accepted), 413)


def test_the_way_back_never_leads_to_another_site(nobody: httpx.Client) -> None:
    host = nobody.base_url.netloc.decode()
    for referer in (
        "https://evil.example/x",
        f"http://{host}//evil.example",
        "javascript:alert(1)",
    ):
        page = nobody.put("/login", headers=BROWSER | {"referer": referer})
        assert 'href="/login">' in page.text
        assert "evil" not in page.text


def test_somebody_who_is_signed_in_is_led_to_the_inbox(sign_in: SignIn, acme: Company) -> None:
    page = sign_in(acme, "operador").get("/nothing", headers=BROWSER)
    assert 'href="/console/inbox">Ir a la bandeja</a>' in page.text


def test_what_somebody_may_not_do_is_a_page(sign_in: SignIn, acme: Company) -> None:
    client, path = sign_in(acme, "operador"), "/console/bots/new"
    assert_page(client.get(path, headers=BROWSER), 403, "Tu rol no incluye esto")
    assert_page(client.get(path, headers=ENGLISH), 403, "Your role does not include this", "en")
    assert_notice(client.get(path, headers=SCRIPT), 403)
    assert_problem(client.get(path, headers={"accept": "application/json"}), 403)


@pytest.fixture(scope="module")
def one_page_a_minute(urls: Urls, known_password: str) -> Iterator[Company]:
    company = make_company(urls.admin, "rival", password_hash=known_password)
    with psycopg.connect(urls.admin, autocommit=True) as admin:
        admin.execute(
            "update companies set subscription_plan = 'starter' where id = %s", (company.id,)
        )
        admin.execute("update plans set requests_per_minute = 1 where plan = 'starter'")
        yield company
        admin.execute("update plans set requests_per_minute = 300 where plan = 'starter'")


def test_too_many_pages_are_a_page_that_says_when_to_come_back(
    sign_in: SignIn, one_page_a_minute: Company
) -> None:
    client, path = sign_in(one_page_a_minute, "owner"), "/console/team?x=1"
    for _ in range(3):
        client.get(path)
    spanish = client.get(path, headers=BROWSER)
    assert_page(spanish, 429, "Demasiadas solicitudes seguidas")
    assert 'href="/console/team?x=1">Volver a intentarlo</a>' in spanish.text
    assert int(spanish.headers["retry-after"]) >= 1
    assert_page(client.get(path, headers=ENGLISH), 429, "Too many requests", "en")
    assert_notice(client.get(path, headers=SCRIPT), 429)
    assert_problem(client.get(path, headers={"accept": "application/json"}), 429)


@pytest.fixture(scope="module")
def failing_url(urls: Urls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A web process with a programming error in two pages."""

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a detail that nobody outside may read")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chat_routes, "is_routing_id", fail)
        patch.setattr(signup, "render", fail)
        with serving(web_settings(urls.app, tmp_path_factory.mktemp("failing"))) as url:
            yield url


@pytest.mark.parametrize("path", ["/signup", "/chat/any"])
def test_an_error_of_ours_is_a_page_without_its_details(failing_url: str, path: str) -> None:
    def get(headers: dict[str, str]) -> httpx.Response:
        # A connection of its own: the server closes one on which the application failed.
        return httpx.get(failing_url + path, headers=headers)

    spanish, english = get(BROWSER), get(ENGLISH)
    assert_page(spanish, 500, "Algo falló de nuestro lado")
    assert f'href="{path}">Volver a intentarlo</a>' in spanish.text
    assert_page(english, 500, "Something went wrong on our side", "en")
    assert_notice(get(SCRIPT), 500)
    for accepted in API_CLIENTS:
        assert_problem(get(accepted), 500)
    assert "nobody outside" not in spanish.text + english.text


@pytest.fixture(scope="module")
def without_database(urls: Urls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A web process whose pages find no database."""

    def away(*_: object, **__: object) -> None:
        raise psycopg.OperationalError("gone")

    def busy(*_: object, **__: object) -> None:
        raise UnavailableError("busy", seconds=3)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chat_routes, "is_routing_id", away)
        patch.setattr(signup, "render", busy)
        with serving(web_settings(urls.app, tmp_path_factory.mktemp("away"))) as url:
            yield url


@pytest.mark.parametrize(
    ("path", "told"),
    [("/chat/any", "La base de datos no responde"), ("/signup", "El servicio está muy ocupado")],
)
def test_what_is_not_there_for_a_moment_is_a_page_that_offers_to_try_again(
    without_database: str, path: str, told: str
) -> None:
    with httpx.Client(base_url=without_database) as client:
        spanish = client.get(path, headers=BROWSER)
        assert_page(spanish, 503, "No podemos mostrar esta página ahora")
        assert told in spanish.text
        assert int(spanish.headers["retry-after"]) >= 1
        heading = "We can&#39;t show this page right now"
        assert_page(client.get(path, headers=ENGLISH), 503, heading, "en")
        assert_notice(client.get(path, headers=SCRIPT), 503)
        assert_problem(client.get(path, headers={"accept": "application/json"}), 503)


def test_a_page_of_an_error_has_the_products_style_and_no_answer_to_head_has_a_body(
    nobody: httpx.Client,
) -> None:
    page = nobody.get("/nothing", headers=BROWSER).text
    assert 'href="/static/css/base.css?v=' in page
    head = nobody.head("/nothing", headers=BROWSER)
    assert (head.status_code, head.content) == (404, b"")


def test_the_tests_large_body_is_larger_than_the_limit(tmp_path: Path, urls: Urls) -> None:
    assert len(LARGE) > web_settings(urls.app, tmp_path).max_webhook_bytes
