"""What was archived can still be read where it belongs: in the customer's history."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import psycopg

from neurant.installation.embedded import Urls
from tests.companies import Company
from tests.console.people import Visitor
from tests.retention.old_conversations import archive_all

pytest_plugins = ("tests.console.running_web",)

SignIn = Callable[[Company, str], httpx.Client]
Visit = Callable[[Company, str], Visitor]


def test_an_archived_conversation_is_read_by_who_could_read_it_and_nobody_else(
    sign_in: SignIn, visit: Visit, acme: Company, rival: Company,
    database: psycopg.Connection, urls: Urls,
) -> None:  # fmt: skip
    visitor = visit(acme, "¿Tienen parqueadero?")
    database.execute(
        "delete from reply_requests where conversation_id = %s", (visitor.conversation_id,)
    )
    database.execute(
        "update conversations set status = 'resolved', ended_at = now() - interval '2 years',"
        " started_at = now() - interval '2 years', last_message_at = now() - interval '2 years'"
        " where id = %s",
        (visitor.conversation_id,),
    )
    archive_all(urls.jobs)
    kept = "select count(*) from conversations_archived where id = %s"
    assert database.execute(kept, (visitor.conversation_id,)).fetchone() == (1,)
    page = f"/console/inbox/{visitor.conversation_id}"
    shown = sign_in(acme, "operador").get(page)
    assert shown.status_code == 200
    assert "¿Tienen parqueadero?" in shown.text
    assert f'action="{page}/messages"' not in shown.text
    assert sign_in(rival, "owner").get(page).status_code == 404
