"""The whole OpenAPI against the real application: every check of schemathesis, by three callers.

``make test`` runs it in short; ``make nightly`` ten thousand cases.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from zoneinfo import available_timezones

import httpx
import psycopg
import pytest
import schemathesis
from companies import Company, make_company
from console.running_web import serving, web_settings
from hypothesis import strategies as st
from schemathesis import Case, HookContext, engine
from schemathesis.config import SchemathesisConfig
from schemathesis.engine.events import (
    EngineFinished,
    FatalError,
    NonFatalError,
    ScenarioFinished,
)

from neurant.database.embedded import Urls
from neurant.database.migrate import migrate

CALLERS = ("owner", "operador", "key")
CASES = int(os.environ.get("NEURANT_SCHEMA_CASES", "0"))  # 0: the short run
LONG = CASES > 0
ENDS_THE_CALLER = ("/v1/session", "/v1/sessions", "/v1/company/close", "/v1/company/transfer")


# What a format of ours means, for the generator.
WORDS = st.from_regex(r"[a-zñé]{2,12}", fullmatch=True)
for name, strategy in {
    "email": st.from_regex(r"[a-z]{6,12}@[a-z]{3,8}\.com", fullmatch=True),
    "password": st.from_regex(r"[a-z]{4}-[A-Z]{4}-[0-9]{4}-[a-z]{4}", fullmatch=True),
    "person-name": WORDS,
    "document": WORDS.map(lambda word: f"Abrimos a las ocho, {word}.".encode()),
    "idempotency-key": st.builds(secrets.token_hex, st.just(8)),  # another for each request
    "if-match": st.just("*"),
    "timezone": st.sampled_from(sorted(available_timezones())),
}.items():
    schemathesis.openapi.format(name, strategy)

SERVED: dict[str, Installation] = {}


@dataclass(frozen=True)
class Installation:
    """A web process on a database of its own, and two companies with something of everything."""

    url: str
    admin: str
    acme: Company
    rival: Company

    def token(self, company: Company, caller: str) -> str:
        """A session of a person, or an API key of the owner."""
        if caller == "key":
            return self._key(company)
        token = secrets.token_urlsafe(24)
        with psycopg.connect(self.admin) as db:
            db.execute(
                "insert into login_sessions (company_id, user_id, token_digest, expires_at)"
                " values (%s, %s, %s, now() + interval '1 day')",
                (company.id, company.people[caller].id, hashlib.sha256(token.encode()).digest()),
            )
        return token

    def _key(self, company: Company) -> str:
        token = f"na_key_{secrets.token_urlsafe(24)}"
        with psycopg.connect(self.admin) as db:
            db.execute(
                "insert into api_keys (company_id, name, prefix, key_digest, role, scopes, created_by)"
                " select %s, %s, 'p', %s, 'administrador', array_agg(p.name), %s"
                " from permissions p where p.for_keys = 'by_scope'",
                (
                    company.id,
                    secrets.token_hex(6),
                    hashlib.sha256(token.encode()).digest(),
                    company.people["owner"].id,
                ),
            )
        return token


@pytest.fixture(scope="module")
def installation(
    urls: Urls, make_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    admin = make_database()
    migrate(admin)
    name = admin.split("?")[0].rsplit("/", 1)[1]
    with psycopg.connect(admin) as db:
        db.execute("update plans set requests_per_minute = 1000000")
    folder = tmp_path_factory.mktemp("schema")
    app = urls.app.replace("/neurant?", f"/{name}?")
    with serving(web_settings(app, folder)) as url:
        made = Installation(url, admin, make_company(admin, "acme"), make_company(admin, "rival"))
        for company in (made.acme, made.rival):
            seed(made, company)
        SERVED[url] = made
        yield made


def seed(made: Installation, company: Company) -> None:
    """Something of what this API makes."""
    headers = {"authorization": f"Bearer {made.token(company, 'owner')}"}
    with httpx.Client(base_url=f"{made.url}/v1", headers=headers) as client:
        for path, body in (
            ("/canned-responses", {"shortcut": "hola", "content": "Hola", "is_shared": True}),
            ("/integrations", {"name": "CRM", "integration_type": "api_webhook"}),
            (
                "/webhook-endpoints",
                {"url": "https://crm.example.com/hooks", "events": ["message.received"]},
            ),
        ):
            assert client.post(path, json=body).status_code == 201
        for path in ("/documents", f"/chatbots/{company.bot_id}/documents"):
            file = {"file": ("horario.txt", b"Abrimos de 8 a 18.")}
            assert client.post(path, files=file).status_code == 202


@schemathesis.hook
def before_call(context: HookContext, case: Case, kwargs: dict[str, Any]) -> None:
    """What would end the caller is done by somebody who is there for nothing else."""
    made = SERVED.get(case.operation.schema.get_base_url().removesuffix("/"))
    if made and case.operation.path in ENDS_THE_CALLER and case.method != "GET":
        other = made.token(make_company(made.admin, "passing"), "owner")
        case.headers = {**(case.headers or {}), "Authorization": f"Bearer {other}"}


def run(made: Installation, caller: str, examples: int) -> tuple[int, list[str]]:
    """How many requests were made, and what was wrong with an answer."""
    token = made.token(made.acme, caller)
    config = SchemathesisConfig.from_dict(
        {
            "headers": {"Authorization": f"Bearer {token}"},
            "continue-on-failure": True,
            # The short run: each operation by generated cases; the rest takes minutes.
            "phases": {name: {"enabled": LONG} for name in ("coverage", "stateful")},
            "generation": {
                "max-examples": examples,
                "database": "none",
                "deterministic": not LONG,
                "no-shrink": not LONG,
            },
        }
    )
    schema = schemathesis.openapi.from_url(f"{made.url}/v1/openapi.json", config=config)

    wrong, count = [], 0
    for event in engine.from_schema(schema).execute():
        if isinstance(event, ScenarioFinished):
            count += len(event.recorder.interactions)
            wrong += failures(event)
            if os.environ.get("TELL"):
                n = len(event.recorder.interactions)
                print(
                    event.phase.name,
                    event.recorder.label,
                    n,
                    round(event.elapsed_time, 1),
                    flush=True,
                )
                for one in {w.split("\n")[0]: w for w in failures(event)}.values():
                    print("   ", one[:900], flush=True)
        elif isinstance(event, NonFatalError):
            wrong.append(f"{event.label}: {event.value!r}")
        elif isinstance(event, FatalError):
            raise event.exception
        elif isinstance(event, EngineFinished):
            wrong += [str(one) for one in event.failures]
    return count, wrong


def failures(event: ScenarioFinished) -> list[str]:
    told = []
    for case_id, checks in event.recorder.checks.items():
        for check in checks:
            if check.failure_info is None:
                continue
            interaction = event.recorder.interactions.get(case_id)
            answer = interaction.response if interaction else None
            told.append(
                f"{event.phase.name} {event.recorder.label}: {check.name}:"
                f" {check.failure_info.failure}\n"
                f"  {check.failure_info.code_sample}\n"
                f"  {answer.status_code if answer else ''} {answer.text[:300] if answer else ''}"
            )
    return told


@pytest.mark.parametrize("caller", CALLERS)
def test_every_answer_is_what_the_document_says(installation: Installation, caller: str) -> None:
    operations = 60
    count, wrong = run(installation, caller, examples=CASES // operations if LONG else 1)
    print(f"{caller}: {count} requests, {len(wrong)} failures")
    kinds = Counter(one.split("\n")[0] for one in wrong)
    firsts = {one.split("\n")[0]: one for one in reversed(wrong)}
    assert not wrong, "\n".join(f"{kinds[kind]} times {one}" for kind, one in firsts.items())
