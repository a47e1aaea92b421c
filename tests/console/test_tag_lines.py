"""Templates are written in short lines, and a page has each of its tags in one line."""

from __future__ import annotations

import pytest

from neurant.console.static_files import ROOT
from neurant.console.templating import environment

TEMPLATES = sorted((ROOT.parent / "templates").rglob("*.html"))
MAX_LINE_LENGTH = 120


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ('<a\n  class="x"\n  href="/y"\n>z</a>', '<a class="x" href="/y">z</a>'),
        ("<i\n  {% if yes %}hidden{% endif %}\n></i>", "<i hidden></i>"),
        ('<i\n  id="a"\n  {% if no %}hidden{% endif %}\n></i>', '<i id="a"></i>'),
        ('<i\n  title="{{ "a>b" if yes }}"\n></i>', '<i title="a&gt;b"></i>'),
        ("<p>\n  a < b\n</p>", "<p>\n  a < b\n</p>"),
        ("<pre>a\n  b</pre>", "<pre>a\n  b</pre>"),
        ('<i title="{{ lines }}"></i>', '<i title="a\n  b"></i>'),
    ],
)
def test_a_tag_is_joined_and_content_and_values_are_not(source: str, told: str) -> None:
    made = environment().from_string(source).render(yes=True, no=False, lines="a\n  b")
    assert made == told


def test_no_line_of_a_template_is_longer_than_a_person_reads() -> None:
    long = [
        f"{path.name}:{number}"
        for path in TEMPLATES
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if len(line) > MAX_LINE_LENGTH
        and "includeIndicatorCSS" not in line  # JSON, in one attribute
    ]
    assert len(TEMPLATES) > 50
    assert long == []
