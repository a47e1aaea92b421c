"""The catalogue speaks every language fully."""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

import neurant
from neurant.core import errors
from neurant.texts import LANGUAGES, Language, catalogue, preferred_language


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


# Counts that may be one, and the texts in which they are at least two.
_COUNTED = re.compile(
    r"\{(?:seconds|minutes|count|used|left|waiting|sealed|heads|rows)\} (\w{3,}s)\b"
)
_SEVERAL = (
    "api_keys.life_days",
    "console.sources.count_2",
    "errors.limit.next.max_document_characters",
    "errors.limit.last.max_document_characters",
    "errors.tokens.choose_company",
    "errors.visitors.when.minutes",
    "errors.visitors.when.seconds",
    "team.narrowed_many",
    "verify.how",
)


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_text_counts_one_thing_in_the_plural(language: Language) -> None:
    found = {
        name: told
        for name, told in catalogue(language).items()
        if _COUNTED.search(told) and name not in _SEVERAL
    }
    assert found == {}


ERRORS = {
    name
    for name, one in vars(errors).items()
    if isinstance(one, type) and issubclass(one, errors.NeurantError)
}


def raised() -> Iterator[tuple[str, str, set[str] | None]]:
    """Where, code and the names of the parameters (None: not told) of each error in the code."""
    for path in sorted(Path(neurant.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not (isinstance(node, ast.Call) and node.args):
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")  # fmt: skip
            if called not in ERRORS:
                continue
            names = [one.arg for one in node.keywords]
            given = None if None in names else {name for name in names if name}
            code = node.args[0]
            # ``"one" if … else "other"`` and ``known or "other"`` give each of their literals.
            for found in (
                [code.body, code.orelse] if isinstance(code, ast.IfExp)
                else code.values if isinstance(code, ast.BoolOp) else [code]
            ):  # fmt: skip
                if isinstance(found, ast.Constant):
                    yield f"{path.name}:{node.lineno}", str(found.value), given


def test_every_error_that_is_raised_can_be_reported_in_every_language() -> None:
    found = list(raised())
    assert len(found) > 80
    assert {"retention.erase_needs_yes", "accounts.session_missing"} <= {code for _, code, _ in found}  # fmt: skip
    for language in LANGUAGES:
        for where, code, given in found:
            told = catalogue(language).get(f"errors.{code}")
            assert told is not None, f"{where}: errors.{code} is not in the texts ({language})"
            assert given is None or fields(told) <= given, f"{where}: {code} lacks a parameter"


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
