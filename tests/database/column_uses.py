"""How the product's statements use each column: whether one acts on it or only reads it.

The statements are the SQL literals of the Python code, the bodies of the database's functions, its
policies, and the conditions of its triggers, parsed by PostgreSQL's own parser (pglast). A use is

- ``acts``: a condition, a join, an order, a unique key, an argument of a function of ours that
  changes something;
- ``reads``: a value that is selected, returned, or computed with.

A column that is only written has no use.

A value that one statement moves from a column into another one is a flow: it acts where its target
acts. A name of a subquery or of a PL/pgSQL variable stands for the columns that it was filled from.
"""

from __future__ import annotations

import ast as python
import importlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from pglast import ast, parse_sql
from pglast.enums import A_Expr_Kind
from pglast.parser import ParseError

from tests.isolation.plpgsql import parsed

ROOT = Path(__file__).resolve().parents[2]
Column = str  # table.column
Sources = Mapping[str, frozenset[Column]]  # what each name of a row stands for
NOTHING: frozenset[Column] = frozenset()

# Copies, blanks or checks whole rows of many tables: no effect of a single column.
NO_EFFECT = re.compile(r"^(erase_|overwrite_|archive_|restore_|audit_change)")
NO_PRODUCT = ("verify", "demo")
_CONDITIONS = {
    "whereClause", "quals", "havingClause", "agg_filter", "sortClause", "limitCount",
    "limitOffset", "distinctClause", "agg_order", "partitionClause", "orderClause", "join",
    "scalar",
}  # fmt: skip
_SQL = re.compile(
    r"^\s*(select\s|insert\s+into\s|update\s+[\w.]+\s.*\bset\s+\S|delete\s+from\s|with\s+\w+\s+as\b)",
    re.IGNORECASE | re.DOTALL,
)
_FRAGMENT = re.compile(
    r"\b(from|set|where|and|or)\s*$", re.IGNORECASE
)  # of the statement of another place
_PLACEHOLDER = re.compile(r"%(\(\w+\))?[sbt]")


@dataclass
class Uses:
    """The uses of all columns, and which column's value flows into which."""

    acts: dict[Column, set[str]] = field(default_factory=dict)  # and the statements that do
    reads: set[Column] = field(default_factory=set)
    flows: set[tuple[Column, Column]] = field(default_factory=set)
    unread: list[str] = field(default_factory=list)  # statements that could not be parsed

    def acting(self) -> set[Column]:
        """The columns on which something acts, also by way of the column that they flow into."""
        found = set(self.acts)
        while more := {source for source, target in self.flows if target in found} - found:
            found |= more
        return found


@dataclass(frozen=True)
class Scope:
    """The rows that a statement's names may come from; the inner scope hides the outer one."""

    rows: Mapping[str, Sources]
    outer: Scope | None = None

    def find(self, names: Sequence[str]) -> frozenset[Column]:
        """The columns that ``alias.name``, ``name`` or ``alias`` (the whole row) stands for."""
        *qualified, name = names
        if qualified:
            row = self.rows.get(qualified[-1])
            if row is not None:
                return row.get(name, NOTHING)
        else:
            found = [row[name] for row in self.rows.values() if name in row]
            if found:
                return frozenset().union(*found)
        return self.outer.find(names) if self.outer else NOTHING


class Reader:
    """Reads statements into ``Uses``."""

    def __init__(self, tables: Mapping[str, Sequence[str]], doing: set[str]) -> None:
        self.uses = Uses()
        self._doing = doing  # our functions that change something or depend on the state
        self.place = ""  # whose statement is read
        self._assigned: frozenset[Column] = NOTHING  # by the statement that is read
        self._tables = {
            table: {column: frozenset({f"{table}.{column}"}) for column in columns}
            for table, columns in tables.items()
        }

    def row_of(self, table: str) -> Sources:
        """The columns of a table, by their names; of an unknown table, none."""
        return self._tables.get(table, {})

    def statements(self, query: str, variables: Mapping[str, Sources] | None = None) -> None:
        """Read the statements of a text."""
        try:
            found = parse_sql(query)
        except ParseError:
            self.uses.unread.append(query)
            return
        for statement in found:
            result = self.statement(statement.stmt, Scope(variables or {}))
            self.uses.reads |= frozenset().union(*result.values())

    def condition(self, expression: str, rows: Mapping[str, Sources]) -> None:
        """Read an expression that decides something."""
        self._parse_expression(expression, rows, acts=True)

    def value(self, expression: str, rows: Mapping[str, Sources]) -> frozenset[Column]:
        """Read an expression whose value is kept; the columns that it is made of."""
        return self._parse_expression(expression, rows, acts=False)

    def _parse_expression(
        self, expression: str, rows: Mapping[str, Sources], *, acts: bool
    ) -> frozenset[Column]:
        try:
            [statement] = parse_sql(f"select {expression}")
        except (ParseError, ValueError):
            self.uses.unread.append(expression)
            return NOTHING
        scope = Scope(rows)
        made = self._selected(statement.stmt, scope, {}, acts=acts)
        return frozenset().union(*made.values())

    def statement(
        self, node: Any, scope: Scope, with_rows: Mapping[str, Sources] | None = None
    ) -> Sources:
        """Read a statement; what its result's names stand for."""
        named = dict(with_rows or {})
        if getattr(node, "withClause", None):
            for part in node.withClause.ctes:
                result = self.statement(part.ctequery, scope, named)
                if part.aliascolnames:
                    names = [name.sval for name in part.aliascolnames]
                    result = dict(zip(names, result.values(), strict=False))
                named[part.ctename] = result
        if isinstance(node, ast.SelectStmt):
            return self._selected(node, scope, named)
        if isinstance(node, ast.InsertStmt):
            return self._inserted(node, scope, named)
        if isinstance(node, ast.UpdateStmt | ast.DeleteStmt):
            return self._changed(node, scope, named)
        return {}

    def _selected(
        self, node: Any, scope: Scope, named: Mapping[str, Sources], *, acts: bool = False
    ) -> Sources:
        if node.larg:
            left = self.statement(node.larg, scope, named)
            right = self.statement(node.rarg, scope, named)
            pairs = zip(left.items(), right.values(), strict=False)
            return {name: ours | theirs for (name, ours), theirs in pairs}
        inside = self._from(node.fromClause, scope, named)
        result: dict[str, frozenset[Column]] = {}
        for values in node.valuesLists or ():
            for number, value in enumerate(values, 1):
                name = f"column{number}"
                result[name] = result.get(name, NOTHING) | self._expression(value, inside, named)
        for number, target in enumerate(node.targetList or ()):
            result.update(self._target(target, number, inside, named, acts=acts))
        for name in ("whereClause", "havingClause", "limitCount", "limitOffset", "distinctClause"):
            self._expression(getattr(node, name), inside, named, acts=True)
        ordered = Scope({"": result}, inside)
        self._expression(node.sortClause, ordered, named, acts=True)
        self._expression(node.groupClause, ordered, named)
        self._expression(node.windowClause, inside, named)
        return result

    def _target(
        self, target: Any, number: int, scope: Scope, named: Mapping[str, Sources], *, acts: bool
    ) -> Sources:
        value = target.val
        if isinstance(value, ast.ColumnRef) and isinstance(value.fields[-1], ast.A_Star):
            wanted = [part.sval for part in value.fields[:-1]]
            rows = [row for alias, row in scope.rows.items() if not wanted or alias == wanted[-1]]
            return {name: made for row in rows for name, made in row.items()}
        made = self._expression(value, scope, named, acts=acts)
        name = target.name or _name_of(value) or f"?{number}"
        return {name: made}

    def _inserted(self, node: Any, scope: Scope, named: Mapping[str, Sources]) -> Sources:
        table = node.relation.relname
        row = self.row_of(table)
        columns = [target.name for target in node.cols or ()] or list(row)
        if node.selectStmt:
            made = self.statement(node.selectStmt, scope, named)
            for column, sources in zip(columns, made.values(), strict=False):
                self._flow(sources, table, column)
        inside = Scope({_alias(node.relation): row, "excluded": {}}, scope)
        if node.onConflictClause:
            conflict = node.onConflictClause
            if conflict.infer:
                for element in conflict.infer.indexElems or ():
                    self.act(row.get(element.name or "", NOTHING))
            self._assign(table, conflict.targetList, inside, named)
            self._expression(conflict.whereClause, inside, named, acts=True)
        return self._returned(node, inside, named)

    def _changed(self, node: Any, scope: Scope, named: Mapping[str, Sources]) -> Sources:
        table = node.relation.relname
        own = Scope({_alias(node.relation): self.row_of(table)}, scope)
        more = node.fromClause if isinstance(node, ast.UpdateStmt) else node.usingClause
        inside = Scope({**own.rows, **self._from(more, own, named).rows}, scope)
        if isinstance(node, ast.UpdateStmt):
            self._assign(table, node.targetList, inside, named)
            self._assigned = frozenset(f"{table}.{target.name}" for target in node.targetList)
        self._expression(node.whereClause, inside, named, acts=True)
        self._assigned = NOTHING
        return self._returned(node, inside, named)

    def _assign(self, table: str, targets: Any, scope: Scope, named: Mapping[str, Sources]) -> None:
        for target in targets or ():
            if not isinstance(target, ast.ResTarget):
                continue
            self._flow(self._expression(target.val, scope, named), table, target.name)

    def _returned(self, node: Any, scope: Scope, named: Mapping[str, Sources]) -> Sources:
        result: dict[str, frozenset[Column]] = {}
        clause = getattr(node, "returningClause", None)
        for number, target in enumerate((clause.exprs if clause else None) or ()):
            result.update(self._target(target, number, scope, named, acts=False))
        return result

    def _from(self, parts: Any, scope: Scope, named: Mapping[str, Sources]) -> Scope:
        rows: dict[str, Sources] = {}
        inside = Scope(rows, scope)  # a lateral part sees the ones before it
        for part in parts or ():
            self._from_part(part, rows, inside, named)
        return inside

    def _from_part(
        self, part: Any, rows: dict[str, Sources], inside: Scope, named: Mapping[str, Sources]
    ) -> None:
        if isinstance(part, ast.RangeVar):
            is_named = part.relname in named and not part.schemaname
            rows[_alias(part)] = named[part.relname] if is_named else self.row_of(part.relname)
        elif isinstance(part, ast.JoinExpr):
            self._from_part(part.larg, rows, inside, named)
            self._from_part(part.rarg, rows, inside, named)
            self._expression(part.quals, inside, named, acts=True)
            for column in part.usingClause or ():
                self.act(inside.find([column.sval]))
        elif isinstance(part, ast.RangeSubselect):
            made = self.statement(part.subquery, inside, named)
            names = [name.sval for name in (part.alias and part.alias.colnames) or ()]
            rows[part.alias.aliasname if part.alias else "?"] = (
                dict(zip(names, made.values(), strict=False)) if names else made
            )
        elif isinstance(part, ast.RangeFunction):
            columns = self._expression(part.functions, inside, named, acts=False)
            alias = part.alias
            if alias:
                names = [name.sval for name in alias.colnames or ()] or [alias.aliasname]
                rows[alias.aliasname] = dict.fromkeys(names, columns)

    def _expression(
        self, node: Any, scope: Scope, named: Mapping[str, Sources], *, acts: bool = False
    ) -> frozenset[Column]:
        """The columns that an expression is made of; notes how they are used."""
        if node is None:
            return NOTHING
        if isinstance(node, list | tuple):
            return frozenset().union(*(self._expression(n, scope, named, acts=acts) for n in node))
        if isinstance(node, ast.ColumnRef):
            return self._reference(node, scope, acts=acts)
        if isinstance(node, ast.SelectStmt):
            made = (
                self._selected(node, scope, named, acts=acts)
                if not node.withClause
                else (self.statement(node, scope, named))
            )
            return frozenset().union(*made.values())
        if not isinstance(node, ast.Node):
            return NOTHING
        if isinstance(node, ast.FuncCall) and node.funcname[-1].sval in self._doing:
            acts = True
        if _may_detect_change(node):
            sides = [self._expression(part, scope, named) for part in (node.lexpr, node.rexpr)]
            old, new = (side - self._assigned for side in sides)
            if old != new:
                self.act(old | new)
            return sides[0] | sides[1]
        found = NOTHING
        for name in node:
            part = getattr(node, name)
            decides = acts or name in _CONDITIONS
            if isinstance(node, ast.CaseWhen) and name == "expr":
                decides = True
            if isinstance(node, ast.CaseExpr) and name == "arg":
                decides = True
            found |= self._expression(part, scope, named, acts=decides)
        return found

    def _reference(self, node: Any, scope: Scope, *, acts: bool) -> frozenset[Column]:
        names = [part.sval for part in node.fields if isinstance(part, ast.String)]
        found = scope.find(names) if names else NOTHING
        if acts:
            self.act(found)
        self.uses.reads |= found
        return found

    def act(self, columns: Iterable[Column]) -> None:
        """Note that the statement acts on these columns."""
        for column in columns:
            self.uses.acts.setdefault(column, set()).add(self.place)

    def _flow(self, sources: frozenset[Column], table: str, column: str) -> None:
        for target in self.row_of(table).get(column, NOTHING):
            self.uses.flows |= {(source, target) for source in sources if source != target}


def _may_detect_change(node: Any) -> bool:
    """Whether it is a comparison that asks only whether a value is another one."""
    return isinstance(node, ast.A_Expr) and node.kind in (
        A_Expr_Kind.AEXPR_DISTINCT,
        A_Expr_Kind.AEXPR_NOT_DISTINCT,
    )


def _alias(relation: Any) -> str:
    return str(relation.alias.aliasname if relation.alias else relation.relname)


def _name_of(value: Any) -> str | None:
    if isinstance(value, ast.ColumnRef):
        return value.fields[-1].sval if isinstance(value.fields[-1], ast.String) else None
    if isinstance(value, ast.FuncCall):
        return str(value.funcname[-1].sval)
    return _name_of(value.arg) if isinstance(value, ast.TypeCast) else None


def python_statements() -> Iterator[tuple[str, str]]:
    """The SQL of the Python code. A name inside an f-string is the module's constant."""
    for path in sorted((ROOT / "neurant").rglob("*.py")):
        if set(NO_PRODUCT) & set(path.parts):
            continue
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for statement in _literals(python.parse(path.read_text("utf-8")), name):
            yield str(path.relative_to(ROOT)), statement


def _literals(tree: python.AST, module: str) -> Iterator[str]:
    for node in python.iter_child_nodes(tree):
        text = _text(node, module) if isinstance(node, python.expr) else None
        if text is None:
            yield from _literals(node, module)
        elif _SQL.match(text) and not _FRAGMENT.search(text):
            yield _PLACEHOLDER.sub("$1", text).replace("%%", "%").replace("{}", "x")


def _text(node: python.expr, module: str) -> str | None:
    if isinstance(node, python.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, python.BinOp) and isinstance(node.op, python.Add):
        left, right = _text(node.left, module), _text(node.right, module)
        return None if left is None or right is None else left + right
    if isinstance(node, python.JoinedStr):
        return "".join(
            (_text(part, module) if isinstance(part, python.Constant) else _filled(part, module))
            or "null"
            for part in node.values
        )
    if isinstance(node, python.Name):
        value = (
            getattr(importlib.import_module(module), node.id, None)
            if node.id.isupper() or node.id.startswith("_")
            else None
        )
        return value if isinstance(value, str) else None
    return None


def _filled(part: python.expr, module: str) -> str | None:
    return _text(part.value, module) if isinstance(part, python.FormattedValue) else None


def read_functions(reader: Reader, db: psycopg.Connection) -> None:
    """Read the bodies of all functions of ours."""
    for name, language, definition, body, table in db.execute(
        "select p.proname, l.lanname, pg_get_functiondef(p.oid), p.prosrc,"
        " (select array_agg(distinct c.relname::text) from pg_trigger t"
        "  join pg_class c on c.oid = t.tgrelid where t.tgfoid = p.oid)"
        " from pg_proc p join pg_language l on l.oid = p.prolang"
        " where p.pronamespace = 'private'::regnamespace and l.lanname in ('sql', 'plpgsql')"
        " and p.prokind = 'f'"
    ):
        if NO_EFFECT.match(name):
            continue
        reader.place = f"private.{name}"
        if language == "sql":
            reader.statements(body)
        else:
            _read_body(reader, definition, body, table or [])


def _read_body(reader: Reader, definition: str, body: str, tables: Sequence[str]) -> None:
    found = parsed(definition, body)
    changed: dict[str, frozenset[Column]] = {}
    for table in tables:
        for column, made in reader.row_of(table).items():
            changed[column] = changed.get(column, NOTHING) | made
    variables: dict[str, Sources] = {"new": changed, "old": changed}
    for _ in range(2):  # the second reading knows what the variables were filled from
        for part in found.embedded:
            if part.kind == "condition":
                reader.condition(part.query, variables)
            elif part.kind == "value":
                reader.value(part.query, variables)
            else:
                _read_statement(reader, part.query, part.into, variables)


def _read_statement(reader: Reader, query: str, into: str, variables: dict[str, Sources]) -> None:
    try:
        statements = parse_sql(query)
    except ParseError:
        reader.uses.unread.append(query)
        return
    for statement in statements:
        made = reader.statement(statement.stmt, Scope(variables))
        names = [name.strip() for name in re.sub(r"(?i)^into\s+(strict\s+)?", "", into).split(",")]
        if not into:
            continue  # a loop's record is not followed: its fields are read where they are named
        if len(names) == 1 and len(made) != 1:
            variables[names[0]] = made
            continue
        for name, sources in zip(names, made.values(), strict=False):
            *record, last = name.split(".")
            key = record[0] if record else ""
            variables[key] = {**variables.get(key, {}), last: sources}


def read_policies(reader: Reader, db: psycopg.Connection) -> None:
    """Read the conditions of triggers and of policies. WITH CHECK only judges what is written."""
    for table, condition in db.execute(
        "select c.relname, pg_get_expr(p.polqual, p.polrelid) from pg_policy p"
        " join pg_class c on c.oid = p.polrelid where p.polqual is not null"
    ):
        reader.place = f"a policy of {table}"
        reader.condition(condition, {table: reader.row_of(table)})
    for table, definition in db.execute(
        "select c.relname, pg_get_triggerdef(t.oid) from pg_trigger t join pg_class c"
        " on c.oid = t.tgrelid where not t.tgisinternal and t.tgfoid <> 'private.audit_change'::regproc"
    ):
        reader.place = f"a trigger of {table}"
        row = reader.row_of(table)
        if when := re.search(r" WHEN \((.*)\) EXECUTE", definition):
            reader.condition(when[1], {"new": row, "old": row})


def read_unique_keys(reader: Reader, db: psycopg.Connection) -> None:
    """A unique key acts on its columns: it refuses a second row of the same values."""
    for table, columns in db.execute(
        "select c.relname, array(select a.attname::text from pg_attribute a"
        " where a.attrelid = c.oid and a.attnum = any (x.indkey)) from pg_index x"
        " join pg_class c on c.oid = x.indrelid where x.indisunique and not x.indisprimary"
        " and c.relnamespace = 'public'::regnamespace"
    ):
        reader.place = f"a unique key of {table}"
        reader.act([f"{table}.{column}" for column in columns])


def uses_of(db: psycopg.Connection) -> tuple[Uses, set[Column]]:
    """How the product uses the columns of this migrated database; and all columns."""
    tables: dict[str, list[str]] = {}
    for table, column in db.execute(
        "select c.relname::text, a.attname::text from pg_attribute a join pg_class c"
        " on c.oid = a.attrelid where c.relnamespace = 'public'::regnamespace"
        " and c.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped order by 1, a.attnum"
    ):
        tables.setdefault(table, []).append(column)
    doing = {
        name
        for (name,) in db.execute(
            "select proname from pg_proc where pronamespace = 'private'::regnamespace"
            " and provolatile = 'v'"
        )
    }
    reader = Reader(tables, doing)
    for reader.place, statement in python_statements():
        reader.statements(statement)
    read_functions(reader, db)
    read_policies(reader, db)
    read_unique_keys(reader, db)
    return reader.uses, {f"{table}.{name}" for table, names in tables.items() for name in names}
