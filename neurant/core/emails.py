"""One form of an e-mail address, for everything that is looked up by one."""

from __future__ import annotations

import unicodedata

from email_validator import EmailNotValidError, validate_email

from neurant.core.errors import BadInputError

MOST_CHARACTERS = 254  # RFC 5321, 4.5.3.1.3, less the angle brackets
_TOLD = 100


def normal_email(typed: str) -> str:
    """The address as it is stored and looked up: lower case, NFC, the domain in ASCII (IDNA 2008).

    Syntax by RFC 5322 and 6531 as email-validator reads them: no comments, no quoted local part,
    no bare IP address. Whether the mailbox exists, only a mail to it can tell.
    Raises BadInputError (``accounts.bad_email``).
    """
    plain = unicodedata.normalize("NFC", typed).strip()
    try:
        if len(plain) > MOST_CHARACTERS:
            raise EmailNotValidError
        found = validate_email(
            plain, check_deliverability=False, globally_deliverable=False, strict=True
        )
    except EmailNotValidError:
        raise BadInputError("accounts.bad_email", email=plain[:_TOLD]) from None
    # Of upper case without a lower one, as of what grows when lowered, only the limit can tell.
    normal = f"{found.local_part.lower()}@{found.ascii_domain.lower()}"
    if "." not in found.ascii_domain or len(normal) > MOST_CHARACTERS:
        raise BadInputError("accounts.bad_email", email=plain[:_TOLD])
    return normal


def looked_up(typed: str) -> str:
    """The same for a login, which an unusable address fails like an unknown one."""
    try:
        return normal_email(typed)
    except BadInputError:
        plain = typed.encode("utf-8", "ignore").decode().replace("\0", "")
        return unicodedata.normalize("NFC", plain).strip().lower()[:255]
