"""The growth of a quote that a passage's border cuts, by the text around the passage.

A long sentence, or a list after the line that announces it, may continue in the next passage. Each
passage is stored with up to 200 characters before and after it; they are literal text of the same
page, so a grown quote is literal as well.
"""

from __future__ import annotations

import re

from neurant.knowledge.rank import Candidate

_COMPLETE = (".", "!", "?", "…", ")", "»", "”", '"')
_BEGINS_SENTENCE = re.compile(r"[¿¡«“\"(A-ZÁÉÍÓÚÑÜ\d•*·–▪-]")
_SENTENCE_END = re.compile(r"[.!?…](?=\s|$)")
_LIST_LINE = re.compile(r"(?:[-•*·–▪]|\d{1,2}[.)]) ?\S|[^\n]{1,80}: \S")


def grown(quote: str, candidate: Candidate) -> str:
    """Return the quote with the rest of the sentence or list that the passage's border cuts."""
    content = candidate.content.strip()
    if content.endswith(quote) and candidate.context_after:
        quote = _with_rest(quote, candidate.context_after)
    if content.startswith(quote.split("\n")[0]) and candidate.context_before:
        quote = _with_beginning(quote, candidate.context_before)
    return quote


def _with_rest(quote: str, after: str) -> str:
    if quote.endswith(":"):
        listed = _listed_lines(after)
        return "\n".join([quote, *listed])
    # A sentence that goes on begins in lower case: a heading or a new sentence does not.
    if quote.endswith(_COMPLETE) or not after[:1].islower():
        return quote
    end = _SENTENCE_END.search(after)
    return f"{quote} {after[: end.end()]}" if end and "\n\n" not in after[: end.end()] else quote


def _listed_lines(after: str) -> list[str]:
    """Return the complete lines of the list at the beginning of the text."""
    lines = after.split("\n")
    # The last line may be cut by the limit of the stored text, unless it ends a sentence.
    if len(lines) > 1 and not lines[-1].endswith((".", ";")):
        lines = lines[:-1]
    found: list[str] = []
    for line in lines:
        if not _LIST_LINE.match(line.strip()):
            break
        found.append(line.strip())
    return found


def _with_beginning(quote: str, before: str) -> str:
    if _BEGINS_SENTENCE.match(quote) or before.endswith((".", "!", "?", "…", ":", "\n")):
        return quote
    ends = list(_SENTENCE_END.finditer(before))
    start = before[ends[-1].end() :].lstrip() if ends else ""
    return f"{start} {quote}" if start and "\n" not in start else quote
