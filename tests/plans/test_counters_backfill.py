"""Companies that were there before the counters are counted when the migration comes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import psycopg

from neurant.database.migrate import MIGRATIONS, migrate
from tests.companies import make_company
from tests.plans.acting import RECOUNT, add_bot, add_document, add_integration

FIRST_THAT_COUNTS = "20261122000040"


def test_what_was_there_before_is_counted(
    fresh_database: Callable[[], str], tmp_path: Path
) -> None:
    url = fresh_database()
    for path in MIGRATIONS.glob("*.sql"):
        if path.name < FIRST_THAT_COUNTS:
            shutil.copy(path, tmp_path)
    migrate(url, tmp_path)
    acme, rival = make_company(url, "acme"), make_company(url, "rival")
    with psycopg.connect(url) as db:
        add_bot(db, acme)
        add_integration(db, acme)
        document = add_document(db, acme, 777)
        db.execute("update documents set character_count = 55 where id = %s", (document,))
        db.execute(
            "insert into user_invitations (company_id, email, invited_by, token_digest)"
            " values (%s, 'a@b.example', %s, sha256('x'))",
            (acme.id, acme.people["owner"].id),
        )
    migrate(url)
    counters = (
        "select current_chatbot_count, current_user_count, current_integration_count,"
        " current_document_characters, current_storage_bytes, current_hitl_count"
        " from companies where id = %s"
    )
    with psycopg.connect(url) as db:
        for company, expected in ((acme, (2, 5, 1, 55, 777, 0)), (rival, (1, 4, 0, 0, 0, 0))):
            assert db.execute(counters, (company.id,)).fetchone() == expected
            assert db.execute(RECOUNT, {"id": company.id}).fetchone() == expected
