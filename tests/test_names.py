"""Names that read as names: what Python accepts, the database accepts, and nothing else."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurant.core.errors import BadInputError
from neurant.core.names import (
    as_label,
    as_name,
    reads_as_label,
    reads_as_name,
    tidy,
    without_hidden,
)
from neurant.installation.embedded import Urls

HONEST = [
    "Dr. Juan S.A.S.", "Café 3.0", "Mercado.com", "Amazon.com S.A.", "Peluquería 24/7", "A/C & Cía.",
    "Restaurante «El Sol»", "O'Higgins e Hijos", "Nº 1 Ñandú", "Ma. Fernanda", "Müller GmbH & Co. KG",
    "Nguyễn Thị Hồng", "株式会社 山田", "شركة النور", "Δέλτα", "C++ Academy", "@cafe_bot", "¡Hola!",
    "Jean-Luc", "Ana María de los Ángeles", "Flores 🌵", "3M", "X", "Yahoo!", "St. John's: Café",
]  # fmt: skip
ADDRESSES = [
    "Gana en http://malo.example", "https:malo", "HTTPS://malo.example", "www.malo.example",
    "Premio WWW2.malo.co", "malo.example/premio", "malo.example?x=1", "malo.example:8080",
    "javascript:alert(1)", "mailto:a@b.co", "tel: 5551234", "ana@malo.example", "10.0.0.1",
    "malo。example／premio", "ｗｗｗ．malo．example", "hxxp://malo", "ftp://malo", "x\\\\malo.example\\a",
]  # fmt: skip
UNREADABLE = [
    "", " ", "...", "🌵", "« »", "Ac\nme", "Ac\r\nme", "Ac\tme", "Ac\x00me", "Ac\x1bme", "Ac\x7fme",
    "Ac\x85me", "Ac\u2028me", "Ac\u2029me", "Ac\u202eme", "Ac\u2066me\u2069", "\u200fAcme", "Ac\u061cme",
    "Ac\u200bme", "Ac\u200dme", "Ac\u2060me", "Ac\ufeffme", "Ac\u00adme", "\u3164", "\u2800\u2800",
    "Ac\ue000me", "Ac\ufffdme", "\U000e0041Acme", "Z\u0300\u0301\u0302\u0303algo", "\u0301Acme",
]  # fmt: skip


@pytest.fixture(scope="module")
def held(urls: Urls) -> Iterator[Callable[[str], tuple[bool, bool]]]:
    with psycopg.connect(urls.admin, autocommit=True) as db:

        def ask(text: str) -> tuple[bool, bool]:
            return db.execute(
                "select private.reads_as_label(%s), private.reads_as_name(%s)", (text, text)
            ).fetchone()

        yield ask


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_name_passes_as_it_is(
    name: str, held: Callable[[str], tuple[bool, bool]]
) -> None:
    assert as_name(name) == name
    assert held(name) == (True, True)


@pytest.mark.parametrize("name", ADDRESSES)
def test_no_address_is_a_name_though_it_may_be_a_label(
    name: str, held: Callable[[str], tuple[bool, bool]]
) -> None:
    with pytest.raises(BadInputError) as refused:
        as_name(name)
    assert refused.value.code == "name_refused"
    assert held(name) == (reads_as_label(name), False)


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_is_hidden_or_no_line_is_neither(
    name: str, held: Callable[[str], tuple[bool, bool]]
) -> None:
    for check in (as_name, as_label):
        with pytest.raises(BadInputError):
            check(name)
    if "\x00" not in name:
        assert held(name) == (False, False)


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("  Clínica   Ñandú ", "Clínica Ñandú"),
        (unicodedata.normalize("NFD", "Clínica Ñandú"), "Clínica Ñandú"),
        ("Café\u00a0Sol", "Café Sol"),
        ("Café ☕\ufe0f Sol", "Café ☕ Sol"),
    ],
)
def test_what_keyboards_add_is_tidied(
    typed: str, kept: str, held: Callable[[str], tuple[bool, bool]]
) -> None:
    assert as_name(typed) == kept
    assert held(typed) == (False, False)
    assert held(kept) == (True, True)


ASSIGNED = st.characters(codec="utf-8", exclude_categories=["Cn"], exclude_characters="\x00")
TRICKY = st.sampled_from("aÉñ.:/\\@?# www.comhttps://10\u0301\u0303\u200b\u202e\n　。．／")
TEXTS = st.one_of(
    st.text(ASSIGNED, max_size=30), st.text(TRICKY, max_size=20), st.sampled_from(ADDRESSES)
)


@settings(max_examples=1500, deadline=None)
@given(TEXTS)
def test_python_and_the_database_hold_the_same_rule(
    held: Callable[[str], tuple[bool, bool]], text: str
) -> None:
    assert held(text) == (reads_as_label(text), reads_as_name(text))


@given(st.text())
def test_tidying_twice_changes_nothing(text: str) -> None:
    assert tidy(tidy(text)) == tidy(text)


@given(st.text(ASSIGNED))
def test_without_what_is_hidden_a_strangers_label_is_one_line(text: str) -> None:
    shown = without_hidden(text)
    assert shown.isprintable()
    assert not any(
        unicodedata.bidirectional(one) in ("RLO", "LRO", "RLE", "LRE", "PDF") for one in shown
    )
