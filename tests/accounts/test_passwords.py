"""Passwords: what is refused, and that an unknown address costs as much as a known one."""

from __future__ import annotations

import pytest
from argon2 import extract_parameters

from neurant.accounts import passwords
from neurant.errors import BadInputError


@pytest.mark.anyio
async def test_whoever_has_no_password_is_checked_against_a_hash_of_the_same_cost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checked: list[str] = []
    real = passwords._matches

    def matches(known: str, password: str) -> bool:
        checked.append(known)
        return real(known, password)

    monkeypatch.setattr(passwords, "_matches", matches)
    assert not await passwords.matches(None, "algo")
    [hashed] = checked
    assert extract_parameters(hashed) == extract_parameters(passwords.hash_password("otra"))


def test_a_damaged_hash_is_a_wrong_password_and_not_a_crash() -> None:
    assert not passwords._matches("!", "algo")
    assert not passwords._matches(passwords.hash_password("algo"), "\ud800")


@pytest.mark.parametrize(
    "weak",
    [
        "corta",
        "aaaaaaaaaaaa",
        "1234567890",
        "30-12-1985 ",
        "abcdefghij",
        "Contraseña123",
        "Password2026!",
        "ana.maria@acme.example",
        "ana.mariaana.maria",
        "ana.maria2026",
        "x" * 500 + "yz1" * 300,
    ],
)
def test_a_password_that_is_quickly_guessed_is_refused_with_the_rule(weak: str) -> None:
    with pytest.raises(BadInputError) as refused:
        passwords.check_new_password(weak, "ana.maria@acme.example")
    assert "10" in str(refused.value)


@pytest.mark.parametrize("fine", ["un-paraguas-amarillo", "ñandú çöñ 漢字漢字 1", "correct horse battery"])  # fmt: skip
def test_any_characters_make_a_password(fine: str) -> None:
    passwords.check_new_password(fine, "ana@acme.example")
