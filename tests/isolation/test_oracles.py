"""The oracles: a definer that returns or changes what it must not is reported, whatever the fault.

Each fault is put into the real function's body, in a savepoint, and the oracles of that function
are asked again: at least one cell must be wrong. Without the fault every cell is right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest

from neurant.verify.checks import Cell
from neurant.verify.oracle import Attempt, cases, definers
from neurant.verify.probe import Identity
from neurant.verify.recorded import parse, recorded, written
from neurant.verify.run import Matrix
from neurant.verify.symbols import Symbols
from neurant.verify.trials import judged, left_out, oracle_cells
from neurant.verify.watch import Result, Trial, try_watched, watched
from tests.isolation.proving_ground import prepared


@pytest.fixture(scope="module")
def matrix(make_migrated_database: Callable[[], str]) -> Iterator[Matrix]:
    yield from prepared(make_migrated_database())


@dataclass(frozen=True)
class Fault:
    """What is wrong, in which function, and how its text is changed."""

    kind: str
    function: str
    old: str
    new: str


FAULTS = (
    Fault("search without its company", "search_conversations",
          "s.company_id = v_company and s.search @@ v_query", "s.search @@ v_query"),
    Fault("search of documents without its company", "search_documents",
          "d.company_id = $1", "true"),
    Fault("search of passages without its company", "search_chunks",
          "where d.company_id = v_company and", "where"),
    Fault("search of an operador without their bots", "search_chatbots",
          "and ($3 or b.id = any ($4))", ""),
    Fault("directory without its company", "team_directory",
          "u.company_id = (select private.company_id('team.read')) and", ""),
    Fault("directory with inactive people", "team_directory", "and u.is_active", ""),
    Fault("import into another company's bot", "import_conversations",
          "b.company_id = v_company and b.id = p_chatbot", "b.id = p_chatbot"),
    Fault("sender of another company imported", "import_conversations",
          "u.company_id = v_company and u.id = m.sender_id", "u.id = m.sender_id"),
    Fault("transfer to another company's person", "request_transfer",
          "where u.company_id = v_company and u.id = p_to", "where u.id = p_to"),
    Fault("transfer decided by somebody else", "decide_transfer",
          "t.to_user_id = v_user", "true"),
    Fault("visitor of any web chat", "visitor_company", "a.routing_id = p_routing_id and", ""),
    Fault("conversation of any visitor", "visitor_conversation_id",
          "and c.end_user_id = v.id::text", ""),
    Fault("job of the company in its arguments", "defer_job",
          "p_args || jsonb_build_object('company_id', v_company)", "p_args"),
    Fault("inactive user let in", "caller", "and u.is_active", ""),
    Fault("revoked key let in", "enter_key", "and k.revoked_at is null", ""),
    Fault("expired key let in", "enter_key", "k.expires_at > now()", "true"),
    Fault("expired session let in", "enter_session", "and s.expires_at > now()", ""),
    Fault("scopes ignored", "caller", "p_permission = any (k.scopes)", "true"),
    Fault("limited session shows every company", "my_companies",
          "(a.only_company_id is null or u.company_id = a.only_company_id)", "true"),
    Fault("limited session enters every company", "enter_company",
          "(v_session.only_company_id is null or u.company_id = v_session.only_company_id)", "true"),
    Fault("enforced single sign-on ignored", "enter_subject",
          "and private.sso_required(u.company_id, u.id) is null", ""),
    Fault("enforced single sign-on ignored by a session", "enter_company",
          "private.sso_required(u.company_id, u.id) is null", "true"),
    Fault("step of a code replayed", "use_factor_step", "and f.last_step < p_step", ""),
    Fault("recovery code replayed", "use_recovery_code", "and r.used_at is null", ""),
    Fault("answer of the provider replayed", "claim_sso",
          "when v_attempt.claimed_at is not null then 'used'", ""),
    Fault("every company's row changed", "close_login_session",
          "where s.token_digest = p_token_digest", ""),
)  # fmt: skip


def near(matrix: Matrix, name: str) -> list[Cell]:
    """The oracles of the functions of this name, and of those that call it."""
    rows = matrix.connection.execute(
        "select n.nspname || '.' || p.proname from pg_proc p join pg_namespace n"
        " on n.oid = p.pronamespace where n.nspname = 'private'"
        " and (p.proname = %s or p.prosrc like '%%private.' || %s || '(%%')",
        (name, name),
    ).fetchall()
    names = {row[0] for row in rows}
    only = {
        function.signature
        for function in definers(matrix.fixture.catalog, None)
        if function.name in names
    }
    return list(oracle_cells(matrix.stage, frozenset(only)))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.kind)
def test_a_faulty_definer_is_reported(matrix: Matrix, fault: Fault) -> None:
    with matrix.connection.transaction(force_rollback=True):
        row = matrix.connection.execute(
            "select pg_get_functiondef(p.oid) from pg_proc p where p.proname = %s"
            " and p.pronamespace = 'private'::regnamespace",
            (fault.function,),
        ).fetchone()
        assert row is not None
        assert fault.old in row[0], f"the body of {fault.function} has changed: mend this test"
        matrix.connection.execute(row[0].replace(fault.old, fault.new).encode())
        wrong = [cell for cell in near(matrix, fault.function) if not cell.ok]
    assert wrong, f"not noticed: {fault.kind}"


def test_the_same_definers_without_a_fault_are_not_reported(matrix: Matrix) -> None:
    for name in ("search_conversations", "team_directory", "enter_key", "use_factor_step"):
        assert [cell for cell in near(matrix, name) if not cell.ok] == []


def test_every_definer_has_an_oracle(matrix: Matrix) -> None:
    tried = {function for function, _, _ in recorded()}
    assert {one.signature for one in definers(matrix.fixture.catalog, None)} <= tried


def test_a_new_definer_without_an_oracle_is_reported(matrix: Matrix) -> None:
    with matrix.connection.transaction(force_rollback=True):
        matrix.connection.execute(
            "create function private.fresh(p_unheard uuid) returns text language sql"
            " security definer set search_path = '' as $$ select 'x' $$;"
            " alter function private.fresh(uuid) owner to neurant_router"
        )
        from neurant.verify.catalog import read_catalog

        before = matrix.fixture.catalog
        matrix.fixture.catalog = read_catalog(matrix.connection)
        found = list(oracle_cells(matrix.stage, frozenset({"private.fresh(uuid)"})))
        matrix.fixture.catalog = before
    told = {cell.found for cell in found if not cell.ok}
    assert any("p_unheard" in one for one in told)
    assert any("not recorded" in one for one in told)


def test_a_case_whose_given_rows_cannot_be_made_is_reported(matrix: Matrix) -> None:
    attempt = Attempt("private.f()", "owner", "case: x", Trial(Identity("none"), ""), why="x")
    broken = Result(broken="23502 null value")
    found = [cell for cell in judged(attempt, broken, ("! 23502 null value",)) if not cell.ok]
    assert [cell.found for cell in found if cell.expected == "a case that can run"] == [
        "23502 null value"
    ]


def test_a_row_of_the_other_company_that_changes_is_seen_even_if_the_call_gives_nothing(
    matrix: Matrix,
) -> None:
    stage = matrix.stage
    queries = watched(matrix.fixture.catalog, matrix.fixture.companies.values(), stage.since)
    rival = matrix.fixture.companies["rival"]
    statement = f"update public.conversations set fence = fence + 1 where company_id = '{rival}'"
    [(_, result)] = try_watched(
        matrix.connection, queries, [Trial(Identity("none"), statement, fetch=False)]
    )
    lines = stage.symbols.lines(result)
    assert "~ conversations rival: fence 0 -> 1" in [line.split(";")[0] for line in lines]


def test_what_a_trial_wrote_is_gone_before_the_next_one(matrix: Matrix) -> None:
    queries = watched(matrix.fixture.catalog, matrix.fixture.companies.values(), matrix.stage.since)
    trial = Trial(Identity("none"), "delete from public.knowledge_uses", fetch=False)
    first, second = (
        result for _, result in try_watched(matrix.connection, queries, [trial, trial])
    )
    assert first == second
    assert first.changes["public.knowledge_uses"].old


def test_a_record_is_read_as_it_was_written() -> None:
    record = {
        ("private.f()", "own", "owner"): ('= ["a | b: c"]', "~ users owner: role 1 -> 2"),
        ("private.f()", "unknown p_x", "owner"): ('= ["a | b: c"]', "~ users owner: role 1 -> 2"),
        ("private.f()", "own", "operador"): ("x 42501 no right: none",),
        ("private.g(text)", "case: a code counts once", "app_login"): ("= []",),
    }
    assert parse(written(record)) == record
    assert parse(written(recorded())) == recorded()


def test_every_case_says_something_and_belongs_to_a_function(matrix: Matrix) -> None:
    names = {
        function.name.rpartition(".")[2] for function in definers(matrix.fixture.catalog, None)
    }
    for case in cases():
        assert case["function"] in names, case["why"]
        assert {"gives", "then", "refused"} & case.keys(), case["why"]
        assert case.get("then") != "true" or "gives" in case, case["why"]


def test_ids_and_moments_are_reported_by_name(matrix: Matrix) -> None:
    symbols: Symbols = matrix.stage.symbols
    owner = matrix.fixture.people["acme", "owner"]["id"]
    assert symbols.of(str(owner)) == "<user owner>"
    assert symbols.of({"company": str(matrix.fixture.companies["rival"])}) == {"company": "<rival>"}
    assert symbols.text(matrix.stage.symbols.now.isoformat()) == "<now>"
    assert symbols.text("00000000-0000-7000-8000-000000000001") == "<new id>"


def test_a_moment_that_was_cut_down_is_reported_alike_whenever_the_record_is_made(
    matrix: Matrix,
) -> None:
    for second in (0, 37):
        moment = matrix.stage.symbols.now.replace(second=second, microsecond=0)
        symbols = Symbols(matrix.fixture, moment.replace(microsecond=123_456), {})
        assert symbols.text(moment.isoformat()) == "<a round moment>"


def test_rows_without_a_seal_that_were_made_up_come_after_every_real_one(matrix: Matrix) -> None:
    made_up = matrix.fixture.rows["public.audit_unsealed"].values()
    row = matrix.connection.execute(
        "select id from public.audit_logs order by id desc limit 1"
    ).fetchone()
    assert row is not None
    assert all(one["audit_id"] > row[0] for one in made_up)


def test_the_oracles_ask_only_what_is_near(matrix: Matrix) -> None:
    one = "private.use_factor_step(uuid, bigint)"
    cells = list(oracle_cells(matrix.stage, frozenset({one})))
    assert cells
    assert {cell.object for cell in cells} == {one}


def test_where_other_companies_live_nothing_that_sweeps_them_is_tried(matrix: Matrix) -> None:
    crowded = replace(matrix.stage, alone=False)
    sweeping = frozenset({"private.claim_replies(integer, interval, integer, uuid[])"})
    assert list(oracle_cells(matrix.stage, sweeping))
    assert list(oracle_cells(crowded, sweeping)) == []
    assert left_out(matrix.stage) == 0
    assert left_out(crowded) > 20
