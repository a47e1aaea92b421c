"""A template may write one attribute a line; the page has each tag in one line."""

from __future__ import annotations

import re

from jinja2.ext import Extension

# A tag, with what Jinja writes in it: quoted values may hold ">", and so may expressions.
_TAG = re.compile(
    r"""<[a-zA-Z](?:\{\{.*?\}\}|\{%.*?%\}|"(?:\{\{.*?\}\}|\{%.*?%\}|[^"])*"|'[^']*'|[^<>"'])*>""",
    re.DOTALL,
)
_LINES = re.compile(r"\s*\n\s*")
_OPTIONAL = re.compile(r"\s*\n\s*(\{% if (?:(?!%\}).)*%\})(?=\w)", re.DOTALL)


class TagLines(Extension):
    """Joins the lines of every tag of a template before it is compiled."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        """The source with each tag in one line; an optional attribute brings its own space."""
        return _TAG.sub(_joined, source)


def _joined(tag: re.Match[str]) -> str:
    one = _LINES.sub(" ", _OPTIONAL.sub(r"\1 ", tag[0]))
    return re.sub(r"\s+(/?>)$", r"\1", one)
