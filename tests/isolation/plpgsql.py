"""The parts of a PL/pgSQL body: the SQL that it embeds, its variables, and its statements.

PostgreSQL's parse tree of PL/pgSQL (pglast.parse_plpgsql) gives the text of each embedded expression
and its line, but no place; the tokens give the places.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pglast import parse_plpgsql
from pglast.parser import scan

from tests.isolation.operators import (
    Scope,
    expression_mutants,
    printed_expression,
    printed_statement,
    statement_mutants,
)

_RAW, _EXPRESSION = 0, 2  # libpg_query's parse modes; 3 to 5 are assignments
_ASSIGNED = re.compile(r"[^:=]*?:?=")
# Types that pglast cannot look up, before the body begins, become others of the same length.
_FOREIGN_TYPE = re.compile(r"\b(?:private|extensions)\.(?=(?:caller_row|vector)\b)")
_ROWS_TYPE = re.compile(r"\bpublic\.\w+(?=\[\])")


@dataclass(frozen=True)
class Embedded:
    """SQL at ``start`` to ``end`` of a body; ``into`` is the INTO clause that its text lacks."""

    start: int
    end: int
    query: str
    kind: str  # statement, condition or value
    into: str = ""
    verb: str = ""  # what stands in place of SELECT


@dataclass(frozen=True)
class Parsed:
    """What a body embeds, and its variables (arguments, too) with their types."""

    embedded: list[Embedded]
    variables: Mapping[str, str]
    lost: list[str] = field(default_factory=list)  # expressions whose place was not found


def parsed(definition: str, body: str) -> Parsed:
    """Parse ``create function … $function$body$function$``."""
    [tree] = [part["PLpgSQL_function"] for part in parse_plpgsql(_readable(definition))]
    variables = {}
    for datum in tree["datums"]:
        variable = datum.get("PLpgSQL_var")
        if variable and "datatype" in variable:
            variables[variable["refname"]] = variable["datatype"]["PLpgSQL_type"]["typname"]
    cursor, embedded, lost = 0, [], []
    for role, expression in _expressions(tree, ""):
        query, mode = expression["query"], expression.get("parseMode", _RAW)
        place = _find(body, query, cursor)
        if place is None:
            lost.append(query)
            continue
        cursor = place[1]
        embedded.append(_embedded(body, query, place, mode, role))
    return Parsed(embedded, variables, lost)


def _readable(definition: str) -> str:
    head, begin, rest = re.split(r"(?i)(\bbegin\b)", definition, maxsplit=1)
    head = _FOREIGN_TYPE.sub(lambda found: "public.".rjust(len(found[0])), head)
    return f"{_ROWS_TYPE.sub(lambda found: 'text'.ljust(len(found[0])), head)}{begin}{rest}"


def _embedded(body: str, query: str, place: tuple[int, int], mode: int, role: str) -> Embedded:
    start, end = place
    verb = ""
    if len(query) != end - start:  # PERFORM, which the parser reads as SELECT
        verb = "perform"
        into = ""
    else:
        pairs = zip(body[start:end], query, strict=True)
        blanked = [start + n for n, (theirs, ours) in enumerate(pairs) if ours != theirs]
        into = body[blanked[0] : blanked[-1] + 1] if blanked else ""
    if mode > _EXPRESSION:
        named = _ASSIGNED.match(query)
        skipped = named.end() if named else 0
        start, query = start + skipped, query[skipped:]
    kind = "statement" if mode == _RAW else "condition" if role == "cond" else "value"
    return Embedded(start, end, query, kind, into.strip(), verb)


def _expressions(tree: Any, role: str) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        for name, value in tree.items():
            if name == "PLpgSQL_expr":
                yield role, value
            else:
                yield from _expressions(value, role if name.startswith("PLpgSQL") else name)
    elif isinstance(tree, list):
        for value in tree:
            yield from _expressions(value, role)


def _find(body: str, query: str, cursor: int) -> tuple[int, int] | None:
    """Where the query stands, after the cursor if it can be (a loop's query comes after its body)."""
    performed = re.sub(r"^SELECT\b", "perform", query)
    for start in (cursor, 0):
        for text in (query, performed):
            at = _find_blanked(body, text, start)
            if at >= 0:
                return at, at + len(text)
    return None


def _find_blanked(body: str, query: str, start: int) -> int:
    """Where the query stands; its INTO clause is blank in the query. -1: nowhere."""
    at = body.find(query, start)
    gap = re.search(r" {4,}", query)
    if not gap:
        return at
    head = query[: gap.start()]
    place = body.find(head, start)
    while place >= 0:
        there = body[place : place + len(query)]
        if len(there) == len(query) and all(
            ours in (theirs, " ") for theirs, ours in zip(there, query, strict=True)
        ):
            return place if at < 0 else min(at, place)
        place = body.find(head, place + 1)
    return at


def embedded_mutants(body: str, found: Parsed, scope: Scope) -> Iterator[tuple[str, str, str, str]]:
    """Operator, the whole mutated body, and the embedded SQL before and after."""
    for part in found.embedded:
        if part.kind == "statement":
            before, mutants = printed_statement(part.query), statement_mutants(part.query, scope)
        else:
            before = printed_expression(part.query)
            mutants = expression_mutants(part.query, scope, is_condition=part.kind == "condition")
        into = f" {part.into}\n" if part.into else ""  # what follows may be a comment's rest
        for operator, text in mutants:
            placed = f"{part.verb}{text.removeprefix('SELECT')}" if part.verb else text
            if part.kind == "condition":  # PL/pgSQL reads on to the first THEN outside of brackets
                placed = f"({placed})"
            yield operator, f"{body[: part.start]} {placed}{into}{body[part.end :]}", before, text


@dataclass(frozen=True)
class _Token:
    start: int
    end: int
    word: str


def _tokens(body: str) -> list[_Token]:
    found = []
    for token in scan(body):
        if token.name in ("SQL_COMMENT", "C_COMMENT"):
            continue
        word = body[token.start : token.end + 1].lower()
        found.append(_Token(token.start, token.end + 1, word))
    return found


_REMOVED = {"perform", "insert", "update", "delete", "with", "execute", "merge"}
_LEAVING = {"raise", "return", "continue", "exit"}


def branch_mutants(body: str) -> Iterator[tuple[str, str, str, str]]:
    """Statements, checks and branches removed: operator, mutated body, what was there, and ''.

    A check is an IF whose first branch starts with what leaves: RAISE, RETURN, CONTINUE or EXIT.
    """
    tokens = _tokens(body)
    for operator, start, end, instead in [*_conditionals(tokens), *_statements(tokens)]:
        gone = body[start:end]
        yield operator, f"{body[:start]}{instead}{body[end:]}", " ".join(gone.split()), instead


Cut = tuple[str, int, int, str]


def _conditionals(tokens: list[_Token]) -> Iterator[Cut]:
    open_ifs: list[list[int]] = []  # of each open IF: the tokens at which its arms begin
    cases = 0
    for index, token in enumerate(tokens):
        before = tokens[index - 1].word if index else ""
        if token.word == "case" and before != "end":
            cases += 1
        elif token.word == "end" and cases and tokens[index + 1].word not in ("if", "loop"):
            cases -= 1
        elif token.word == "if" and before != "end":
            open_ifs.append([index])
        elif token.word == "elsif" or (token.word == "else" and not cases and open_ifs):
            open_ifs[-1].append(index)
        elif token.word == "if" and before == "end":
            yield from _arms(tokens, open_ifs.pop(), index - 1)


def _arms(tokens: list[_Token], arms: list[int], end: int) -> Iterator[Cut]:
    then = next(i for i in range(arms[0], end) if tokens[i].word == "then")
    is_check = len(arms) == 1 and tokens[then + 1].word in _LEAVING
    whole = (tokens[arms[0]].start, tokens[end + 2].end)
    if len(arms) == 1:
        yield ("check dropped" if is_check else "branch removed", *whole, "null;")
        return
    for number, arm in enumerate(arms):
        stop = arms[number + 1] if number + 1 < len(arms) else end
        if number == 0 and tokens[stop].word == "elsif":
            # The next arm becomes the first one.
            yield "branch removed", tokens[arm].start, tokens[stop].end, "if"
        elif number == 0:
            first = next(i for i in range(arm, stop) if tokens[i].word == "then") + 1
            yield "branch removed", tokens[first].start, tokens[stop].start, "null; "
        else:
            yield "branch removed", tokens[arm].start, tokens[stop].start, ""


def _statements(tokens: list[_Token]) -> Iterator[Cut]:
    """Statements that change something, or give a row, each left out."""
    depth, begun = 0, 0
    inside = False
    for index, token in enumerate(tokens):
        depth += {"(": 1, ")": -1}.get(token.word, 0)
        before = tokens[index - 1].word if index else ""
        if token.word == "begin":
            inside = True
        if depth == 0 and before in (";", "then", "else", "loop", "begin"):
            begun = index
        if token.word != ";" or depth or not inside:
            continue
        words = [one.word for one in tokens[begun:index]]
        gives = words[:2] in (["return", "next"], ["return", "query"])
        if words and (words[0] in _REMOVED or gives or ":=" in words[:4]):
            yield "statement removed", tokens[begun].start, token.end, "null;"
