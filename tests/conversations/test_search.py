"""Searching the inbox: what is found, by whom, at once, and by the index."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neurant.conversations.jobs import process_changes_once
from neurant.core.db.pool import make_pool
from neurant.installation.embedded import Urls
from tests.companies import Company, make_company

ODD = [
    "",
    " ",
    "'",
    ":*",
    "' & !(",
    "\\",
    "a\\'b",
    "%",
    "_",
    "😀",
    "<b>",
    "&amp;",
    "-",
    "x" * 10_000,
    "ñ " * 5_000,
]


@pytest.fixture(scope="module")
def acme(urls: Urls) -> Company:
    return make_company(urls.admin, "acme")


@pytest.fixture(scope="module")
def rival(urls: Urls) -> Company:
    return make_company(urls.admin, "rival")


@dataclass
class Desk:
    """Writes messages, drains their log, and searches as a person."""

    db: psycopg.Connection

    def say(
        self, company: Company, words: str, *, name: str | None = None, number: str | None = None
    ) -> str:
        """A Telegram message of a new customer; the conversation's id."""
        number = number or str(uuid.uuid4().int)[:12]
        secret = self.db.execute(
            "select secret_digest from channel_accounts where routing_id = %s", (company.telegram,)
        ).fetchone()[0]
        row = self.db.execute(
            "select conversation_id from private.ingest(array[%s]::text[], '{telegram}', array[%s]::bytea[],"
            " array[%s]::text[], array[%s]::text[], array[%s]::text[], '{text}', array[%s]::text[], '{null}')",
            (company.telegram, secret, number, name, str(uuid.uuid4()), words),
        ).fetchone()
        return str(row[0])

    def process_changes(self) -> None:
        while self.db.execute("select private.drain_message_changes(10000)").fetchone()[0]:
            pass
        assert self.db.execute("select count(*) from message_changes").fetchone() == (0,)

    def find(self, company: Company, words: str | None, role: str = "owner") -> set[str]:
        """Conversations found as a member of the staff, and still there under that person's policies."""
        claims = {"sub": str(company.people[role].auth_user_id), "company_id": str(company.id)}
        with self.db.transaction(force_rollback=True):
            self.db.execute(
                "select set_config('role', 'authenticated', true), set_config('request.jwt.claims', %s, true)",
                (json.dumps(claims),),
            )
            found = {
                str(row[0])
                for row in self.db.execute("select private.search_conversations(%s)", (words,))
            }
            seen = {
                str(row[0])
                for row in self.db.execute(
                    "select id from conversations where id = any (%s)", (list(found),)
                )
            }
        assert found == seen, "the search told of a conversation that the person may not see"
        return found


@pytest.fixture
def desk(urls: Urls) -> Iterator[Desk]:
    with psycopg.connect(urls.admin, autocommit=True) as db:
        yield Desk(db)


@pytest.fixture(params=["at once", "drained"])
def settled(request: pytest.FixtureRequest, desk: Desk) -> Callable[[], object]:
    """Every claim holds before the worker has drained the log, and after."""
    return desk.process_changes if request.param == "drained" else lambda: None


@pytest.mark.parametrize(
    "typed",
    [
        "garantia",
        "Garantía",
        "GARANTÍAS",
        "garan",
        "garantia televisor",
        "televisores gar",
        "el televi",
        "la garantía del tel",
    ],
)
def test_finds_stems_accents_and_the_beginning_of_the_last_word(
    desk: Desk, acme: Company, rival: Company, settled: Callable[[], object], typed: str
) -> None:
    mark = uuid.uuid4().hex[:8]
    there = desk.say(acme, f"¿Cuánto dura la garantía del televisor {mark}?")
    foreign = desk.say(rival, f"¿Cuánto dura la garantía del televisor {mark}?")
    settled()
    assert there in desk.find(acme, typed)
    assert foreign not in desk.find(acme, typed)
    assert desk.find(acme, f"{mark} {typed}") == {there}
    assert desk.find(rival, f"{mark} {typed}") == {foreign}


def test_every_word_must_be_in_the_same_message(
    desk: Desk, acme: Company, settled: Callable[[], object]
) -> None:
    mark = uuid.uuid4().hex[:8]
    there = desk.say(acme, f"{mark} azul", number="573009990000")
    desk.say(acme, f"{mark} rojo")
    settled()
    assert desk.find(acme, f"{mark} azul") == {there}
    assert desk.find(acme, f"{mark} azul rojo") == set()


def test_each_letter_more_of_a_word_still_finds_it(
    desk: Desk, acme: Company, settled: Callable[[], object]
) -> None:
    """Stems alone would lose a word between its stem and its end, while it is being typed."""
    mark = uuid.uuid4().hex[:8]
    there = desk.say(acme, f"{mark} estoy comprándolo")
    settled()
    for length in range(1, len("comprandolo") + 1):
        assert desk.find(acme, f"{mark} {'comprandolo'[:length]}") == {there}, length


def test_finds_people_by_any_part_of_name_and_number(
    desk: Desk, acme: Company, rival: Company, settled: Callable[[], object]
) -> None:
    number = f"57300{uuid.uuid4().int % 10**7:07}"
    there = desk.say(acme, "hola", name="María Peña Gutiérrez", number=number)
    foreign = desk.say(rival, "hola", name="María Peña Gutiérrez", number=number)
    settled()
    for typed in ("maria gut", "peña", "pena maria", "tierr", number, number[2:], number[4:11]):
        assert there in desk.find(acme, typed), typed
        assert foreign not in desk.find(acme, typed)
    assert there not in desk.find(acme, f"maria {number[::-1]}x")


def test_a_new_name_is_found_and_the_old_one_is_not(desk: Desk, acme: Company) -> None:
    number, old, new = str(uuid.uuid4().int)[:12], uuid.uuid4().hex, uuid.uuid4().hex
    there = desk.say(acme, "hola", name=f"Ana {old}", number=number)
    desk.process_changes()
    assert desk.say(acme, "hola otra vez", name=f"Ana {new}", number=number) == there
    for _ in ("at once", "drained"):
        assert (desk.find(acme, new), desk.find(acme, old)) == ({there}, set())
        desk.process_changes()


def test_an_edited_message_is_found_by_its_new_words_only(desk: Desk, acme: Company) -> None:
    old, new = uuid.uuid4().hex, uuid.uuid4().hex
    there = desk.say(acme, f"dice {old}")
    desk.process_changes()
    desk.db.execute(
        "update messages set content = %s where conversation_id = %s", (f"dice {new}", there)
    )
    for _ in ("at once", "drained"):
        assert (desk.find(acme, new), desk.find(acme, old)) == ({there}, set())
        desk.process_changes()


def test_the_words_of_a_deleted_message_go_with_it(desk: Desk, acme: Company) -> None:
    mark = uuid.uuid4().hex
    there = desk.say(acme, f"borra {mark}")
    desk.process_changes()
    held = "select count(*) from message_search where company_id = %s and conversation_id = %s"
    assert desk.db.execute(held, (acme.id, there)).fetchone() == (1,)
    desk.db.execute("delete from messages where conversation_id = %s", (there,))
    assert desk.find(acme, mark) == set()
    assert desk.db.execute(held, (acme.id, there)).fetchone() == (0,)


def test_the_platforms_own_lines_are_not_searched(
    desk: Desk, acme: Company, settled: Callable[[], object]
) -> None:
    there = desk.say(acme, "hola")
    desk.db.execute(
        "insert into messages (company_id, conversation_id, chatbot_id, channel_account_id, sender_type, content)"
        " select company_id, id, chatbot_id, channel_account_id, 'system', 'hitl_queued' from conversations where id = %s",
        (there,),
    )
    settled()
    assert there not in desk.find(acme, "hitl_queued")


def test_an_operador_finds_what_is_theirs_and_nothing_else(
    desk: Desk, acme: Company, settled: Callable[[], object]
) -> None:
    mark = uuid.uuid4().hex
    mine, other = desk.say(acme, f"uno {mark}"), desk.say(acme, f"dos {mark}", name=f"Eva {mark}")
    settled()
    assert desk.find(acme, mark, "operador") == {mine, other}
    assigned = "update chatbot_operators set is_active = {} where company_id = %s"
    desk.db.execute(assigned.format("false"), (acme.id,))
    try:
        assert desk.find(acme, mark, "operador") == set()
        assert desk.find(acme, mark, "supervisor") == {mine, other}
        desk.db.execute(
            "update conversations set assigned_operator_id = %s where id = %s",
            (acme.people["operador"].id, mine),
        )
        assert desk.find(acme, mark, "operador") == {mine}
    finally:
        desk.db.execute(assigned.format("true"), (acme.id,))


@pytest.mark.parametrize("typed", [None, *ODD], ids=lambda typed: repr(typed)[:12])
def test_nothing_that_can_be_typed_breaks_it(
    desk: Desk, acme: Company, settled: Callable[[], object], typed: str | None
) -> None:
    settled()
    desk.find(acme, typed)
    assert typed is None or not typed.isspace() or not desk.find(acme, typed)


@pytest.mark.parametrize("said", [text for text in ODD if text], ids=lambda typed: repr(typed)[:12])
def test_nothing_that_can_be_said_breaks_it(
    desk: Desk, acme: Company, settled: Callable[[], object], said: str
) -> None:
    mark = uuid.uuid4().hex
    there = desk.say(acme, f"{mark} {said}")
    settled()
    assert desk.find(acme, mark) == {there}


def test_nobody_who_is_not_staff_may_search(desk: Desk, acme: Company) -> None:
    for role in ("visitor", "neurant_worker", "anon"):
        with desk.db.transaction(force_rollback=True):
            desk.db.execute("select set_config('role', %s, true)", (role,))
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                desk.db.execute("select private.search_conversations('hola')")
    with desk.db.transaction(force_rollback=True):
        desk.db.execute("select set_config('role', 'authenticated', true)")
        assert not desk.db.execute("select private.search_conversations('hola')").fetchall()


WORDS = st.sampled_from(
    [
        "garantía",
        "garantizado",
        "televisor",
        "tele",
        "comprando",
        "el",
        "año2020",
        "a-b",
        "x.co",
        "a.b@x.co",
        "3.500",
        "O'Neil",
        "C:\\x",
        "<b>",
        "😀",
        "ñandú",
    ]
)
TEXTS = st.lists(WORDS, min_size=1, max_size=4).map(" ".join)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    said=st.lists(st.tuples(TEXTS, st.one_of(st.none(), TEXTS)), min_size=1, max_size=5),
    typed=st.one_of(
        TEXTS,
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30),
    ),
)
def test_drained_and_undrained_are_searched_alike(
    desk: Desk, rival: Company, said: list[tuple[str, str | None]], typed: str
) -> None:
    desk.process_changes()
    there = [desk.say(rival, words, name=name) for words, name in said]
    before = desk.find(rival, typed)
    desk.process_changes()
    assert desk.find(rival, typed) == before
    for conversation in there:
        desk.db.execute("delete from outbox where conversation_id = %s", (conversation,))
        desk.db.execute("delete from reply_requests where conversation_id = %s", (conversation,))
        desk.db.execute("delete from messages where conversation_id = %s", (conversation,))
        desk.db.execute("delete from conversations where id = %s", (conversation,))


@pytest.mark.anyio
async def test_the_worker_drains_for_every_company_and_one_at_a_time(
    urls: Urls, desk: Desk, acme: Company, rival: Company
) -> None:
    mark = uuid.uuid4().hex
    desk.process_changes()
    both = desk.say(acme, mark), desk.say(rival, mark)
    held = "select count(*) from message_search where conversation_id = any (%s)"
    async with make_pool(urls.jobs, size=1, pooled=False) as pool:
        with psycopg.connect(urls.admin) as other:
            other.execute("select private.drain_message_changes(0)")
            assert await process_changes_once(pool) == 0
        assert desk.db.execute(held, ([*both],)).fetchone() == (0,)
        assert await process_changes_once(pool) == 2
    assert desk.db.execute(held, ([*both],)).fetchone() == (2,)


@pytest.mark.parametrize("role", ["owner", "operador"])
def test_the_index_serves_and_reads_the_words_of_one_company_only(
    desk: Desk, acme: Company, rival: Company, role: str
) -> None:
    """The plan of the statement inside the function, as it runs for a person under row security."""
    desk.process_changes()
    mark = uuid.uuid4().hex[:8]
    plans: list[str] = []
    desk.db.add_notice_handler(lambda told: plans.append(told.message_primary or ""))
    with desk.db.transaction(force_rollback=True):
        there = [desk.say(acme, "hola"), desk.say(rival, "hola")]
        desk.process_changes()
        desk.db.execute("set local session_replication_role = replica")
        desk.db.execute(
            "insert into message_search (company_id, message_id, conversation_id, chatbot_id, search)"
            " select company_id, uuidv7(), id, chatbot_id, private.message_words(company_id, 'hola x' || mod(n, 1000) || %s)"
            " from conversations, generate_series(1, 20000) n where id = any (%s)",
            (mark, there),
        )
        desk.db.execute("analyze message_search")
        desk.db.execute("load 'auto_explain'")
        desk.db.execute(
            "set local auto_explain.log_min_duration = 0; set local auto_explain.log_nested_statements = on;"
            " set local auto_explain.log_analyze = on; set local client_min_messages = log"
        )
        assert desk.find(acme, f"x777{mark}", role) == {there[0]}
    told = next(
        plan for plan in plans if "message_search s" in plan and "conversation_search" in plan
    )
    scan = re.search(r"Bitmap Index Scan on message_search_words_idx .*rows=(\d+)", told)
    assert scan, told
    assert int(scan[1]) == 20, "entries of the other company were read too"
    assert "Seq Scan on message_search" not in told
