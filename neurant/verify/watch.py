"""Watched calls: the result of a statement, and every row that it changed.

A trial runs one statement as one identity in a subtransaction that is always rolled back. The
statistics of the transaction (``pg_stat_get_xact_tuples_*``) show which tables the statement wrote.
Only these are read, once before the rollback and once after it; the difference is the change. Of a
table with a company the rows of the two fixture companies are compared, of any other table the rows
that this transaction wrote, so a live database is never read as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, LiteralString

from neurant.verify.catalog import Catalog, Connection
from neurant.verify.probe import Identity

_BATCH = 200
# Rows of this table never change or go, and ids rise, so only new rows are read.
_ONLY_GROWS = {"public.audit_logs"}


@dataclass(frozen=True)
class Trial:
    """A statement under one identity.

    ``statement`` returns one JSON value (without ``fetch``: none, and its rows are counted).
    ``given`` runs first, as the administrator. ``gives`` is a query for the JSON value that the
    statement must return, run before the statement; ``then`` is a query for a boolean, run after
    it.
    """

    identity: Identity
    statement: str
    given: tuple[str, ...] = ()
    gives: str | None = None
    then: str | None = None
    fetch: bool = True


@dataclass(frozen=True)
class Change:
    """The rows of one table that were removed or added; a changed row is in both lists."""

    old: list[dict[str, Any]]
    new: list[dict[str, Any]]


@dataclass(frozen=True)
class Result:
    """The outcome of a trial. ``state`` is the SQLSTATE of a refusal, else None."""

    state: str | None = None
    message: str = ""
    value: Any = None
    expected: Any = None
    then: Any = None
    settings: Mapping[str, str] = field(default_factory=dict)  # changed settings of the request
    changes: Mapping[str, Change] = field(default_factory=dict)
    broken: str = ""  # the error of ``given`` or ``gives``: the oracle itself is wrong


_RUN: LiteralString = """
do $verify$
declare
  v_trial jsonb;
  v_step text;
  v_watched jsonb := current_setting('neurant.watched')::jsonb;
  v_names text[];
  v_oids oid[];
  v_counts bigint[];
  v_table text;
  v_touched text[];
  v_new jsonb;
  v_old jsonb;
  v_rows jsonb;
  v_value jsonb;
  v_expected jsonb;
  v_then jsonb;
  v_count bigint;
  v_settings jsonb;
  v_outcome jsonb;
  v_changes jsonb;
  v_outcomes jsonb[] := '{}';
  v_number integer := 0;
  v_state text;
  v_message text;
begin
  select array_agg(w.name order by w.name), array_agg(w.name::regclass::oid order by w.name)
  into v_names, v_oids from jsonb_object_keys(v_watched) w (name);
  for v_trial in
    select p from jsonb_array_elements(current_setting('neurant.trials')::jsonb) p
  loop
    v_number := v_number + 1;
    v_expected := null;
    begin
      for v_step in select jsonb_array_elements_text(v_trial -> 'given') loop
        execute v_step;
      end loop;
      if v_trial ->> 'gives' is not null then
        execute v_trial ->> 'gives' into v_expected;
      end if;
      perform set_config('neurant.mark', uuidv7()::text, true);
      v_touched := '{}';
      v_new := '{}';
      v_value := null;
      v_then := null;
      v_counts := array(select pg_stat_get_xact_tuples_inserted(o)
        + pg_stat_get_xact_tuples_updated(o) + pg_stat_get_xact_tuples_deleted(o)
        from unnest(v_oids) o);
      begin
        if v_trial ->> 'login' is not null then
          perform set_config('session_authorization', v_trial ->> 'login', true);
        end if;
        perform set_config('request.jwt.claims', v_trial ->> 'claims', true);
        perform set_config('role', v_trial ->> 'role', true);
        if (v_trial ->> 'fetch')::boolean then
          execute v_trial ->> 'statement' into v_value;
        else
          execute v_trial ->> 'statement';
          get diagnostics v_count = row_count;
          v_value := to_jsonb(v_count);
        end if;
        select coalesce(jsonb_object_agg(s.name, current_setting(s.name, true)), '{}')
        into v_settings
        from (values ('request.jwt.claims', v_trial ->> 'claims'), ('request.audit', ''),
          ('request.actor', '')) s (name, before)
        where coalesce(current_setting(s.name, true), '') <> s.before;
        set constraints all immediate;
        reset session authorization;
        reset role;
        if v_trial ->> 'then' is not null then
          execute v_trial ->> 'then' into v_then;
        end if;
        select coalesce(array_agg(w.name), '{}') into v_touched
        from unnest(v_names, v_oids, v_counts) w (name, o, count)
        where w.count <> pg_stat_get_xact_tuples_inserted(w.o)
          + pg_stat_get_xact_tuples_updated(w.o) + pg_stat_get_xact_tuples_deleted(w.o);
        foreach v_table in array v_touched loop
          execute v_watched ->> v_table into v_rows;
          v_new := v_new || jsonb_build_object(v_table, v_rows);
        end loop;
        raise exception using errcode = 'NV000';
      exception when others then
        get stacked diagnostics v_state = returned_sqlstate, v_message = message_text;
        v_outcome := case v_state
          when 'NV000' then jsonb_build_object('value', v_value, 'then', v_then,
            'settings', v_settings)
          else jsonb_build_object('state', v_state, 'message', v_message) end;
        if v_state <> 'NV000' then
          v_touched := '{}';
        end if;
      end;
      v_changes := '{}';
      foreach v_table in array v_touched loop
        execute v_watched ->> v_table into v_old;
        v_changes := v_changes || jsonb_build_object(v_table, jsonb_build_object(
          'old', (select coalesce(jsonb_agg(r), '[]') from (
            select jsonb_array_elements(v_old) r
            except select jsonb_array_elements(v_new -> v_table)) gone),
          'new', (select coalesce(jsonb_agg(r), '[]') from (
            select jsonb_array_elements(v_new -> v_table) r
            except select jsonb_array_elements(v_old)) come)));
      end loop;
      v_outcome := v_outcome
        || jsonb_build_object('expected', v_expected, 'changes', v_changes);
      raise exception using errcode = 'NV000';
    exception when others then
      get stacked diagnostics v_state = returned_sqlstate, v_message = message_text;
      if v_state <> 'NV000' then
        v_outcome := jsonb_build_object('broken', v_state || ' ' || v_message);
      end if;
    end;
    v_outcomes[v_number] := v_outcome;
  end loop;
  perform set_config('neurant.results', to_jsonb(v_outcomes)::text, true);
end $verify$
"""


def watched(catalog: Catalog, companies: Iterable[object], since: str) -> dict[str, str]:
    """Return a query for the rows to compare, by table. ``since``: the transaction's xid."""
    both = ", ".join(f"'{one}'" for one in companies)
    found = {}
    for table in catalog.tables.values():
        if table.kind not in "rp":
            continue
        name = table.sql.as_string(None)
        kept = (
            f"t.{table.company} in ({both})"
            if table.company
            else f"age(t.xmin) <= age('{since}'::xid)"
        )
        if table.company and not table.columns[table.company].required:
            kept += f" or t.{table.company} is null and age(t.xmin) <= age('{since}'::xid)"
        if table.name in _ONLY_GROWS:
            kept = f"({kept}) and t.id > current_setting('neurant.mark')::uuid"
        rows = "coalesce(jsonb_agg(to_jsonb(t)), '[]')"
        found[table.name] = f"select {rows} from {name} t where {kept}"  # noqa: S608  the catalog's
    return found


def try_watched(
    connection: Connection, queries: Mapping[str, str], trials: Iterable[Trial]
) -> Iterator[tuple[Trial, Result]]:
    """Run each trial from the same starting point, several hundred per round trip."""
    connection.execute("select set_config('neurant.watched', %s, true)", (json.dumps(queries),))
    waiting = iter(trials)
    while batch := list(islice(waiting, _BATCH)):
        told = [
            {
                "role": trial.identity.role,
                "claims": trial.identity.claims,
                "login": trial.identity.login,
                "statement": trial.statement,
                "given": trial.given,
                "gives": trial.gives,
                "then": trial.then,
                "fetch": trial.fetch,
            }
            for trial in batch
        ]
        connection.execute("select set_config('neurant.trials', %s, true)", (json.dumps(told),))
        connection.execute(_RUN)
        row = connection.execute("select current_setting('neurant.results')").fetchone()
        assert row is not None  # noqa: S101  a select without from has one row
        yield from zip(batch, map(_result, json.loads(row[0])), strict=True)


def _result(outcome: dict[str, Any]) -> Result:
    changes = {
        name: Change(**change) for name, change in sorted((outcome.pop("changes", {})).items())
    }
    return Result(**outcome, changes=changes)
