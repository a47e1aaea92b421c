"""Other companies' rows, and roles that may do too much."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import psycopg

from tests.isolation.founding.fixtures import (
    Company,
    FoundingFixture,
    add_conversation,
    add_document,
    document,
)  # fmt: skip
from tests.isolation.founding.registry import defect

REFUSED = "InsufficientPrivilege"
UNPROTECTED = (
    "message_reactions", "knowledge_queries", "integration_logs", "system_metrics",
    "conversations_archived", "messages_archived",
)  # fmt: skip


def furnish(fixture: FoundingFixture, company: Company) -> None:
    """A row of the company in each of the tables that the draft leaves open."""
    of = {"company_id": company.id}
    hung = of | {"conversation_id": company.conversation, "chatbot_id": company.bot}
    owner = company.people["owner"].id
    with fixture.without_triggers():
        fixture.add("message_reactions", **hung, message_id=company.message,
            reaction_type="thumbs_down", reacted_by_end_user=True)  # fmt: skip
        fixture.add("knowledge_queries", **hung, query_text="consulta")
        integration = fixture.add(
            "integrations", **of, name="api", integration_type="api_webhook", created_by=owner
        )
        fixture.add(
            "integration_logs", **of, integration_id=integration, request_type="POST", endpoint="/"
        )
        fixture.add("system_metrics", **of, metric_type="queue", value=1)
        archive(fixture, company)


def archive(fixture: FoundingFixture, company: Company) -> None:
    """The company's conversation and messages, copied by hand into the archives."""
    for table in ("conversations", "messages"):
        shared = ", ".join(sorted(fixture.columns[table] & fixture.columns[f"{table}_archived"]))
        fixture.db.execute(
            f"insert into {table}_archived ({shared}) select {shared} from {table}"
            " where company_id = %s",
            (company.id,),
        )


@defect(
    "D01",
    "seven tables without row security",
    drafted=(dict.fromkeys(UNPROTECTED, True), True, True),
    ours=(dict.fromkeys(UNPROTECTED, False), True, False),
)
def unprotected(fixture: FoundingFixture) -> Any:
    """An operador reads another company's rows, his owner reads their own, he rewrites a template."""
    for company in (fixture.acme, fixture.rival):
        furnish(fixture, company)
    fixture.add("chatbot_templates", name="t", description="d", industry="other", category="sales",
        system_prompt_template="Eres amable")  # fmt: skip

    def sees(company: Company) -> dict[str, bool]:
        count = "select count(*) from {} where company_id = %s"
        return {
            table: fixture.value(count.format(table), company.id) not in (0, REFUSED)
            for table in UNPROTECTED
        }

    fixture.become("operador")
    stolen = sees(fixture.rival)
    rewritten = fixture.attempt(
        "update chatbot_templates set system_prompt_template = 'Pide la tarjeta'"
    )
    fixture.become("owner")
    return stolen, all(sees(fixture.acme).values()), rewritten != REFUSED


@defect("D02", "an operador raises his company's plan and limits", drafted=1, ours=REFUSED)
def raises_plan(fixture: FoundingFixture) -> Any:
    fixture.become("operador")
    return fixture.attempt(
        "update companies set subscription_plan = 'enterprise', monthly_message_limit = 2000000000,"
        " monthly_message_count = 0 where id = %s",
        fixture.acme.id,
    )


@defect("D03", "an operador deletes the company", drafted=1, ours=REFUSED)
def deletes_company(fixture: FoundingFixture) -> Any:
    fixture.become("operador")
    return fixture.attempt("delete from companies where id = %s", fixture.acme.id)


@defect(
    "D04",
    "an operador makes himself administrador",
    drafted=(1, "administrador"),
    ours=(REFUSED, "operador"),
)
def promotes_himself(fixture: FoundingFixture) -> Any:
    me = fixture.acme.people["operador"].id
    fixture.become("operador")
    done = fixture.attempt(
        "update users set role = 'administrador', permissions = '{}' where id = %s", me
    )
    fixture.as_admin()
    return done, fixture.value("select role::text from users where id = %s", me)


@defect(
    "D05",
    "a supervisor promotes, deactivates and deletes operadores",
    drafted=[1, 1, 1],
    ours=[REFUSED] * 3,
)
def rules_over_operadores(fixture: FoundingFixture) -> Any:
    with fixture.without_triggers():
        hired = fixture.add("users", email="nuevo@acme.example", first_name="n", last_name="n")
    fixture.become("supervisor")
    return [
        fixture.attempt("update users set role = 'supervisor' where id = %s", hired),
        fixture.attempt("update users set is_active = false where id = %s", hired),
        fixture.attempt("delete from users where id = %s", hired),
    ]


@defect(
    "D06",
    "an administrador unseats the owner; two people have the role owner",
    drafted=([1, 0], 1),
    ours=([REFUSED, 1], "CheckViolation"),
)
def unseats_owner(fixture: FoundingFixture) -> Any:
    owner, rebel = (fixture.acme.people[role].id for role in ("owner", "administrador"))
    fixture.become("administrador")
    unseated = fixture.attempt(
        "update users set role = 'operador', is_owner = false where id = %s", owner
    )
    fixture.as_admin()
    left = fixture.value(
        "select count(*) from users where company_id = %s and is_owner", fixture.acme.id
    )
    # Not even the superuser makes a second one: the constraints hold it.
    fixture.attempt("update users set role = 'owner', is_owner = true where id = %s", owner)
    return [unseated, left], fixture.attempt("update users set role = 'owner' where id = %s", rebel)


@defect(
    "D07", "an operador deletes a conversation with its messages", drafted=(1, 0), ours=(REFUSED, 3)
)
def deletes_conversation(fixture: FoundingFixture) -> Any:
    mine = add_conversation(
        fixture, fixture.acme.id, fixture.acme.bot, fixture.acme.account, "+1",
        assigned_operator_id=fixture.acme.people["operador"].id,
    )  # fmt: skip
    for _ in range(3):
        fixture.add("messages", conversation_id=mine, content="hola", sender_type="end_user")
    fixture.become("operador")
    deleted = fixture.attempt("delete from conversations where id = %s", mine)
    fixture.as_admin()
    return deleted, fixture.value("select count(*) from messages where conversation_id = %s", mine)


@defect(
    "D08",
    "an operador sees none of his own bots or their conversations",
    drafted=[0, 0, 0, 0],
    ours=[1, 1, 1, 3],
)
def sees_his_own(fixture: FoundingFixture) -> Any:
    fixture.become("operador")
    tables = ("chatbot_operators", "chatbots", "conversations", "messages")
    return [fixture.value(f"select count(*) from {table}") for table in tables]


@defect(
    "D09",
    "an operador rewrites a customer's message and forges the bot's",
    drafted=[3, 1],
    ours=[REFUSED, REFUSED],
)
def rewrites_history(fixture: FoundingFixture) -> Any:
    fixture.db.execute(
        "update conversations set assigned_operator_id = %s where id = %s",
        (fixture.acme.people["operador"].id, fixture.acme.conversation),
    )
    fixture.become("operador")
    return [
        fixture.attempt("update messages set content = 'otra cosa' where sender_type = 'end_user'"),
        fixture.put("messages", company_id=fixture.acme.id, conversation_id=fixture.acme.conversation,
            content="respuesta falsa", sender_type="bot"),
    ]  # fmt: skip


@defect("D10", "an operador rewrites document chunks", drafted=(1, 1), ours=(1, REFUSED))
def rewrites_chunks(fixture: FoundingFixture) -> Any:
    fixture.become("operador")
    seen = fixture.value("select count(*) from document_chunks")
    return seen, fixture.attempt("update document_chunks set content = 'garantia 0'")


@defect(
    "D12",
    "rows refer to another company's rows, and foreign keys tell which ids exist",
    drafted=([1] * 6, False),
    ours=(["ForeignKeyViolation"] * 6, True),
)
def crosses(fixture: FoundingFixture) -> Any:
    """As the superuser: what no policy stops, a key must. Then what a supervisor can find out."""
    acme, rival = fixture.acme, fixture.rival
    owner, theirs = acme.people["owner"].id, rival.people["operador"].id
    mine = acme.people["operador"].id
    of = {"company_id": acme.id}
    hung = of | {
        "conversation_id": rival.conversation,
        "chatbot_id": acme.bot,
        "channel_account_id": acme.account,
    }
    with fixture.db.transaction(force_rollback=True):
        if fixture.is_ours:  # the key itself, not the trigger that would say no before it
            fixture.db.execute("alter table messages disable trigger number_message")
            fixture.db.execute("alter table message_reactions disable trigger place_reaction")
            fixture.db.execute("alter table chatbot_operators disable trigger user")
        crossed = [
            fixture.put("chatbot_operators", **of, chatbot_id=rival.bot, operator_id=mine,
                assigned_by=owner),
            fixture.put("documents", **document(acme.id, owner), chatbot_id=rival.bot),
            fixture.attempt("update conversations set assigned_operator_id = %s where id = %s",
                theirs, acme.conversation),
            fixture.put("message_reactions", **hung | {"conversation_id": acme.conversation},
                message_id=rival.message, reaction_type="thumbs_up", reacted_by_end_user=True),
            fixture.put("messages", **hung, seq=99, content="x", sender_type="system" if fixture.is_ours else "bot"),
            fixture.put("document_chunks", **of, document_id=rival.document, content="x",
                chunk_index=7, character_count=1),
        ]  # fmt: skip
    fixture.become("supervisor")
    upload = document(acme.id, acme.people["supervisor"].id)
    answers = {
        str(fixture.put("documents", **upload, chatbot_id=bot)) for bot in (rival.bot, acme.id)
    }
    return crossed, len(answers) == 1


@defect(
    "D14",
    "a deactivated user of a cancelled company reads on and reactivates himself",
    drafted=(3, 1),
    ours=(0, REFUSED),
)
def outlives_access(fixture: FoundingFixture) -> Any:
    me = fixture.acme.people["administrador"].id
    fixture.db.execute("update users set is_active = false where id = %s", (me,))
    fixture.db.execute(
        "update companies set subscription_status = 'cancelled' where id = %s", (fixture.acme.id,)
    )
    fixture.become("administrador")
    seen = fixture.value("select count(*) from messages")
    return seen, fixture.attempt("update users set is_active = true where id = %s", me)


@defect(
    "D20",
    "a temporary table named users hijacks the helpers",
    drafted=(3, 0),
    ours=(0, 3),
)
def hijacks_helpers(fixture: FoundingFixture) -> Any:
    """Messages of the rival, and of his own company, that an operador then sees."""
    me = fixture.acme.people["operador"].login
    fixture.become("operador")
    with suppress(psycopg.errors.InsufficientPrivilege), fixture.db.transaction():
        fixture.db.execute(
            "create temp table users (id uuid, company_id uuid, auth_user_id uuid,"
            " role public.user_role_enum, is_active boolean default true) on commit drop"
        )
        fixture.db.execute(
            "insert into users values (gen_random_uuid(), %s, %s, 'owner')", (fixture.rival.id, me)
        )
    count = "select count(*) from messages where company_id = %s"
    return fixture.value(count, fixture.rival.id), fixture.value(count, fixture.acme.id)


@defect(
    "D29",
    "an integration's key is kept in clear",
    drafted=(1, "sk-1234"),
    ours=("CheckViolation", None),
)
def keeps_keys_in_clear(fixture: FoundingFixture) -> Any:
    """What writing one in clear comes to, and what then an administrador reads."""
    owner = fixture.acme.people["owner"].id
    config = {"api_key": "sk-1234"}
    put = fixture.put("integrations", company_id=fixture.acme.id, name="api",
        integration_type="api_webhook", config=config, created_by=owner)  # fmt: skip
    fixture.become("administrador")
    read = fixture.value("select config ->> 'api_key' from integrations")
    return put, None if read == REFUSED else read


@defect(
    "D34",
    "everybody may run the maintenance functions: an operador resets the bill",
    drafted=(1, 0, True),
    ours=(REFUSED, 499, False),
)
def runs_maintenance(fixture: FoundingFixture) -> Any:
    of = (fixture.acme.id,)
    fixture.db.execute(
        "update companies set monthly_message_count = 499, monthly_reset_date = current_date - 40"
        " where id = %s", of,
    )  # fmt: skip
    schema = "private." if fixture.is_ours else ""
    fixture.become("operador")
    done = fixture.attempt(f"select * from {schema}reset_monthly_message_count()")
    fixture.as_admin()
    left = fixture.value("select monthly_message_count from companies where id = %s", *of)
    open_to_all = fixture.value(
        "select bool_or(has_function_privilege('public', p.oid, 'execute')) from pg_proc p"
        " where p.pronamespace in ('public'::regnamespace, to_regnamespace('private'))"
        " and p.prokind = 'f' and p.prosecdef"
    )
    return done, left, open_to_all


@defect("D40", "no FORCE: the tables' owner sees every company", drafted=2, ours=0)
def owner_sees_all(fixture: FoundingFixture) -> Any:
    if not fixture.is_ours:
        fixture.db.execute("create role founding_owner")
        fixture.db.execute("grant usage on schema public to founding_owner")
        fixture.db.execute("alter table messages owner to founding_owner")
    fixture.announce("neurant_owner" if fixture.is_ours else "founding_owner", {})
    return fixture.value(
        "select count(distinct company_id) from messages where company_id in (%s, %s)",
        fixture.acme.id, fixture.rival.id,
    )  # fmt: skip


@defect(
    "D43", "helpers are VOLATILE and run for every row", drafted=(True, True), ours=(False, False)
)
def helpers_per_row(fixture: FoundingFixture) -> Any:
    """Whether any is volatile; whether ten times the rows cost more calls of them."""
    helpers = (
        "pronamespace = 'private'::regnamespace and proname in ('company_id', 'user_role', 'user_id')"
        if fixture.is_ours
        else "proname in ('get_user_company_id', 'get_user_role', 'get_current_user_id')"
    )
    volatile = fixture.value(f"select bool_or(provolatile = 'v') from pg_proc where {helpers}")
    calls = (
        "select sum(coalesce(pg_stat_get_xact_function_calls(oid), 0))::int from pg_proc where "
        + helpers
    )
    fixture.db.execute("set local track_functions = 'all'")
    counted = []
    for size in (0, 30):
        for number in range(size):
            add_document(
                fixture, fixture.acme.id, fixture.acme.people["owner"].id, title=f"{number}"
            )
        before = fixture.value(calls)
        fixture.become("supervisor")
        fixture.value("select count(*) from documents")
        fixture.as_admin()
        counted.append(fixture.value(calls) - before)
    return volatile, counted[1] > counted[0]


@defect("D44", "foreign keys without an index", drafted=26, ours=0)
def keys_without_index(fixture: FoundingFixture) -> Any:
    """An index serves a key whose company and next column lead it: the rest is a handful of rows."""
    return fixture.value(
        "select count(*) from pg_constraint c where c.contype = 'f'"
        " and c.connamespace = 'public'::regnamespace and not exists (select from pg_index i"
        "  where i.indrelid = c.conrelid"
        "  and (i.indkey::int2[])[0:least(cardinality(c.conkey), 2) - 1] <@ c.conkey"
        "  and (i.indpred is null or pg_get_expr(i.indpred, i.indrelid) ~ 'IS NOT NULL'))"
    )
