"""Nothing of the pages is left over, and the check that says so finds what is planted."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from scripts import unused

PLANTED = {
    "unused token: planted-one": (
        "css/tokens.css",
        "\n@layer tokens { :root { --planted-one: 1px; } }\n",
    ),
    "undefined token: planted-two": ("css/base.css", "\n.row { gap: var(--planted-two); }\n"),
    "unused class: planted-three": (
        "css/base.css",
        "\n.row > .planted-three:hover, .row { gap: 0; }\n",
    ),
    "unused text: console.problem.planted": (
        "../../texts/es/console.problem.toml",
        'planted = "x"',
    ),
    "unused icon: planted": ("icons.svg", '<symbol id="i-planted"></symbol>'),
    "class without a style: planted-four": (
        "../templates/planted.html",
        '<p class="row planted-four"></p>',
    ),
}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of what the check reads."""
    no_copy = shutil.ignore_patterns("vendor", "__pycache__", "*.bin", "documents")
    for folder in ("neurant", "db"):
        shutil.copytree(unused.ROOT / folder, tmp_path / folder, ignore=no_copy)
    return tmp_path


def test_every_token_class_text_and_icon_is_used() -> None:
    assert unused.problems() == []


def test_what_nothing_uses_is_found(copy: Path) -> None:
    for name, content in PLANTED.values():
        with (copy / "neurant" / "console" / "static" / name).open("a", encoding="utf-8") as file:
            file.write(content)
    assert sorted(unused.problems(copy)) == sorted(PLANTED)


LAST_USES = {
    "unused text: chat.disclaimer": ("templates/chat/chat.html", 't("chat.disclaimer")', '""'),
    "unused class: msg--held": ("static/js/chat/thread.js", '"msg--held"', '"msg--fail"'),
    "unused icon: moon": ("templates/layouts/console.html", 'icon("moon")', 'icon("spark")'),
    "unused token: list": ("static/css/base.css", "var(--list)", "308px"),
}


def test_a_name_whose_last_use_is_removed_is_found(copy: Path) -> None:
    for name, use, instead in LAST_USES.values():
        path = copy / "neurant" / "console" / name
        source = path.read_text("utf-8")
        assert use in source, use
        path.write_text(source.replace(use, instead), "utf-8")
    assert sorted(unused.problems(copy)) == sorted(LAST_USES)


def test_an_allowance_that_nothing_needs_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed = tmp_path / "unused.toml"
    planted = '[icon]\n"planted" = "no reason"\n'
    allowed.write_text(unused.ALLOWED.read_text("utf-8").replace("[icon]\n", planted))
    monkeypatch.setattr(unused, "ALLOWED", allowed)
    assert unused.problems() == ["allowance that nothing needs: icon planted"]


def test_a_name_that_is_composed_of_known_parts_is_used() -> None:
    names = unused.Names({"whole.name"}, {"roles.\0", "\0_hint", "a.\0.b.\0"}, {"owner", "x", "y"})
    for used in ("whole.name", "roles.owner", "roles.7", "whole.name_hint", "a.x.b.y"):
        assert names.has(used), used
    for not_used in ("roles.planted", "other.name", "other.name_hint", "a.x.b.planted", "roles"):
        assert not names.has(not_used), not_used
