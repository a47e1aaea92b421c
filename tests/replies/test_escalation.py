"""What the bot says while it hands over reaches the end user: the takeover must not cancel it."""

from __future__ import annotations

import json
from hashlib import sha256

import psycopg

from neurant.database.embedded import Urls
from tests.companies import make_company


def test_the_last_words_of_the_bot_are_sent_although_the_fence_rises(urls: Urls) -> None:
    acme = make_company(urls.admin, "acme")
    secret = sha256(acme.telegram_secret.encode()).digest()
    with psycopg.connect(urls.app) as db:
        (conversation,) = db.execute(
            "select conversation_id from private.ingest(%s::text[], '{telegram}', %s::bytea[], '{7}',"
            " '{null}', '{7:1}', '{text}', '{hola}', '{null}')",
            ([acme.telegram], [secret]),
        ).fetchone()
    with psycopg.connect(urls.jobs) as db:
        claims = db.execute(
            "select conversation_id, claim_token from private.claim_replies(1000, '1 minute')"
        ).fetchall()
        token = dict(claims)[conversation]
        db.execute("select set_config('role', 'neurant_worker', true)")
        worker = json.dumps({"company_id": str(acme.id)})
        db.execute("select set_config('request.jwt.claims', %s, true)", (worker,))
        done = db.execute(
            "select outcome from private.finish_reply(%s, %s, 0, 1, 'escalate',"
            " p_content => 'No encontré ese dato.', p_reason => 'no_answer')",
            (conversation, token),
        ).fetchone()
        assert done == ("done",)
    sent = []
    with psycopg.connect(urls.jobs, autocommit=True) as db:
        for _ in range(2):  # in order: the second waits for the first
            claimed = db.execute(
                "select outbox_id, conversation_id, outcome from private.claim_outbox(1000, '1 minute')"
            ).fetchall()
            mine = [row for row in claimed if row[1] == conversation]
            sent += [row[2] for row in mine]
            with psycopg.connect(urls.admin) as admin:
                admin.execute(
                    "update outbox set status = 'sent', claim_token = null, claimed_until = null"
                    " where id = any (%s)",
                    ([row[0] for row in mine],),
                )
    assert sent == ["sending", "sending"]
    with psycopg.connect(urls.admin) as db:
        said = db.execute(
            "select sender_type::text, content from messages where company_id = %s order by seq",
            (acme.id,),
        ).fetchall()
    assert said == [
        ("end_user", "hola"),
        ("bot", "No encontré ese dato."),
        ("system", "hitl_queued"),
    ]
