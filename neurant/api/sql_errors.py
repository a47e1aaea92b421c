"""What the database refused, as an error of ours: no text of PostgreSQL ever reaches a caller.

Nor a name of it: which constraint refused is told to nobody, and not to its row's owner either.
"""

from __future__ import annotations

import psycopg

from neurant.core.errors import BadInputError, ConflictError, ForbiddenError, NeurantError

# A right that is not granted is a mistake of ours; what a policy or a function refuses is not.
_NO_GRANT = "aclcheck_error"
_BY_STATE: dict[str, tuple[type[NeurantError], str]] = {
    "42501": (ForbiddenError, "api.not_permitted"),  # a policy or a grant
    "23505": (ConflictError, "api.taken"),
    "23503": (ConflictError, "api.unknown_reference"),
    "23001": (ConflictError, "api.in_use"),
    "23514": (BadInputError, "api.value_refused"),
    "23502": (BadInputError, "api.value_refused"),
    "22001": (BadInputError, "api.value_too_long"),
    "22003": (BadInputError, "api.value_refused"),
    "22007": (BadInputError, "api.value_refused"),
    "22008": (BadInputError, "api.value_refused"),
    "22021": (BadInputError, "api.text_not_storable"),
    "22P02": (BadInputError, "api.value_refused"),
    "22P05": (BadInputError, "api.text_not_storable"),
    "40001": (ConflictError, "api.busy"),
    "40P01": (ConflictError, "api.busy"),
    "NA006": (ForbiddenError, "accounts.limited_session"),  # private.own_login
}


def told(error: psycopg.Error) -> NeurantError | None:
    """The error for a caller; None: it is ours, and no caller's doing."""
    kind, code = _BY_STATE.get(error.sqlstate or "", (None, ""))
    if isinstance(error, psycopg.DataError) and error.sqlstate is None:
        kind, code = BadInputError, "api.text_not_storable"  # psycopg itself: NUL in a text
    if kind is None or error.diag.source_function == _NO_GRANT:
        return None
    return kind(code, permission="")  # what it has no name for outside the database
