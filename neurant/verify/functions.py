"""Checks of functions: a foreign id must get exactly the same answer as an unknown one."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from neurant.verify.catalog import Catalog, Function, quoted
from neurant.verify.checks import Check, Verdict, same
from neurant.verify.exceptions import TOKEN
from neurant.verify.principals import Principal
from neurant.verify.probe import Outcome, Probe
from neurant.verify.rows import OTHER, Fixture

# The tables of arguments that are not named after their table in the singular.
_TABLES = {
    "p_user": "public.users",
    "p_to": "public.users",
    "p_operator": "public.users",
    "p_outbox": "public.outbox",
    "p_transfer": "public.hitl_transfers",
    "p_session": "public.hitl_sessions",
    "p_endpoint": "public.webhook_endpoints",
    "p_subject": "public.audit_salts",
    "p_invitation": "public.user_invitations",
    "p_connection": "public.sso_connections",
    "p_key": "public.api_keys",
}
_OF_FUNCTIONS = {
    ("private.restore_conversation", "p_conversation"): "public.conversations_archived"
}
# Secrets, which name no row. p_resource is the target of a denied attempt; it is only logged.
_NO_ID = {"p_token", "p_claim", "p_auth_user", "p_new_id", "p_resource"}
# The row set to act on, where it is not the caller's own.
_OWN = {"public.hitl_transfers": "former"}
_VALUES: dict[str, object] = {
    "p_token": TOKEN,
    "p_new_id": uuid.uuid4(),
    "p_template": "verify.mail",
    "p_language": "es",
    "p_action": "none",
    "p_kind": "escalation",
    "p_outcome": "sent",
    "p_query": "verify",
    "p_model": "multilingual-e5-small",
}
# An import of a conversation with one message.
_IN_FUNCTIONS: dict[tuple[str, str], object] = {
    ("private.import_conversations", "p_external_id"): ["verify"],
    ("private.import_conversations", "p_channel"): ["web"],
    ("private.import_conversations", "p_end_user_id"): ["verify"],
    ("private.import_conversations", "p_status"): ["resolved"],
    ("private.import_conversations", "p_context"): ["{}"],
    ("private.import_conversations", "p_of"): [1],
    ("private.import_conversations", "p_message_id"): ["verify"],
    ("private.import_conversations", "p_sender"): ["end_user"],
    ("private.import_conversations", "p_type"): ["text"],
    ("private.import_conversations", "p_content"): ["verify"],
    ("private.import_conversations", "p_sent_at"): ["2026-01-01 12:00+00"],
}
_BY_TYPE: dict[str, object] = {
    "text": "verify",
    "integer": 1,
    "bigint": 1,
    "numeric": 1,
    "boolean": False,
    "interval": "1 minute",
    "jsonb": Jsonb({}),
    "bytea": b"\0" * 32,
    "extensions.vector": "[" + ",".join(["0.1"] * 384) + "]",
    "timestamp with time zone": "2026-01-01 12:00+00",
}


def table_of(catalog: Catalog, argument: str, type_: str) -> str | None:
    """Return the table whose row an argument names; None if it is no id."""
    if type_ != "uuid" or argument in _NO_ID:
        return None
    plain = "public." + argument.removeprefix("p_").removesuffix("_id")
    for name in (_TABLES.get(argument, ""), f"{plain}s", f"{plain[:-1]}ies", plain):
        if name in catalog.tables and catalog.tables[name].company:
            return name
    return ""


def _table(fixture: Fixture, function: Function, argument: str, type_: str) -> str | None:
    named = _OF_FUNCTIONS.get((function.name, argument))
    return named or table_of(fixture.catalog, argument, type_)


def call_checks(
    fixture: Fixture, function: Function, principals: Sequence[Principal]
) -> Iterator[Check]:
    """Yield checks that compare a foreign id with an unknown one, and one that the call works.

    There is one for every id and every principal who may call the function.
    """
    callers = [
        p
        for p in principals
        if (p.identity.role in function.execute and p.person)
        or (p.name in ("worker", "visitor") and p.identity.role in function.execute)
    ]
    ids = {name: _table(fixture, function, name, type_) for name, type_ in function.arguments}
    if not callers or not any(table is not None for table in ids.values()):
        return
    for name, table in ids.items():
        if table is None:
            continue
        if table == "":
            yield _unclear(function, name)
            continue
        foreign = _id(fixture, table, OTHER)
        if foreign is None:
            yield _unclear(function, name)
            continue
        for caller in callers:
            probes = tuple(
                _call(fixture, function, caller, {name: id_}) for id_ in (foreign, uuid.uuid4())
            )
            yield Check(
                "functions",
                caller.name,
                function.signature,
                f"call: {name}",
                "other company",
                "as an unknown id",
                probes,
                same,
            )
    unknown = {name: uuid.uuid4() for name, table in ids.items() if table}
    own = tuple(_call(fixture, function, caller, {}) for caller in callers)
    none = _call(fixture, function, callers[0], unknown)
    yield Check(
        "functions",
        "somebody",
        function.signature,
        "call",
        "own company",
        "works",
        (*own, none),
        _works,
    )


def plain_call_checks(
    fixture: Fixture, function: Function, principals: Sequence[Principal], *, thorough: bool
) -> Iterator[Check]:
    """Yield checks that every caller of a function gets an answer, and not a denied table.

    The functions of the logins read every company and may lock rows: they run only if ``thorough``.
    """
    everybody = {"authenticated": "owner", "visitor": "visitor", "neurant_worker": "worker"}
    if thorough:
        everybody |= {"neurant_app": "app_login", "neurant_jobs": "jobs_login"}
    if function.trigger or not function.name.startswith("private."):
        return
    for role, name in everybody.items():
        caller = next((one for one in principals if one.name == name), None)
        if role in function.execute and caller is not None:
            yield Check(
                "functions", name, function.signature, "call", "plainly", "an answer",
                (_call(fixture, function, caller, {}),), _answered,
            )  # fmt: skip


def _answered(outcomes: Sequence[Outcome]) -> Verdict:
    [outcome] = outcomes
    return outcome.summary, not outcome.message.startswith("permission denied")


def _unclear(function: Function, name: str) -> Check:
    def judge(outcomes: Sequence[Outcome]) -> Verdict:
        return f"what does {name} name? say it in functions.py", False

    return Check(
        "functions", "", function.signature, "call", name, "known arguments", (), judge, "name"
    )


def _id(fixture: Fixture, table: str, row_set: str) -> Any:
    if table == "public.users":
        return next(
            row["id"] for tag, row in fixture.rows[table].items() if tag.startswith(row_set)
        )
    row = fixture.row(table, row_set)
    if row is None:
        return None
    rest = [name for name in fixture.catalog.tables[table].key if name != "company_id"]
    return row[rest[0]] if rest else row["company_id"]


def _call(
    fixture: Fixture, function: Function, caller: Principal, given: dict[str, uuid.UUID]
) -> Probe:
    row_set = caller.person or "colleague"
    values = []
    for name, type_ in function.arguments:
        table = _table(fixture, function, name, type_)
        value: object = given.get(name)
        if value is None:
            value = (
                _id(fixture, table, _OWN.get(table, row_set))
                if table
                else _IN_FUNCTIONS.get(
                    (function.name, name), _VALUES.get(name, _BY_TYPE.get(type_))
                )
            )
        values.append(sql.SQL("{}::{}").format(sql.Literal(value), quoted(type_)))
    statement = sql.SQL("select coalesce(jsonb_agg(to_jsonb(r)), '[]') from {}({}) r").format(
        sql.Identifier(*function.name.split(".")), sql.SQL(", ").join(values)
    )
    return Probe(caller.identity, statement, fetch=True)


def _works(outcomes: Sequence[Outcome]) -> Verdict:
    *own, unknown = outcomes
    if any(o.denied for o in own):
        return next(o.summary for o in own if o.denied), False
    for outcome in own:
        if outcome.state is None and outcome.value != unknown.value:
            return f"{outcome.value}", True
    return f"own answers like unknown: {own[0].summary} {own[0].value}", False
