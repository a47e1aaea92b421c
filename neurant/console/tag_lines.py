"""A Jinja2 extension: templates write one attribute per line, and pages get one line per tag."""

from __future__ import annotations

import re

from jinja2.ext import Extension

# A tag with its Jinja expressions; quoted values and expressions may contain ">".
_TAG = re.compile(
    r"""<[a-zA-Z](?:\{\{.*?\}\}|\{%.*?%\}|"(?:\{\{.*?\}\}|\{%.*?%\}|[^"])*"|'[^']*'|[^<>"'])*>""",
    re.DOTALL,
)
_LINES = re.compile(r"\s*\n\s*")
_OPTIONAL = re.compile(r"\s*\n\s*(\{% if (?:(?!%\}).)*%\})(?=\w)", re.DOTALL)


class TagLines(Extension):
    """An extension that joins the lines of every tag before Jinja2 compiles a template."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        """Return the source with each tag on one line; an optional attribute keeps its space."""
        return _TAG.sub(_joined, source)


def _joined(tag: re.Match[str]) -> str:
    one = _LINES.sub(" ", _OPTIONAL.sub(r"\1 ", tag[0]))
    return re.sub(r"\s+(/?>)$", r"\1", one)
