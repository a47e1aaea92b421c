"""An answer in a messenger names the documents that it comes from."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from neurant.channels.deliver import Outgoing


def sent(sources: list[dict[str, Any]] | None, language: str = "es") -> str:
    return Outgoing(
        1, "bot", "Plan: $95.000.", "7", "telegram", UUID(int=1), None, None, language, sources
    ).as_text()


@pytest.mark.parametrize(
    ("sources", "text"),
    [
        (None, "Plan: $95.000."),
        ([{"document": "Planes", "page": 2}], "Según «Planes» (pág. 2):\n\nPlan: $95.000."),
        ([{"document": "Planes", "page": None}], "Según «Planes»:\n\nPlan: $95.000."),
        ([{"document": "Planes", "page": 2}, {"document": "Planes", "page": 3}],
         "Según «Planes»:\n\nPlan: $95.000."),
        ([{"document": "Planes", "page": 2}, {"document": "Pagos", "page": None}],
         "Según «Planes», «Pagos»:\n\nPlan: $95.000."),
    ],
)  # fmt: skip
def test_every_document_of_an_answer_is_named_once(
    sources: list[dict[str, Any]] | None, text: str
) -> None:
    assert sent(sources) == text


def test_the_documents_are_named_in_the_language_of_the_conversation() -> None:
    assert sent([{"document": "A"}, {"document": "B"}], "en").startswith("From “A”, “B”:")
