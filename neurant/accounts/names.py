"""Names of people, as they are kept and as our mail may carry them."""

from __future__ import annotations

from neurant.errors import BadInputError

MOST_NAME = 100
_NOT_OF_A_NAME = set('/\\:@<>{}|"')  # our mail must not carry somebody's address of a site


def plain_name(typed: str) -> str:
    """A first or a last name, single-spaced. Raises BadInputError (``accounts.bad_name``)."""
    name = " ".join(typed.split())
    if not name or len(name) > MOST_NAME or not name.isprintable() or _NOT_OF_A_NAME & set(name):
        raise BadInputError("accounts.bad_name", most=MOST_NAME)
    return name
