"""Find design tokens, CSS classes, texts and icons that are not used.

``make lint`` runs it. It parses templates as Jinja's syntax tree, Python as its syntax tree, and
style sheets by their selectors. A name that is composed at run time is matched by its constant
parts; other names that are used in ways it cannot see are listed with a reason in ``unused.toml``.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import Environment, nodes

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = Path(__file__).with_suffix(".toml")
_HOLE = "\0"  # stands for a part of a composed name that is known only at run time
_DEEPEST = 2
_TOKEN = re.compile(r"(?<![\w-])--([\w-]+)")
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_CLASS_ATTRIBUTE = re.compile(r'\bclass="((?:[^"{]|\{\{.*?\}\}|\{%.*?%\}|\{)*)"', re.DOTALL)
_SCRIPT_STRING = re.compile(r"""(["'`])((?:\\.|(?!\1).)*)\1""", re.DOTALL)
_SQL_STRING = re.compile(r"'([\w.]+)'")
_SQL_ARRAY = re.compile(r"'\{([\w,]+)\}'")
_SQL_TABLE = re.compile(r"^create table (?:\w+\.)?(\w+)", re.MULTILINE | re.IGNORECASE)
_SQL_COLUMN = re.compile(r"^\s+(\w+) \w", re.MULTILINE)
_ICON_MAKERS = ("Notice", "Entry")  # Python calls with an icon among their arguments


@dataclass
class Sources:
    """The text of all files below ``root`` that may contain a name."""

    root: Path
    styles: dict[str, str] = field(default_factory=dict)
    scripts: dict[str, str] = field(default_factory=dict)
    templates: dict[str, str] = field(default_factory=dict)
    modules: dict[str, ast.Module] = field(default_factory=dict)
    sprite: str = ""
    sql: str = ""

    @classmethod
    def read(cls, root: Path) -> Sources:
        """Read the product of the working tree at ``root``."""
        product, console = root / "neurant", root / "neurant" / "console"
        read = cls(root)
        for path in sorted((console / "static").rglob("*")):
            if path.suffix == ".css":
                read.styles[path.name] = _COMMENT.sub("", path.read_text("utf-8"))
            elif path.suffix == ".js" and "vendor" not in path.parts:
                read.scripts[path.name] = path.read_text("utf-8")
        for path in sorted(product.rglob("templates/**/*")):
            if path.is_file():
                read.templates[str(path.relative_to(product))] = path.read_text("utf-8")
        for path in sorted(product.rglob("*.py")):
            read.modules[str(path.relative_to(product))] = ast.parse(path.read_text("utf-8"))
        read.sprite = (console / "static" / "icons.svg").read_text("utf-8")
        scripts = sorted((root / "db").rglob("*.sql"))
        read.sql = "\n".join(path.read_text("utf-8") for path in scripts)
        return read

    @cached_property
    def parsed(self) -> list[nodes.Template]:
        """Return the templates as syntax trees."""
        reader = Environment(autoescape=True)
        return [reader.parse(source) for source in self.templates.values()]


def selectors(sheet: str) -> Iterator[str]:
    """Yield the selectors of a style sheet: the text before each brace, without at-rules."""
    for part in re.findall(r"([^{};]+)\{", sheet):
        if not part.strip().startswith("@"):
            yield part


def defined_tokens(sources: Sources) -> set[str]:
    """Return the custom properties that a style sheet sets."""
    return {
        name
        for sheet in sources.styles.values()
        for name in re.findall(r"(?<![\w-])--([\w-]+)\s*:", sheet)
    }


def used_tokens(sources: Sources) -> set[str]:
    """Return the custom properties that are read.

    A use in the value of an unused token does not count.
    """
    inside: dict[str, set[str]] = {}  # token -> the tokens that its value reads
    used: set[str] = set()
    for sheet in sources.styles.values():
        for name, value in re.findall(r"([\w-]+)\s*:\s*([^;{}]*)", sheet):
            read = set(re.findall(r"var\(\s*--([\w-]+)", value))
            if name.startswith("--"):
                inside.setdefault(name[2:], set()).update(read)
            else:
                used |= read
    for text in (*sources.scripts.values(), *sources.templates.values()):
        used |= set(_TOKEN.findall(text))
    waiting = list(used)
    while waiting:
        for name in inside.get(waiting.pop(), set()) - used:
            used.add(name)
            waiting.append(name)
    return used


def styled_classes(sources: Sources) -> set[str]:
    """Return the classes that selectors name."""
    return {
        name
        for sheet in sources.styles.values()
        for selector in selectors(sheet)
        for name in re.findall(r"\.([a-zA-Z][\w-]*)", selector)
    }


def class_words(sources: Sources) -> tuple[set[str], set[str]]:
    """Return the classes that an element may get, and the words that certainly are classes.

    The first are all words of strings in templates, scripts and Python; the second are the whole
    words of ``class`` attributes.
    """
    certain: set[str] = set()
    for name, template in sources.templates.items():
        if not name.startswith("console"):
            continue
        for value in _CLASS_ATTRIBUTE.findall(template):
            constant = re.sub(r"\{\{.*?\}\}|\{%.*?%\}", "\1", value, flags=re.DOTALL)
            certain |= {word for word in constant.split() if "\1" not in word}
    words = set(certain)
    for tree in sources.parsed:
        for value in _jinja_strings(tree):
            words |= set(value.split())
        for data in tree.find_all(nodes.TemplateData):
            words |= set(re.split(r"[\s\"]+", data.data))
    for script in sources.scripts.values():
        for _, value in _SCRIPT_STRING.findall(script):
            words |= set(re.split(r"[\s<>=\"'$]+", value))
            words |= set(re.findall(r'class="([\w -]+)"', value))
    for name, module in sources.modules.items():
        if name.startswith("console"):
            words |= {word for value in _python_strings(module) for word in value.split()}
    return words, certain


def class_shapes(sources: Sources) -> set[str]:
    """Return the composed words of ``class`` attributes, such as ``badge--{{ kind }}``."""
    values = (one for text in sources.templates.values() for one in _CLASS_ATTRIBUTE.findall(text))
    holed = (re.sub(r"\{\{.*?\}\}", _HOLE, value, flags=re.DOTALL) for value in values)
    return {word for value in holed for word in re.sub(r"\{%.*?%\}", " ", value).split()} - {_HOLE}


def queried_classes(sources: Sources) -> set[str]:
    """Return the classes by which a script finds an element."""
    return {
        name
        for script in sources.scripts.values()
        for _, value in _SCRIPT_STRING.findall(script)
        for name in re.findall(r"\.([a-z][\w-]*)", value)
    }


def icons(sources: Sources) -> set[str]:
    """Return the icons of the sprite."""
    return set(re.findall(r'id="i-([\w-]+)"', sources.sprite))


def used_icons(sources: Sources) -> set[str]:
    """Return the icons that a template or a page's Python code names as icons."""
    found: set[str] = set()
    for template in sources.templates.values():
        found |= set(re.findall(r"#i-([\w-]+)", template))
    for tree in sources.parsed:
        for call in tree.find_all(nodes.Call):
            if isinstance(call.node, nodes.Name) and call.node.name != "t":
                found |= _words_in(call)
        for loop in tree.find_all(nodes.For):
            found |= _words_in(loop.iter)
    for module in sources.modules.values():
        if any(_names_icons(node) for node in ast.walk(module)):
            found |= {word for word in _python_strings(module) if word.isidentifier()}
    return found


def _words_in(node: nodes.Node) -> set[str]:
    return {one.value for one in node.find_all(nodes.Const) if _is_word(one.value)}


def _names_icons(node: ast.AST) -> bool:
    """Return whether ``node`` makes a notice or an entry, or has the name of a symbol."""
    if isinstance(node, ast.Call):
        return getattr(node.func, "id", "") in _ICON_MAKERS
    named = (getattr(node, name, None) for name in ("arg", "attr", "id", "name"))
    return any(name in ("icon", "symbol") for name in named)


def _is_word(value: object) -> bool:
    return isinstance(value, str) and value.isidentifier()


@dataclass
class Names:
    """The constant strings of the code, and the shapes of composed strings."""

    literals: set[str] = field(default_factory=set)
    shapes: set[str] = field(default_factory=set)
    values: set[str] = field(default_factory=set)  # what a hole of a shape may hold

    @cached_property
    def _parts(self) -> list[list[str]]:
        """Return the constant parts of each meaningful shape; holes are between them."""
        return [one.split(_HOLE) for one in sorted(self.shapes) if re.search(r"[a-z_.-]{2}", one)]

    def has(self, name: str, depth: int = 0) -> bool:
        """Return whether the code uses ``name``, as a constant or composed."""
        if name in self.literals:
            return True
        return depth < _DEEPEST and any(
            name.startswith(parts[0])
            and name.endswith(parts[-1])
            and len(parts) > 1
            and any(self._held(holes, parts[0] == "", depth) for holes in _holes(name, parts))
            for parts in self._parts
        )

    def _held(self, holes: list[str], first_is_name: bool, depth: int) -> bool:
        """Return whether each hole may hold its value.

        A name may begin only with another whole name.
        """
        return all(
            self.has(hole, depth + 1) if first_is_name and at == 0 else self._may_hold(hole, depth)
            for at, hole in enumerate(holes)
        )

    def _may_hold(self, part: str, depth: int) -> bool:
        return part == "" or part.isdigit() or part in self.values or self.has(part, depth + 1)


def _holes(name: str, parts: list[str]) -> Iterator[list[str]]:
    """Yield every way to compose ``name`` from the ``parts`` with a value in each hole."""
    rest = name[len(parts[0]) :]
    if len(parts) == 2:
        if rest.endswith(parts[1]):
            yield [rest[: len(rest) - len(parts[1])]]
        return
    at = rest.find(parts[1])
    while at >= 0 and parts[1]:
        for others in _holes(rest[at:], parts[1:]):
            yield [rest[:at], *others]
        at = rest.find(parts[1], at + 1)


def names_of(sources: Sources) -> Names:
    """Return every name in the code, from templates, Python and the schema."""
    found = Names()
    for tree in sources.parsed:
        found.literals |= set(_jinja_strings(tree))
        found.shapes |= {
            shape for one in tree.find_all(nodes.Concat) for shape in _jinja_shapes(one)
        }
    for module in sources.modules.values():
        found.literals |= set(_python_strings(module))
        for node in ast.walk(module):
            found.values |= _python_names(node)
            if isinstance(node, ast.JoinedStr | ast.BinOp):
                found.shapes |= {shape for shape in _python_shapes(node) if _HOLE in shape}
    for statement in (sources.sql, *found.literals):
        found.values |= set(_SQL_STRING.findall(statement))
        found.values |= {
            word for words in _SQL_ARRAY.findall(statement) for word in words.split(",")
        }
    found.values |= set(_SQL_COLUMN.findall(sources.sql)) | found.literals
    found.values |= set(_SQL_TABLE.findall(sources.sql))
    # The code splits error codes and permissions at their dots and uses a part as a text's name.
    dotted = {name for name in found.values if "." in name and " " not in name}
    found.values |= {part for name in dotted for part in name.split(".")}
    return found


def _python_names(node: ast.AST) -> set[str]:
    """Return names of keyword arguments and fields, which the code passes on as data."""
    if isinstance(node, ast.keyword) and node.arg:
        return {node.arg}
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return {node.target.id}
    return set()


def _jinja_strings(tree: nodes.Node) -> Iterator[str]:
    for one in tree.find_all(nodes.Const):
        if isinstance(one.value, str):
            yield one.value
    for one in tree.find_all(nodes.Pair):
        if isinstance(one.key, nodes.Const):
            yield str(one.key.value)


def _jinja_shapes(node: nodes.Node) -> list[str]:
    if isinstance(node, nodes.Const):
        return [str(node.value)]
    if isinstance(node, nodes.CondExpr):
        other = _jinja_shapes(node.expr2) if node.expr2 else [""]
        return _jinja_shapes(node.expr1) + other
    if isinstance(node, nodes.Concat):
        return [one.strip() for one in _joined(_jinja_shapes(part) for part in node.nodes)]
    return [_HOLE]


def _python_strings(node: ast.AST) -> Iterator[str]:
    for one in ast.walk(node):
        if isinstance(one, ast.Constant) and isinstance(one.value, str):
            yield one.value


def _python_shapes(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.JoinedStr):
        return _joined(_python_shapes(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return _python_shapes(node.value)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _joined(_python_shapes(part) for part in (node.left, node.right))
    if isinstance(node, ast.IfExp):
        return _python_shapes(node.body) + _python_shapes(node.orelse)
    return [_HOLE]


def _joined(parts: Iterable[list[str]]) -> list[str]:
    whole = [""]
    for part in parts:
        whole = [before + after for before in whole for after in part]
    return whole


def texts(root: Path) -> set[str]:
    """Return the names of the Spanish texts; a test ensures that both languages have the same."""
    found: set[str] = set()

    def add(table: dict[str, Any], prefix: str) -> None:
        for key, value in table.items():
            if isinstance(value, dict):
                add(value, f"{prefix}.{key}")
            else:
                found.add(f"{prefix}.{key}")

    for path in sorted((root / "neurant" / "texts" / "es").glob("*.toml")):
        add(tomllib.loads(path.read_text("utf-8")), path.stem)
    return found


def problems(root: Path = ROOT) -> list[str]:
    """Return one line for each unused or missing name, and for each needless exception."""
    sources, allowed = Sources.read(root), tomllib.loads(ALLOWED.read_text("utf-8"))
    styled, (words, certain), queried = (
        styled_classes(sources),
        class_words(sources),
        queried_classes(sources),
    )
    names = names_of(sources)
    classes = Names(words, class_shapes(sources) | names.shapes, names.values)
    found = {
        "token": defined_tokens(sources) - used_tokens(sources),
        "class": {name for name in styled if not classes.has(name)},
        "text": {name for name in texts(root) if not names.has(name)},
        "icon": icons(sources) - used_icons(sources),
        "undefined token": used_tokens(sources) - defined_tokens(sources),
        "class without a style": certain - styled - queried,
    }
    lines = []
    for kind, unused in found.items():
        reasons: dict[str, str] = allowed.get(kind, {})
        excused = {name for name in unused for form in reasons if fnmatchcase(name, form)}
        lines += [f"unused {kind}: {name}" if "un" not in kind and "without" not in kind
                  else f"{kind}: {name}" for name in sorted(unused - excused)]  # fmt: skip
        idle = [form for form in reasons if not any(fnmatchcase(name, form) for name in unused)]
        lines += [f"allowance that nothing needs: {kind} {form}" for form in idle]
    return lines


def main() -> int:
    """Print the problems; return 1 if there are any, else 0."""
    found = problems()
    print("\n".join(found) or "every token, class, text and icon is used")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
