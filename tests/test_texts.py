"""The catalogue speaks every language fully."""

from __future__ import annotations

import string

import pytest

from neurant.texts import LANGUAGES, catalogue, preferred_language


def fields(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}


def test_every_text_exists_in_every_language() -> None:
    spanish = set(catalogue("es"))
    assert len(spanish) > 50
    for language in LANGUAGES:
        assert set(catalogue(language)) == spanish


def test_a_translation_fills_in_the_same_names() -> None:
    for name, spanish in catalogue("es").items():
        if name == "errors.setup.told":  # carries a ready text per language
            continue
        for language in LANGUAGES:
            assert fields(catalogue(language)[name]) == fields(spanish), name


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (None, "es"),
        ("", "es"),
        ("de, fr;q=0.5", "es"),
        ("en-US,en;q=0.9", "en"),
        ("es;q=0.5, en;q=0.8", "en"),
        ("en;q=x, es", "es"),
        ("es, en", "es"),
    ],
)
def test_the_readers_language_is_their_best_that_we_have(header: str | None, language: str) -> None:
    assert preferred_language(header) == language
