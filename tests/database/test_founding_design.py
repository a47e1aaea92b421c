"""The founding design's promise: every table, column, enum and function of it, or a reason why not."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import psycopg

from neurant.installation.embedded import Urls

ROOT = Path(__file__).resolve().parents[2]
CHECK = ROOT / "tests" / "data" / "checks" / "seed_conformance.py"
INVENTORY = ROOT / "tests" / "data" / "design" / "seed-inventory.json"
DEVIATIONS = ROOT / "docs" / "design-deviations.toml"


def test_the_database_keeps_the_founding_designs_promise(urls: Urls) -> None:
    done = subprocess.run(
        [sys.executable, CHECK, urls.admin, DEVIATIONS], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("0 differences")


# The design's indexes: the columns that each starts with, without company_id.
INDEXES = {
    "document_chunks_embedding_idx": ("document_chunks", ["embedding"]),
    "idx_users_company_id": ("users", []),
    "idx_chatbots_company_id": ("chatbots", []),
    "idx_conversations_company_id": ("conversations", []),
    "idx_messages_company_id": ("messages", []),
    "idx_documents_company_id": ("documents", []),
    "idx_conversations_status_active": ("conversations", []),
    "idx_conversations_hitl_active": ("conversations", []),
    "idx_conversations_chatbot_date": ("conversations", ["chatbot_id", "created_at"]),
    "idx_messages_conversation_date": ("messages", ["conversation_id", "created_at"]),
    "idx_messages_sender_type": ("messages", ["sender_type", "created_at"]),
    "idx_analytics_company_date": ("analytics_daily", ["date"]),
    "idx_analytics_chatbot_date": ("analytics_daily", ["chatbot_id", "date"]),
    "idx_documents_search": ("documents", ["to_tsvector"]),
    "idx_chatbots_search": ("chatbots", ["to_tsvector"]),
    "idx_audit_logs_company_date": ("audit_logs", ["created_at"]),
    "idx_audit_logs_user_action": ("audit_logs", ["user_id", "action", "created_at"]),
}


def test_every_index_of_the_design_is_there_or_its_deviation_is_explained(urls: Urls) -> None:
    promised = json.loads(INVENTORY.read_text("utf-8"))["indexes"]
    assert dict(promised) == {n: t for n, (t, _) in INDEXES.items()}
    with psycopg.connect(urls.admin) as db:
        present = db.execute(
            "select c.relname::text, array(select pg_get_indexdef(x.indexrelid, k, true)"
            " from generate_series(1, x.indnkeyatts) k) from pg_index x"
            " join pg_class c on c.oid = x.indrelid and c.relnamespace = 'public'::regnamespace"
        ).fetchall()
    explained = tomllib.loads(DEVIATIONS.read_text("utf-8"))["deviations"]
    missing = {
        name: table
        for name, (table, columns) in INDEXES.items()
        if not any(
            table == on and keys[0] == "company_id" and starts_with(keys[1:], columns)
            for on, keys in present
        )
    }
    assert missing, "the design's vector index is known to be gone"
    assert not {n for n, table in missing.items() if n not in explained.get(f"index:{table}", "")}
    named = {
        n for n in INDEXES if any(n in why for key, why in explained.items() if "index:" in key)
    }
    assert named == set(missing)


def starts_with(keys: list[str], columns: list[str]) -> bool:
    return len(keys) >= len(columns) and all(
        column in key if column == "to_tsvector" else column == key
        for column, key in zip(columns, keys, strict=False)
    )


def test_what_differs_without_being_a_column_is_named() -> None:
    explained = tomllib.loads(DEVIATIONS.read_text("utf-8"))["deviations"]
    for key in (
        "index:document_chunks",
        "index:conversations",
        "index:messages",
        "behaviour:audit_logs.user_email",
        "behaviour:audit_logs.ip_address",
        "behaviour:conversation_status_enum.archived",
    ):
        assert len(explained[key]) > 60
