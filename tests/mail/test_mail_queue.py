"""The queue: with the caller's transaction or not at all, once each, and nothing secret stays."""

from __future__ import annotations

import asyncio
import base64
import logging
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from pydantic import SecretStr

from neurant.core.db.pool import Pool, make_pool
from neurant.core.db.tenancy import Staff, tenant
from neurant.core.errors import BadInputError
from neurant.core.settings import Settings
from neurant.core.vault import Vault
from neurant.installation.embedded import Urls
from neurant.mail.deliver import LEASE, MailContext, deliver, next_due, open_mail_context
from neurant.mail.folder import newest_mails, part_of, read_mail
from neurant.mail.queries import LeasedMail, claim_mails
from neurant.mail.service import queue_mail
from neurant.mail.smtp import MAX_ATTEMPT_SECONDS, Server
from tests.companies import Company, make_company
from tests.mail.mail_server import DROP, Received, serving

pytestmark = pytest.mark.anyio
SECRET = "Xq7-nobody-else-may-know-9Zt"
LINK = f"https://app.example/invitation#{SECRET}"
PARAMS = {"company": "Acme", "role": "operador", "name": "Eva", "link": LINK}
KEY = SecretStr(base64.b64encode(os.urandom(32)).decode())


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, master_key=KEY, smtp_url=None, demo=True)


@pytest.fixture
async def app(urls: Urls) -> AsyncIterator[Pool]:
    async with make_pool(urls.app, size=2, pooled=False) as pool:
        yield pool


@pytest.fixture
async def mail_context(urls: Urls, settings: Settings) -> AsyncIterator[MailContext]:
    async with make_pool(urls.jobs, size=4, pooled=False) as pool:
        yield open_mail_context(pool, settings)


@pytest.fixture
def acme(urls: Urls) -> Company:
    return make_company(urls.admin, "acme")


def address() -> str:
    return f"eva-{uuid4().hex[:12]}@casa.example"


async def queue(app: Pool, to: str, company: Company | None = None, **changed: Any) -> None:
    vault = changed.pop("vault", Vault(Settings(master_key=KEY)))
    async with app.connection() as connection, connection.transaction():
        await queue_mail(
            connection, vault, to=to, template="team.welcome", language="es", params=PARAMS,
            company_id=company.id if company else None, **changed,
        )  # fmt: skip


def rows(urls: Urls, to: str) -> list[dict[str, Any]]:
    with psycopg.connect(urls.admin, row_factory=psycopg.rows.dict_row) as db:
        return db.execute("select * from mails where to_address = %s", (to,)).fetchall()


def status(urls: Urls, to: str) -> str:
    [row] = rows(urls, to)
    return str(row["status"])


async def claim(urls: Urls, to: str, now: datetime | None = None) -> LeasedMail | None:
    """This test's mail; what else waits is not touched."""
    with psycopg.connect(urls.admin, row_factory=psycopg.rows.class_row(LeasedMail)) as db:
        db.execute("update mails set due_at = 'infinity' where to_address <> %s and status = 'pending'", (to,))  # fmt: skip
        claimed = db.execute(
            "select mail_id, to_address, template, language, params_encrypted, created_at, claim_token"
            " from private.claim_mails(50, %s, coalesce(%s, now())) where to_address = %s",
            (LEASE, now, to),
        ).fetchone()
        db.execute("update mails set due_at = created_at where due_at = 'infinity'")
        return claimed


def later(**delta: float) -> datetime:
    return datetime.now(UTC) + timedelta(**delta)


async def test_a_mail_leaves_with_the_transaction_that_asked_for_it(
    urls: Urls, app: Pool, mail_context: MailContext, acme: Company
) -> None:
    to, never = address(), address()
    await queue(app, to, acme)
    async with app.connection() as connection, connection.transaction(force_rollback=True):
        await queue_mail(connection, mail_context.vault, to=never, template="team.welcome", language="es", params=PARAMS)  # fmt: skip
    assert rows(urls, never) == []
    claimed = await claim(urls, to)
    assert claimed is not None
    await deliver(mail_context, claimed)
    [name] = newest_mails(mail_context.folder)
    message = read_mail(mail_context.folder, name)
    assert message is not None
    assert message["To"] == to
    assert LINK in part_of(message, "plain")
    assert (mail_context.folder / name).stat().st_mode & 0o077 == 0
    assert status(urls, to) == "sent"


async def test_nothing_secret_is_in_the_row_nor_in_the_log_before_or_after(
    urls: Urls,
    app: Pool,
    mail_context: MailContext,
    acme: Company,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    refused, taken = address(), address()
    quoting = f"554 5.7.1 your message holds {LINK} and {SECRET} and is not wanted"
    async with serving(Received({"data": [quoting]})) as there:
        sending = replace(mail_context, server=Server("127.0.0.1", there.port, None, None, "off"))
        for to in (refused, taken):
            await queue(app, to, acme)
            [row] = rows(urls, to)
            assert SECRET.encode() not in row["params_encrypted"]
            claimed = await claim(urls, to)
            assert claimed is not None
            assert SECRET not in repr(claimed)
            await deliver(sending, claimed)
    for to, ended in ((refused, "failed"), (taken, "sent")):
        [row] = rows(urls, to)
        assert (row["status"], row["params_encrypted"]) == (ended, None)
        assert SECRET not in repr(row)
    assert rows(urls, refused)[0]["last_error"].startswith("554 5.7.1 your message holds [link]")
    # The test's own server (mail.log) tells everything.
    told = [r.getMessage() for r in caplog.records if not r.name.startswith("mail.log")]
    everything = "".join([*told, *capsys.readouterr()])
    assert "mail_not_sent" in everything
    assert SECRET not in everything
    assert refused not in everything


async def test_a_refusal_is_final_and_the_company_is_notified(
    urls: Urls, app: Pool, mail_context: MailContext, acme: Company
) -> None:
    rival = make_company(urls.admin, "rival")
    to = address()
    await queue(app, to, acme)
    async with serving(Received({"rcpt": ["550 5.1.1 no such mailbox"]})) as there:
        sending = replace(mail_context, server=Server("127.0.0.1", there.port, None, None, "off"))
        claimed = await claim(urls, to)
        assert claimed is not None
        await deliver(sending, claimed)
        assert await claim(urls, to, later(days=2)) is None
        assert there.mails == []
    assert status(urls, to) == "failed"
    with psycopg.connect(urls.admin) as db:
        told = db.execute(
            "select n.company_id, u.role::text, n.details ->> 'to' from notifications n"
            " join users u on u.company_id = n.company_id and u.id = n.user_id"
            " where n.kind = 'mail_failed' and n.company_id = any(%s) order by 2",
            ([acme.id, rival.id],),
        ).fetchall()
    assert sorted(told) == [(acme.id, "administrador", to), (acme.id, "owner", to)]


async def test_what_can_wait_waits_longer_each_time_and_a_day_at_most(
    urls: Urls, app: Pool, mail_context: MailContext
) -> None:
    to = address()
    await queue(app, to)
    with psycopg.connect(urls.admin, autocommit=True) as db:
        began = rows(urls, to)[0]["created_at"]
        now, waits = began, []
        while status(urls, to) != "failed":
            claimed = await claim(urls, to, now)
            assert claimed is not None, "it is due"
            assert await claim(urls, to, now) is None, "it is leased"
            db.execute("select private.settle_mail(%s, %s, 'later', '451 busy', %s)", (claimed.mail_id, claimed.claim_token, now))  # fmt: skip
            if status(urls, to) == "pending":
                due = rows(urls, to)[0]["due_at"]
                assert await claim(urls, to, due - timedelta(seconds=1)) is None
                waits.append(due - now)
                now = due
    assert waits[:4] == [timedelta(seconds=s) for s in (30, 120, 480, 1920)]
    assert waits == sorted(waits)
    assert max(waits) == timedelta(hours=2)
    assert timedelta(hours=20) < now - began <= timedelta(days=1)
    assert rows(urls, to)[0]["params_encrypted"] is None


async def test_an_end_that_nobody_saw_is_tried_once_more_and_then_reported(
    urls: Urls, app: Pool, mail_context: MailContext, acme: Company
) -> None:
    """It may come twice, with one Message-ID; it is never silently lost."""
    to = address()
    await queue(app, to, acme)
    async with serving(Received({"data": [DROP, DROP, "250 never asked"]})) as there:
        sending = replace(mail_context, server=Server("127.0.0.1", there.port, None, None, "off"))
        for moment in (None, later(minutes=10)):
            claimed = await claim(urls, to, moment)
            assert claimed is not None
            await deliver(sending, claimed)
        assert await claim(urls, to, later(days=1)) is None
    assert status(urls, to) == "failed"
    assert len(there.mails) == 2
    assert there.mails[0]["Message-ID"] == there.mails[1]["Message-ID"]


async def test_a_worker_that_dies_loses_its_lease_not_the_mail(urls: Urls, app: Pool, mail_context: MailContext) -> None:  # fmt: skip
    to = address()
    await queue(app, to)
    dead = await claim(urls, to)
    assert dead is not None
    assert await claim(urls, to, later(minutes=2)) is None
    # The lease is over: noticed by whoever claims next, then due after the first wait.
    assert await claim(urls, to, later(minutes=4)) is None
    again = await claim(urls, to, later(minutes=6))
    assert again is not None
    assert again.claim_token != dead.claim_token
    await deliver(mail_context, dead)  # it was only slow: its word counts no more
    assert status(urls, to) == "sending"
    await deliver(mail_context, again)
    assert status(urls, to) == "sent"
    assert len(newest_mails(mail_context.folder)) == 1  # the same mail is the same file


async def test_a_lease_is_longer_than_the_longest_attempt() -> None:
    assert LEASE.total_seconds() > 2 * MAX_ATTEMPT_SECONDS


async def test_many_workers_take_each_mail_once(
    urls: Urls, app: Pool, mail_context: MailContext
) -> None:
    everyone = [address() for _ in range(12)]
    for to in everyone:
        await queue(app, to)
    taken = [one for batch in await asyncio.gather(*(claim_mails(mail_context.pool, 3, LEASE) for _ in range(30))) for one in batch]  # fmt: skip
    ours = [one.to_address for one in taken if one.to_address in everyone]
    assert sorted(ours) == sorted(everyone)
    for one in taken:
        await deliver(mail_context, one)
    assert await next_due(mail_context) is None or {status(urls, to) for to in everyone} == {"sent"}


async def test_another_key_opens_nothing_and_the_mail_waits_for_the_right_one(
    urls: Urls, app: Pool, mail_context: MailContext
) -> None:
    to = address()
    other = SecretStr(base64.b64encode(os.urandom(32)).decode())
    await queue(app, to, vault=Vault(Settings(master_key=other)))
    claimed = await claim(urls, to)
    assert claimed is not None
    await deliver(mail_context, claimed)
    assert status(urls, to) == "pending"
    assert newest_mails(mail_context.folder) == []
    again = await claim(urls, to, later(minutes=5))
    assert again is not None
    await deliver(replace(mail_context, vault=Vault(Settings(master_key=other))), again)
    assert status(urls, to) == "sent"


async def test_parameters_open_in_their_own_row_only(
    urls: Urls, app: Pool, mail_context: MailContext
) -> None:
    one, other = address(), address()
    await queue(app, one)
    await queue(app, other)
    with psycopg.connect(urls.admin) as db:
        db.execute("update mails m set params_encrypted = (select o.params_encrypted from mails o where o.to_address = %s) where m.to_address = %s", (one, other))  # fmt: skip
    claimed = await claim(urls, other)
    assert claimed is not None
    await deliver(mail_context, claimed)
    assert status(urls, other) == "pending"


async def test_staff_queue_for_their_own_company_only_and_read_nothing_that_waits(
    urls: Urls, app: Pool, mail_context: MailContext, acme: Company
) -> None:
    rival = make_company(urls.admin, "rival")
    staff: Staff = acme.staff("operador")
    to = address()
    async with tenant(app, staff) as connection:
        await queue_mail(connection, mail_context.vault, to=to, template="team.welcome", language="en", params=PARAMS, company_id=acme.id)  # fmt: skip
    assert len(rows(urls, to)) == 1
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with tenant(app, staff) as connection:
            await queue_mail(connection, mail_context.vault, to=to, template="team.welcome", language="en", params=PARAMS, company_id=rival.id)  # fmt: skip
    for statement in (
        "select params_encrypted from public.mails",
        "insert into public.mails (id, to_address, template, language) values (uuidv7(), 'a@b.co', 'a.b', 'es')",
        "update public.mails set to_address = 'a@b.co'",
        "delete from public.mails",
        "select private.claim_mails(1, '1 minute')",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with tenant(app, staff) as connection:
                await connection.execute(statement.encode())


async def test_what_is_no_address_is_refused_before_anything_is_written(
    urls: Urls, app: Pool
) -> None:
    with pytest.raises(BadInputError):
        await queue(app, "eva@casa.example\r\nBcc: otra@casa.example")


async def test_settled_mail_is_forgotten_after_a_month(
    urls: Urls, app: Pool, mail_context: MailContext
) -> None:
    old, young, waiting = address(), address(), address()
    for to in (old, young, waiting):
        await queue(app, to)
    for to in (old, young):
        claimed = await claim(urls, to)
        assert claimed is not None
        await deliver(mail_context, claimed)
    with psycopg.connect(urls.admin) as db:
        for to in (old, waiting):
            db.execute("update mails set created_at = now() - interval '31 days' where to_address = %s", (to,))  # fmt: skip
    async with mail_context.pool.connection() as connection:
        await connection.execute("select private.drop_old_mails()")
    assert [len(rows(urls, to)) for to in (old, young, waiting)] == [0, 1, 1]


async def test_a_full_disk_is_not_the_mails_end(
    urls: Urls, app: Pool, mail_context: MailContext
) -> None:
    to = address()
    await queue(app, to)
    mail_context.folder.write_text("a file where the folder should be")
    claimed = await claim(urls, to)
    assert claimed is not None
    await deliver(mail_context, claimed)
    assert status(urls, to) == "pending"
    mail_context.folder.unlink()
    again = await claim(urls, to, later(minutes=1))
    assert again is not None
    await deliver(mail_context, again)
    assert status(urls, to) == "sent"
