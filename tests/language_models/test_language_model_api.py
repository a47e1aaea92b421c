"""The settings of a company's language model over the API and on the page: whose they are, what is
stored, and that the key never comes out again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg
import pytest

from neurant.installation.embedded import Urls
from tests.companies import ROLES, Company
from tests.console.people import PASSWORD
from tests.console.running_web import MASTER_KEY, serving, web_settings
from tests.support.asking_models import teach
from tests.support.model_server import ModelServer, Refuse, Say, model_server

pytest_plugins = ("tests.console.running_web",)
PATH, PAGE = "/v1/language-model", "/console/settings/language-model"
KEY = "sk-clave-muy-secreta"
PRICES = "Limpieza dental: $130.000, dura 45 minutos\nBlanqueamiento: $480.000, dura 90 minutos"
SignIn = Callable[[Company, str], httpx.Client]


@pytest.fixture(scope="module")
def scripted() -> Iterator[ModelServer]:
    with model_server() as running:
        yield running


@dataclass
class Web:
    """A web process that may reach the scripted server, and its signed-in browsers."""

    url: str

    @contextmanager
    def as_(self, company: Company, role: str) -> Iterator[httpx.Client]:
        with httpx.Client(base_url=self.url) as client:
            email = company.people[role].email
            answer = client.post("/login", data={"email": email, "password": PASSWORD})
            assert answer.status_code == 303, answer.text
            yield client


@pytest.fixture(scope="module")
def web(urls: Urls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    folder = tmp_path_factory.mktemp("models")
    with serving(web_settings(urls.app, folder, outbound_private_hosts="127.0.0.1")) as url:
        yield Web(url)


@pytest.fixture
def owner(web: Web, acme: Company, database: psycopg.Connection) -> Iterator[httpx.Client]:
    for table in ("language_models", "language_model_usage"):
        database.execute(f"delete from {table}")
    with web.as_(acme, "owner") as client:
        yield client


def settings(scripted: ModelServer, **more: object) -> dict[str, Any]:
    return {"base_url": scripted.url, "model": "modelo-1", "is_active": True, **more}


def stored_key(database: psycopg.Connection, company: Company) -> bytes | None:
    return database.execute(
        "select api_key_encrypted from language_models where company_id = %s", (company.id,)
    ).fetchone()[0]


def test_without_settings_a_company_has_no_model(owner: httpx.Client) -> None:
    told = owner.get(PATH).json()
    assert (told["source"], told["is_configured"], told["usage"]) == ("none", False, [])
    refused = owner.post(f"{PATH}/test")
    assert (refused.status_code, refused.json()["code"]) == (409, "language_models.none")


def test_the_key_is_sealed_and_is_in_no_answer_page_log_or_audit(
    owner: httpx.Client,
    acme: Company,
    scripted: ModelServer,
    database: psycopg.Connection,
    capfd: pytest.CaptureFixture[str],
) -> None:
    saved = owner.put(PATH, json=settings(scripted, api_key=KEY))
    assert saved.status_code == 200, saved.text
    assert saved.json()["has_api_key"]
    assert KEY.encode() not in stored_key(database, acme)
    audited = database.execute(
        "select string_agg(details::text, '') from audit_logs where company_id = %s", (acme.id,)
    ).fetchone()[0]
    assert "api_key_encrypted" in audited
    scripted.usual = Refuse(401)
    tested = owner.post(f"{PATH}/test")
    scripted.usual = Say("listo")
    everywhere = [saved.text, owner.get(PATH).text, owner.get(PAGE).text, tested.text, audited]
    everywhere += capfd.readouterr()
    assert KEY not in "".join(everywhere)
    assert scripted.keys[-1] == f"Bearer {KEY}", "it was opened and sent"


def test_a_saved_key_stays_until_it_is_replaced_deleted_or_the_address_changes(
    owner: httpx.Client, acme: Company, scripted: ModelServer, database: psycopg.Connection
) -> None:
    owner.put(PATH, json=settings(scripted, api_key=KEY))
    first = stored_key(database, acme)
    owner.put(PATH, json=settings(scripted, max_tokens=300))
    assert stored_key(database, acme) == first
    owner.put(PATH, json=settings(scripted, api_key=f"{KEY}-2"))
    assert stored_key(database, acme) not in (None, first)
    moved = owner.put(PATH, json=settings(scripted) | {"base_url": "https://other.example/v1"})
    assert not moved.json()["has_api_key"], "nobody gets the key sent to a server of their own"
    owner.put(PATH, json=settings(scripted, api_key=KEY))
    owner.put(PATH, json=settings(scripted, api_key=None))
    assert stored_key(database, acme) is None


def test_each_company_sees_and_changes_its_own_settings_only(
    owner: httpx.Client, web: Web, rival: Company, scripted: ModelServer
) -> None:
    owner.put(PATH, json=settings(scripted, api_key=KEY, model="modelo-de-acme"))
    with web.as_(rival, "owner") as other:
        assert "modelo-de-acme" not in other.get(PATH).text + other.get(PAGE).text
        assert other.delete(PATH).status_code == 204
        other.put(PATH, json=settings(scripted, model="modelo-de-rival"))
        other.post(f"{PATH}/test")
    told = owner.get(PATH).json()
    assert (told["model"], told["has_api_key"], told["usage"]) == ("modelo-de-acme", True, [])


@pytest.mark.parametrize("role", ROLES)
def test_who_may_see_and_change_the_model(
    web: Web, acme: Company, owner: httpx.Client, scripted: ModelServer, role: str
) -> None:
    manages = role in ("owner", "administrador")
    with web.as_(acme, role) as client:
        read = client.get(PATH).status_code
        changed = client.put(PATH, json=settings(scripted)).status_code
        tested = client.post(f"{PATH}/test").status_code
        page = client.get(PAGE)
        posted = client.post(f"{PAGE}/test").status_code
    assert read == page.status_code == (403 if role == "operador" else 200)
    assert changed == (200 if manages else 403)
    assert (tested == 200, posted == 200) == (manages, manages)
    assert ('name="api_key"' in page.text) is manages


@pytest.mark.parametrize(
    "wrong",
    [
        {"base_url": "http://models.example/v1"},
        {"base_url": "https://user:word@models.example/v1"},
        {"base_url": "ftp://models.example"},
        {"base_url": "https://models.example/v1?key=1"},
        {"base_url": None},
        {"model": None},
        {"model": "two words"},
        {"timeout_seconds": 16},
        {"timeout_seconds": 0},
        {"max_tokens": 5000},
        {"monthly_tokens": -1},
        {"monthly_cost": -0.01},
        {"input_price": -1},
        {"currency": "pesos"},
        {"api_key": "with\nnewline"},
        {"is_platform": True},
    ],
)
def test_settings_that_cannot_work_are_refused(
    owner: httpx.Client, scripted: ModelServer, wrong: dict[str, object]
) -> None:
    assert owner.put(PATH, json=settings(scripted) | wrong).status_code == 422
    assert not owner.get(PATH).json()["is_configured"]


def test_a_private_address_is_refused_where_the_host_has_not_allowed_it(
    sign_in: SignIn, acme: Company, scripted: ModelServer
) -> None:
    refused = sign_in(acme, "owner").put(PATH, json=settings(scripted))
    assert refused.json()["code"] == "language_models.address_not_allowed"


def test_a_change_of_an_older_version_is_refused(
    owner: httpx.Client, scripted: ModelServer
) -> None:
    tag = {"if-match": owner.put(PATH, json=settings(scripted)).headers["etag"]}
    assert owner.put(PATH, json=settings(scripted, max_tokens=99), headers=tag).status_code == 200
    assert owner.put(PATH, json=settings(scripted), headers=tag).status_code == 412


def test_a_test_asks_the_model_whole_and_streamed_and_is_counted(
    owner: httpx.Client, scripted: ModelServer
) -> None:
    owner.put(PATH, json=settings(scripted, input_price=2, output_price=10))
    scripted.requests.clear()
    told = owner.post(f"{PATH}/test").json()
    assert (told["is_ok"], told["code"], told["model"]) == (True, None, "modelo-1")
    assert [one.get("stream", False) for one in scripted.requests] == [False, True]
    [use] = owner.get(PATH).json()["usage"]
    assert (use["calls"], use["input_tokens"], use["output_tokens"]) == (2, 200, 40)
    assert float(use["cost"]) == (200 * 2 + 40 * 10) / 1_000_000


@pytest.mark.parametrize(
    ("bad", "code", "said"),
    [
        (Refuse(401), "key_refused", "clave"),
        (Refuse(404), "unknown", "nombre del modelo"),
        (Refuse(429, retry_after="60"), "busy", "más tarde"),
        (Refuse(400, "bad_limit"), "request_refused", "bad_limit"),
    ],
)
def test_a_test_that_fails_says_what_to_do(
    owner: httpx.Client, scripted: ModelServer, bad: Refuse, code: str, said: str
) -> None:
    owner.put(PATH, json=settings(scripted))
    scripted.usual = bad
    told = owner.post(f"{PATH}/test", headers={"accept-language": "es"}).json()
    page = owner.post(f"{PAGE}/test", headers={"accept-language": "es"}).text
    scripted.usual = Say("listo")
    assert (told["is_ok"], told["code"]) == (False, f"language_models.{code}")
    assert said in told["detail"]
    assert said in page


def test_after_the_settings_are_deleted_nothing_of_them_is_left(
    owner: httpx.Client, acme: Company, scripted: ModelServer, database: psycopg.Connection
) -> None:
    owner.put(PATH, json=settings(scripted, api_key=KEY))
    assert owner.delete(PATH).status_code == 204
    assert owner.get(PATH).json()["source"] == "none"
    count = "select count(*) from language_models where company_id = %s"
    assert database.execute(count, (acme.id,)).fetchone()[0] == 0


def test_the_page_saves_what_the_form_says_and_shows_what_was_typed_wrong(
    owner: httpx.Client, acme: Company, scripted: ModelServer, database: psycopg.Connection
) -> None:
    form = {
        "base_url": scripted.url, "model": "modelo-2", "api_key": KEY, "timeout_seconds": "7",
        "max_tokens": "400", "monthly_tokens": "", "monthly_cost": "12.50", "input_price": "0.15",
        "output_price": "0.60", "currency": "cop", "is_active": "yes",
    }  # fmt: skip
    saved = owner.post(PAGE, data=form)
    assert (saved.status_code, saved.headers["location"]) == (303, f"{PAGE}?done=saved")
    told = owner.get(PATH).json()
    assert {name: told[name] for name in ("model", "timeout_seconds", "currency")} == {
        "model": "modelo-2", "timeout_seconds": 7, "currency": "COP",
    }  # fmt: skip
    assert (told["monthly_tokens"], float(told["monthly_cost"])) == (None, 12.5)
    wrong = owner.post(PAGE, data=form | {"timeout_seconds": "900", "api_key": ""})
    assert wrong.status_code == 200
    assert re.search(r'name="timeout_seconds"[^>]*value="900"', wrong.text)
    assert owner.get(PATH).json()["timeout_seconds"] == 7
    owner.post(PAGE, data=form | {"api_key": ""})
    assert owner.get(PATH).json()["has_api_key"]
    owner.post(PAGE, data=form | {"api_key": "", "drop_key": "yes"})
    assert not owner.get(PATH).json()["has_api_key"]
    assert owner.post(f"{PAGE}/remove").status_code == 303
    assert not owner.get(PATH).json()["is_configured"]


def test_a_preview_shows_the_prompt_as_it_was_sent_and_counts_its_use(
    owner: httpx.Client, acme: Company, urls: Urls, scripted: ModelServer
) -> None:
    teach(urls.admin, acme, "Tarifas.txt", PRICES)
    owner.put(PATH, json=settings(scripted))
    scripted.usual = Say("La limpieza dental cuesta $130.000 y dura 45 minutos [1].")
    asked = {
        "message": "¿Cuánto cuesta la limpieza dental?",
        "last_bot_text": "¡Hola! ¿En qué te ayudo?",
        "settings": {"system_prompt": "Atiendes con mucha paciencia."},
    }
    told = owner.post(f"/v1/chatbots/{acme.bot_id}/preview", json=asked).json()
    assert told["text"] == "La limpieza dental cuesta $130.000 y dura 45 minutos."
    assert told["prompt"] == scripted.requests[-1]["messages"]
    assert told["prompt"][0]["content"].startswith("Atiendes con mucha paciencia.\n")
    assert told["prompt"][1] == {"role": "assistant", "content": "¡Hola! ¿En qué te ayudo?"}
    assert (told["model"], told["model_failure"]) == ("modelo-1", None)
    assert told["sources"][0]["document"] == "Tarifas"
    scripted.usual = Say("La limpieza dental cuesta $99.000 [1].")
    again = owner.post(f"/v1/chatbots/{acme.bot_id}/preview", json=asked).json()
    scripted.usual = Say("listo")
    assert again["model_failure"] == "unsupported"
    assert "Limpieza dental: $130.000" in again["text"]
    [use] = owner.get(PATH).json()["usage"]
    assert (use["calls"], use["fallbacks"]) == (2, 1)


def test_an_operador_who_tries_a_bot_uses_the_model_and_sees_neither_key_nor_use(
    web: Web, owner: httpx.Client, acme: Company, urls: Urls, scripted: ModelServer
) -> None:
    teach(urls.admin, acme, "Tarifas.txt", PRICES)
    owner.put(PATH, json=settings(scripted, api_key=KEY))
    asked = {"message": "¿Cuánto cuesta la limpieza dental?"}
    with web.as_(acme, "operador") as client:
        told = client.post(f"/v1/chatbots/{acme.bot_id}/preview", json=asked)
        assert told.json()["model"] == "modelo-1"
        assert KEY not in told.text
        assert client.get(PATH).status_code == 403
    assert owner.get(PATH).json()["usage"][0]["calls"] == 1


def test_the_platform_s_model_is_named_but_not_its_address(
    urls: Urls, tmp_path_factory: pytest.TempPathFactory, acme: Company, scripted: ModelServer,
    database: psycopg.Connection,
) -> None:  # fmt: skip
    database.execute("delete from language_models")
    database.execute("delete from language_model_usage")
    settings = web_settings(
        urls.app,
        tmp_path_factory.mktemp("platform"),
        language_model_url=scripted.url,
        language_model_name="de-la-casa",
        language_model_api_key=KEY,
        language_model_monthly_tokens=200,
    )
    with serving(settings) as url, Web(url).as_(acme, "owner") as client:
        told = client.get(PATH)
        assert (told.json()["source"], told.json()["model"]) == ("platform", "de-la-casa")
        assert client.post(f"{PATH}/test").json()["is_ok"]
        spent = client.post(f"{PATH}/test")
        assert spent.json()["code"] == "language_models.spent"
        page = client.get(PAGE).text
        for secret in (KEY, scripted.url):
            assert secret not in told.text + page + json.dumps(spent.json())
        own = client.put(PATH, json={"base_url": scripted.url, "model": "m", "is_active": True})
        assert own.status_code == 422, "the host's private address is not open to companies"
    assert MASTER_KEY is settings.master_key
