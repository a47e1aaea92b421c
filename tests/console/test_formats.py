"""Times, sizes and names as people write them."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from neurant.core.clock import utc_now
from neurant.core.formats import Formats, avatar, initials, paragraphs

SPANISH, ENGLISH = Formats("es", "America/Bogota"), Formats("en", "America/Bogota")


@pytest.mark.parametrize(
    ("name", "letters"),
    [("Camila Vélez", "CV"), ("María de los Ángeles Quintero", "MQ"), ("Bo", "BO"), ("…", "?")],
)
def test_initials_are_of_the_first_and_the_last_word(name: str, letters: str) -> None:
    assert initials(name) == letters


def test_a_name_keeps_its_colour() -> None:
    assert avatar("Camila") == avatar("Camila")
    assert len({avatar(str(number)) for number in range(100)}) == 6


def test_the_clock_is_the_companys() -> None:
    assert SPANISH.clock(datetime.fromisoformat("2026-11-24T15:05:00+00:00")) == "10:05"


def test_days_are_near_or_dated() -> None:
    assert SPANISH.day(utc_now()) == "Hoy"
    assert ENGLISH.day(utc_now() - timedelta(days=1)) == "Yesterday"
    old = datetime.fromisoformat("2019-11-03T15:00:00+00:00")
    assert SPANISH.day(old) == "3 nov 2019"
    assert ENGLISH.day(old) == "Nov 3 2019"


def test_a_date_within_a_sentence_has_its_month_whatever_the_day() -> None:
    now = utc_now()
    assert "Hoy" not in SPANISH.date(now)
    assert " de " in SPANISH.date(now)
    old = datetime.fromisoformat("2019-11-03T15:00:00+00:00")
    assert SPANISH.date(old) == "3 de noviembre de 2019"
    assert ENGLISH.date(old) == "November 3, 2019"


@pytest.mark.parametrize(
    ("seconds", "told"), [(8, "8 s"), (77, "1 min"), (7300, "2 h"), (400_000, "4 d"), (-5, "0 s")]
)
def test_a_wait_is_reported_in_its_largest_unit(seconds: int, told: str) -> None:
    assert SPANISH.waited(utc_now() - timedelta(seconds=seconds)) == told


def test_sizes_read_well_in_each_language() -> None:
    assert SPANISH.size(1) == "1 kB"
    assert SPANISH.size(98_304) == "96 kB"
    assert SPANISH.size(25 * 1024 * 1024) == "25 MB"
    assert SPANISH.size(4_300_000) == "4,1 MB"
    assert ENGLISH.size(4_300_000) == "4.1 MB"


def test_numbers_are_grouped_as_the_language_does() -> None:
    assert (SPANISH.number(1184), ENGLISH.number(1184)) == ("1.184", "1,184")
    assert (SPANISH.number(0.86), ENGLISH.number(0.86)) == ("0,86", "0.86")


def test_plain_text_keeps_its_paragraphs_and_loses_its_markup() -> None:
    assert paragraphs("uno\ndos\n\n<b>tres</b>") == (
        "<p>uno<br>dos</p><p>&lt;b&gt;tres&lt;/b&gt;</p>"
    )
