"""Every way in which a name reaches a mail or a page refuses what does not read as a name."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import psycopg
import pytest

from neurant.channels.events import InboundMessage
from neurant.channels.telegram.inbound import parse
from neurant.installation.embedded import Urls
from tests.accounts.sent_mails import new_address
from tests.companies import Company

pytest_plugins = ("tests.console.running_web",)
SignIn = Callable[..., httpx.Client]
REFUSED = ["Gana http://malo.example", "www.malo.example", "Ac\nme", "Ac\u202eme", "Ac\u200bme", "...", "malo.example/x"]  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_no_field_takes_it_and_all_say_why(
    sign_in: SignIn, acme: Company, nobody: httpx.Client, name: str
) -> None:
    owner = sign_in(acme, "owner")
    invited = {"email": new_address(), "role": "operador"}
    key = {"name": "Ac\u202eme", "scopes": ["chatbots:read"]}
    answers = [
        owner.patch("/v1/company", json={"name": name}),
        owner.patch(f"/v1/chatbots/{acme.bot_id}", json={"name": name}),
        owner.post("/v1/chatbots", json={"name": name, "system_prompt": "Responde bien."}),
        owner.patch("/v1/account", json={"first_name": name}),
        owner.post("/v1/invitations", json=invited | {"first_name": name}),
        owner.post("/v1/invitations", json=invited | {"last_name": name}),
        nobody.post(
            "/v1/accounts",
            json={"first_name": name, "last_name": "Ruiz", "email": new_address(),
                  "password": "un-paraguas-amarillo", "accept_terms": True},
        ),
        owner.post("/v1/api-keys", json=key),
    ]  # fmt: skip
    for answer in answers:
        told = answer.json()
        assert answer.status_code == 422, told
        assert told["code"] in ("name_refused", "label_refused", "accounts.bad_name"), told
        assert "nombre" in told["detail"]
    page = owner.post(
        "/console/settings/company",
        data={"name": name, "email": "hola@acme.example", "timezone": "America/Bogota", "industry": "retail"},
    )  # fmt: skip
    assert page.status_code == 422
    assert "Ese nombre no se puede usar" in page.text


def test_an_honest_name_with_a_dot_or_a_sign_is_taken_and_tidied(
    sign_in: SignIn, acme: Company
) -> None:
    owner = sign_in(acme, "owner")
    for typed, kept in (("Mercado.com  S.A.S.", "Mercado.com S.A.S."), ("Cafe\u0301 3.0", "Café 3.0")):  # fmt: skip
        answer = owner.patch("/v1/company", json={"name": typed})
        assert (answer.status_code, answer.json()["name"]) == (200, kept)
    owner.patch("/v1/company", json={"name": acme.name})


COLUMNS = [
    ("companies", "name"), ("users", "first_name"), ("users", "last_name"), ("chatbots", "name"),
    ("channel_accounts", "display_name"), ("user_invitations", "first_name"), ("sign_ups", "last_name"),
    ("auth_accounts", "first_name"), ("sso_connections", "name"), ("api_keys", "name"),
    ("integrations", "name"), ("documents", "original_filename"), ("documents", "title"),
]  # fmt: skip


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_the_database_holds_it_for_every_writer(urls: Urls, table: str, column: str) -> None:
    with psycopg.connect(urls.admin) as db:
        [held] = db.execute(
            "select count(*) from pg_constraint c where c.conrelid = %s::regclass and c.contype = 'c'"
            " and c.convalidated and pg_get_constraintdef(c.oid) ~ ('private.reads_as_(name|label)[^,]*' || %s)",
            (table, column),
        ).fetchone()
        assert held == 1


def test_a_strangers_own_label_loses_what_would_distort_the_inbox() -> None:
    update = {
        "update_id": 1,
        "message": {
            "message_id": 2,
            "chat": {"id": 3, "type": "private"},
            "from": {"id": 3, "first_name": "Eva\u202e\nRuiz", "last_name": "\u200b"},
            "text": "hola",
        },
    }
    parsed = parse(json.dumps(update).encode(), "tg", b"")
    assert isinstance(parsed, InboundMessage)
    assert parsed.end_user_name == "Eva Ruiz"


def test_a_file_keeps_its_name_in_one_form_and_hides_nothing_in_it(
    sign_in: SignIn, acme: Company
) -> None:
    owner = sign_in(acme, "owner")
    path = f"/v1/chatbots/{acme.bot_id}/documents"

    def upload(name: str) -> httpx.Response:
        return owner.post(path, files={"file": (name, f"Abrimos a las ocho. {name}".encode())})

    apart = upload("sen\u0303ales  de  humo.txt")
    assert apart.status_code == 202
    document = owner.get(f"/v1/documents/{apart.json()['id']}").json()
    assert document["filename"] == "señales de humo.txt"
    hidden = upload("precios\u202etxt.exe.txt")
    assert (hidden.status_code, hidden.json()["code"]) == (422, "document_name")
