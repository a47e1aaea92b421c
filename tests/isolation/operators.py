"""The operators of mutation: each replaces one node of a parsed SQL statement with another one.

pglast (PostgreSQL's own parser) gives the tree and prints it again. pglast is a development tool:
nothing of the product imports it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pglast import ast, parse_sql
from pglast.enums import (
    A_Expr_Kind,
    BoolExprType,
    JoinType,
    LockWaitPolicy,
    NullTestType,
    OnConflictAction,
    SetOperation,
    SortByDir,
)
from pglast.stream import RawStream

Change = tuple[str, Any]  # the operator's name and the node that replaces (None: nothing does)

_CONDITIONS = {"whereClause", "quals", "havingClause", "agg_filter", "cond"}
_NEGATED = {"=": "<>", "<>": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_BOUNDARY = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
_ARITHMETIC = {"+": "-", "-": "+"}
_OPPOSITE_KINDS = {
    A_Expr_Kind.AEXPR_DISTINCT: A_Expr_Kind.AEXPR_NOT_DISTINCT,
    A_Expr_Kind.AEXPR_NOT_DISTINCT: A_Expr_Kind.AEXPR_DISTINCT,
    A_Expr_Kind.AEXPR_BETWEEN: A_Expr_Kind.AEXPR_NOT_BETWEEN,
    A_Expr_Kind.AEXPR_NOT_BETWEEN: A_Expr_Kind.AEXPR_BETWEEN,
}
_OPPOSITE_NAMES = {"~~": "!~~", "!~~": "~~", "~~*": "!~~*", "!~~*": "~~*"}


@dataclass(frozen=True)
class Scope:
    """What a name may mean: tables by alias, columns (with types) by table, variables by name."""

    tables: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """Where a node stands: an attribute of its owner, or an element of the tuple that is there."""

    owner: Any
    attribute: str
    path: tuple[int, ...]
    node: Any
    scope: Scope

    def put(self, node: Any) -> None:
        """Set another node there."""
        value = getattr(self.owner, self.attribute)
        setattr(self.owner, self.attribute, _replaced(value, self.path, node))

    @property
    def role(self) -> str:
        """``cond`` for a condition of a CASE, else the attribute's name."""
        return "cond" if isinstance(self.owner, ast.CaseWhen) and self.attribute == "expr" else (
            self.attribute
        )  # fmt: skip


def _replaced(value: Any, path: tuple[int, ...], node: Any) -> Any:
    if not path:
        return node
    inner = _replaced(value[path[0]], path[1:], node)
    return (*value[: path[0]], inner, *value[path[0] + 1 :])


def statement_mutants(text: str, scope: Scope) -> Iterator[tuple[str, str]]:
    """Every mutant of one or more SQL statements: the operator's name and the mutated text."""
    statements = parse_sql(text)
    original = RawStream()(statements)
    for place in _places(statements, scope):
        for operator, node in changes(place):
            place.put(node)
            try:
                mutated = RawStream()(statements)
            finally:
                place.put(place.node)
            if mutated != original:
                yield operator, mutated


def expression_mutants(text: str, scope: Scope, *, is_condition: bool) -> Iterator[tuple[str, str]]:
    """Every mutant of one expression, or of one condition."""
    [statement] = parse_sql(f"select {text}")
    head = "SELECT "
    original = RawStream()(statement)
    target = statement.stmt.targetList[0]
    if is_condition:
        for operator, node in _condition(target.val, "cond"):
            yield operator, f"{_printed(node)}"
    for place in _places((statement,), scope):
        if place.owner is statement or place.owner is statement.stmt:
            continue
        for operator, node in changes(place):
            place.put(node)
            try:
                mutated = RawStream()(statement)
            finally:
                place.put(place.node)
            if mutated != original:
                yield operator, mutated.removeprefix(head)


def _printed(node: Any) -> str:
    return str(RawStream()(node))


def printed_expression(text: str) -> str:
    """The expression as it is printed when nothing is changed."""
    return str(RawStream()(parse_sql(f"select {text}"))).removeprefix("SELECT ")


def printed_statement(text: str) -> str:
    """The statements as they are printed when nothing is changed."""
    return str(RawStream()(parse_sql(text)))


def _places(statements: Any, scope: Scope) -> Iterator[Place]:
    for statement in statements:
        yield from _below(statement, scope)


def _below(owner: Any, scope: Scope) -> Iterator[Place]:
    scope = _within(owner, scope)
    for attribute in owner.__slots__:
        value = getattr(owner, attribute, None)
        for path, node in _nodes(value, ()):
            yield Place(owner, attribute, path, node, scope)
            yield from _below(node, scope)


def _nodes(value: Any, path: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], Any]]:
    if isinstance(value, ast.Node):
        yield path, value
    elif isinstance(value, tuple):
        for index, one in enumerate(value):
            yield from _nodes(one, (*path, index))


def _within(owner: Any, scope: Scope) -> Scope:
    """The scope with the tables that a statement names in its FROM (or changes)."""
    if not isinstance(owner, (ast.SelectStmt, ast.UpdateStmt, ast.DeleteStmt, ast.InsertStmt)):
        return scope
    found = dict(scope.tables)
    for attribute in ("relation", "fromClause", "usingClause"):
        for _, node in _nodes(getattr(owner, attribute, None), ()):
            found |= _aliases(node)
    return replace(scope, tables=found)


def _aliases(node: Any) -> dict[str, str]:
    if isinstance(node, ast.RangeVar):
        alias = node.alias.aliasname if node.alias else node.relname
        return {str(alias): f"{node.schemaname or 'public'}.{node.relname}"}
    if isinstance(node, ast.JoinExpr):
        return _aliases(node.larg) | _aliases(node.rarg)
    return {}


def changes(place: Place) -> Iterator[Change]:
    """What may stand there instead."""
    for kind, operator in _OPERATORS:
        if isinstance(place.node, kind):
            yield from operator(place)
    simple = isinstance(place.owner, ast.CaseWhen) and place.attribute == "expr"
    if place.role in _CONDITIONS and not (simple and not _searched(place)):
        yield from _condition(place.node, place.role)


def _searched(place: Place) -> bool:
    """Whether the CASE's WHEN is a condition (and not a value to compare with)."""
    return not isinstance(place.node, (ast.A_Const, ast.TypeCast))


def _condition(node: Any, role: str) -> Iterator[Change]:
    if isinstance(node, ast.BoolExpr) and node.boolop == BoolExprType.AND_EXPR and role != "cond":
        return  # its conjuncts are dropped one by one
    if role in ("whereClause", "havingClause", "agg_filter"):
        yield "condition dropped", None
    elif role == "quals":
        yield "condition dropped", _expression("true")
    if not isinstance(node, (ast.A_Expr, ast.NullTest)):
        yield "condition negated", _not(node)


def _not(node: Any) -> Any:
    if isinstance(node, ast.BoolExpr) and node.boolop == BoolExprType.NOT_EXPR:
        return node.args[0]
    return ast.BoolExpr(boolop=BoolExprType.NOT_EXPR, args=(node,))


def _expression(text: str) -> Any:
    return parse_sql(f"select {text}")[0].stmt.targetList[0].val


def _changed(node: Any, **attributes: Any) -> Any:
    made = copy.copy(node)
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def _without(elements: tuple[Any, ...], index: int) -> tuple[Any, ...]:
    return (*elements[:index], *elements[index + 1 :])


def _boolean(place: Place) -> Iterator[Change]:
    node = place.node
    if node.boolop == BoolExprType.NOT_EXPR:
        yield "negation dropped", node.args[0]
        return
    both = node.boolop == BoolExprType.AND_EXPR
    for index in range(len(node.args)):
        rest = _without(node.args, index)
        left = rest[0] if len(rest) == 1 else _changed(node, args=rest)
        yield "conjunct dropped" if both else "disjunct dropped", left
        if not isinstance(node.args[index], (ast.A_Expr, ast.NullTest, ast.BoolExpr)):
            other = _replaced(node.args, (index,), _not(node.args[index]))
            yield "condition negated", _changed(node, args=other)
    if both:
        yield "AND to OR", _changed(node, boolop=BoolExprType.OR_EXPR)
    else:
        yield "OR to AND", _changed(node, boolop=BoolExprType.AND_EXPR)


def _comparison(place: Place) -> Iterator[Change]:
    node = place.node
    name = node.name[-1].sval
    if node.kind == A_Expr_Kind.AEXPR_OP and node.lexpr is not None:
        for operator, table in (
            ("comparison negated", _NEGATED),
            ("boundary moved", _BOUNDARY),
            ("arithmetic reversed", _ARITHMETIC),
        ):
            if name in table:
                yield operator, _changed(node, name=(ast.String(table[name]),))
    elif node.kind == A_Expr_Kind.AEXPR_OP_ANY and name in _NEGATED:
        opposite = (ast.String(_NEGATED[name]),)
        kind = A_Expr_Kind.AEXPR_OP_ALL
        yield "comparison negated", _changed(node, kind=kind, name=opposite)
    elif node.kind == A_Expr_Kind.AEXPR_IN:
        yield "comparison negated", _changed(node, name=(ast.String(_NEGATED[name]),))
        if len(node.rexpr) > 1:
            for index in range(len(node.rexpr)):
                yield "element dropped", _changed(node, rexpr=_without(node.rexpr, index))
    elif node.kind in _OPPOSITE_KINDS:
        yield "comparison negated", _changed(node, kind=_OPPOSITE_KINDS[node.kind])
    elif name in _OPPOSITE_NAMES:
        yield "comparison negated", _changed(node, name=(ast.String(_OPPOSITE_NAMES[name]),))


def _null_test(place: Place) -> Iterator[Change]:
    is_null = place.node.nulltesttype == NullTestType.IS_NULL
    opposite = NullTestType.IS_NOT_NULL if is_null else NullTestType.IS_NULL
    yield "comparison negated", _changed(place.node, nulltesttype=opposite)


def _case(place: Place) -> Iterator[Change]:
    node = place.node
    if len(node.args) > 1:
        for index in range(len(node.args)):
            yield "branch removed", _changed(node, args=_without(node.args, index))
    if node.defresult is not None:
        yield "branch removed", _changed(node, defresult=None)


def _choices(place: Place) -> Iterator[Change]:
    """Of coalesce, greatest and least: one argument less."""
    arguments = place.node.args
    if len(arguments) > 1:
        for index in range(len(arguments)):
            rest = _without(arguments, index)
            yield "branch removed", rest[0] if len(rest) == 1 else _changed(place.node, args=rest)


def _select(place: Place) -> Iterator[Change]:
    node = place.node
    if node.limitCount is not None:
        yield "limit dropped", _changed(node, limitCount=None)
    if node.lockingClause:
        yield "lock dropped", _changed(node, lockingClause=None)
        lock = node.lockingClause[0]
        if lock.waitPolicy != LockWaitPolicy.LockWaitBlock:
            waiting = _changed(lock, waitPolicy=LockWaitPolicy.LockWaitBlock)
            yield "skip locked dropped", _changed(node, lockingClause=(waiting,))
    if node.distinctClause:
        yield "distinct dropped", _changed(node, distinctClause=None)
    if node.sortClause:
        first = node.sortClause[0]
        down = first.sortby_dir != SortByDir.SORTBY_DESC
        other = SortByDir.SORTBY_DESC if down else SortByDir.SORTBY_ASC
        flipped = (_changed(first, sortby_dir=other), *node.sortClause[1:])
        yield "order reversed", _changed(node, sortClause=flipped)
    if node.op != SetOperation.SETOP_NONE:
        for side in (node.larg, node.rarg):
            kept = _changed(side, withClause=side.withClause or node.withClause)
            yield "branch removed", kept


def _join(place: Place) -> Iterator[Change]:
    node = place.node
    if node.jointype == JoinType.JOIN_INNER and node.quals is not None:
        yield "inner join to left join", _changed(node, jointype=JoinType.JOIN_LEFT)
    elif node.jointype == JoinType.JOIN_LEFT:
        yield "left join to inner join", _changed(node, jointype=JoinType.JOIN_INNER)


def _assignments(place: Place) -> Iterator[Change]:
    """Of UPDATE: one column less is set."""
    targets = place.node.targetList or ()
    if len(targets) > 1 and not any(isinstance(t.val, ast.MultiAssignRef) for t in targets):
        for index in range(len(targets)):
            yield "assignment dropped", _changed(place.node, targetList=_without(targets, index))


def _insert(place: Place) -> Iterator[Change]:
    node = place.node
    if node.onConflictClause is not None:
        yield "conflict clause dropped", _changed(node, onConflictClause=None)
        if node.onConflictClause.action == OnConflictAction.ONCONFLICT_UPDATE:
            nothing = _changed(
                node.onConflictClause,
                action=OnConflictAction.ONCONFLICT_NOTHING, targetList=None, whereClause=None,
            )  # fmt: skip
            yield "conflict update dropped", _changed(node, onConflictClause=nothing)
    table = f"{node.relation.schemaname or 'public'}.{node.relation.relname}"
    types = place.scope.columns.get(table, {})
    names = [column.name for column in node.cols or ()]
    for index, name in enumerate(names):
        later = [n for n in names[index + 1 :] if types.get(n) == types.get(name, "?")]
        if later:
            other = names.index(later[0])
            columns = list(node.cols)
            columns[index], columns[other] = columns[other], columns[index]
            yield "column swapped", _changed(node, cols=tuple(columns))


def _constant(place: Place) -> Iterator[Change]:
    value = place.node.val
    if isinstance(value, ast.Boolean):
        yield "literal changed", _changed(place.node, val=ast.Boolean(not value.boolval))
    elif isinstance(value, ast.Integer) and place.attribute not in ("node", "typmods"):
        yield "literal changed", _changed(place.node, val=ast.Integer(value.ival + 1))


def _cast(place: Place) -> Iterator[Change]:
    node = place.node
    if (
        node.typeName.names[-1].sval == "interval"
        and isinstance(node.arg, ast.A_Const)
        and isinstance(node.arg.val, ast.String)
    ):
        yield "literal changed", _changed(node, arg=ast.A_Const(val=ast.String("1 second")))


def _column(place: Place) -> Iterator[Change]:
    """A column (or a variable) becomes the next one of the same type of the same table."""
    names = [part.sval for part in place.node.fields if isinstance(part, ast.String)]
    if len(names) != len(place.node.fields):
        return
    if len(names) == 2:
        columns = place.scope.columns.get(place.scope.tables.get(names[0], ""), {})
    elif len(names) == 1 and names[0] in place.scope.variables:
        columns = place.scope.variables
    elif len(names) == 1 and len(set(place.scope.tables.values())) == 1:
        columns = place.scope.columns.get(next(iter(place.scope.tables.values())), {})
    else:
        return
    other = sibling(columns, names[-1])
    if other:
        fields = (*place.node.fields[:-1], ast.String(other))
        yield "column swapped", _changed(place.node, fields=fields)


def sibling(columns: Mapping[str, str], name: str) -> str | None:
    """Another name of the same type: the next one; of a company's id, a row's own id first."""
    alike = [other for other, type_ in columns.items() if type_ == columns.get(name)]
    if name not in alike or len(alike) < 2:
        return None
    if name == "company_id" and "id" in alike:
        return "id"
    after = alike[alike.index(name) + 1 :] + alike[: alike.index(name)]
    return next((other for other in after if other != "company_id"), after[0])


def _call(place: Place) -> Iterator[Change]:
    """The caller's company becomes one that an argument names; a permission is not asked for."""
    node = place.node
    if [part.sval for part in node.funcname] != ["private", "company_id"]:
        return
    if node.args:
        yield "permission dropped", _changed(node, args=None)
    for name, type_ in place.scope.variables.items():
        if type_ == "uuid" and name.startswith("p_company"):
            yield "company from argument", _expression(name)
        elif type_ == "jsonb" and name.startswith("p_"):
            yield "company from argument", _expression(f"({name} ->> 'company_id')::uuid")


_OPERATORS: tuple[tuple[type, Callable[[Place], Iterator[Change]]], ...] = (
    (ast.BoolExpr, _boolean),
    (ast.A_Expr, _comparison),
    (ast.NullTest, _null_test),
    (ast.CaseExpr, _case),
    (ast.CoalesceExpr, _choices),
    (ast.MinMaxExpr, _choices),
    (ast.SelectStmt, _select),
    (ast.JoinExpr, _join),
    (ast.UpdateStmt, _assignments),
    (ast.InsertStmt, _insert),
    (ast.A_Const, _constant),
    (ast.TypeCast, _cast),
    (ast.ColumnRef, _column),
    (ast.FuncCall, _call),
)
