"""A company that attacks the platform with everything at once does not slow another company's answers."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import random
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest

from neurant.auth.passwords import hash_password
from neurant.installation.embedded import connection_urls
from tests.companies import Company, make_company
from tests.console.people import PASSWORD
from tests.knowledge import bombs
from tests.support.flood import Orders
from tests.support.platform import free_port, platform_up

pytestmark = [pytest.mark.anyio, pytest.mark.soak]

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 60.0
VISITORS = 24
THINK_SECONDS = (1.5, 4.0)  # a session may write 30 messages at once, and then one in seven seconds
MAX_RATIO = 1.5
MAX_ANSWER_SECONDS = 30.0
DOCUMENT = ROOT / "neurant" / "demo" / "documents" / "Horarios y sedes.txt"
QUESTIONS = ["¿Dónde queda la sede de Chapinero?", "¿Tienen parqueadero en Cedritos?"]


async def test_a_flood_of_one_company_leaves_the_answers_of_another_as_quick(folder: Path) -> None:
    port = free_port()
    with platform_up(folder / "data", port, folder / "log"):
        await _ready(port)
        admin = connection_urls(folder / "data").admin
        password_hash = hash_password(PASSWORD)
        acme, rival = (
            make_company(admin, name, password_hash=password_hash) for name in ("acme", "rival")
        )
        await _teach(port, acme)
        await _teach(port, rival)
        documents = _bombs()
        await _ask(port, acme, 5.0)  # warm
        before = await _ask(port, acme, SECONDS)
        async with _flooding(port, rival, documents) as answers:
            during = await _ask(port, acme, SECONDS)
        print(f"answers to the flood: {json.dumps(answers, indent=1, sort_keys=True)}")
    quiet, flooded = _p95(before), _p95(during)
    print(
        f"message to answer, p95: {quiet * 1000:.0f} ms before, {flooded * 1000:.0f} ms during"
        f" (ratio {flooded / quiet:.2f})"
    )
    assert flooded <= MAX_RATIO * quiet


def _p95(seconds: list[float]) -> float:
    assert len(seconds) >= 40, "too few answers to tell a percentile"
    return sorted(seconds)[int(len(seconds) * 0.95)]


async def _ready(port: int) -> None:
    deadline = time.monotonic() + 60
    async with httpx.AsyncClient() as http:
        while True:
            with contextlib.suppress(httpx.TransportError):
                if (await http.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200:
                    return
            assert time.monotonic() < deadline, "the platform did not start"
            await asyncio.sleep(0.1)


async def _sign_in(port: int, company: Company) -> str:
    body = {"email": company.people["owner"].email, "password": PASSWORD}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        return (await http.post("/v1/session", json=body)).raise_for_status().json()["token"]


async def _teach(port: int, company: Company) -> None:
    headers = {"Authorization": f"Bearer {await _sign_in(port, company)}"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers) as http:
        files = {"file": (DOCUMENT.name, DOCUMENT.read_bytes())}
        made = await http.post(f"/v1/chatbots/{company.bot_id}/documents", files=files)
        document = made.raise_for_status().json()["id"]
        deadline = time.monotonic() + 60
        path = f"/v1/documents/{document}"
        while (await http.get(path)).raise_for_status().json()["status"] != "completed":
            assert time.monotonic() < deadline, "the document was not read"
            await asyncio.sleep(0.1)


def _bombs() -> dict[str, str]:
    """A hostile file of each kind, in base64, by its name."""
    files = {
        "forms.pdf": bombs.forms_that_call_each_other(),
        "deflated.pdf": bombs.doubly_deflated(600 * bombs.MB),
        "pages.pdf": bombs.the_same_page_many_times(),
        "tree.pdf": bombs.deep_page_tree(),
        "arrays.pdf": bombs.deep_pdf_arrays(),
        "huge.docx": bombs.huge_document_part(),
        "parts.docx": bombs.many_huge_parts(),
        "elements.docx": bombs.many_elements(),
        "tables.docx": bombs.nested_tables(),
        "boxes.docx": bombs.nested_boxes(),
        "deep.docx": bombs.deep_xml(),
        "entities.docx": bombs.nested_entities(),
        "attributes.docx": bombs.many_attributes(),
        "entries.docx": bombs.many_entries(50_000),
        "overlapping.docx": bombs.overlapping_entries(),
        "sizes.docx": bombs.lying_sizes(),
        "heading.txt": bombs.one_heading_repeated(bombs.MB),
        "headings.txt": bombs.many_headings(),
        "underlines.txt": bombs.underlines(bombs.MB),
        "line.txt": bombs.one_line(bombs.MB),
        "marks.txt": bombs.combining_marks(bombs.MB),
        "charset.txt": bombs.hostile_charset(bombs.MB),
    }
    return {name: base64.b64encode(content).decode() for name, content in files.items()}


@contextlib.asynccontextmanager
async def _flooding(
    port: int, company: Company, documents: dict[str, str]
) -> AsyncIterator[dict[str, int]]:
    """The attacks, in a process of the lowest priority; their answers when the block has ended."""
    orders = Orders(
        "127.0.0.1", port, SECONDS, company.web, str(company.bot_id),
        await _sign_in(port, company), documents,
    )  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        "nice", "-n", "19", sys.executable, "-m", "tests.support.flood",
        cwd=Path(__file__).parents[1], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        limit=10 * bombs.MB,
    )  # fmt: skip
    answers: dict[str, int] = {}
    talking = asyncio.create_task(process.communicate(json.dumps(asdict(orders)).encode()))
    try:
        yield answers
        told, _ = await asyncio.wait_for(talking, SECONDS + 60)
        answers.update(json.loads(told))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _ask(port: int, company: Company, seconds: float) -> list[float]:
    """Seconds from each message to its answer, of several visitors who ask for a while."""
    ends = time.monotonic() + seconds
    took: list[float] = []
    async with asyncio.TaskGroup() as group:
        for number in range(VISITORS):
            group.create_task(_visitor(port, company, number, ends, took))
    return took


async def _visitor(
    port: int, company: Company, number: int, ends: float, took: list[float]
) -> None:
    chance = random.Random(number)
    chat = f"http://127.0.0.1:{port}/chat/{company.web}"
    connector = aiohttp.TCPConnector(local_addr=(f"127.1.{number}.1", 0))
    async with aiohttp.ClientSession(connector=connector) as http:
        token = (await (await http.post(f"{chat}/session")).json())["token"]
        headers = {"Authorization": f"Bearer {token}"}
        timeout = aiohttp.ClientTimeout(total=None)
        async with http.get(f"{chat}/stream", headers=headers, timeout=timeout) as stream:
            answers = _bot_answers(stream)
            while time.monotonic() < ends:
                await asyncio.sleep(chance.uniform(*THINK_SECONDS))
                started = time.perf_counter()
                body = {"client_id": str(uuid.uuid4()), "text": chance.choice(QUESTIONS)}
                async with http.post(f"{chat}/messages", json=body, headers=headers) as answer:
                    assert answer.status == 200, await answer.text()
                await asyncio.wait_for(anext(answers), MAX_ANSWER_SECONDS)
                took.append(time.perf_counter() - started)


async def _bot_answers(stream: aiohttp.ClientResponse) -> AsyncIterator[Any]:
    event = ""
    async for line in stream.content:
        if line.startswith(b"event:"):
            event = line[6:].strip().decode()
        elif line.startswith(b"data:") and event == "message":
            message = json.loads(line[5:])
            if message["sender"] == "bot":
                assert message["sources"], message["text"]
                yield message
