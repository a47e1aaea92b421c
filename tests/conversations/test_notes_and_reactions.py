"""What people add to a conversation: notes for colleagues, reactions to the bot's answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from uuid import UUID, uuid4

import psycopg
import pytest

from neurant.installation.embedded import Urls
from tests.companies import Company, make_company, open_visitor

Claims = dict[str, str]


class Talk:
    """A company, a visitor, and one answer of the bot."""

    def __init__(self, urls: Urls, name: str) -> None:
        self.urls, self.company = urls, make_company(urls.admin, name)
        _, self.visitor = open_visitor(urls.admin, self.company)
        with psycopg.connect(urls.app) as db:
            self.conversation, self.question = db.execute(
                "select conversation_id, message_id from private.ingest(%s::text[], '{web}', %s::bytea[],"
                " '{x}', '{null}', %s::text[], '{text}', '{hola}', '{null}')",
                ([self.company.web], [self.visitor], [str(uuid4())]),
            ).fetchone()
        with psycopg.connect(urls.admin) as db:
            self.answer = db.execute(
                "insert into messages (company_id, conversation_id, sender_type, content)"
                " values (%s, %s, 'bot', 'Abrimos a las 8') returning id",
                (self.company.id, self.conversation),
            ).fetchone()[0]

    def run(self, who: str, query: str, *params: object) -> object:
        role, claims = "visitor", {"visitor": self.visitor.hex()}
        if who != "visitor":
            person = self.company.people[who]
            role = "authenticated"
            claims = {"sub": str(person.auth_user_id), "company_id": str(self.company.id)}
        with psycopg.connect(self.urls.app) as db:
            db.execute("select set_config('role', %s, true)", (role,))
            db.execute("select set_config('request.jwt.claims', %s, true)", (json.dumps(claims),))
            row = db.execute(query, params).fetchone()
        return row[0] if row else None

    def react(self, who: str, message: UUID, company: Company | None = None) -> object:
        return self.run(
            who,
            "insert into message_reactions (company_id, message_id, reaction_type)"
            " values (%s, %s, 'thumbs_up') returning id",
            (company or self.company).id,
            message,
        )

    def note(self, who: str, conversation: UUID) -> object:
        return self.run(
            who,
            "insert into notes (company_id, conversation_id, content)"
            " values (%s, %s, 'Pidió factura') returning author_id",
            self.company.id,
            conversation,
        )


@pytest.fixture
def acme(urls: Urls) -> Talk:
    return Talk(urls, "acme")


@pytest.fixture
def rival(urls: Urls) -> Talk:
    return Talk(urls, "rival")


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as raised:
        act()
    return str(raised.value)


def test_a_visitor_rates_an_answer_once(acme: Talk) -> None:
    acme.react("visitor", acme.answer)
    with pytest.raises(psycopg.errors.UniqueViolation):
        acme.react("visitor", acme.answer)
    acme.react("operador", acme.answer)
    who = "select array_agg(reacted_by_end_user order by created_at) from message_reactions"
    assert acme.run("operador", who) == [True, False]
    assert acme.run("visitor", "select count(*) from message_reactions") == 1


def test_a_reaction_can_be_taken_back_by_its_maker_only(acme: Talk) -> None:
    mine = acme.react("operador", acme.answer)
    gone = "delete from message_reactions where id = %s returning id"
    assert acme.run("owner", gone, mine) is None
    assert acme.run("visitor", gone, mine) is None
    assert acme.run("operador", gone, mine) == mine


def test_only_the_bots_answers_are_rated(acme: Talk) -> None:
    refusal(lambda: acme.react("visitor", acme.question))


def test_a_foreign_answer_is_like_an_unknown_one(acme: Talk, rival: Talk) -> None:
    for who in ("visitor", "operador", "owner"):
        foreign = refusal(lambda who=who: acme.react(who, rival.answer))
        assert foreign == refusal(lambda who=who: acme.react(who, uuid4()))
        assert foreign == refusal(lambda who=who: acme.react(who, rival.answer, rival.company))


def test_a_note_is_its_authors_and_the_staffs(acme: Talk, rival: Talk) -> None:
    assert acme.note("operador", acme.conversation) == acme.company.people["operador"].id
    assert acme.run("supervisor", "select content from notes") == "Pidió factura"
    assert rival.run("owner", "select content from notes") is None
    refusal(lambda: acme.run("visitor", "select content from notes"))


def test_nobody_notes_on_a_conversation_out_of_scope(acme: Talk, rival: Talk) -> None:
    foreign = refusal(lambda: acme.note("owner", rival.conversation))
    assert foreign == refusal(lambda: acme.note("owner", uuid4()))
    with psycopg.connect(acme.urls.admin) as db:
        db.execute(
            "update chatbot_operators set is_active = false where company_id = %s",
            (acme.company.id,),
        )
    refusal(lambda: acme.note("operador", acme.conversation))


def test_ready_answers_are_shared_by_supervisors_and_own_for_everybody(acme: Talk) -> None:
    new = (
        "insert into canned_responses (company_id, owner_id, shortcut, content)"
        " values (%s, %s, 'saludo', 'Hola, ¿en qué te ayudo?') returning id"
    )
    refusal(lambda: acme.run("operador", new, acme.company.id, None))
    acme.run("supervisor", new, acme.company.id, None)
    acme.run("operador", new, acme.company.id, acme.company.people["operador"].id)
    count = "select count(*) from canned_responses"
    assert acme.run("operador", count) == 2
    assert acme.run("owner", count) == 1
