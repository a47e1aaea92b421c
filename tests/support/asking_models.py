"""A customer who asks by Telegram, and a worker that answers with a scripted language model."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from neurant.channels.events import InboundMessage
from neurant.channels.ingest import Ingestor
from neurant.channels.telegram.inbound import credential
from neurant.core.db.pool import Pool, make_pool
from neurant.core.realtime import Hub
from neurant.core.settings import Settings
from neurant.installation.embedded import Urls
from neurant.knowledge.embed import MODEL, embed_passage
from neurant.knowledge.search import vector_text
from neurant.language_models.service import LanguageModels, language_models
from neurant.replies.queries import claim_replies
from neurant.replies.service import reply
from tests.companies import Company, make_company
from tests.console.running_web import MASTER_KEY
from tests.support.model_server import ModelServer

Row = dict[str, Any]


@dataclass
class Asking:
    """Two companies and the worker that makes their replies."""

    urls: Urls
    acme: Company
    rival: Company
    jobs: Pool
    hub: Hub
    ingestor: Ingestor
    models: LanguageModels
    said: int = field(default=0)

    async def say(self, company: Company, text: str, user: str = "cliente") -> UUID:
        """A message of a customer; its conversation."""
        self.said += 1
        stored = await self.ingestor.put(
            InboundMessage(
                company.telegram, "telegram", credential(company.telegram_secret.encode()), user,
                None, f"{user}:{self.said}", "text", text,
            )
        )  # fmt: skip
        assert stored.conversation_id
        return stored.conversation_id

    async def work(self) -> list[str]:
        """Make every reply that is due now; their outcomes."""
        self.execute("update reply_requests set due_at = now()")
        claims = await claim_replies(self.jobs, 20, timedelta(seconds=20))
        return [await reply(self.jobs, self.hub, one, self.models) for one in claims]

    async def ask(self, company: Company, text: str, user: str = "cliente") -> Row:
        """Ask, let the worker answer, and return the bot's message ({} if it said nothing)."""
        conversation = await self.say(company, text, user)
        while "listening" in await self.work():
            pass
        found = self.rows(
            "select * from messages where conversation_id = %s and seq = (select max(seq)"
            " from messages where conversation_id = %s and sender_type = 'bot')"
            " and seq > (select max(seq) from messages where conversation_id = %s"
            " and sender_type = 'end_user')",
            conversation, conversation, conversation,
        )  # fmt: skip
        return found[0] if found else {}

    def use(self, company: Company) -> Row:
        """The company's use of models, all months and models together."""
        [found] = self.rows(
            "select coalesce(sum(calls), 0)::int as calls, coalesce(sum(fallbacks), 0)::int as"
            " fallbacks, coalesce(sum(input_tokens), 0)::int as read, coalesce(sum(output_tokens),"
            " 0)::int as written, coalesce(sum(cost), 0) as cost from language_model_usage"
            " where company_id = %s",
            company.id,
        )
        return found

    def rows(self, query: str, *params: object) -> list[Row]:
        with psycopg.connect(self.urls.admin, row_factory=dict_row) as db:
            return db.execute(query, params).fetchall()

    def execute(self, query: str, *params: object) -> None:
        with psycopg.connect(self.urls.admin) as db:
            db.execute(query, params)


@asynccontextmanager
async def asking(own: Urls, **settings: object) -> AsyncIterator[Asking]:
    """Two companies on an empty database; no model is set up."""
    acme, rival = make_company(own.admin, "acme"), make_company(own.admin, "rival")
    told = Settings(
        master_key=MASTER_KEY, outbound_private_hosts="127.0.0.1", log_level="warning", **settings
    )
    app, jobs = (make_pool(url, size=4, pooled=False) for url in (own.app, own.jobs))
    async with (
        app,
        jobs,
        Hub(own.app).running() as hub,
        Ingestor(app, hub).running() as ingestor,
        language_models(told) as models,
    ):
        yield Asking(own, acme, rival, jobs, hub, ingestor, models)


def set_model(admin_url: str, company: Company, server: ModelServer, **columns: object) -> None:
    """Give a company a model of its own, without a key."""
    values = {
        "base_url": server.url,
        "model": "modelo-1",
        "timeout_seconds": 2,
        "input_price": 2,
        "output_price": 10,
        "is_active": True,
    } | columns
    with psycopg.connect(admin_url) as db:
        db.execute("delete from language_models where company_id = %s", (company.id,))
        db.execute(
            f"insert into language_models (company_id, {', '.join(values)})"
            f" values (%s{', %s' * len(values)})",
            (company.id, *values.values()),
        )


def teach(
    admin_url: str,
    company: Company,
    name: str,
    *passages: str,
    vectors: list[list[float]] | None = None,
) -> None:
    """Store a document of the company with its passages as the worker would have.

    ``vectors``: those of the passages, where a test has no need of true ones.
    """
    made = vectors or [embed_passage(one) for one in passages]
    with psycopg.connect(admin_url) as db:
        store_document(db, company, name, passages, made)


def store_document(
    db: psycopg.Connection,
    company: Company,
    name: str,
    passages: Sequence[str],
    vectors: Sequence[list[float]],
) -> None:
    """Store a document with its passages, in the caller's transaction."""
    document = db.execute(
        "insert into documents (company_id, filename, original_filename, file_type,"
        " file_size_bytes, file_url, content_digest, uploaded_by, processing_status)"
        " values (%s, %s, %s, 'txt', 1, 'f', sha256(%s::bytea), %s, 'completed') returning id",
        (company.id, name, name, uuid.uuid4().hex, company.people["owner"].id),
    ).fetchone()[0]
    for number, (text, vector) in enumerate(zip(passages, vectors, strict=True)):
        db.execute(
            "insert into document_chunks (company_id, document_id, content, chunk_index,"
            " character_count, embedding, embedding_model)"
            " values (%s, %s, %s, %s, %s, %s::extensions.vector, %s)",
            (company.id, document, text, number, len(text), vector_text(vector), MODEL),
        )


def as_json(rows: list[Row]) -> str:
    return json.dumps(rows, default=str, ensure_ascii=False)
