"""The inbox, seen from outside: who sees what, who wins a race, and that nothing is lost."""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import psycopg
import pytest

from tests.companies import Company
from tests.console.people import Visitor

pytest_plugins = ("tests.console.running_web",)

SignIn = Callable[[Company, str], httpx.Client]
Visit = Callable[[Company, str], Visitor]
HTMX = {"HX-Request": "true"}


def page(visitor: Visitor) -> str:
    return f"/console/inbox/{visitor.conversation_id}"


def reply(client: httpx.Client, visitor: Visitor, text: str, **form: str) -> httpx.Response:
    data = {"message_id": str(uuid.uuid4()), "text": text, **form}
    return client.post(f"{page(visitor)}/messages", data=data, headers=HTMX)


def test_the_operator_reads_what_the_visitor_wrote(
    sign_in: SignIn, visit: Visit, acme: Company
) -> None:
    visitor = visit(acme, "¿Tienen parqueadero?")
    client = sign_in(acme, "operador")
    assert visitor.conversation_id in client.get("/console/inbox").text
    assert "¿Tienen parqueadero?" in client.get(page(visitor)).text


def test_what_somebody_writes_is_text_and_never_markup(
    sign_in: SignIn, visit: Visit, acme: Company
) -> None:
    visitor = visit(acme, "<script>alert(1)</script><img src=x onerror=alert(2)>")
    shown = sign_in(acme, "operador").get(page(visitor)).text
    assert "<script>alert" not in shown
    assert "<img src=x" not in shown
    assert "&lt;script&gt;alert(1)" in shown


def test_another_companys_conversation_answers_exactly_as_an_unknown_one(
    sign_in: SignIn, visit: Visit, acme: Company, rival: Company
) -> None:
    secret = visit(acme, "esto es de acme")
    client = sign_in(rival, "owner")
    unknown = f"/console/inbox/{uuid.uuid4()}"
    for suffix in ("", "/customer"):
        real, none = client.get(page(secret) + suffix), client.get(unknown + suffix)
        assert real.status_code == none.status_code == 404
        assert real.text == none.text
    for action in ("take", "resolve"):
        assert client.post(f"{page(secret)}/{action}").status_code == 404
    assert reply(client, secret, "hola").status_code == 404
    assert client.get("/console/inbox/not-an-id").text == client.get(unknown).text


def test_an_operator_sees_the_conversations_of_their_bots_only(
    sign_in: SignIn, visit: Visit, rival: Company, database: psycopg.Connection
) -> None:
    visitor = visit(rival, "para el otro bot")
    client = sign_in(rival, "operador")
    assert client.get(page(visitor)).status_code == 200
    where = (rival.id, rival.people["operador"].id)
    change = (
        "update chatbot_operators set is_active = {} where company_id = %s and operator_id = %s"
    )
    database.execute(change.format("false"), where)
    try:
        assert client.get(page(visitor)).status_code == 404
        assert visitor.conversation_id not in client.get("/console/inbox").text
    finally:
        database.execute(change.format("true"), where)


def test_sending_takes_the_conversation_and_reaches_the_visitor(
    sign_in: SignIn, visit: Visit, acme: Company, database: psycopg.Connection
) -> None:
    visitor = visit(acme, "quiero hablar con alguien")
    client = sign_in(acme, "operador")
    answer = reply(client, visitor, "Hola, soy yo.\n\nDime.")
    assert answer.status_code == 200
    assert "<p>Hola, soy yo.</p><p>Dime.</p>" in answer.text
    row = database.execute(
        "select is_hitl_active, assigned_operator_id from conversations where id = %s",
        (visitor.conversation_id,),
    ).fetchone()
    assert row == (True, acme.people["operador"].id)


def test_the_same_reply_sent_twice_is_one_message(
    sign_in: SignIn, visit: Visit, acme: Company, database: psycopg.Connection
) -> None:
    visitor = visit(acme, "hola")
    client = sign_in(acme, "operador")
    same = str(uuid.uuid4())
    for _ in range(2):
        assert reply(client, visitor, "una sola vez", message_id=same).status_code == 200
    count = "select count(*) from messages where conversation_id = %s and content = 'una sola vez'"
    assert database.execute(count, (visitor.conversation_id,)).fetchone() == (1,)


def test_a_reply_cannot_pass_for_somebody_elses_message(
    sign_in: SignIn, visit: Visit, acme: Company
) -> None:
    first, second = visit(acme, "uno"), visit(acme, "dos")
    client = sign_in(acme, "operador")
    same = str(uuid.uuid4())
    assert reply(client, first, "para el primero", message_id=same).status_code == 200
    assert reply(client, second, "para el segundo", message_id=same).status_code == 404


def test_of_two_who_take_at_once_one_wins_and_the_other_is_shown_who(
    sign_in: SignIn, visit: Visit, acme: Company
) -> None:
    visitor = visit(acme, "hola")
    operator, supervisor = sign_in(acme, "operador"), sign_in(acme, "supervisor")
    together = threading.Barrier(2)

    def take(client: httpx.Client) -> httpx.Response:
        together.wait(5)
        return client.post(f"{page(visitor)}/take", headers=HTMX)

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(take, (operator, supervisor)))
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    loser = next(answer for answer in answers if answer.status_code == 409)
    winner = "Supervisor" if loser is answers[0] else "Operador"
    assert re.search(rf"{winner} la tomó hace \d+ s\.", loser.text)


def test_whoever_is_late_keeps_the_draft(sign_in: SignIn, visit: Visit, acme: Company) -> None:
    visitor = visit(acme, "hola")
    sign_in(acme, "supervisor").post(f"{page(visitor)}/take")
    late = reply(sign_in(acme, "operador"), visitor, "lo que ya escribí")
    assert late.status_code == 409
    assert "Tu borrador quedó guardado." in late.text
    assert ">lo que ya escribí</textarea>" in late.text


def test_a_supervisor_may_take_over_and_an_operator_may_not(
    sign_in: SignIn, visit: Visit, acme: Company
) -> None:
    visitor = visit(acme, "hola")
    operator, supervisor = sign_in(acme, "operador"), sign_in(acme, "supervisor")
    take_over = {"take_over": "yes"}
    supervisor.post(f"{page(visitor)}/take")
    assert "Tomarla yo" not in operator.get(page(visitor)).text
    refused = operator.post(f"{page(visitor)}/take", data=take_over, headers=HTMX)
    assert refused.status_code == 409
    other = visit(acme, "hola")
    operator.post(f"{page(other)}/take")
    taken = supervisor.post(f"{page(other)}/take", data=take_over, headers=HTMX)
    assert taken.status_code == 200


def test_resolving_gives_the_conversation_back_to_the_bot(
    sign_in: SignIn, visit: Visit, acme: Company, database: psycopg.Connection
) -> None:
    visitor = visit(acme, "hola")
    client = sign_in(acme, "operador")
    client.post(f"{page(visitor)}/take")
    done = client.post(f"{page(visitor)}/resolve", data={"notes": "Cita el jueves"}, headers=HTMX)
    assert "Conversación resuelta" in done.text
    assert "Cita el jueves" in done.text
    row = database.execute(
        "select is_hitl_active from conversations where id = %s", (visitor.conversation_id,)
    ).fetchone()
    assert row == (False,)
    again = client.post(f"{page(visitor)}/resolve", headers=HTMX)
    assert "Ya estaba resuelta" in again.text


@pytest.mark.parametrize("text", ["", "   \n ", "x" * 20_001])
def test_an_empty_or_endless_reply_is_explained_and_kept(
    sign_in: SignIn, visit: Visit, acme: Company, text: str
) -> None:
    visitor = visit(acme, "hola")
    answer = reply(sign_in(acme, "operador"), visitor, text)
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text


def test_the_search_finds_messages_without_minding_accents(
    sign_in: SignIn, visit: Visit, acme: Company
) -> None:
    visitor = visit(acme, "Necesito una cotización de ortodoncia para niñez")
    client = sign_in(acme, "operador")
    assert visitor.conversation_id in client.get("/console/inbox?q=COTIZACION").text
    assert visitor.conversation_id not in client.get("/console/inbox?q=implante").text


def test_the_search_takes_wildcards_literally(sign_in: SignIn, visit: Visit, acme: Company) -> None:
    visitor = visit(acme, "hay 50% de descuento")
    client = sign_in(acme, "operador")
    assert visitor.conversation_id in client.get("/console/inbox", params={"q": "50%"}).text
    for words in ("5%d", "5_%", "h_y"):
        assert visitor.conversation_id not in client.get("/console/inbox", params={"q": words}).text
    assert visitor.conversation_id not in client.get("/console/inbox", params={"q": "\\"}).text


def test_what_waits_longest_comes_first(sign_in: SignIn, visit: Visit, rival: Company) -> None:
    visitors = [visit(rival, f"hola {number}") for number in range(3)]
    client = sign_in(rival, "supervisor")
    for visitor in reversed(visitors):
        client.post(f"{page(visitor)}/take")
    shown = client.get("/console/inbox?filter=mine").text
    order = [shown.index(f"row-{visitor.conversation_id}") for visitor in visitors]
    assert order == sorted(order, reverse=True)


def test_a_message_that_failed_can_be_sent_again_and_one_that_was_sent_cannot(
    sign_in: SignIn, acme: Company, database: psycopg.Connection
) -> None:
    conversation, message = telegram_message(database, acme)
    client = sign_in(acme, "operador")
    shown = client.get(f"/console/inbox/{conversation}").text
    assert "El canal no lo aceptó: Forbidden: bot was blocked by the user" in shown
    assert f'data-resend="{message}"' in shown
    path, form = f"/console/inbox/{conversation}/resend", {"message_id": str(message)}
    assert "Se está enviando de nuevo" in client.post(path, data=form, headers=HTMX).text
    assert "ya no se puede reenviar" in client.post(path, data=form, headers=HTMX).text


def telegram_message(database: psycopg.Connection, company: Company) -> tuple[str, str]:
    """A conversation on Telegram whose only message the channel refused."""
    account, bot = database.execute(
        "select id, chatbot_id from channel_accounts where routing_id = %s", (company.telegram,)
    ).fetchone()
    conversation = database.execute(
        "insert into conversations"
        " (company_id, chatbot_id, channel_account_id, end_user_id, channel)"
        " values (%s, %s, %s, %s, 'telegram') returning id",
        (company.id, bot, account, uuid.uuid4().hex),
    ).fetchone()[0]
    message = database.execute(
        "insert into messages (company_id, conversation_id, chatbot_id, channel_account_id,"
        " sender_type, content) values (%s, %s, %s, %s, 'bot', 'hola') returning id",
        (company.id, conversation, bot, account),
    ).fetchone()[0]
    database.execute("update messages set status = 'failed' where id = %s", (message,))
    database.execute(
        "update outbox set status = 'failed',"
        " last_error = 'Forbidden: bot was blocked by the user' where message_id = %s",
        (message,),
    )
    return conversation, message


def test_the_stream_says_that_something_changed(
    sign_in: SignIn, visit: Visit, acme: Company
) -> None:
    visitor = visit(acme, "hola")
    client = sign_in(acme, "operador")
    with client.stream("GET", "/console/inbox/stream", timeout=10) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        events = (line for line in stream.iter_lines() if line.startswith("event:"))
        assert next(events) == "event: news"  # at connecting: read what you may have missed
        visitor.say("otra cosa")
        assert next(events) == "event: news"


def test_who_may_not_reply_is_offered_nothing_and_shown_why_when_they_try(
    sign_in: SignIn, visit: Visit, rival: Company, database: psycopg.Connection
) -> None:
    visitor = visit(rival, "¿me atiende alguien?")
    client, where = sign_in(rival, "operador"), (rival.id, rival.people["operador"].id)
    narrow = "update users set permissions = %s where company_id = %s and id = %s"
    assert 'id="composer"' in client.get(page(visitor)).text
    database.execute(narrow, ('{"conversations.reply": false}', *where))
    try:
        shown = client.get(page(visitor)).text
        assert "Puedes leer esta conversación, pero no responderla" in shown
        for offered in ('id="composer"', "/take", 'data-open="resolve"', 'id="resolve"'):
            assert offered not in shown
        for refused in (
            reply(client, visitor, "hola"),
            client.post(f"{page(visitor)}/take", headers=HTMX),
            client.post(f"{page(visitor)}/resolve", headers=HTMX),
        ):
            assert refused.status_code == 403
            assert refused.headers["hx-reswap"] == "none"
            assert 'hx-target="#toasts"' in refused.text
            assert "te quitó «Responder, escribir notas y resolver»" in refused.text
        plain = client.post(f"{page(visitor)}/take")
        assert (plain.status_code, "te quitó" in plain.text) == (403, True)
        database.execute(narrow, ('{"conversations.read": false}', *where))
        assert client.get(page(visitor)).status_code == 403
        assert client.get("/console/inbox").status_code == 403
    finally:
        database.execute(narrow, ("{}", *where))
    assert client.post(f"{page(visitor)}/take", headers=HTMX).status_code == 200
