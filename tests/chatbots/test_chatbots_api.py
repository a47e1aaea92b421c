"""Bots over the API: from templates, sparse changes, limits, scope, previews."""

from __future__ import annotations

import asyncio
import html
import re
import secrets
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import psycopg
import pytest

from neurant.installation.embedded import Urls
from tests.companies import Company
from tests.support.phrases import spoken

pytest_plugins = ("tests.console.running_web",)
PATH = "/v1/chatbots"
SignIn = Callable[[Company, str], httpx.Client]


@pytest.fixture
def db(urls: Urls) -> Iterator[psycopg.Connection]:
    with psycopg.connect(urls.admin, autocommit=True) as connection:
        yield connection


def named() -> str:
    return f"Bot {secrets.token_hex(5)}"


def make(client: httpx.Client, **given: object) -> dict[str, Any]:
    answer = client.post(
        PATH, json={"name": named(), "system_prompt": "Responde con calidez."} | given
    )
    assert answer.status_code == 201, answer.text
    return answer.json()


def templates(client: httpx.Client, **query: object) -> list[dict[str, Any]]:
    answer = client.get("/v1/chatbot-templates", params={"limit": 200, **query})
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def test_there_are_templates_for_many_industries_with_whole_conversations(
    sign_in: SignIn, acme: Company
) -> None:
    client = sign_in(acme, "operador")
    found = templates(client)
    assert len(found) >= 12
    assert len({one["industry"] for one in found}) >= 6
    assert {one["category"] for one in found} == {"customer_service", "sales", "support"}
    known = {one["industry"] for one in client.get("/v1/industries").json()}
    assert len(known) == 15
    for one in found:
        assert one["industry"] in known
        assert 2 <= len(one["example_conversations"]) <= 3
        assert all(len(c["turns"]) >= 3 for c in one["example_conversations"])
        assert {"working_hours", "hitl_triggers", "fallback_message"} <= set(
            one["recommended_settings"]
        )
        assert "{{company_name}}" in one["system_prompt_template"]
    health = templates(client, industry="health", category="support")
    assert health
    assert {(one["industry"], one["category"]) for one in health} == {("health", "support")}


def test_every_template_makes_a_bot_with_its_settings_and_no_placeholder_left(
    sign_in: SignIn, acme: Company, db: psycopg.Connection
) -> None:
    client = sign_in(acme, "supervisor")
    for template in templates(client):
        made = client.post(PATH, json={"template_id": template["id"], "name": named()})
        assert made.status_code == 201, (template["name"], made.text)
        bot = made.json()
        assert "{{" not in bot["system_prompt"]
        assert acme.name in bot["system_prompt"]
        assert 10 <= len(bot["system_prompt"]) <= 5000
        for name, value in template["recommended_settings"].items():
            assert bot[name] == value, name
        assert bot["personality_traits"] == template["default_personality"]
        assert (bot["template_id"], bot["channels"]) == (template["id"], [])
        used = client.get(f"/v1/chatbot-templates/{template['id']}").json()["usage_count"]
        assert used >= template["usage_count"] + 1


def test_what_is_given_stands_above_the_template(sign_in: SignIn, acme: Company) -> None:
    client = sign_in(acme, "owner")
    template = templates(client, industry="retail")[0]
    bot = client.post(
        PATH,
        json={
            "template_id": template["id"],
            "name": named(),
            "personality_traits": {"persona": "Rosalía {{contact}}"},
            "placeholders": {"company_name": "La Esquina", "knowledge": "la lista {{persona}}"},
            "response_delay_ms": 0,
            "working_hours": {},
        },
    ).json()
    assert "La Esquina" in bot["system_prompt"]
    assert "Rosalía contact" in bot["system_prompt"]  # a value brings no placeholder of its own
    assert not re.search(r"\{\{|\}\}", bot["system_prompt"])
    assert bot["personality_traits"]["tone"] == template["default_personality"]["tone"]
    assert (bot["response_delay_ms"], bot["working_hours"]) == (0, {})


def test_a_new_persona_is_the_one_that_the_texts_of_the_template_speak_of(
    sign_in: SignIn, acme: Company
) -> None:
    client = sign_in(acme, "supervisor")
    chosen = next(
        one for one in templates(client) if "{{persona}}" in one["system_prompt_template"]
    )
    was = chosen["default_personality"]["persona"]
    given = {
        "name": named(),
        "template_id": chosen["id"],
        "fallback_message": f"Soy {was}; en la avenida {was} lo saben. ¿Soy {was}x?",
    }
    made = client.post(PATH, json=given).json()
    path = f"{PATH}/{made['id']}"
    assert was in made["system_prompt"]
    anew = client.patch(path, json={"personality_traits": {"persona": r"Sol \1"}}).json()
    assert anew["system_prompt"] == made["system_prompt"].replace(was, r"Sol \1")
    # The same word may be the street's.
    told = rf"Soy Sol \1; en la avenida {was} lo saben. ¿Soy {was}x?"
    assert anew["fallback_message"] == told
    typed = {"personality_traits": {"persona": "Luz"}, "system_prompt": r"Antes era Sol \1."}
    kept = client.patch(path, json=typed).json()
    assert kept["system_prompt"] == r"Antes era Sol \1."
    assert kept["fallback_message"].startswith("Soy Luz;")
    # Without a persona the bot goes by its name, and so do its texts.
    unnamed = client.patch(path, json={"personality_traits": {"persona": None}}).json()
    assert unnamed["fallback_message"].startswith(f"Soy {made['name']};")


def test_bots_without_a_name_are_distinguished(sign_in: SignIn, rival: Company) -> None:
    client = sign_in(rival, "owner")
    template = templates(client)[0]["id"]
    names = []
    for _ in range(3):
        made = client.post(PATH, json={"template_id": template})
        assert made.status_code == 201, made.text
        names.append(made.json()["name"])
    assert names[1:] == [f"{names[0]} 2", f"{names[0]} 3"]
    page = client.get("/console/bots/new", params={"template": template}).text
    assert f'value="{names[0]} 4"' in page


def test_a_bot_without_template_needs_a_prompt_and_a_free_name(
    sign_in: SignIn, acme: Company, rival: Company
) -> None:
    client = sign_in(acme, "owner")
    answer = client.post(PATH, json={"name": named()})
    assert (answer.status_code, answer.json()["code"]) == (422, "chatbots.prompt_needed")
    unknown = client.post(PATH, json={"name": named(), "template_id": str(uuid.uuid4())})
    assert (unknown.status_code, unknown.json()["code"]) == (409, "chatbots.unknown_template")
    bot = make(client)
    again = client.post(PATH, json={"name": bot["name"], "system_prompt": "Responde siempre."})
    assert (again.status_code, again.json()["code"]) == (409, "chatbots.name_taken")
    assert make(sign_in(rival, "owner"), name=bot["name"])["name"] == bot["name"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("system_prompt", "corto"),
        ("system_prompt", "x" * 5001),
        ("response_delay_ms", 10_001),
        ("response_delay_ms", -1),
        ("max_context_messages", 0),
        ("max_context_messages", 51),
        ("auto_escalate_after_minutes", 0),
        ("auto_escalate_after_minutes", 1441),
        ("timezone", "Marte/Olympus"),
        ("working_hours", {"lunes": [["08:00", "12:00"]]}),
        ("working_hours", {"monday": [["08:00", "08:00"]]}),
        ("working_hours", {"monday": [["8", "12"]]}),
        ("working_hours", {"monday": []}),
        ("avatar_url", "javascript:alert(1)"),
        ("avatar_url", "http://insecure.example/a.png"),
        ("hitl_triggers", ["luna_llena"]),
        ("personality_traits", {"tone": "sarcastic"}),
        ("personality_traits", {"address": "thou"}),
        ("personality_traits", {"style": "baroque"}),
        ("name", "   "),
        ("name", "con\u0000nulo"),
        ("color", "rojo"),
    ],
)
def test_a_value_out_of_its_bounds_is_refused_by_name(
    sign_in: SignIn, acme: Company, field: str, value: object
) -> None:
    client = sign_in(acme, "owner")
    answer = client.patch(f"{PATH}/{acme.bot_id}", json={field: value})
    assert answer.status_code == 422
    assert field in answer.json()["detail"]


def test_address_style_and_context_are_saved_by_the_api_and_by_the_form(
    sign_in: SignIn, acme: Company
) -> None:
    client = sign_in(acme, "owner")
    bot = make(client)["id"]
    traits = {"address": "vos", "style": "concise"}
    changes = {"personality_traits": traits, "max_context_messages": 3}
    told = client.patch(f"{PATH}/{bot}", json=changes).json()
    assert told["max_context_messages"] == 3
    assert traits.items() <= told["personality_traits"].items()
    page = client.get(f"/console/bots/{bot}").text
    assert re.search(r'name="max_context_messages"[^>]*value="3"', page)
    assert re.search(r'<option value="vos" selected>', page)
    etag = re.search(r'name="etag" value="([^"]*)"', page)
    assert etag
    form = {
        "etag": html.unescape(etag[1]), "name": told["name"], "system_prompt": told["system_prompt"],
        "tone": "friendly", "address": "usted", "style": "", "max_context_messages": "7",
        "response_delay": "1", "timezone": "America/Bogota", "auto_escalate_after_minutes": "5",
    }  # fmt: skip
    saved = client.post(
        f"/console/bots/{bot}", data=form, headers={"origin": str(client.base_url).rstrip("/")}
    )
    assert saved.status_code == 303, re.search(r'id="problem".*?</div>\s*</div>', saved.text, re.S)
    now = client.get(f"{PATH}/{bot}").json()
    assert (now["personality_traits"]["address"], now["max_context_messages"]) == ("usted", 7)
    assert "style" not in now["personality_traits"]


def test_a_change_is_sparse_and_holds_to_if_match(sign_in: SignIn, acme: Company) -> None:
    client = sign_in(acme, "supervisor")
    bot = make(client, personality_traits={"tone": "expert", "persona": "Inés"})
    url = f"{PATH}/{bot['id']}"
    tag = client.get(url).headers["etag"]
    changed = client.patch(
        url, json={"personality_traits": {"tone": "helpful"}}, headers={"if-match": tag}
    )
    assert changed.status_code == 200
    assert changed.json()["personality_traits"] == {"tone": "helpful", "persona": "Inés"}
    assert changed.json()["system_prompt"] == bot["system_prompt"]
    late = client.patch(url, json={"name": named()}, headers={"if-match": tag})
    assert late.status_code == 412
    nobody_s = client.patch(url, json={"personality_traits": {"persona": None}}).json()
    assert nobody_s["personality_traits"] == {"tone": "helpful"}


def test_an_operador_sees_only_the_bots_that_they_serve_and_changes_none(
    sign_in: SignIn, acme: Company
) -> None:
    mine, other = str(acme.bot_id), make(sign_in(acme, "owner"))["id"]
    client = sign_in(acme, "operador")
    assert [bot["id"] for bot in client.get(PATH).json()["data"]] == [mine]
    assert client.get(f"{PATH}/{mine}").status_code == 200
    foreign = client.get(f"{PATH}/{other}", headers={"x-request-id": "one"})
    unknown = client.get(f"{PATH}/{uuid.uuid4()}", headers={"x-request-id": "one"})
    assert (foreign.status_code, foreign.content) == (404, unknown.content)
    for refused in (
        client.patch(f"{PATH}/{mine}", json={"name": named()}),
        client.post(PATH, json={"name": named(), "system_prompt": "Responde siempre."}),
        client.post(f"{PATH}/{mine}/retire"),
        client.put(f"{PATH}/{mine}/operators/{acme.people['operador'].id}"),
    ):
        assert (refused.status_code, refused.json()["code"]) == (403, "api.not_permitted")


def test_what_is_another_company_s_is_unknown(
    sign_in: SignIn, acme: Company, rival: Company
) -> None:
    client = sign_in(rival, "owner")
    operador = rival.people["operador"].id
    for method, path, body in (
        ("GET", "", None),
        ("PATCH", "", {"name": "Robado"}),
        ("POST", "/retire", None),
        ("POST", "/preview", {"message": "hola"}),
        ("GET", "/operators", None),
        ("PUT", f"/operators/{operador}", None),
        ("DELETE", f"/operators/{operador}", None),
        ("GET", "/supervisor", None),
        ("DELETE", "/supervisor", None),
        ("POST", "/channels", {"channel": "web"}),
    ):
        one = {"x-request-id": "one"}
        foreign = client.request(method, f"{PATH}/{acme.bot_id}{path}", json=body, headers=one)
        unknown = client.request(method, f"{PATH}/{uuid.uuid4()}{path}", json=body, headers=one)
        assert (foreign.status_code, foreign.content) == (404, unknown.content), path
    assert str(acme.bot_id) not in client.get(PATH).text


def test_a_full_plan_says_which_limit_and_which_plan_allows_more(
    sign_in: SignIn, acme: Company, db: psycopg.Connection
) -> None:
    client = sign_in(acme, "owner")
    db.execute(
        "update companies set subscription_plan = 'starter', max_chatbots = current_chatbot_count"
        " where id = %s",
        (acme.id,),
    )
    try:
        new = {"name": named(), "system_prompt": "Responde siempre."}
        answer = client.post(PATH, json=new)
        assert (answer.status_code, answer.json()["code"]) == (409, "limit.next.max_chatbots")
        assert re.search("plan (Professional|Business|Enterprise)", answer.json()["detail"])
        freed = make_room(db, client, acme)
        assert client.post(f"{PATH}/{freed}/retire").status_code == 204
        assert client.post(PATH, json=new).status_code == 201
    finally:
        db.execute(
            "update companies set subscription_plan = 'enterprise', max_chatbots = -1 where id = %s",
            (acme.id,),
        )


def make_room(db: psycopg.Connection, client: httpx.Client, acme: Company) -> str:
    db.execute("update companies set max_chatbots = max_chatbots + 1 where id = %s", (acme.id,))
    return make(client)["id"]


def test_a_retired_bot_is_gone_from_the_list_and_changes_no_more(
    sign_in: SignIn, acme: Company
) -> None:
    client = sign_in(acme, "administrador")
    bot = make(client)
    web = client.post(f"{PATH}/{bot['id']}/channels", json={"channel": "web"}).json()
    assert sign_in(acme, "supervisor").post(f"{PATH}/{bot['id']}/retire").status_code == 403
    assert client.post(f"{PATH}/{bot['id']}/retire").status_code == 204
    assert client.post(f"{PATH}/{bot['id']}/retire").status_code == 404
    assert bot["id"] not in client.get(PATH).text
    assert bot["id"] in client.get(PATH, params={"is_retired": True}).text
    answer = client.patch(f"{PATH}/{bot['id']}", json={"is_active": True})
    assert (answer.status_code, answer.json()["code"]) == (409, "chatbots.retired")
    assert client.get(f"/v1/channels/{web['id']}").json()["status"] == "disconnected"
    back = client.patch(f"/v1/channels/{web['id']}", json={"status": "connected"})
    assert (back.status_code, back.json()["code"]) == (409, "chatbots.channel_retired")


def test_operadores_and_a_supervisor_are_assigned_and_released(
    sign_in: SignIn, acme: Company, rival: Company
) -> None:
    owner, operador = sign_in(acme, "owner"), sign_in(acme, "operador")
    bot, person = make(owner)["id"], acme.people["operador"]
    supervisor = acme.people["supervisor"].id
    url = f"{PATH}/{bot}/operators/{person.id}"
    assert operador.get(f"{PATH}/{bot}").status_code == 404
    for _ in range(2):
        assert sign_in(acme, "supervisor").put(url).status_code == 204
    [served] = owner.get(f"{PATH}/{bot}/operators").json()["data"]
    assert (served["user_id"], served["is_available"]) == (str(person.id), True)
    assert operador.get(f"{PATH}/{bot}").status_code == 200
    assert owner.delete(url).status_code == 204
    assert owner.delete(url).status_code == 404
    assert operador.get(f"{PATH}/{bot}").status_code == 404
    for nobody in (supervisor, rival.people["operador"].id, uuid.uuid4()):
        refused = owner.put(f"{PATH}/{bot}/operators/{nobody}")
        assert (refused.status_code, refused.json()["code"]) == (409, "chatbots.not_an_operator")
    charge = f"{PATH}/{bot}/supervisor"
    assert owner.put(charge, json={"user_id": str(supervisor)}).status_code == 204
    assert owner.get(charge).json()["user_id"] == str(supervisor)
    refused = owner.put(charge, json={"user_id": str(person.id)})
    assert (refused.status_code, refused.json()["code"]) == (409, "chatbots.not_a_supervisor")
    assert owner.get(charge).json()["user_id"] == str(supervisor)  # the refusal undid nothing
    assert sign_in(acme, "supervisor").delete(charge).status_code == 403
    assert owner.delete(charge).status_code == 204


def test_a_web_chat_is_connected_paused_and_embedded(sign_in: SignIn, acme: Company) -> None:
    client = sign_in(acme, "owner")
    bot = make(client, personality_traits={"persona": "Rita", "tone": "professional"},
               avatar_url="https://cdn.example/rita.png")["id"]  # fmt: skip
    made = client.post(f"{PATH}/{bot}/channels", json={"channel": "web"})
    assert made.status_code == 201
    web = made.json()
    assert f'data-bot="{web["chat_url"].rsplit("/", 1)[1]}"' in web["embed"]
    path = "/chat/" + web["chat_url"].rsplit("/", 1)[1]
    page = httpx.get(f"{str(client.base_url).rstrip('/')}{path}", headers={"accept-language": "es"})
    assert "Buen día. Soy Rita" in page.text
    assert 'src="https://cdn.example/rita.png"' in page.text
    assert "img-src 'self' data: https:;" in page.headers["content-security-policy"]
    assert client.get(f"{PATH}/{bot}").json()["channels"] == ["web"]
    tag = made.headers["etag"]
    paused = client.patch(
        f"/v1/channels/{web['id']}", json={"status": "paused"}, headers={"if-match": tag}
    )
    assert paused.json()["status"] == "paused"
    assert httpx.get(f"{str(client.base_url).rstrip('/')}{path}").status_code == 404
    operador = sign_in(acme, "operador")
    assert operador.get(f"/v1/channels/{web['id']}").status_code == 404
    assert (
        operador.patch(f"/v1/channels/{web['id']}", json={"status": "connected"}).status_code == 403
    )
    missing = client.post(f"{PATH}/{bot}/channels", json={"channel": "telegram"})
    assert (missing.status_code, missing.json()["code"]) == (422, "chatbots.token_needed")


def preview(client: httpx.Client, bot: str, message: str, **settings: object) -> dict[str, Any]:
    answer = client.post(f"{PATH}/{bot}/preview", json={"message": message, "settings": settings})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_preview_says_what_decided_and_leaves_no_trace(
    sign_in: SignIn, acme: Company, db: psycopg.Connection
) -> None:
    client = sign_in(acme, "owner")
    bot = make(client, hitl_trigger_keywords=["gerente"])["id"]
    counted = "select (select count(*) from messages where company_id = %s), monthly_message_count from companies where id = %s"
    before = db.execute(counted, (acme.id, acme.id)).fetchone()
    greeting = preview(client, bot, "Hola", personality_traits={"persona": "Lola"})
    assert (greeting["action"], greeting["decided_by"]) == ("answer", "small_talk")
    assert "Lola" in greeting["text"]
    keyword = preview(client, bot, "quiero al Gerente")
    assert (keyword["action"], keyword["decided_by"], keyword["keyword"]) == (
        "escalate",
        "keywords",
        "gerente",
    )
    person = preview(client, bot, "quiero hablar con una persona")
    assert (person["action"], person["decided_by"], person["is_open"]) == (
        "escalate",
        "user_request",
        True,
    )
    unknown = preview(client, bot, "¿Cuánto cuesta el viaje a Marte?")
    assert (unknown["action"], unknown["decided_by"]) == ("escalate", "no_answer")
    paused = preview(client, bot, "Hola", is_active=False)
    assert (paused["action"], paused["decided_by"]) == ("notice", "inactive")
    assert db.execute(counted, (acme.id, acme.id)).fetchone() == before
    assert client.get(f"{PATH}/{bot}").json()["is_active"] is True


def test_a_preview_follows_the_messages_before_it_as_a_real_reply_does(
    sign_in: SignIn, acme: Company
) -> None:
    client = sign_in(acme, "owner")
    bot = make(client)["id"]
    earlier: list[dict[str, str]] = []
    said = []
    for message in ("quiero reservar un turno para mañana", "lavado de cortinas", "Ana Ruiz"):
        answer = client.post(
            f"{PATH}/{bot}/preview", json={"message": message, "earlier": earlier}
        ).json()
        assert (answer["action"], answer["decided_by"]) == ("answer", "request")
        said.append(answer["text"])
        earlier += [
            {"sender": "customer", "text": message},
            {"sender": "bot", "text": answer["text"]},
        ]
    assert said == [spoken(f"ask_{one}") for one in ("service", "name", "contact")]
    done = client.post(
        f"{PATH}/{bot}/preview", json={"message": "300 555 0123", "earlier": earlier}
    ).json()
    assert (done["action"], done["decided_by"]) == ("escalate", "request")
    assert "lavado de cortinas" in done["text"]


def test_a_preview_names_the_class_of_the_message(sign_in: SignIn, acme: Company) -> None:
    client = sign_in(acme, "owner")
    bot = make(client)["id"]
    for message, by, action in (
        ("listo pues", "small_talk", "answer"),
        ("¿eres un robot?", "identity", "answer"),
        ("qué bot tan inútil", "insult", "answer"),
        ("¿cuál es la capital de Francia?", "off_topic", "answer"),
        ("me atendieron muy mal", "complaint", "escalate"),
        ("se desmayó una persona aquí", "emergency", "escalate"),
    ):
        answer = preview(client, bot, message)
        assert (answer["decided_by"], answer["action"]) == (by, action), message


def test_the_trial_chat_remembers_what_was_said_in_it(sign_in: SignIn, acme: Company) -> None:
    client = sign_in(acme, "owner")
    page = f"/console/bots/{make(client)['id']}"
    origin = {"Origin": str(client.base_url).rstrip("/")}
    first = client.post(
        f"{page}/trial", data={"message": 'quiero reservar un turno "ya"'}, headers=origin
    )
    asked = spoken("ask_service")
    assert asked in first.text
    assert 'value="customer:quiero reservar un turno &#34;ya&#34;"' in first.text
    carried = {"earlier": ["customer:quiero reservar un turno", f"bot:{asked}", "nobody:x", "bot:"]}
    second = client.post(
        f"{page}/trial", data={"message": "lavado de cortinas", **carried}, headers=origin
    )
    assert spoken("ask_when") in second.text


def test_a_preview_out_of_hours_tells_when_people_are_back(
    sign_in: SignIn, acme: Company, db: psycopg.Connection
) -> None:
    client = sign_in(acme, "owner")
    day = db.execute(
        "select lower(to_char(now() at time zone 'UTC' + interval '3 days', 'FMday'))"
    ).fetchone()[0]
    told = preview(
        client,
        str(acme.bot_id),
        "quiero hablar con una persona",
        working_hours={day: [["08:00", "17:00"]]},
        timezone="UTC",
    )
    assert (told["action"], told["is_open"]) == ("escalate", False)
    assert told["opens_at"].endswith("T08:00:00Z")
    assert "a las 8:00" in told["system_line"]


def test_two_at_once_with_one_name_make_one_bot(sign_in: SignIn, acme: Company) -> None:
    client, name = sign_in(acme, "owner"), named()

    async def race() -> list[int]:
        async with httpx.AsyncClient(
            base_url=client.base_url, headers=client.headers, cookies=client.cookies
        ) as together:
            new = {"name": name, "system_prompt": "Responde siempre."}
            answers = await asyncio.gather(*(together.post(PATH, json=new) for _ in range(6)))
            return sorted(answer.status_code for answer in answers)

    assert asyncio.run(race()) == [201, 409, 409, 409, 409, 409]
