"""Passwords: the form in which they are compared, the rule, the hash, and what one costs."""

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

SHORTEST_PASSWORD = 10
LONGEST_PASSWORD = 1024  # what is hashed is bounded, so that a login costs the same for everybody
# RFC 9106, second recommendation, is argon2-cffi's default: 64 MiB, 3 passes.
_hasher = PasswordHasher()
Result = TypeVar("Result")
# A hash takes 64 MiB and most of a core. Addresses take turns, so that a flood of one of them
# keeps nobody else from signing in; an office behind one address signs in one after another.
_AT_ONCE = 2
_MOST_WAITING = 40  # of one address
_LONGEST_WAIT = 15.0  # seconds
_RETRY_SECONDS = 5
_hashing = ThreadPoolExecutor(max_workers=_AT_ONCE, thread_name_prefix="hash-password")
_turns = each_loop(lambda: FairGate(_AT_ONCE, 1))
_OPAQUE = get_profile("OpaqueString")
# The rules of RFC 8264, as precis-i18n names them, that forbid what is not seen.
_UNSEEN = (
    "controls", "precis_ignorable_properties", "zero_width_joiner", "zero_width_nonjoiner", "empty",
)  # fmt: skip
_JOINER, _VARIANTS, _KEYCAPS = "\u200d", "\ufe0e\ufe0f", tuple("0123456789#*")
_RUNS = ("01234567890123456789", "98765432109876543210", "abcdefghijklmnopqrstuvwxyz")
PRODUCT = "neurant"
# Of a context word (docs/asvs.md, 6.1.2), and of what a password needs besides such words.
_SHORTEST_WORD, _LEAST_BESIDES = 3, 5
_WORDS = re.compile(r"[^\W\d_]+")


class Match(Enum):
    """How a password compares with a stored hash."""

    WRONG = "wrong"
    RIGHT = "right"
    OUTDATED = "outdated"
    """Right, but the hash is of the password as it was typed once, or of older parameters."""


def opaque(password: str) -> str:
    """The password as it is hashed: the profile OpaqueString of RFC 8265, section 4.2.

    Spaces beyond ASCII become spaces, then NFC: ``ñ`` is one password, however a keyboard sends
    it. Upper and lower case, and spaces at the ends, are kept.

    Raises BadInputError for what RFC 8264 (section 9) forbids, with the reason:
    ``accounts.password_characters`` (a control or invisible character, which nobody could type
    again), ``accounts.password_emoji`` (an emoji of several characters, which devices send in
    different ways), ``accounts.password_new_character`` (a character that this version of
    Unicode does not know) or ``accounts.password_symbol`` (any other one).
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
    """Whether ``character`` joins, varies or tags the emoji (or the digit) at the end before it."""
    last = before.rstrip(_VARIANTS + _JOINER)[-1:]
    category = unicodedata.category(last) if last else ""
    if character and character in _VARIANTS:
        return category[:1] in ("S", "P") or last in _KEYCAPS
    is_joiner_or_tag = character == _JOINER or "\U000e0020" <= character <= "\U000e007f"
    return is_joiner_or_tag and category in ("So", "Sk")


def check_new_password(password: str, email: str, context: Iterable[str] = ()) -> None:
    """Refuse a password that is quickly guessed.

    The rule: at least ten characters (code points of the OpaqueString form), four of them
    different; not a run of the alphabet or of digits; neither in the lists of leaked passwords nor
    one common word, also repeated or with digits and signs around; and more than the words that
    belong to the person: the address, the product's name and ``context`` (names of the company
    and the person).
    No characters are demanded (NIST SP 800-63B-4, 3.1.1.2; OWASP ASVS 5.0, 6.2).

    Raises BadInputError: ``accounts.weak_password``, ``accounts.leaked_password``,
    and those of ``opaque``.
    """
    prepared = opaque(password) if password else ""
    plain = folded(prepared)
    guessed = (
        len(set(prepared)) < 4
        or any(plain in run for run in _RUNS)
        or all(map(_is_digit_or_sign, plain))  # a telephone number, a date
        or plain == folded(email)
        or _is_of_context(plain, (*re.split(r"[@.+_-]", email), PRODUCT, *context))
    )
    if guessed or not SHORTEST_PASSWORD <= len(prepared) <= LONGEST_PASSWORD:
        raise BadInputError("accounts.weak_password", least=SHORTEST_PASSWORD)
    if is_common(prepared):
        raise BadInputError("accounts.leaked_password", least=SHORTEST_PASSWORD)


def _is_of_context(plain: str, context: Iterable[str]) -> bool:
    """Whether fewer than five letters are left without the context's words."""
    letters = without_accents(plain)
    left = letters
    words = {found for text in context for found in _WORDS.findall(without_accents(folded(text)))}
    for word in sorted(words, key=len, reverse=True):
        if len(word) >= _SHORTEST_WORD:
            left = left.replace(word, " ")
    return left != letters and sum(map(len, _WORDS.findall(left))) < _LEAST_BESIDES


def _is_digit_or_sign(character: str) -> bool:
    """Whether it is a digit, punctuation, a space or a sign of calculation or money; no emoji."""
    category = unicodedata.category(character)
    return category[0] in "NPZ" or category in ("Sm", "Sc", "Sk")


def hash_password(password: str) -> str:
    """The argon2id hash of a password's OpaqueString form. Raises BadInputError as ``opaque``."""
    return _hasher.hash(opaque(password))


async def _in_turn(work: Callable[..., Result], *given: str) -> Result:
    """Run ``work`` beside the event loop, in the turn of the address that asks.

    Raises RateLimitedError where too many of that address wait, UnavailableError after a while.
    """
    must_hold_nothing("a thread that hashes")
    try:
        async with _turns().slot(sender(), waiting=_MOST_WAITING, seconds=_LONGEST_WAIT):
            return await asyncio.get_running_loop().run_in_executor(_hashing, work, *given)
    except QueueFullError:
        raise RateLimitedError("accounts.too_many_at_once", seconds=_RETRY_SECONDS) from None
    except TimeoutError:
        raise UnavailableError("busy", seconds=_RETRY_SECONDS) from None


async def hashed(password: str) -> str:
    """The same, in its turn and beside the event loop. Raises as ``compare``."""
    return await _in_turn(hash_password, password)


async def compare(known: str | None, password: str) -> Match:
    """How ``password`` compares with the hash ``known``. None costs the same, and is WRONG.

    A hash from before passwords were normalised is of the password as it was typed: that form is
    tried second, where it differs. How many hashes are made depends on the password alone, so
    that an unknown address takes no other time than a known one.

    Raises RateLimitedError and UnavailableError where too many wait for their turn.
    """
    found = await _in_turn(_compare, known or _nobodys_hash(), password[:LONGEST_PASSWORD])
    return found if known is not None else Match.WRONG


async def matches(known: str | None, password: str) -> bool:
    """Whether ``known`` is a hash of ``password``, at the same cost whether it is or not."""
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
        # What cannot be normalised stays as it is: there is no other hash to make of it.
        return Match.RIGHT if prepared is None else Match.OUTDATED
    return Match.WRONG


def _matches(known: str, password: str) -> bool:
    try:
        return _hasher.verify(known, password)
    except (VerificationError, InvalidHashError, UnicodeEncodeError):
        return False
