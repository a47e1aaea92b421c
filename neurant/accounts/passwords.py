"""Passwords: the rule, the hash, and what one costs."""

from __future__ import annotations

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from neurant.accounts.schemas import LONGEST_PASSWORD
from neurant.database.pool import must_hold_nothing
from neurant.errors import BadInputError

SHORTEST_PASSWORD = 10
# RFC 9106, second recommendation, is argon2-cffi's default: 64 MiB, 3 passes.
_hasher = PasswordHasher()
# A hash takes 64 MiB and most of a core: a flood of logins queues instead of starving the rest.
_hashing = ThreadPoolExecutor(max_workers=2, thread_name_prefix="hash-password")
# What people type where ten characters are asked for: the head of published lists of leaked
# passwords, and their Spanish neighbours. Digits and signs around them are taken off first.
_COMMON = (
    "password", "passwort", "contraseña", "contrasena", "clave", "micontraseña", "micontrasena",
    "qwertyuiop", "qwerty", "asdfghjkl", "zxcvbnm", "qazwsx", "abcdefghij", "abcdefghijk",
    "iloveyou", "teamo", "teamomucho", "tequiero", "administrador", "administrator", "admin",
    "letmein", "welcome", "bienvenido", "bienvenida", "neurant", "changeme", "cambiame",
    "superman", "batman", "football", "futbol", "colombia", "mexico", "argentina", "basketball",
    "princess", "princesa", "estrella", "mariposa", "barcelona", "realmadrid", "contrasenia",
)  # fmt: skip
_AROUND = "0123456789!?.,;:*+-_@#$%&/()=¡¿ "
_RUNS = ("01234567890123456789", "98765432109876543210", "abcdefghijklmnopqrstuvwxyz")


def check_new_password(password: str, email: str) -> None:
    """Refuse a password that is quickly guessed. Raises BadInputError (``accounts.weak_password``).

    The rule: at least ten characters, four of them different; not the e-mail address nor its name,
    not a run of the alphabet or of digits, and none of the words that everybody takes. No
    characters are demanded and none are forbidden (NIST SP 800-63B-4, 3.1.1.2).
    """
    plain = password.lower()
    core = plain.strip(_AROUND)
    name = email.partition("@")[0]
    guessed = (
        plain in (email, name * 2)
        or len(set(password)) < 4
        or core in _COMMON
        or core == name
        or any(plain in run for run in _RUNS)
        or not core  # nothing but digits and signs: a telephone number, a date
    )
    if guessed or not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise BadInputError("accounts.weak_password", least=SHORTEST_PASSWORD)


def hash_password(password: str) -> str:
    """The argon2id hash of a password."""
    return _hasher.hash(password)


async def hashed(password: str) -> str:
    """The same, in its turn and beside the event loop."""
    must_hold_nothing("a thread that hashes")
    return await asyncio.get_running_loop().run_in_executor(_hashing, hash_password, password)


async def matches(known: str | None, password: str) -> bool:
    """Whether ``known`` is the hash of ``password``. None costs the same, and never is."""
    must_hold_nothing("a thread that hashes")
    right = await asyncio.get_running_loop().run_in_executor(
        _hashing, _matches, known or _nobodys_hash(), password[:LONGEST_PASSWORD]
    )
    return right and known is not None


@lru_cache(maxsize=1)
def _nobodys_hash() -> str:
    return _hasher.hash(secrets.token_urlsafe())


def _matches(known: str, password: str) -> bool:
    try:
        return _hasher.verify(known, password)
    except (VerificationError, InvalidHashError, UnicodeEncodeError):
        return False
