"""The whole OpenAPI against the real application: every check of schemathesis, by three callers.

``make test`` runs it in short: generated cases of each operation. ``make nightly`` runs every phase:
all boundaries of each operation by the owner, who is let in everywhere; chains of requests, and
generated cases until there are ten thousand in all, by each caller.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg
import pytest
import schemathesis
from hypothesis import strategies as st
from requests import PreparedRequest
from requests.auth import AuthBase
from schemathesis import Case, HookContext, engine
from schemathesis.config import SchemathesisConfig
from schemathesis.engine.events import (
    EngineFinished,
    FatalError,
    NonFatalError,
    ScenarioFinished,
)

from neurant.companies.schemas import ZONES
from neurant.installation.embedded import Urls
from tests.companies import Company, make_company
from tests.console.running_web import (
    cheap_hashes,  # noqa: F401 - for every test of this module
    serving,
    web_settings,
)
from tests.support.telegram_peer import telegram_peer

CALLERS = ("owner", "operador", "key")
PHASES = ("examples", "coverage", "fuzzing", "stateful")
CASES = int(os.environ.get("NEURANT_SCHEMA_CASES", "0"))  # 0: the short run
LONG = CASES > 0
CHAINS = 40  # of up to ten requests, by each caller
ENDS_THE_CALLER = (
    "/v1/session",
    "/v1/session/company",
    "/v1/account/password",
    "/v1/account/sessions",
    "/v1/account/sessions/{session_id}",
    "/v1/company/ownership",
    "/v1/subscription/change",
    "/v1/subscription/cancel",
    "/v1/subscription/close",
    "/v1/subscription/reopen",
)

KEY = re.compile(r"[\x21-\x7e]{1,255}$")

# What a format of ours means, for the generator.
WORDS = st.from_regex(r"[a-zñé]{2,12}", fullmatch=True)
for name, strategy in {
    "mail-address": st.from_regex(r"[a-z]{6,12}@[a-z]{3,8}\.com", fullmatch=True),
    "password": st.sampled_from(["faro-lluvia-92", "Trece gatos y 1 tren", "niebla+azul+cobre"]),
    "person-name": WORDS,
    "name": WORDS,
    "document": WORDS.map(lambda word: f"Abrimos a las ocho, {word}.".encode()),
    "issuer": st.from_regex(r"https://[a-z]{3,8}\.example", fullmatch=True),
    "mail-domain": st.from_regex(r"[a-z]{3,8}\.example", fullmatch=True),
    "idempotency-key": st.builds(secrets.token_hex, st.just(8)),  # another for each request
    "if-match": st.just("*"),
    "timezone": st.sampled_from(sorted(ZONES)),
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
    urls: Urls, make_migrated_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    admin = make_migrated_database()
    name = admin.split("?")[0].rsplit("/", 1)[1]
    with psycopg.connect(admin) as db:
        db.execute("update plans set requests_per_minute = 1000000")
    folder = tmp_path_factory.mktemp("schema")
    app = urls.app.replace("/neurant?", f"/{name}?")
    with (
        telegram_peer() as peer,
        serving(web_settings(app, folder, telegram_api_url=peer.url)) as url,
    ):
        peer.knows_every_token = True
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


class LastWord(AuthBase):
    """What a request is sent with: somebody else's token if one is given, and a key of its own.

    A request without any token is tried without, and a malformed Idempotency-Key is left.
    """

    def __init__(self, token: str | None) -> None:
        self.token = token

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        headers = request.headers
        if self.token and "Authorization" in headers:
            headers["Authorization"] = f"Bearer {self.token}"
        key = headers.get("Idempotency-Key")
        if isinstance(key, str) and KEY.match(key):  # the boundaries of a body come with one key
            headers["Idempotency-Key"] = secrets.token_hex(8) + key[16:]
        return request


@schemathesis.hook
def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:
    """What would end the caller is done by somebody who is there for nothing else."""
    made = SERVED.get(case.operation.schema.get_base_url().removesuffix("/"))
    other = None
    if made and case.method != "GET" and ends_the_caller(made, case):
        other = made.token(make_company(made.admin, "passing"), "owner")
    kwargs["auth"] = LastWord(other)  # the configured headers win over the case's own


def ends_the_caller(made: Installation, case: Case[Any]) -> bool:
    """Whether a request would; a role or a right is changed of people who make none."""
    people = {str(made.acme.people[caller].id) for caller in CALLERS if caller != "key"}
    named = {str(value) for value in (case.path_parameters or {}).values()}
    return case.operation.path in ENDS_THE_CALLER or bool(people & named)


def run(
    made: Installation, caller: str, phases: Sequence[str], examples: int
) -> tuple[int, list[str]]:
    """How many requests were made, and what was wrong with an answer."""
    token = made.token(made.acme, caller)
    config = SchemathesisConfig.from_dict(
        {
            "headers": {"Authorization": f"Bearer {token}"},
            "continue-on-failure": True,
            "phases": {name: {"enabled": name in phases} for name in PHASES},
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
        elif isinstance(event, NonFatalError):
            wrong.append(f"{event.label}: {event.value!r}")
        elif isinstance(event, FatalError):
            raise event.exception
        elif isinstance(event, EngineFinished):
            wrong += [str(one) for one in event.failures]
    left = still_in(made, token)
    assert left == "", f"{caller} was put out: add the operation to ENDS_THE_CALLER. {left}"
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


def still_in(made: Installation, token: str) -> str:
    """Nothing if the caller is let in after all that (else nothing was tried), or the refusal."""
    headers = {"authorization": f"Bearer {token}"}
    answer = httpx.get(f"{made.url}/v1/company", headers=headers)
    return "" if answer.status_code == 200 else answer.text


def tell(wrong: list[str]) -> str:
    """Each kind of failure once, with how often it was."""
    kinds = Counter(one.split("\n")[0] for one in wrong)
    firsts = {one.split("\n")[0]: one for one in reversed(wrong)}
    return "\n".join(f"{kinds[kind]} times {one}" for kind, one in firsts.items())


@pytest.mark.skipif(LONG, reason="the nightly run makes more of each")
@pytest.mark.parametrize("caller", CALLERS)
def test_every_answer_is_what_the_document_says(installation: Installation, caller: str) -> None:
    _, wrong = run(installation, caller, ("examples", "fuzzing"), examples=1)
    assert not wrong, tell(wrong)


@pytest.mark.skipif(not LONG, reason="half an hour: make nightly")
def test_ten_thousand_answers_are_what_the_document_says(installation: Installation) -> None:
    document = httpx.get(f"{installation.url}/v1/openapi.json").json()
    operations = sum(len(methods) for methods in document["paths"].values())
    runs = [("owner", ("coverage",), 1), *((caller, ("stateful",), CHAINS) for caller in CALLERS)]
    total = 0
    wrong: list[Any] = []
    for caller, phases, examples in runs:
        total += request_parts(installation, caller, phases, examples, wrong)
    # Of an operation that takes nothing there is only one case.
    each = 1 + max(0, CASES - total) // (len(CALLERS) * operations - operations // 2)
    for caller in CALLERS:
        total += request_parts(installation, caller, ("examples", "fuzzing"), each, wrong)
    print(f"all: {total} cases of {operations} operations, {len(wrong)} failures")
    assert not wrong, tell(wrong)
    assert total >= CASES


def request_parts(
    made: Installation, caller: str, phases: Sequence[str], examples: int, wrong: list[str]
) -> int:
    """Run, say what came of it, and add it to ``wrong``; the number of cases."""
    count, found = run(made, caller, phases, examples)
    wrong += found
    print(f"{caller}, {' and '.join(phases)}: {count} cases, {len(found)} failures", flush=True)
    print(tell(found), flush=True)
    return count
