"""The canonical form of a trigger's definition, the same in a restored database.

``pg_dump`` writes ``(a OR b) OR c`` as text, which is parsed again as ``a OR b OR c``: the same
condition. So redundant brackets are removed before two definitions are compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# A quoted string is one token, so that a bracket or an OR in it has no meaning.
_TOKEN = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|[()]|\s+|[^\s()'\"]+")
_WHEN = " WHEN ("
_EXECUTE = " EXECUTE FUNCTION "
_JOINING = {"OR", "AND"}


def normal(definition: str) -> str:
    """Return the definition of a trigger without redundant brackets in its WHEN."""
    head, when, rest = definition.partition(_WHEN)
    condition, execute, call = rest.rpartition(f"){_EXECUTE}")
    if not when or not execute:
        return definition
    return f"{head}{_WHEN}{_plain(_TOKEN.findall(condition))}){_EXECUTE}{call}"


def _plain(tokens: list[str]) -> str:
    written, at = _group(tokens, 0)
    if at != len(tokens):
        raise ValueError("brackets that do not match")
    return "".join(written)


def _group(tokens: list[str], at: int) -> tuple[list[str], int]:
    """Return the parts up to the bracket that closes this group, and its position.

    An inner group stays one part, or becomes several parts where its brackets are redundant.
    """
    parts: list[str] = []
    while at < len(tokens) and tokens[at] != ")":
        if tokens[at] != "(":
            parts.append(tokens[at])
            at += 1
            continue
        inner, end = _group(tokens, at + 1)
        before = _near(reversed(parts)) if not parts or parts[-1].isspace() else "called"
        after = _after(tokens, end + 1)
        parts += inner if _is_idle(inner, before, after) else [f"({''.join(inner)})"]
        at = end + 1
    return parts, at


def _near(parts: Iterable[str]) -> str:
    return next((part for part in parts if not part.isspace()), "")


def _after(tokens: list[str], at: int) -> str:
    found = _near(tokens[at:])
    return "" if found == ")" else found


def _is_idle(inner: list[str], before: str, after: str) -> bool:
    """Return whether a group's brackets are redundant.

    They are if the group is alone, or if the same operator joins its parts and its neighbours.
    """
    joins = {part for part in inner if part in _JOINING}
    around = {before, after} - {""}
    return not around or (len(joins) == 1 and around == joins)
