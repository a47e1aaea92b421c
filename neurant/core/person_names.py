"""The names of people, as they are stored and as mails may contain them."""

from __future__ import annotations

from neurant.core.errors import BadInputError
from neurant.core.names import reads_as_name, tidy

MAX_NAME = 100
_NOT_OF_A_NAME = set('/\\:@<>{}|"')


def plain_name(typed: str) -> str:
    """Return a first or last name, single-spaced. Raises BadInputError (``accounts.bad_name``)."""
    name = tidy(typed)
    if len(name) > MAX_NAME or not reads_as_name(name) or _NOT_OF_A_NAME & set(name):
        raise BadInputError("accounts.bad_name", most=MAX_NAME)
    return name
