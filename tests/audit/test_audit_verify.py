"""Whoever changes audit is found: each way of tampering, by somebody with all rights in the database."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from neurant.audit.chain_heads import encode_public, head_line, open_heads, read_heads, signing_key
from neurant.audit.jobs import export_heads, seal_all
from neurant.audit.queries import ChainHead
from neurant.audit.service import Report, verify
from neurant.core.db.pool import make_pool
from neurant.core.errors import SetupError
from neurant.core.settings import Settings
from neurant.installation.embedded import Urls
from neurant.texts import LANGUAGES
from tests.companies import make_company

pytestmark = pytest.mark.anyio

ROWS = 12
# What a thief would run: the chain of a company computed anew from what the rows say now.
REWRITE = """
with recursive ordered as (
  select s.seq, private.audit_digest(a) as digest
  from audit_seals s join audit_logs a on a.company_id = s.company_id and a.id = s.audit_id
  where s.company_id = %(company)s
), chain as (
  select 0::bigint as seq, null::bytea as digest, private.audit_genesis(%(company)s) as hash
  union all
  select o.seq, o.digest, sha256(c.hash || o.digest)
  from chain c join ordered o on o.seq = c.seq + 1
), written as (
  update audit_seals s set row_digest = c.digest, chain_hash = c.hash
  from chain c where s.company_id = %(company)s and s.seq = c.seq
)
update audit_chains h set chain_hash = (select hash from chain order by seq desc limit 1)
where h.company_id = %(company)s
"""


class Archive:
    """A sealed company among others, its heads exported to a folder."""

    def __init__(self, urls: Urls, folder: Path) -> None:
        self.urls, self.folder = urls, folder
        self.settings = Settings(
            data_dir=folder, master_key=base64.b64encode(os.urandom(32)).decode()
        )
        self.key = signing_key(self.settings)
        self.store = open_heads(self.settings)
        self.company = make_company(urls.admin, "acme").id
        self.rival = make_company(urls.admin, "rival").id
        for company in (self.company, self.rival):
            self.write(company, ROWS)

    def write(self, company: UUID, rows: int) -> None:
        with psycopg.connect(self.urls.admin) as db:
            db.execute(
                "insert into audit_logs (company_id, action, resource_type, details)"
                " select %s, 'read', 'x', jsonb_build_object('n', n) from generate_series(1, %s) n",
                (company, rows),
            )

    async def seal(self, *, export: bool = True) -> None:
        async with make_pool(self.urls.jobs, size=1, pooled=False) as pool:
            await seal_all(pool)
            if export:
                await export_heads(pool, self.store, self.key)

    def tamper(self, *statements: str) -> None:
        with psycopg.connect(self.urls.admin) as db:
            db.execute("set session_replication_role = replica")
            for statement in statements:
                db.execute(statement, {"company": self.company})

    def verify(self) -> Report:
        """Both companies; what is found of the rival is nothing, ever."""
        mine, theirs = (
            verify(self.urls.admin, lambda: read_heads(self.store, [self.key.public_key()]), one)
            for one in (self.company, self.rival)
        )
        assert not any(one.found for one in theirs.companies)
        return mine

    def found(self) -> set[str]:
        report = self.verify()
        kinds = {kind for one in report.companies for kind in one.found}
        assert report.ok == (not kinds and not report.forged)
        return kinds


@pytest.fixture
async def archive(urls: Urls, folder: Path) -> Archive:
    made = Archive(urls, folder)
    await made.seal()
    return made


async def test_what_nobody_touched_is_sound(archive: Archive) -> None:
    report = archive.verify()
    assert report.ok
    [one] = report.companies
    assert one.sealed == one.covered > ROWS
    assert one.waiting == 0
    archive.write(archive.company, 3)
    await archive.seal(export=False)
    [one] = archive.verify().companies
    assert one.sealed == one.covered + 3, "sealed after the last head"


FIFTH = "(select audit_id from audit_seals where company_id = %(company)s and seq = 5)"


@pytest.mark.parametrize(
    "change",
    [
        "details = details || '{\"n\": 0}'",
        "created_at = created_at + interval '1 microsecond'",
        "user_id = gen_random_uuid()",
        "user_email = 'x'",
        "user_role = 'owner'",
        "action = 'update'",
        "resource_type = 'y'",
        "resource_id = gen_random_uuid()",
        "ip_address = '10.0.0.0/24'",
        "user_agent = ''",
        "session_id = ''",
        "request_id = 'r'",
    ],
)
async def test_an_edit_of_any_column_is_found(archive: Archive, change: str) -> None:
    archive.tamper(f"update audit_logs set {change} where id = {FIFTH}")
    assert archive.found() == {"row_changed"}
    [problem] = archive.verify().companies[0].problems
    assert problem.seq == 5


async def test_a_row_that_was_deleted_is_missed(archive: Archive) -> None:
    archive.tamper(f"delete from audit_logs where id = {FIFTH}")
    assert archive.found() == {"row_missing"}


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        ("update audit_seals set row_digest = sha256('x') where company_id = %(company)s and seq = 5", {"chain_broken", "row_changed"}),
        ("update audit_seals set chain_hash = sha256('x') where company_id = %(company)s and seq = 5", {"chain_broken"}),
        ("delete from audit_seals where company_id = %(company)s and seq = 5", {"seal_missing", "row_unannounced"}),
        ("update audit_seals s set audit_id = o.audit_id, seq = 1000 + o.seq from audit_seals o where s.company_id = %(company)s and o.company_id = s.company_id and (s.seq, o.seq) in ((5, 6), (6, 5))", {"seal_missing", "row_changed"}),
        ("update audit_chains set seq = seq + 1 where company_id = %(company)s", {"end_differs"}),
        ("insert into audit_logs (company_id, action, resource_type) values (%(company)s, 'login', 'forged')", {"row_unannounced"}),
    ],
)  # fmt: skip
async def test_tampering_with_seals_is_found(
    archive: Archive, change: str, kinds: set[str]
) -> None:
    if "o.audit_id" in change:
        # Two neighbours trade places; the unique keys are only checked at the end of each statement.
        archive.tamper(
            "alter table audit_seals drop constraint audit_seals_company_id_audit_id_key",
            "update audit_seals s set audit_id = o.audit_id from audit_seals o"
            " where s.company_id = %(company)s and o.company_id = s.company_id and (s.seq, o.seq) in ((5, 6), (6, 5))",
            "alter table audit_seals add constraint audit_seals_company_id_audit_id_key unique (company_id, audit_id)",
        )
        assert archive.found() == {"row_changed"}
        return
    archive.tamper(change)
    assert kinds <= archive.found()


async def test_a_cut_end_is_found_up_to_the_last_head(archive: Archive) -> None:
    """Rows, seals and the note of where the chain ends: all taken away consistently."""
    cut = (
        "delete from audit_logs where id in (select audit_id from audit_seals where company_id = %(company)s and seq > 8)",
        "delete from audit_seals where company_id = %(company)s and seq > 8",
        "update audit_chains set seq = 8, exported_seq = 8, chain_hash = (select chain_hash from audit_seals"
        " where company_id = %(company)s and seq = 8) where company_id = %(company)s",
    )
    archive.tamper(*cut)
    assert archive.found() == {"cut_off"}


async def test_all_of_a_company_gone_is_found(archive: Archive) -> None:
    archive.tamper(
        *(
            f"delete from {table} where company_id = %(company)s"
            for table in ("audit_logs", "audit_seals", "audit_chains", "audit_unsealed")
        )
    )
    assert archive.found() == {"cut_off"}


async def test_a_thief_who_computes_the_chain_anew_is_found_by_the_heads(archive: Archive) -> None:
    archive.tamper(f"update audit_logs set details = '{{}}' where id = {FIFTH}", REWRITE)
    assert archive.found() == {"head_differs"}
    without = verify(archive.urls.admin, list, archive.company)
    assert {kind for one in without.companies for kind in one.found} == {"head_lost"}
    archive.tamper("update audit_chains set exported_seq = 0 where company_id = %(company)s")
    await archive.seal()
    assert archive.found() == {"head_differs"}, "a new head beside the old one mends nothing"


async def test_heads_that_are_gone_are_missed(archive: Archive) -> None:
    for path in (archive.folder / "audit-heads").rglob("*.jsonl"):
        path.unlink()
    report = verify(archive.urls.admin, list, archive.company)
    assert {kind for one in report.companies for kind in one.found} == {"head_lost"}


def lines(archive: Archive) -> list[str]:
    return [
        line
        for path in (archive.folder / "audit-heads").rglob("*.jsonl")
        for line in path.read_text().splitlines()
    ]


def forge_hash(line: str) -> str:
    return json.dumps({**json.loads(line), "chain_hash": "00" * 32})


def forge_seq(line: str) -> str:
    return json.dumps({**json.loads(line), "seq": 3})


def sign_with_another_key(line: str) -> str:
    told = json.loads(line)
    head = ChainHead(
        UUID(told["company_id"]),
        told["seq"],
        bytes(32),
        datetime.fromisoformat(told["sealed_at"]),
    )
    return head_line(Ed25519PrivateKey.generate(), head)


@pytest.mark.parametrize(
    "forge",
    [forge_hash, forge_seq, sign_with_another_key, lambda _: "{}", lambda _: "\x00", lambda _: "[1]",
        lambda line: json.dumps({**json.loads(line), "sig": "AA=="})],
)  # fmt: skip
async def test_a_forged_head_is_found(archive: Archive, forge: Callable[[str], str]) -> None:
    [mine] = [one for one in lines(archive) if str(archive.company) in one]
    place = archive.folder / "audit-heads" / "forged.jsonl"
    place.write_text(forge(mine) + "\n")
    report = archive.verify()
    assert not report.ok
    assert [problem.place for problem in report.forged] == ["forged.jsonl:1"]


async def test_exports_never_touch_what_is_there(archive: Archive) -> None:
    before = {path: path.read_bytes() for path in (archive.folder / "audit-heads").rglob("*.jsonl")}
    archive.write(archive.company, 1)
    await archive.seal()
    await archive.seal()
    after = {path: path.read_bytes() for path in (archive.folder / "audit-heads").rglob("*.jsonl")}
    assert before.items() <= after.items()
    assert len(after) == len(before) + 1, "nothing new, nothing written"


async def test_an_export_that_is_not_noted_is_made_again(archive: Archive) -> None:
    """The worker dies between keeping a head and noting it: twice is as good as once."""
    archive.tamper("update audit_chains set exported_seq = 0 where company_id = %(company)s")
    await archive.seal()
    assert archive.found() == set()
    assert len([line for line in lines(archive) if str(archive.company) in line]) == 2


def test_the_key_of_heads_is_not_the_master_key_nor_in_the_database(folder: Path) -> None:
    master = os.urandom(32)
    settings = Settings(data_dir=folder, master_key=base64.b64encode(master).decode())
    key = signing_key(settings)
    assert key.private_bytes_raw() == signing_key(settings).private_bytes_raw() != master
    own = base64.b64encode(os.urandom(32)).decode()
    chosen = signing_key(settings.model_copy(update={"audit_key": type(settings.master_key)(own)}))
    assert base64.b64encode(chosen.private_bytes_raw()).decode() == own
    for bad in ("x", base64.b64encode(b"short").decode()):
        with pytest.raises(SetupError):
            signing_key(Settings(data_dir=folder, audit_key=bad))


def neurant(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("NEURANT_", "LC_", "LANG"))}
    return subprocess.run(
        [sys.executable, "-m", "neurant", *map(str, arguments)],
        env={**clean, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


async def test_the_command_reports_in_the_readers_language_and_by_its_status(
    archive: Archive,
) -> None:
    heads = archive.folder / "audit-heads"
    asked = (
        *("audit", "verify", archive.urls.admin, "--heads", heads, "--company", archive.company),
        *("--public-key", encode_public(archive.key.public_key())),
    )
    sound = neurant(*asked, LC_ALL="es_CO.UTF-8")
    assert sound.returncode == 0, sound.stderr
    assert "La auditoría está intacta" in sound.stdout
    archive.tamper(f"update audit_logs set details = '{{}}' where id = {FIFTH}")
    told = {language: neurant(*asked, LC_ALL=f"{language}_XX.UTF-8") for language in LANGUAGES}
    assert {done.returncode for done in told.values()} == {1}
    assert "fue modificado" in told["es"].stdout
    assert "was changed" in told["en"].stdout
    facts = json.loads(neurant(*asked, "--json").stdout)
    assert not facts["ok"]
    assert facts["companies"][0]["found"] == {"row_changed": 1}
    wrong = neurant(*asked[:-1], "AAAA", LC_ALL="en_US.UTF-8")
    assert wrong.returncode == 1
    assert "32 bytes" in wrong.stderr


async def test_a_hundred_thousand_rows_are_verified_in_seconds(urls: Urls, folder: Path) -> None:
    archive = Archive(urls, folder)
    archive.write(archive.company, 100_000)
    started = time.monotonic()
    await archive.seal()
    assert time.monotonic() - started < 120
    started = time.monotonic()
    report = archive.verify()
    took = time.monotonic() - started
    assert report.ok
    assert report.companies[0].sealed > 100_000
    assert took < 30
