"""Passwords: their normal form, the rule for new ones, the hash, and the limit on concurrent
hashes.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import unicodedata
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from functools import lru_cache
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from precis_i18n import get_profile

from neurant.auth.common_passwords import folded, is_common, without_accents
from neurant.core.client_address import sender
from neurant.core.db.pool import must_hold_nothing
from neurant.core.errors import BadInputError, RateLimitedError, UnavailableError
from neurant.core.fair import FairGate, QueueFullError, each_loop

MIN_PASSWORD_LENGTH = 10
MAX_PASSWORD_LENGTH = 1024  # bounds the cost of one hash
# RFC 9106, second recommendation, is argon2-cffi's default: 64 MiB, 3 passes.
_hasher = PasswordHasher()
Result = TypeVar("Result")
# A hash takes 64 MiB and most of a core. Addresses take turns, so that a flood from one address
# does not stop the logins of others. People behind one address are served one after another.
_MAX_CONCURRENT_HASHES = 2
_MAX_WAITING = 40  # calls of one address
_MAX_WAIT_SECONDS = 15.0  # seconds
_RETRY_SECONDS = 5
_hashing = ThreadPoolExecutor(
    max_workers=_MAX_CONCURRENT_HASHES, thread_name_prefix="hash-password"
)
_turns = each_loop(lambda: FairGate(_MAX_CONCURRENT_HASHES, 1))
_OPAQUE = get_profile("OpaqueString")
# The rules of RFC 8264, as precis-i18n names them, that forbid invisible characters.
_UNSEEN = (
    "controls", "precis_ignorable_properties", "zero_width_joiner", "zero_width_nonjoiner", "empty",
)  # fmt: skip
_JOINER, _VARIANTS, _KEYCAPS = "\u200d", "\ufe0e\ufe0f", tuple("0123456789#*")
_RUNS = ("01234567890123456789", "98765432109876543210", "abcdefghijklmnopqrstuvwxyz")
PRODUCT = "neurant"
# The length of a context word (docs/asvs.md, 6.1.2), and the letters required besides such words.
_MIN_WORD_LENGTH, _LEAST_BESIDES = 3, 5
_WORDS = re.compile(r"[^\W\d_]+")


class Match(Enum):
    """The result of comparing a password with a stored hash."""

    WRONG = "wrong"
    RIGHT = "right"
    OUTDATED = "outdated"
    """The password is right; the hash is of its typed form or has older parameters."""


def opaque(password: str) -> str:
    """Return the password in the form that is hashed: the profile OpaqueString of RFC 8265, section
    4.2.

    Spaces outside ASCII become spaces, then the text is normalized to NFC, so that ``ñ`` is one
    password on every keyboard. Upper and lower case, and spaces at the ends, are kept.

    Raises BadInputError for a character that RFC 8264 (section 9) forbids, with the reason:
    ``accounts.password_characters`` (a control or invisible character, which nobody could type
    again), ``accounts.password_emoji`` (an emoji of several characters, which devices send in
    different ways), ``accounts.password_new_character`` (a character that this version of Unicode
    does not know) or ``accounts.password_symbol`` (any other one).
    """
    try:
        return _OPAQUE.enforce(password)
    except UnicodeEncodeError as error:
        raise BadInputError(f"accounts.password_{_why_refused(error)}") from None


def _why_refused(error: UnicodeEncodeError) -> str:
    text, at, rule = error.object, error.start, error.reason.removeprefix("DISALLOWED/")
    if rule == "unassigned":
        return "new_character"
    if rule in _UNSEEN or text[at] in "\u2028\u2029":
        return "emoji" if _is_part_of_emoji(text[:at], text[at : at + 1]) else "characters"
    return "symbol"


def _is_part_of_emoji(before: str, character: str) -> bool:
    """Return whether ``character`` joins, varies or tags the emoji or digit at the end of
    ``before``.
    """
    last = before.rstrip(_VARIANTS + _JOINER)[-1:]
    category = unicodedata.category(last) if last else ""
    if character and character in _VARIANTS:
        return category[:1] in ("S", "P") or last in _KEYCAPS
    is_joiner_or_tag = character == _JOINER or "\U000e0020" <= character <= "\U000e007f"
    return is_joiner_or_tag and category in ("So", "Sk")


def check_new_password(password: str, email: str, context: Iterable[str] = ()) -> None:
    """Refuse a password that is quickly guessed.

    The rule: at least ten characters (code points of the OpaqueString form), four of them
    different; no run of the alphabet or of digits; neither in the lists of leaked passwords nor one
    common word, even repeated or with digits and signs around it; and more than the words that
    belong to the person: the address, the product's name and ``context`` (names of the company and
    the person). The rule requires no kinds of characters (NIST SP 800-63B-4, 3.1.1.2; OWASP ASVS
    5.0, 6.2).

    Raises BadInputError: ``accounts.weak_password``, ``accounts.leaked_password``, and the codes of
    ``opaque``.
    """
    prepared = opaque(password) if password else ""
    plain = folded(prepared)
    guessed = (
        len(set(prepared)) < 4
        or any(plain in run for run in _RUNS)
        or all(map(_is_digit_or_sign, plain))  # such as a telephone number or a date
        or plain == folded(email)
        or _is_of_context(plain, (*re.split(r"[@.+_-]", email), PRODUCT, *context))
    )
    if guessed or not MIN_PASSWORD_LENGTH <= len(prepared) <= MAX_PASSWORD_LENGTH:
        raise BadInputError("accounts.weak_password", least=MIN_PASSWORD_LENGTH)
    if is_common(prepared):
        raise BadInputError("accounts.leaked_password", least=MIN_PASSWORD_LENGTH)


def _is_of_context(plain: str, context: Iterable[str]) -> bool:
    """Return whether fewer than five letters remain without the words of the context."""
    letters = without_accents(plain)
    left = letters
    words = {found for text in context for found in _WORDS.findall(without_accents(folded(text)))}
    for word in sorted(words, key=len, reverse=True):
        if len(word) >= _MIN_WORD_LENGTH:
            left = left.replace(word, " ")
    return left != letters and sum(map(len, _WORDS.findall(left))) < _LEAST_BESIDES


def _is_digit_or_sign(character: str) -> bool:
    """Return whether the character is a digit, punctuation, a space, or a sign of calculation or
    money.
    """
    category = unicodedata.category(character)
    return category[0] in "NPZ" or category in ("Sm", "Sc", "Sk")


def hash_password(password: str) -> str:
    """Return the argon2id hash of a password's OpaqueString form. Raises the errors of
    ``opaque``.
    """
    return _hasher.hash(opaque(password))


async def _in_turn(work: Callable[..., Result], *given: str) -> Result:
    """Run ``work`` in a thread when the address of the caller has its turn.

    Raises RateLimitedError if too many calls of that address wait, UnavailableError after 15
    seconds.
    """
    must_hold_nothing("a thread that hashes")
    try:
        async with _turns().slot(sender(), waiting=_MAX_WAITING, seconds=_MAX_WAIT_SECONDS):
            return await asyncio.get_running_loop().run_in_executor(_hashing, work, *given)
    except QueueFullError:
        raise RateLimitedError("accounts.too_many_at_once", seconds=_RETRY_SECONDS) from None
    except TimeoutError:
        raise UnavailableError("busy", seconds=_RETRY_SECONDS) from None


async def hashed(password: str) -> str:
    """Return the hash of a password, computed in a thread in turn. Raises the errors of
    ``compare``.
    """
    return await _in_turn(hash_password, password)


async def compare(known: str | None, password: str) -> Match:
    """Return how ``password`` compares with the hash ``known``.

    ``known`` None takes the same time and returns WRONG. A hash that is older than the
    normalization of passwords is of the password as it was typed, so that form is tried second if
    it differs. The number of computed hashes depends on the password alone, so that an unknown
    address takes the same time as a known one.

    Raises RateLimitedError and UnavailableError if too many calls wait for their turn.
    """
    found = await _in_turn(_compare, known or _nobodys_hash(), password[:MAX_PASSWORD_LENGTH])
    return found if known is not None else Match.WRONG


async def matches(known: str | None, password: str) -> bool:
    """Return whether ``known`` is a hash of ``password``, in the same time for both results."""
    return await compare(known, password) is not Match.WRONG


@lru_cache(maxsize=1)
def _nobodys_hash() -> str:
    return _hasher.hash(secrets.token_urlsafe())


def _compare(known: str, password: str) -> Match:
    try:
        prepared = opaque(password)
    except BadInputError:
        prepared = None
    is_prepared = prepared is not None and _matches(known, prepared)
    is_typed = prepared != password and _matches(known, password)
    if is_prepared:
        return Match.OUTDATED if _hasher.check_needs_rehash(known) else Match.RIGHT
    if is_typed:
        # A password that cannot be normalized keeps its hash; there is no other form to hash.
        return Match.RIGHT if prepared is None else Match.OUTDATED
    return Match.WRONG


def _matches(known: str, password: str) -> bool:
    try:
        return _hasher.verify(known, password)
    except (VerificationError, InvalidHashError, UnicodeEncodeError):
        return False
