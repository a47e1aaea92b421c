"""Reading migrations as text: their statements, who runs each, and what the conventions refuse."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# Tables that traffic fills: building an index on one while it is locked stops the product.
GROWING = {
    "audit_logs", "conversations", "document_chunks", "inbound_events", "knowledge_queries",
    "message_changes", "messages", "outbox",
}  # fmt: skip

_TOKEN = re.compile(
    r"--[^\n]*|'(?:[^']|'')*'|\"[^\"]*\"|(?P<tag>\$\w*\$).*?(?P=tag)|;|[^;'\"$-]+|.", re.DOTALL
)
_WRITES = r"\b(update\s+(only\s+)?\w+[.\w]*(\s+(as\s+)?\w+)?\s+set|delete\s+from|merge\s+into)\b"
_COPIES = r"\binsert\s+into\b(?:(?!\bvalues\b).)*?\b(select|table)\b"


@dataclass(frozen=True)
class Statement:
    text: str
    as_owner: bool


def statements(migration: str) -> Iterator[Statement]:
    """The statements of the up-section, without comments, in lower case."""
    up = migration.partition("-- migrate:down")[0]
    as_owner, current = False, ""
    for token in _TOKEN.finditer(up + ";"):
        word = token.group()
        if word.startswith("--"):
            continue
        if word != ";":
            current += "''" if word.startswith("'") else word
            continue
        text, current = " ".join(current.lower().split()), ""
        if text == "set local role neurant_owner":
            as_owner = True
        elif text == "reset role":
            as_owner = False
        elif text:
            yield Statement(text, as_owner)


def complaints(migration: str) -> list[str]:
    """What a migration may not do, each with what to do instead; empty when all is well."""
    found = list(_shape(migration))
    every = list(statements(migration))
    new = set(re.findall(r"\bcreate table (?:if not exists )?(?:public\.)?(\w+)", _joined(every)))
    for statement in every:
        found += _touches_no_row(statement, new)
        found += _locks_for_long(statement, new)
    outside = "transaction:false" in migration.partition("\n")[0]
    if outside and len(every) != 1:
        found.append("transaction:false takes exactly one statement: dbmate sends them as one")
    if not outside and "concurrently" in _joined(every):
        found.append("concurrently needs `-- migrate:up transaction:false`")
    return found


def _joined(every: list[Statement]) -> str:
    return ";\n".join(statement.text for statement in every)


def _shape(migration: str) -> Iterator[str]:
    lines = migration.strip().splitlines()
    if not lines[0].startswith("-- migrate:up") or not lines[1].startswith("-- "):
        yield "starts with `-- migrate:up` and a line that says what it is"
    if lines[-1] != "-- migrate:down":
        yield "ends with an empty `-- migrate:down`: we go forward only"
    if migration.count("set local role neurant_owner;") > migration.count("\nreset role;"):
        yield "a `set local role` without `reset role;` leaks into dbmate's own bookkeeping"


def _touches_no_row(statement: Statement, new: set[str]) -> Iterator[str]:
    if not statement.as_owner:
        return
    first = statement.text.split(" ")[0]
    written = first in ("update", "delete", "merge") or (
        first in ("with", "insert", "do") and re.search(f"{_WRITES}|{_COPIES}", statement.text)
    )
    if written:
        yield (
            "under FORCE neurant_owner sees no row, so this touches none: write it after"
            f" `reset role;`: {statement.text[:80]}"
        )
    altered = re.match(r"alter table (?:only )?(?:public\.)?(\w+)", statement.text)
    if altered and altered.group(1) not in new:
        checked = re.search(
            r"\b(foreign key|validate constraint \w*fkey|default\b.*\breferences)\b", statement.text
        )
        if checked and "not valid" not in statement.text:
            yield (
                "under FORCE neurant_owner sees no row, so this foreign key would hold over rows"
                f" that break it: write it after `reset role;`: {statement.text[:80]}"
            )


def _locks_for_long(statement: Statement, new: set[str]) -> Iterator[str]:
    index = re.match(
        r"create (?:unique )?index (.*?)\bon (?:only )?(?:public\.)?(\w+)", statement.text
    )
    if index and index.group(2) in GROWING - new and "concurrently" not in index.group(1):
        yield (
            f"an index on {index.group(2)} locks it while it is built: `create index concurrently`"
            " in a file of its own with `-- migrate:up transaction:false`"
        )
