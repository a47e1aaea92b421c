"""The rules of names: of a company, a person, a bot, a document.

The database enforces the same rules (``private.reads_as_label``, ``private.reads_as_name``) as
check constraints. This module reports a clear error before a row is written, and removes characters
that keyboards and file systems add. The character ranges are written out in both places, so that
the two agree regardless of their versions of Unicode.
"""

from __future__ import annotations

import re
import unicodedata

from neurant.core.errors import BadInputError

# Control, format, bidirectional and default-ignorable characters, spaces other than U+0020, line
# and paragraph separators, blanks that are letters to Unicode, private use, noncharacters.
HIDDEN = (
    "\u0000-\u001f\u007f-\u00a0\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890-\u0891\u08e2"
    "\u115f-\u1160\u1680\u17b4-\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f\u205f-\u206f\u2800"
    "\u3000\u3164\ue000-\uf8ff\ufdd0-\ufdef\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U0010ffff"
)
_MARKS = "\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"
# Punctuation, symbols and pictures. A name needs at least one other character.
_SIGNS = (
    "\u0020-\u002f\u003a-\u0040\u005b-\u0060\u007b-\u00a9\u00ab-\u00b4\u00b6-\u00b9\u00bb-\u00bf"
    "\u0300-\u036f\u2010-\u2bff\u2e00-\u2e7f\u3001-\u3003\u3008-\u3020\u3030\ufe10-\ufe6f"
    "\uff01-\uff0f\uff1a-\uff20\U0001f000-\U0001faff"
)
_IS_HIDDEN = re.compile(f"[{HIDDEN}\ud800-\udfff]")
_PILED_UP = re.compile(f"^[{_MARKS}]|[{_MARKS}]{{4}}")
_SAYS_SOMETHING = re.compile(f"[^{_SIGNS}]")
_SPACES = re.compile(r"[\u0020\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]+")
_STYLES = re.compile(
    r"[\ufe0e\ufe0f]"
)  # variation selectors, which a keyboard adds to some pictures
# Matched in the compatibility form, because full-width dots and slashes are equivalent (UTS 46).
_ADDRESS = re.compile(
    r"//|\bwww\d*\.|\b(?:https?|ftps?|mailto|javascript|data|tel|sms|file|wss?)\s*:"
    r"|[^\s.,;()]\.[^\s0-9.,;()/\\?#:]{2,}[/\\?#:]"  # a domain with a path, a query or a port
    r"|[0-9]{1,3}(?:\.[0-9]{1,3}){3}"
    r"|[^\s@]@[^\s@]+\.[^\s@]",
    re.ASCII | re.IGNORECASE,
)


def tidy(typed: str) -> str:
    """Return the stored form of a name: NFC, trimmed, single spaces, no variation selectors."""
    plain = _SPACES.sub(" ", _STYLES.sub("", unicodedata.normalize("NFC", typed)))
    return unicodedata.normalize("NFC", plain.strip(" "))


def without_hidden(text: str) -> str:
    """Return a label chosen by a stranger, without characters that distort the line."""
    return tidy(_IS_HIDDEN.sub(" ", tidy(text)))


def reads_as_label(text: str) -> bool:
    """Return whether the text is one visible, tidy line with at least one letter or digit.

    At most three combining marks may follow one another (Vietnamese needs two).
    """
    return (
        text == tidy(text)
        and not _IS_HIDDEN.search(text)
        and not _PILED_UP.search(unicodedata.normalize("NFD", text))
        and _SAYS_SOMETHING.search(text) is not None
    )


def reads_as_name(text: str) -> bool:
    """Return whether the text is a label without the address of a site or a mailbox.

    ``Mercado.com`` and ``S.A.S.`` are real names, so a bare domain is accepted. Mails prevent mail
    programs from turning it into a link (``mail/message.py``).
    """
    plain = unicodedata.normalize("NFKC", text).replace("\u3002", ".")
    return reads_as_label(text) and not _ADDRESS.search(plain)


def as_name(typed: str) -> str:
    """Return the stored form of a name. Raises BadInputError (``name_refused``)."""
    name = tidy(typed)
    if not reads_as_name(name):
        raise BadInputError("name_refused")
    return name


def as_label(typed: str) -> str:
    """Return the stored form of a label. Raises BadInputError (``label_refused``)."""
    label = tidy(typed)
    if not reads_as_label(label):
        raise BadInputError("label_refused")
    return label
