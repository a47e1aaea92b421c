"""Sessions that are limited to one company, because the single sign-on of that company opened them.

The database enforces the rule (``private.own_login``): such a session changes nothing of the
person's login and nothing outside the company.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from neurant.core.errors import ForbiddenError

LIMITED = "NA006"  # raised by private.own_login


@contextmanager
def limits_told() -> Iterator[None]:
    """Turn the database's refusal of a limited session into ForbiddenError
    (``accounts.limited_session``).
    """
    try:
        yield
    except psycopg.Error as error:
        if error.sqlstate != LIMITED:
            raise
        raise ForbiddenError("accounts.limited_session") from None
