"""Trials of statements under other identities, thousands at a time, without a trace.

A probe is one statement under one identity. A whole batch travels in one ``do`` block, which runs
each probe in a subtransaction and always rolls it back. So a batch of thousands takes about as long
as a page, and the writes of a probe are gone before the next one begins.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, LiteralString

from psycopg import sql

from neurant.verify.catalog import Connection

DENIED = "42501"  # insufficient_privilege: no grant, or a policy's check


@dataclass(frozen=True)
class Identity:
    """The role and claims of a statement.

    ``login`` (the session's user) needs a superuser's connection.
    """

    role: str
    claims: str = ""
    login: str | None = None


@dataclass(frozen=True)
class Probe:
    """A statement; ``fetch``: it returns one JSON value.

    ``before`` and ``after`` run as the administrator; the value of ``after`` is then the outcome's.
    """

    identity: Identity
    statement: sql.Composed
    fetch: bool = False
    before: tuple[sql.Composed, ...] = ()
    after: sql.Composed | None = None


@dataclass(frozen=True)
class Outcome:
    """The outcome of a probe.

    ``state`` is None for success; ``value``: rows counted, or fetched.
    """

    state: str | None = None
    message: str = ""
    constraint: str = ""
    value: Any = field(default=None)

    @property
    def denied(self) -> bool:
        """Return whether a missing right was the reason for the refusal."""
        return self.state == DENIED

    @property
    def reached(self) -> bool:
        """Return whether a rule, and no missing right or policy, stopped the statement."""
        return self.state is not None and (self.state[:2] == "23" or self.state.startswith("NA"))

    @property
    def summary(self) -> str:
        """Return the outcome in a few words."""
        return "ok" if self.state is None else f"{self.state} {self.message}".strip()


_RUN: LiteralString = """
do $verify$
declare
  v_probe jsonb;
  v_before text;
  v_value jsonb;
  v_count bigint;
  v_outcome jsonb;
  v_state text;
  v_message text;
  v_constraint text;
  v_outcomes jsonb[] := '{}';
  v_number integer := 0;
begin
  for v_probe in
    select p from jsonb_array_elements(current_setting('neurant.probes')::jsonb) p
  loop
    v_number := v_number + 1;
    begin
      for v_before in select jsonb_array_elements_text(v_probe -> 'before') loop
        execute v_before;
      end loop;
      if v_probe ->> 'login' is not null then
        perform set_config('session_authorization', v_probe ->> 'login', true);
      end if;
      perform set_config('request.jwt.claims', v_probe ->> 'claims', true);
      perform set_config('role', v_probe ->> 'role', true);
      v_value := null;
      if (v_probe ->> 'fetch')::boolean then
        execute v_probe ->> 'statement' into v_value;
      else
        execute v_probe ->> 'statement';
        get diagnostics v_count = row_count;
        v_value := to_jsonb(v_count);
      end if;
      set constraints all immediate;
      if v_probe ->> 'after' is not null then
        reset session authorization;
        reset role;
        execute v_probe ->> 'after' into v_value;
      end if;
      raise exception using errcode = 'NV000';
    exception when others then
      get stacked diagnostics v_state = returned_sqlstate, v_message = message_text,
        v_constraint = constraint_name;
      v_outcome := case v_state when 'NV000' then jsonb_build_object('value', v_value)
        else jsonb_build_object('state', v_state, 'message', v_message,
          'constraint', v_constraint) end;
    end;
    v_outcomes[v_number] := v_outcome;
  end loop;
  perform set_config('neurant.outcomes', to_jsonb(v_outcomes)::text, true);
end $verify$
"""


def try_all(connection: Connection, probes: Sequence[Probe]) -> list[Outcome]:
    """Run each probe from the same starting point; return one outcome each, in order."""
    if not probes:
        return []
    batch = [
        {
            "role": probe.identity.role,
            "claims": probe.identity.claims,
            "login": probe.identity.login,
            "statement": probe.statement.as_string(connection),
            "fetch": probe.fetch,
            "after": probe.after.as_string(connection) if probe.after else None,
            "before": [one.as_string(connection) for one in probe.before],
        }
        for probe in probes
    ]
    connection.execute("select set_config('neurant.probes', %s, true)", (json.dumps(batch),))
    connection.execute(_RUN)
    row = connection.execute("select current_setting('neurant.outcomes')").fetchone()
    assert row is not None  # noqa: S101  a select without from has one row
    return [Outcome(**outcome) for outcome in json.loads(row[0])]
