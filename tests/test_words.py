"""The docstrings of the product are sentences that a newcomer reads once."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PRODUCT = Path(__file__).parents[1] / "neurant"
FOLDERS = sorted(path.parent.name for path in PRODUCT.glob("*/__init__.py"))
RELATIVE = re.compile(
    r"(what|who|whom|whose|where|when|whether|how|which|why|those (that|who|which|of)|as whom"
    r"|from where|after how long|between how many|in which|to whom|of whom)\b",
    re.IGNORECASE,
)
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """The docstrings of a file with their lines, those of constants and fields included."""
    for node in ast.walk(ast.parse(source)):
        for statement in getattr(node, "body", []) if isinstance(node, DOCUMENTED) else []:
            value = statement.value if isinstance(statement, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield statement.lineno, value.value.strip()


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_docstring_opens_with_a_bare_relative_clause(folder: str) -> None:
    files = sorted((PRODUCT / folder).rglob("*.py"))
    assert files
    wrong = [
        f"{path.relative_to(PRODUCT)}:{line}: {text.splitlines()[0]}"
        for path in files
        for line, text in docstrings(path.read_text("utf-8"))
        if text and RELATIVE.match(text)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "text", ["What a key opens.", "Whose session it is.", "Those that ended.", "How many are left."]
)
def test_a_bare_relative_clause_is_found(text: str) -> None:
    found = [told for _, told in docstrings(f'def f():\n    """{text}"""\n')]
    assert found == [text]
    assert RELATIVE.match(text)
    assert not RELATIVE.match("Return whether the session stands.")
