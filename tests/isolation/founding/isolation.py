"""Other companies' rows, and roles that may do too much."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import psycopg

from tests.isolation.founding.registry import defect
from tests.isolation.founding.worlds import (
    Company,
    World,
    add_conversation,
    add_document,
    document,
)  # fmt: skip

REFUSED = "InsufficientPrivilege"
UNPROTECTED = (
    "message_reactions", "knowledge_queries", "integration_logs", "system_metrics",
    "conversations_archived", "messages_archived",
)  # fmt: skip


def furnish(world: World, company: Company) -> None:
    """A row of the company in each of the tables that the draft leaves open."""
    of = {"company_id": company.id}
    hung = of | {"conversation_id": company.conversation, "chatbot_id": company.bot}
    owner = company.people["owner"].id
    with world.without_triggers():
        world.add("message_reactions", **hung, message_id=company.message,
            reaction_type="thumbs_down", reacted_by_end_user=True)  # fmt: skip
        world.add("knowledge_queries", **hung, query_text="consulta")
        integration = world.add(
            "integrations", **of, name="api", integration_type="api_webhook", created_by=owner
        )
        world.add(
            "integration_logs", **of, integration_id=integration, request_type="POST", endpoint="/"
        )
        world.add("system_metrics", **of, metric_type="queue", value=1)
        archive(world, company)


def archive(world: World, company: Company) -> None:
    """The company's conversation and messages, copied by hand into the archives."""
    for table in ("conversations", "messages"):
        shared = ", ".join(sorted(world.columns[table] & world.columns[f"{table}_archived"]))
        world.db.execute(
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
def unprotected(world: World) -> Any:
    """An operador reads another company's rows, his owner reads their own, he rewrites a template."""
    for company in (world.acme, world.rival):
        furnish(world, company)
    world.add("chatbot_templates", name="t", description="d", industry="other", category="sales",
        system_prompt_template="Eres amable")  # fmt: skip

    def sees(company: Company) -> dict[str, bool]:
        count = "select count(*) from {} where company_id = %s"
        return {
            table: world.value(count.format(table), company.id) not in (0, REFUSED)
            for table in UNPROTECTED
        }

    world.become("operador")
    stolen = sees(world.rival)
    rewritten = world.attempt(
        "update chatbot_templates set system_prompt_template = 'Pide la tarjeta'"
    )
    world.become("owner")
    return stolen, all(sees(world.acme).values()), rewritten != REFUSED


@defect("D02", "an operador raises his company's plan and limits", drafted=1, ours=REFUSED)
def raises_plan(world: World) -> Any:
    world.become("operador")
    return world.attempt(
        "update companies set subscription_plan = 'enterprise', monthly_message_limit = 2000000000,"
        " monthly_message_count = 0 where id = %s",
        world.acme.id,
    )


@defect("D03", "an operador deletes the company", drafted=1, ours=REFUSED)
def deletes_company(world: World) -> Any:
    world.become("operador")
    return world.attempt("delete from companies where id = %s", world.acme.id)


@defect(
    "D04",
    "an operador makes himself administrador",
    drafted=(1, "administrador"),
    ours=(REFUSED, "operador"),
)
def promotes_himself(world: World) -> Any:
    me = world.acme.people["operador"].id
    world.become("operador")
    done = world.attempt(
        "update users set role = 'administrador', permissions = '{}' where id = %s", me
    )
    world.as_admin()
    return done, world.value("select role::text from users where id = %s", me)


@defect(
    "D05",
    "a supervisor promotes, deactivates and deletes operadores",
    drafted=[1, 1, 1],
    ours=[REFUSED] * 3,
)
def rules_over_operadores(world: World) -> Any:
    with world.without_triggers():
        hired = world.add("users", email="nuevo@acme.example", first_name="n", last_name="n")
    world.become("supervisor")
    return [
        world.attempt("update users set role = 'supervisor' where id = %s", hired),
        world.attempt("update users set is_active = false where id = %s", hired),
        world.attempt("delete from users where id = %s", hired),
    ]


@defect(
    "D06",
    "an administrador unseats the owner; two people have the role owner",
    drafted=([1, 0], 1),
    ours=([REFUSED, 1], "CheckViolation"),
)
def unseats_owner(world: World) -> Any:
    owner, rebel = (world.acme.people[role].id for role in ("owner", "administrador"))
    world.become("administrador")
    unseated = world.attempt(
        "update users set role = 'operador', is_owner = false where id = %s", owner
    )
    world.as_admin()
    left = world.value(
        "select count(*) from users where company_id = %s and is_owner", world.acme.id
    )
    # Not even the superuser makes a second one: the constraints hold it.
    world.attempt("update users set role = 'owner', is_owner = true where id = %s", owner)
    return [unseated, left], world.attempt("update users set role = 'owner' where id = %s", rebel)


@defect(
    "D07", "an operador deletes a conversation with its messages", drafted=(1, 0), ours=(REFUSED, 3)
)
def deletes_conversation(world: World) -> Any:
    mine = add_conversation(
        world, world.acme.id, world.acme.bot, world.acme.account, "+1",
        assigned_operator_id=world.acme.people["operador"].id,
    )  # fmt: skip
    for _ in range(3):
        world.add("messages", conversation_id=mine, content="hola", sender_type="end_user")
    world.become("operador")
    deleted = world.attempt("delete from conversations where id = %s", mine)
    world.as_admin()
    return deleted, world.value("select count(*) from messages where conversation_id = %s", mine)


@defect(
    "D08",
    "an operador sees none of his own bots or their conversations",
    drafted=[0, 0, 0, 0],
    ours=[1, 1, 1, 3],
)
def sees_his_own(world: World) -> Any:
    world.become("operador")
    tables = ("chatbot_operators", "chatbots", "conversations", "messages")
    return [world.value(f"select count(*) from {table}") for table in tables]


@defect(
    "D09",
    "an operador rewrites a customer's message and forges the bot's",
    drafted=[3, 1],
    ours=[REFUSED, REFUSED],
)
def rewrites_history(world: World) -> Any:
    world.db.execute(
        "update conversations set assigned_operator_id = %s where id = %s",
        (world.acme.people["operador"].id, world.acme.conversation),
    )
    world.become("operador")
    return [
        world.attempt("update messages set content = 'otra cosa' where sender_type = 'end_user'"),
        world.put("messages", company_id=world.acme.id, conversation_id=world.acme.conversation,
            content="respuesta falsa", sender_type="bot"),
    ]  # fmt: skip


@defect("D10", "an operador rewrites document chunks", drafted=(1, 1), ours=(1, REFUSED))
def rewrites_chunks(world: World) -> Any:
    world.become("operador")
    seen = world.value("select count(*) from document_chunks")
    return seen, world.attempt("update document_chunks set content = 'garantia 0'")


@defect(
    "D12",
    "rows refer to another company's rows, and foreign keys tell which ids exist",
    drafted=([1] * 6, False),
    ours=(["ForeignKeyViolation"] * 6, True),
)
def crosses(world: World) -> Any:
    """As the superuser: what no policy stops, a key must. Then what a supervisor can find out."""
    acme, rival = world.acme, world.rival
    owner, theirs = acme.people["owner"].id, rival.people["operador"].id
    mine = acme.people["operador"].id
    of = {"company_id": acme.id}
    hung = of | {
        "conversation_id": rival.conversation,
        "chatbot_id": acme.bot,
        "channel_account_id": acme.account,
    }
    with world.db.transaction(force_rollback=True):
        if world.is_ours:  # the key itself, not the trigger that would say no before it
            world.db.execute("alter table messages disable trigger number_message")
            world.db.execute("alter table message_reactions disable trigger place_reaction")
            world.db.execute("alter table chatbot_operators disable trigger user")
        crossed = [
            world.put("chatbot_operators", **of, chatbot_id=rival.bot, operator_id=mine,
                assigned_by=owner),
            world.put("documents", **document(acme.id, owner), chatbot_id=rival.bot),
            world.attempt("update conversations set assigned_operator_id = %s where id = %s",
                theirs, acme.conversation),
            world.put("message_reactions", **hung | {"conversation_id": acme.conversation},
                message_id=rival.message, reaction_type="thumbs_up", reacted_by_end_user=True),
            world.put("messages", **hung, seq=99, content="x", sender_type="system" if world.is_ours else "bot"),
            world.put("document_chunks", **of, document_id=rival.document, content="x",
                chunk_index=7, character_count=1),
        ]  # fmt: skip
    world.become("supervisor")
    upload = document(acme.id, acme.people["supervisor"].id)
    answers = {
        str(world.put("documents", **upload, chatbot_id=bot)) for bot in (rival.bot, acme.id)
    }
    return crossed, len(answers) == 1


@defect(
    "D14",
    "a deactivated user of a cancelled company reads on and reactivates himself",
    drafted=(3, 1),
    ours=(0, REFUSED),
)
def outlives_access(world: World) -> Any:
    me = world.acme.people["administrador"].id
    world.db.execute("update users set is_active = false where id = %s", (me,))
    world.db.execute(
        "update companies set subscription_status = 'cancelled' where id = %s", (world.acme.id,)
    )
    world.become("administrador")
    seen = world.value("select count(*) from messages")
    return seen, world.attempt("update users set is_active = true where id = %s", me)


@defect(
    "D20",
    "a temporary table named users hijacks the helpers",
    drafted=(3, 0),
    ours=(0, 3),
)
def hijacks_helpers(world: World) -> Any:
    """Messages of the rival, and of his own company, that an operador then sees."""
    me = world.acme.people["operador"].login
    world.become("operador")
    with suppress(psycopg.errors.InsufficientPrivilege), world.db.transaction():
        world.db.execute(
            "create temp table users (id uuid, company_id uuid, auth_user_id uuid,"
            " role public.user_role_enum, is_active boolean default true) on commit drop"
        )
        world.db.execute(
            "insert into users values (gen_random_uuid(), %s, %s, 'owner')", (world.rival.id, me)
        )
    count = "select count(*) from messages where company_id = %s"
    return world.value(count, world.rival.id), world.value(count, world.acme.id)


@defect(
    "D29",
    "an integration's key is kept in clear",
    drafted=(1, "sk-1234"),
    ours=("CheckViolation", None),
)
def keeps_keys_in_clear(world: World) -> Any:
    """What writing one in clear comes to, and what then an administrador reads."""
    owner = world.acme.people["owner"].id
    config = {"api_key": "sk-1234"}
    put = world.put("integrations", company_id=world.acme.id, name="api",
        integration_type="api_webhook", config=config, created_by=owner)  # fmt: skip
    world.become("administrador")
    read = world.value("select config ->> 'api_key' from integrations")
    return put, None if read == REFUSED else read


@defect(
    "D34",
    "everybody may run the maintenance functions: an operador resets the bill",
    drafted=(1, 0, True),
    ours=(REFUSED, 499, False),
)
def runs_maintenance(world: World) -> Any:
    of = (world.acme.id,)
    world.db.execute(
        "update companies set monthly_message_count = 499, monthly_reset_date = current_date - 40"
        " where id = %s", of,
    )  # fmt: skip
    schema = "private." if world.is_ours else ""
    world.become("operador")
    done = world.attempt(f"select * from {schema}reset_monthly_message_count()")
    world.as_admin()
    left = world.value("select monthly_message_count from companies where id = %s", *of)
    open_to_all = world.value(
        "select bool_or(has_function_privilege('public', p.oid, 'execute')) from pg_proc p"
        " where p.pronamespace in ('public'::regnamespace, to_regnamespace('private'))"
        " and p.prokind = 'f' and p.prosecdef"
    )
    return done, left, open_to_all


@defect("D40", "no FORCE: the tables' owner sees every company", drafted=2, ours=0)
def owner_sees_all(world: World) -> Any:
    if not world.is_ours:
        world.db.execute("create role founding_owner")
        world.db.execute("grant usage on schema public to founding_owner")
        world.db.execute("alter table messages owner to founding_owner")
    world.announce("neurant_owner" if world.is_ours else "founding_owner", {})
    return world.value(
        "select count(distinct company_id) from messages where company_id in (%s, %s)",
        world.acme.id, world.rival.id,
    )  # fmt: skip


@defect(
    "D43", "helpers are VOLATILE and run for every row", drafted=(True, True), ours=(False, False)
)
def helpers_per_row(world: World) -> Any:
    """Whether any is volatile; whether ten times the rows cost more calls of them."""
    helpers = (
        "pronamespace = 'private'::regnamespace and proname in ('company_id', 'user_role', 'user_id')"
        if world.is_ours
        else "proname in ('get_user_company_id', 'get_user_role', 'get_current_user_id')"
    )
    volatile = world.value(f"select bool_or(provolatile = 'v') from pg_proc where {helpers}")
    calls = (
        "select sum(coalesce(pg_stat_get_xact_function_calls(oid), 0))::int from pg_proc where "
        + helpers
    )
    world.db.execute("set local track_functions = 'all'")
    counted = []
    for size in (0, 30):
        for number in range(size):
            add_document(world, world.acme.id, world.acme.people["owner"].id, title=f"{number}")
        before = world.value(calls)
        world.become("supervisor")
        world.value("select count(*) from documents")
        world.as_admin()
        counted.append(world.value(calls) - before)
    return volatile, counted[1] > counted[0]


@defect("D44", "foreign keys without an index", drafted=26, ours=0)
def keys_without_index(world: World) -> Any:
    """An index serves a key whose company and next column lead it: the rest is a handful of rows."""
    return world.value(
        "select count(*) from pg_constraint c where c.contype = 'f'"
        " and c.connamespace = 'public'::regnamespace and not exists (select from pg_index i"
        "  where i.indrelid = c.conrelid"
        "  and (i.indkey::int2[])[0:least(cardinality(c.conkey), 2) - 1] <@ c.conkey"
        "  and (i.indpred is null or pg_get_expr(i.indpred, i.indrelid) ~ 'IS NOT NULL'))"
    )
