"""An unknown address costs as much as a known one."""

from __future__ import annotations

import uuid

import pytest
from argon2 import extract_parameters

from neurant.accounts import service
from neurant.accounts.queries import Login
from neurant.database.tenancy import Trail
from neurant.errors import UnauthenticatedError


@pytest.mark.anyio
@pytest.mark.parametrize("login", [None, Login(uuid.uuid4(), None)], ids=["unknown", "no password"])
async def test_whoever_has_no_password_is_checked_against_a_hash_of_the_same_cost(
    monkeypatch: pytest.MonkeyPatch, login: Login | None
) -> None:
    checked: list[str] = []
    real = service._matches

    async def find_login(_pool: object, _email: str) -> Login | None:
        return login

    def matches(known: str, password: str) -> bool:
        checked.append(known)
        return real(known, password)

    noted: list[Trail] = []

    async def note_denied_login(_pool: object, _login: uuid.UUID, trail: Trail) -> None:
        noted.append(trail)

    monkeypatch.setattr(service, "find_login", find_login)
    monkeypatch.setattr(service, "note_denied_login", note_denied_login)
    monkeypatch.setattr(service, "_matches", matches)
    with pytest.raises(UnauthenticatedError):
        await service.sign_in(None, "nadie@x.co", "algo", trail=Trail(), keep=False)
    [hashed] = checked
    assert len(noted) == 1
    assert extract_parameters(hashed) == extract_parameters(service.hash_password("otra"))


def test_a_damaged_hash_is_a_wrong_password_and_not_a_crash() -> None:
    assert not service._matches("!", "algo")
