"""The words of a bot's documents: of this bot and company only, and of the documents as they are."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from neurant.core.db.pool import Pool, make_pool
from neurant.core.db.tenancy import Worker, tenant
from neurant.core.object_store import open_store
from neurant.core.settings import Settings
from neurant.installation.embedded import Urls
from neurant.knowledge.answer import judge
from neurant.knowledge.jobs import process_document
from neurant.knowledge.rank import Found
from neurant.knowledge.search import prepared, search_within
from neurant.knowledge.service import store_document
from neurant.knowledge.vocabulary import bot_vocabulary, vocabulary_for
from tests.companies import Company, make_company

GYM = (
    "La inscripción al gimnasio cuesta $50.000. El parqueadero de motocicletas es gratis.".encode()
)
HOTEL = "La habitación con jacuzzi cuesta $320.000 por noche y trae desayuno.".encode()


async def search(pool: Pool, worker: Worker, chatbot_id: UUID, question: str) -> Found:
    """The passages for a question, as a reply finds them."""
    async with tenant(pool, worker) as connection:
        words = await vocabulary_for(connection, chatbot_id, question)
    asked = await prepared(worker.company_id, question, words)
    async with tenant(pool, worker) as connection:
        return await search_within(connection, chatbot_id, asked)


async def known(pool: Pool, company: Company) -> dict[str, str]:
    async with tenant(pool, Worker(company.id)) as connection:
        return dict((await bot_vocabulary(connection, company.bot_id)).written)


@pytest.mark.anyio
async def test_a_mistyped_question_is_answered_from_the_companys_own_words_and_only_them(
    urls: Urls, folder: Path
) -> None:
    acme, rival = make_company(urls.admin, "acme"), make_company(urls.admin, "rival")
    settings = Settings(data_dir=folder)
    store = open_store(settings)
    async with (
        make_pool(urls.app, size=1, pooled=False) as app,
        make_pool(urls.jobs, size=2, pooled=False) as jobs,
    ):

        async def add(company: Company, name: str, data: bytes) -> UUID:
            owner = company.staff("owner")
            ident = await store_document(app, store, settings, owner, company.bot_id, name, data)
            await process_document(jobs, store, company.id, ident)
            return ident

        document = await add(acme, "gym.txt", GYM)
        await add(rival, "hotel.txt", HOTEL)
        assert (await known(jobs, acme))["inscripcion"] == "inscripción"
        assert "jacuzzi" not in await known(jobs, acme)
        assert "jacuzzi" in await known(jobs, rival)

        question = "cuanto cuesta la inscirpcion al jimnasio"
        found = await search(jobs, Worker(acme.id), acme.bot_id, question)
        assert found.question == "cuanto cuesta la inscripción al gimnasio"
        verdict = judge(question, found)
        assert verdict.answer is not None
        assert "$50.000" in verdict.answer.text
        assert [word.meant for word in verdict.repaired] == ["inscripción", "gimnasio"]

        elsewhere = await search(jobs, Worker(rival.id), rival.bot_id, "parqeuadero de motoss")
        assert "parqueadero" not in elsewhere.question

        await add(acme, "more.txt", b"El spinning es los martes.")
        assert "spinning" in await known(jobs, acme)
        async with tenant(app, acme.staff("owner")) as connection:
            await connection.execute(
                "update documents set retired_at = now() where id = %s", (document,)
            )
        assert "parqueadero" not in await known(jobs, acme)
        assert "spinning" in await known(jobs, acme)
