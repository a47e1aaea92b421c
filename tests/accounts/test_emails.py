"""One mailbox is one address, however it is typed."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurant.core.emails import looked_up, normal_email
from neurant.core.errors import BadInputError


@pytest.mark.parametrize(
    ("typed", "normal"),
    [
        ("  Ana.Ruiz@Acme.EXAMPLE \n", "ana.ruiz@acme.example"),
        ("ana@clínica.example", "ana@xn--clnica-4va.example"),
        ("ANA@CLÍNICA.EXAMPLE", "ana@xn--clnica-4va.example"),
        ("ana@XN--CLNICA-4VA.example", "ana@xn--clnica-4va.example"),
        (unicodedata.normalize("NFD", "josé@clínica.example"), "josé@xn--clnica-4va.example"),
        ("ana@bücher.co", "ana@xn--bcher-kva.co"),
        ("ana+ventas@x.co", "ana+ventas@x.co"),
    ],
)
def test_case_accents_and_spaces_make_no_second_mailbox(typed: str, normal: str) -> None:
    assert normal_email(typed) == normal
    assert looked_up(typed) == normal


@pytest.mark.parametrize(
    "typed",
    ["", "ana", "ana@", "@x.co", "ana@x", "a b@x.co", "ana@x..co", "ana@[127.0.0.1]", '"a b"@x.co',
     "ana@x.co\0", "ana@x.co, eva@x.co", "ana@x.co\r\nBcc: eva@x.co", "Ana <ana@x.co>", "á" * 70 + "@x.co",
     "a@" + "x" * 300 + ".co", "\ud800@x.co", "ana@x.co" * 5000],
)  # fmt: skip
def test_what_is_no_address_is_reported_and_finds_nobody(typed: str) -> None:
    with pytest.raises(BadInputError) as refused:
        normal_email(typed)
    assert refused.value.code == "accounts.bad_email"
    assert len(str(refused.value).encode("utf-8", "replace")) < 500
    looked_up(typed).encode()  # a login by it fails as an unknown one, and does not fall over


@given(st.emails())
def test_the_normal_form_is_its_own_normal_form(typed: str) -> None:
    try:
        normal = normal_email(typed)
    except BadInputError:
        return
    assert normal_email(normal) == normal == normal_email(typed.upper().lower())
    assert normal == normal.lower()
    assert normal.partition("@")[2].isascii()
