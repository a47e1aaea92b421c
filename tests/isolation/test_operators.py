"""The operators of mutation, on made-up statements and bodies: each yields the text that is expected."""

from __future__ import annotations

from collections import defaultdict

import pytest

from tests.isolation.body_mutants import difference
from tests.isolation.operators import Scope, expression_mutants, statement_mutants
from tests.isolation.plpgsql import branch_mutants, embedded_mutants, parsed

SCOPE = Scope(
    columns={
        "public.messages": {
            "company_id": "uuid", "id": "uuid", "sender_id": "uuid", "receiver_id": "uuid",
            "content": "text", "seq": "integer",
        }
    },
    variables={"p_company": "uuid", "p_user": "uuid", "p_args": "jsonb"},
)  # fmt: skip


def made(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for operator, mutated in statement_mutants(text, SCOPE):
        found[operator].append(mutated)
    return found


@pytest.mark.parametrize(
    ("statement", "operator", "expected"),
    [
        ("select from t where a = 1 and b", "conjunct dropped", "SELECT FROM t WHERE b"),
        ("select from t join u on t.a = u.a and u.is_active", "conjunct dropped",
         "SELECT FROM t INNER JOIN u ON t.a = u.a"),
        ("select from t where a or b", "disjunct dropped", "SELECT FROM t WHERE b"),
        ("select from t where a and (b or c)", "AND to OR", "SELECT FROM t WHERE a OR (b OR c)"),
        ("select from t where a or b", "OR to AND", "SELECT FROM t WHERE a AND b"),
        ("select from t where a = 1", "condition dropped", "SELECT FROM t"),
        ("select from t join u on t.a = u.a", "condition dropped",
         "SELECT FROM t INNER JOIN u ON TRUE"),
        ("select count(*) filter (where a) from t", "condition dropped", "SELECT count(*) FROM t"),
        ("select from t where is_active", "condition negated", "SELECT FROM t WHERE NOT is_active"),
        ("select from t where not is_active", "negation dropped", "SELECT FROM t WHERE is_active"),
        ("select from t where a = 1", "comparison negated", "SELECT FROM t WHERE a <> 1"),
        ("select from t where a is null", "comparison negated", "SELECT FROM t WHERE a IS NOT NULL"),
        ("select from t where a in (1, 2)", "comparison negated", "SELECT FROM t WHERE a NOT IN (1, 2)"),
        ("select from t where a = any (b)", "comparison negated", "SELECT FROM t WHERE a <> ALL(b)"),
        ("select from t where a is distinct from b", "comparison negated",
         "SELECT FROM t WHERE a IS NOT DISTINCT FROM b"),
        ("select from t where expires_at > now()", "boundary moved",
         "SELECT FROM t WHERE expires_at >= now()"),
        ("select from t where a > p_now - b", "arithmetic reversed",
         "SELECT FROM t WHERE a > p_now + b"),
        ("select from t where a in ('x', 'y')", "element dropped", "SELECT FROM t WHERE a IN ('y')"),
        ("select case when a then 1 when b then 2 end", "branch removed",
         "SELECT CASE WHEN b THEN 2 END"),
        ("select case when a then x else y end", "branch removed", "SELECT CASE WHEN a THEN x END"),
        ("select coalesce(a, b)", "branch removed", "SELECT b"),
        ("select a from t union all select a from u", "branch removed", "SELECT a FROM t"),
        ("select a from t limit 3", "limit dropped", "SELECT a FROM t"),
        ("select a from t for update skip locked", "lock dropped", "SELECT a FROM t"),
        ("select a from t for update skip locked", "skip locked dropped",
         "SELECT a FROM t FOR UPDATE"),
        ("select distinct a from t", "distinct dropped", "SELECT a FROM t"),
        ("select a from t order by a, b", "order reversed", "SELECT a FROM t ORDER BY a DESC, b"),
        ("select from t join u on t.a = u.a", "inner join to left join",
         "SELECT FROM t LEFT JOIN u ON t.a = u.a"),
        ("select from t left join u on t.a = u.a", "left join to inner join",
         "SELECT FROM t INNER JOIN u ON t.a = u.a"),
        ("update t set a = 1, b = 2", "assignment dropped", "UPDATE t SET b = 2"),
        ("insert into t values (1) on conflict (a) do nothing", "conflict clause dropped",
         "INSERT INTO t VALUES (1)"),
        ("insert into t values (1) on conflict (a) do update set a = 2", "conflict update dropped",
         "INSERT INTO t VALUES (1) ON CONFLICT (a) DO NOTHING"),
        ("select true", "literal changed", "SELECT FALSE"),
        ("select a[1]", "literal changed", "SELECT (a)[2]"),
        ("select '7 days'::interval", "literal changed", "SELECT CAST('1 second' AS interval)"),
        ("select m.sender_id from public.messages m", "column swapped",
         "SELECT m.receiver_id FROM public.messages AS m"),
        ("select from public.messages m where m.company_id = 1", "column swapped",
         "SELECT FROM public.messages AS m WHERE m.id = 1"),
        ("update public.messages set seq = 1 where sender_id = 2", "column swapped",
         "UPDATE public.messages SET seq = 1 WHERE receiver_id = 2"),
        ("insert into public.messages (sender_id, content, receiver_id) values (1, 2, 3)",
         "column swapped",
         "INSERT INTO public.messages (receiver_id, content, sender_id) VALUES (1, 2, 3)"),
        ("select p_company", "column swapped", "SELECT p_user"),
        ("select (select private.company_id('notes.read'))", "permission dropped",
         "SELECT (SELECT private.company_id())"),
        ("select private.company_id()", "company from argument", "SELECT p_company"),
        ("select private.company_id()", "company from argument",
         "SELECT CAST(p_args ->> 'company_id' AS uuid)"),
    ],
)  # fmt: skip
def test_an_operator_changes_one_node(statement: str, operator: str, expected: str) -> None:
    assert expected in made(statement)[operator]


def test_a_mutant_is_never_the_statement_itself() -> None:
    for mutants in made("select coalesce(a, 1) from t where a = 1 and not b limit 1").values():
        assert "SELECT COALESCE(a, 1) FROM t WHERE a = 1 AND NOT b LIMIT 1" not in mutants


def test_the_condition_of_an_if_is_negated_as_a_whole() -> None:
    found = list(expression_mutants("a or b", SCOPE, is_condition=True))
    assert ("condition negated", "NOT(a OR b)") in found
    assert ("disjunct dropped", "b") in found


BODY = """
declare
  v_company uuid := private.company_id('notes.read');
  v_found public.messages;
begin
  if v_company is null then
    return;
  end if;
  select m.* into v_found from public.messages m
  where m.company_id = v_company and m.id = p_message for update;
  if v_found.seq > 1 then
    perform private.tell(v_company);
  elsif v_found.seq = 1 then
    update public.messages set content = case when 'ñ' = content then '' else content end;
  else
    delete from public.messages;
  end if;
  for v_found in select * from public.messages loop
    v_found.seq := v_found.seq + 1;
    return next;
  end loop;
end """
DEFINITION = f"""create function private.made_up(p_message uuid) returns table (id uuid) language plpgsql
as $function${BODY}$function$"""


def test_every_expression_of_a_body_has_its_place() -> None:
    found = parsed(DEFINITION, BODY)
    assert found.lost == []
    assert found.variables["v_company"] == "uuid"
    for part in found.embedded:
        there = " ".join(BODY[part.start : part.end].lower().split())
        assert there.startswith((part.query.strip().lower()[:6], "perform"))
    [into] = {part.into for part in found.embedded if part.into}
    assert into == "into v_found"


def bodies(body: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    parts = parsed(DEFINITION, body)
    for operator, mutated, _, _ in [
        *embedded_mutants(body, parts, SCOPE),
        *branch_mutants(body),
    ]:
        found[operator].append(" ".join(mutated.split()))
    return found


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        ("conjunct dropped",
         "SELECT m.* FROM public.messages AS m WHERE m.id = p_message FOR UPDATE into v_found ;"),
        ("lock dropped", "m.company_id = v_company AND m.id = p_message into v_found ;"),
        ("comparison negated", "if (v_company IS NOT NULL) then return;"),
        ("permission dropped", "v_company uuid := private.company_id();"),
        ("check dropped", "begin null; select m.*"),
        ("branch removed", "if v_found.seq = 1 then update"),
        ("branch removed", "perform private.tell(v_company); else delete"),
        ("branch removed", "else content end; end if; for v_found"),
        ("statement removed", "then null; elsif v_found.seq = 1"),
        ("statement removed", "else null; end if; for"),
        ("statement removed", "null; return next;"),
        ("statement removed", "v_found.seq + 1; null; end loop"),
        ("arithmetic reversed", "v_found.seq := v_found.seq - 1;"),
    ],
)  # fmt: skip
def test_a_body_loses_a_check_a_branch_or_a_statement(operator: str, expected: str) -> None:
    assert any(expected in body for body in bodies(BODY)[operator]), bodies(BODY)[operator]


def test_a_difference_names_what_was_and_what_is() -> None:
    assert difference("a = 1 AND b", "a = 1") == "a = 1[- AND b-]{++}"
