"""The hierarchy of errors.

An error names a text of the catalogue (``errors.<code>``) and its parameters. The same error is
therefore shown to a person in their language, returned to a program as ``application/problem+json``
(RFC 9457), and logged by its code.
"""

from __future__ import annotations

from neurant.texts import Language, text

_FEW_SECONDS = 5
_MINUTE = 60


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its type if it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def waiting(seconds: int, language: Language) -> str:
    """Return a waiting time as a person says it, such as "in 2 minutes"."""
    if seconds < _FEW_SECONDS:
        return text("errors.visitors.when.moment", language)
    if seconds < _MINUTE:
        return text("errors.visitors.when.seconds", language, count=seconds)
    minutes = -(-seconds // _MINUTE)
    if minutes == 1:
        return text("errors.visitors.when.minute", language)
    return text("errors.visitors.when.minutes", language, count=minutes)


class NeurantError(Exception):
    """Base class of every error that NeurAnt raises on purpose.

    ``code`` is stable and machine readable; ``params`` fill the catalogue's text.
    """

    status = 500

    def __init__(self, code: str, **params: object) -> None:
        super().__init__(code)
        self.code = code
        self.params = params
        self.members: dict[str, object] = {}  # extension members of the problem (RFC 9457, 3.2)

    def detail(self, language: Language = "es") -> str:
        """Return what happened and what to do, for a person who reads ``language``."""
        return text(f"errors.{self.code}", language, **self.params)

    def __str__(self) -> str:
        return self.detail("en")


class BadInputError(NeurantError):
    """The request is well formed but not acceptable."""

    status = 422


class MalformedError(NeurantError):
    """The request cannot be parsed."""

    status = 400


class WrongHostError(NeurantError):
    """The request's host name is not one of ours (RFC 9110, 15.5.20)."""

    status = 421


class UnauthenticatedError(NeurantError):
    """The caller has no credential, or an invalid or expired one."""

    status = 401


class ForbiddenError(NeurantError):
    """The caller is known but may not do this."""

    status = 403


class NotFoundError(NeurantError):
    """The object does not exist or is not visible to this principal; both look the same."""

    status = 404


class ConflictError(NeurantError):
    """Another caller was first, or the state of the object does not allow this."""

    status = 409


class LimitReachedError(ConflictError):
    """The company's plan has no room for it."""


class PreconditionFailedError(NeurantError):
    """The object changed since the version that If-Match names."""

    status = 412


class GoneError(NeurantError):
    """The object existed and has expired."""

    status = 410


class RateLimitedError(NeurantError):
    """Too many requests; retry after ``seconds``. A text may name the time as ``{when}``."""

    status = 429

    def detail(self, language: Language = "es") -> str:
        """Return what happened, and when to try again."""
        seconds = self.params.get("seconds")
        when = waiting(seconds, language) if isinstance(seconds, int) else ""
        return text(f"errors.{self.code}", language, when=when, **self.params)


class TooLargeError(NeurantError):
    """The body is larger than the documented limit."""

    status = 413


class UnsupportedTypeError(NeurantError):
    """The content is of a type that is not supported."""

    status = 415


class UnavailableError(NeurantError):
    """A part that the request needs does not answer now; a later retry may succeed."""

    status = 503


class SetupError(NeurantError):
    """The configuration does not let the installation start. The command line shows it."""
