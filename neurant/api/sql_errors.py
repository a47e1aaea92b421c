"""The translation of database errors into errors of ours.

Neither a text of PostgreSQL nor the name of a constraint reaches a caller, not even the owner of
the row.
"""

from __future__ import annotations

import psycopg

from neurant.core.errors import BadInputError, ConflictError, ForbiddenError, NeurantError

# A missing grant is a fault of the product; a refusal by a policy or a function is not.
_NO_GRANT = "aclcheck_error"
_BY_STATE: dict[str, tuple[type[NeurantError], str]] = {
    "42501": (ForbiddenError, "api.not_permitted"),  # a policy or a function refused it
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


def error_from_sql(error: psycopg.Error) -> NeurantError | None:
    """Return the error for the caller, or None if the error is not caused by the caller."""
    kind, code = _BY_STATE.get(error.sqlstate or "", (None, ""))
    if isinstance(error, psycopg.DataError) and error.sqlstate is None:
        kind, code = (
            BadInputError,
            "api.text_not_storable",
        )  # raised by psycopg itself: NUL in a text
    if kind is None or error.diag.source_function == _NO_GRANT:
        return None
    return kind(code, permission="")  # the database does not report which permission is missing
