"""The table of permissions: as it was designed, as it behaves, and only ever narrowed."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neurant.installation.embedded import Urls
from neurant.texts import LANGUAGES, catalogue
from tests.companies import ROLES, Company, make_company

DESIGN = Path(__file__).parents[1] / "data" / "design" / "roles.md"
REACH = {
    "A": "all",
    "all": "all",
    "B": "bots",
    "A (change)": "all",
    "A (read use)": "all",
    "B, no totals": "bots",
    "S": "self",
    "-": "none",
    "- (reads plan and bills)": "none",
    "below": "below",
    "supervisors, operadores": "juniors",
    "colleagues of B": "colleagues",
    "own": "own",
}
MEANT = {
    ("company", "read profile, usage against limits"): ["company.read"],
    ("company", "edit profile and settings"): ["company.edit"],
    ("company", "plan, billing, transfer ownership, close"): [
        "billing.manage",
        "company.transfer",
        "company.close",
    ],
    ("users", "list"): ["users.read"],
    ("users", "team directory (name, avatar, presence, for transfers)"): ["team.read"],
    ("users", "edit own name, avatar, phone, preferences"): ["profile.edit"],
    ("users", "change role, activate, deactivate"): ["users.manage"],
    ("invitations", "create, list, renew, cancel"): ["invitations.read", "invitations.manage"],
    ("API keys, webhooks out, integrations and their logs", "read, write"): [
        f"{one}.{operation}"
        for one in ("api_keys", "webhooks", "integrations")
        for operation in ("read", "manage")
    ],
    ("channel accounts", "read state"): ["channels.read"],
    ("channel accounts", "connect, rotate, pause, disconnect"): ["channels.manage"],
    ("chatbots", "read"): ["chatbots.read"],
    ("chatbots", "create, edit"): ["chatbots.edit"],
    ("chatbots", "retire"): ["chatbots.retire"],
    ("chatbots", "assign operadores"): ["chatbots.assign_operators"],
    ("chatbots", "assign supervisor in charge"): ["chatbots.assign_supervisor"],
    ("templates", "read"): ["templates.read"],
    ("conversations, messages, reactions, notes", "read"): ["conversations.read"],
    ("conversations, messages, reactions, notes", "reply, note, resolve, take a session"): [
        "conversations.reply"
    ],
    ("conversations, messages, reactions, notes", "request a transfer (up or sideways)"): [
        "conversations.transfer"
    ],
    # Whose transfer it is, decide_transfer() says; nobody edits what was said.
    ("conversations, messages, reactions, notes", "accept or reject a transfer to them"): [],
    (
        "conversations, messages, reactions, notes",
        "edit or delete a stored message, forge a sender",
    ): [],
    ("conversations, messages, reactions, notes", "assign, reassign, move down"): [
        "conversations.assign"
    ],
    ("canned responses", "use"): ["canned_responses.read"],
    ("canned responses", "write shared / own"): ["canned_responses.edit"],
    ("documents, chunks, knowledge search and queries", "read"): ["documents.read"],
    ("documents, chunks, knowledge search and queries", "add, edit, retire, evaluate"): [
        "documents.edit"
    ],
    ("models: keys, budgets, settings", "read use / change"): ["language_models.read"],
    ("analytics", "read per bot and company totals"): ["analytics.read"],
    ("audit, verification", "read"): ["audit.read"],
    ("export, erase an end user's data, archive restore", "do"): [
        "data.export",
        "data.erase",
        "data.restore",
    ],
}
NOT_BUILT = {  # objects of the design whose feature does not exist yet
    ("contacts, attributes", "read"): "the desk",
    ("contacts, attributes", "edit attributes, block, merge, un-merge"): "the desk",
    ("labels, macros, saved views (shared)", "use"): "the desk",
    ("labels, macros, saved views (shared)", "change shared / own"): "the desk",
    ("rules, clocks and targets, hours, holidays, skills, capacity", "read"): "human handoff",
    ("rules, clocks and targets, hours, holidays, skills, capacity", "change"): "human handoff",
    ("presence", "set own"): "human handoff",
    ("raw events, dead letters, loss meter", "read"): "the channels' connector",
    ("raw events, dead letters, loss meter", "replay, discard"): "the channels' connector",
    ("templates of a channel (WhatsApp)", "send"): "WhatsApp",
    ("templates of a channel (WhatsApp)", "synchronise, create"): "WhatsApp",
    ("tools of integrations", "use in a conversation"): "integrations that run",
    ("tools of integrations", "define, allow"): "integrations that run",
    ("question-answer pairs", "propose"): "knowledge from questions",
    ("question-answer pairs", "publish, retire"): "knowledge from questions",
    ("evaluation, time machine", "run"): "evaluation of answers",
    ("analytics files (CSV, XLSX, reports)", "get, within what may be read"): "analytics pages",
    ("BI login, retention, legal hold, receipts", "manage"): "analytics pages",
}
LATER = {  # what the design's table does not name
    "billing.read",
    "notifications.read",
    "sso.read",
    "sso.manage",
    "language_models.manage",  # the "change" of "read use / change": not of a supervisor
    "metrics.read",
    "conversations.import",
}
ROWS = {  # a table that is read by each permission, with a row in it
    "company.read": "companies",
    "users.read": "users",
    "api_keys.read": "api_keys",
    "channels.read": "channel_accounts",
    "chatbots.read": "chatbots",
    "canned_responses.read": "canned_responses",
    "audit.read": "audit_logs",
    "notifications.read": "notifications",
    "conversations.read": "conversations",
}


@pytest.fixture(scope="module")
def companies(urls: Urls) -> tuple[Company, Company]:
    made = tuple(make_company(urls.admin, name) for name in ("acme", "rival"))
    with psycopg.connect(urls.admin) as db:
        for company in made:
            owner = company.people["owner"].id
            db.execute(
                "insert into api_keys (company_id, name, prefix, key_digest, role, created_by, scopes)"
                " values (%s, 'CRM', 'na_key_x', %s, 'administrador', %s, '{audit.read}')",
                (company.id, secrets.token_bytes(32), owner),
            )
            db.execute(
                "insert into canned_responses (company_id, shortcut, content) values (%s, 'hola', 'Hola')",
                (company.id,),
            )
            for person in company.people.values():
                db.execute(
                    "insert into notifications (company_id, user_id, kind) values (%s, %s, 'plan_changed')",
                    (company.id, person.id),
                )
            db.execute(
                "insert into conversations (company_id, chatbot_id, channel_account_id, end_user_id,"
                " channel) select company_id, chatbot_id, id, 'x', channel from channel_accounts"
                " where company_id = %s and channel = 'web'",
                (company.id,),
            )
    return made


@pytest.fixture
def app(urls: Urls) -> Iterator[psycopg.Connection]:
    with psycopg.connect(urls.app) as db:
        yield db


def become(db: psycopg.Connection, **claims: object) -> None:
    db.rollback()
    told = json.dumps({name: str(value) for name, value in claims.items()})
    db.execute(
        "select set_config('role', 'authenticated', true), set_config('request.jwt.claims', %s, true)",
        (told,),
    )


def person(company: Company, role: str) -> dict[str, UUID]:
    return {"sub": company.people[role].auth_user_id, "company_id": company.id}


def table(db: psycopg.Connection) -> dict[str, dict[str, str]]:
    rows = db.execute("select name, owner, administrador, supervisor, operador from permissions")
    return {name: dict(zip(ROLES, reach, strict=True)) for name, *reach in rows}


def designed() -> Iterator[tuple[str, str, list[str]]]:
    thing = ""
    for line in DESIGN.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|") or len(cells) != 6 or cells[0] == "object" or "---" in line:
            continue
        thing = cells[0] or thing
        yield thing, cells[1], cells[2:]


def test_the_table_is_the_one_that_was_designed(app: psycopg.Connection, urls: Urls) -> None:
    with psycopg.connect(urls.admin) as db:
        known = table(db)
    rows = list(designed())
    assert {(thing, operation) for thing, operation, _ in rows} == set(MEANT) | set(NOT_BUILT)
    named = set()
    for thing, operation, cells in rows:
        if (thing, operation) in NOT_BUILT:
            continue
        for permission in MEANT[thing, operation]:
            named.add(permission)
            assert list(known[permission].values()) == [REACH[cell] for cell in cells], permission
    assert set(known) - named == LATER


def test_every_role_may_do_exactly_what_the_table_says(
    app: psycopg.Connection, companies: tuple[Company, Company]
) -> None:
    acme, rival = companies
    for role in ROLES:
        become(app, **person(acme, role))
        for permission, reach in table(app).items():
            found = app.execute("select private.company_id(%s)", (permission,)).fetchone()[0]
            assert found == (acme.id if reach[role] != "none" else None), (role, permission)
        for permission, name in ROWS.items():
            column = "id" if name == "companies" else "company_id"
            seen = {row[0] for row in app.execute(f"select {column} from {name}")}
            allowed = table(app)[permission][role] != "none"
            assert seen == ({acme.id} if allowed else set()), (role, permission)
    become(app, sub=acme.people["owner"].auth_user_id, company_id=rival.id)
    assert app.execute("select count(*) from private.my_permissions()").fetchone() == (0,)


def test_every_permission_has_its_words(urls: Urls) -> None:
    with psycopg.connect(urls.admin) as db:
        known = table(db)
    told = {
        name
        for name in catalogue("es")
        if re.fullmatch(r"permissions\.[a-z_]+\.[a-z_]+", name)
        and name.split(".")[1] not in ("objects", "reach")
    }
    assert told == {f"permissions.{name}" for name in known}
    for language in LANGUAGES:
        words = catalogue(language)
        assert {f"permissions.objects.{name.split('.')[0]}" for name in known} <= set(words)
        assert {
            f"permissions.reach.{one}" for reach in known.values() for one in reach.values()
        } <= set(words)


def mine(db: psycopg.Connection) -> set[str]:
    """What the caller may do: told at once, and asked one by one."""
    told = {row[0] for row in db.execute("select private.my_permissions()")}
    asked = db.execute(
        "select name from permissions where private.company_id(name) is not null"
    ).fetchall()
    assert told == {row[0] for row in asked}
    return told


@given(data=st.data())
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_what_is_taken_from_a_person_is_gone_and_nothing_else(
    data: st.DataObject, app: psycopg.Connection, companies: tuple[Company, Company], urls: Urls
) -> None:
    acme, rival = companies
    role = data.draw(st.sampled_from(ROLES[1:]))
    target, key = acme.people[role].id, secrets.token_bytes(32)
    with psycopg.connect(urls.admin) as db:
        rows = db.execute(
            "select name, is_narrowable, for_keys, is_read from permissions"
        ).fetchall()
        by_scope = [name for name, _, keys, _ in rows if keys == "by_scope"]
        key_role = data.draw(st.sampled_from(ROLES[1:]))
        key_id = db.execute(
            "insert into api_keys (company_id, name, prefix, key_digest, role, created_by, scopes)"
            " values (%s, 'x', 'na_key_x', %s, %s, %s, %s) returning id",
            (acme.id, key, key_role, target, by_scope),
        ).fetchone()[0]
    denied = data.draw(
        st.sets(st.sampled_from([name for name, narrowable, *_ in rows if narrowable]))
    )
    status = data.draw(st.sampled_from(["active", "past_due", "inactive"]))
    become(app, **person(acme, "owner"))
    assert app.execute(
        "select private.set_user_permissions(%s, %s)", (target, list(denied))
    ).fetchone()[0] in ("changed", "unchanged")
    app.commit()
    with psycopg.connect(urls.admin) as db:
        db.execute("update companies set subscription_status = %s where id = %s", (status, acme.id))
    try:
        known = table_with_admin(urls)
        readable = {name for name, *_, is_read in rows if is_read or status != "inactive"}
        become(app, **person(acme, role))
        allowed = {name for name, reach in known.items() if reach[role] != "none"}
        assert mine(app) == (allowed - denied) & readable
        become(app, key_id=key_id, company_id=acme.id)
        weaker = max(role, key_role, key=ROLES.index)
        allowed = {name for name, reach in known.items() if reach[weaker] != "none"}
        of_keys = {name for name, _, keys, _ in rows if keys != "never"}
        assert mine(app) == (allowed - denied) & readable & of_keys
        become(app, **person(rival, role))
        assert mine(app) == {name for name, reach in known.items() if reach[role] != "none"}
    finally:
        app.rollback()
        with psycopg.connect(urls.admin) as db:
            db.execute(
                "update companies set subscription_status = 'active' where id = %s", (acme.id,)
            )
            db.execute("update users set permissions = '{}' where id = %s", (target,))


def table_with_admin(urls: Urls) -> dict[str, dict[str, str]]:
    with psycopg.connect(urls.admin) as db:
        return table(db)


def test_nothing_is_ever_added_and_the_owner_keeps_all(
    app: psycopg.Connection, companies: tuple[Company, Company]
) -> None:
    acme, _ = companies
    become(app, **person(acme, "owner"))
    ask = "select private.set_user_permissions(%s, %s)"
    operador, owner = acme.people["operador"].id, acme.people["owner"].id
    assert app.execute(ask, (operador, ["no.such"])).fetchone() == ("not_narrowable",)
    assert app.execute(ask, (operador, ["profile.edit"])).fetchone() == ("not_narrowable",)
    assert app.execute(ask, (owner, ["audit.read"])).fetchone() == ("forbidden",)
    become(app, **person(acme, "supervisor"))
    assert app.execute(ask, (operador, ["documents.read"])).fetchone() == ("forbidden",)
