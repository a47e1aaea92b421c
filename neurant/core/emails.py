"""The normal form of an e-mail address, in which addresses are stored and looked up."""

from __future__ import annotations

import unicodedata

from email_validator import EmailNotValidError, validate_email

from neurant.core.errors import BadInputError

MAX_CHARACTERS = 254  # RFC 5321, 4.5.3.1.3, less the angle brackets
_TOLD = 100


def normal_email(typed: str) -> str:
    """Return the normal form: lower case, NFC, the domain in ASCII (IDNA 2008).

    The syntax is that of RFC 5322 and 6531 as email-validator implements them, without comments,
    quoted local parts and bare IP addresses. The existence of the mailbox is not checked. Raises
    BadInputError (``accounts.bad_email``).
    """
    plain = unicodedata.normalize("NFC", typed).strip()
    try:
        if len(plain) > MAX_CHARACTERS:
            raise EmailNotValidError
        found = validate_email(
            plain, check_deliverability=False, globally_deliverable=False, strict=True
        )
    except EmailNotValidError:
        raise BadInputError("accounts.bad_email", email=plain[:_TOLD]) from None
    # The length is checked again, because lower case may be longer than the typed text.
    normal = f"{found.local_part.lower()}@{found.ascii_domain.lower()}"
    if "." not in found.ascii_domain or len(normal) > MAX_CHARACTERS:
        raise BadInputError("accounts.bad_email", email=plain[:_TOLD])
    return normal


def looked_up(typed: str) -> str:
    """Return the normal form for a login; an invalid address gives a value that no login has."""
    try:
        return normal_email(typed)
    except BadInputError:
        plain = typed.encode("utf-8", "ignore").decode().replace("\0", "")
        return unicodedata.normalize("NFC", plain).strip().lower()[:255]
