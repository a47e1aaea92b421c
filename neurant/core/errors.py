"""One tree of errors.

An error names a text of the catalogue (``errors.<code>``) and its parameters, so that the same
error is told to a person in their language, to a program as ``application/problem+json``
(RFC 9457), and to the log by its code.
"""

from __future__ import annotations

from neurant.texts import Language, text

_FEW_SECONDS = 5
_MINUTE = 60


def first_line(error: BaseException) -> str:
    """What an error says, for one line of a log or a terminal; its type where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def waiting(seconds: int, language: Language) -> str:
    """When something is possible, as a person says it: "in 2 minutes"."""
    if seconds < _FEW_SECONDS:
        return text("errors.visitors.when.moment", language)
    if seconds < _MINUTE:
        return text("errors.visitors.when.seconds", language, count=seconds)
    minutes = -(-seconds // _MINUTE)
    if minutes == 1:
        return text("errors.visitors.when.minute", language)
    return text("errors.visitors.when.minutes", language, count=minutes)


class NeurantError(Exception):
    """Base of every error that NeurAnt raises on purpose.

    ``code`` is stable and machine readable; ``params`` fill the catalogue's text.
    """

    status = 500

    def __init__(self, code: str, **params: object) -> None:
        super().__init__(code)
        self.code = code
        self.params = params
        self.members: dict[str, object] = {}  # of the problem besides ours (RFC 9457, 3.2)

    def detail(self, language: Language = "es") -> str:
        """What happened and what to do, for a person who reads ``language``."""
        return text(f"errors.{self.code}", language, **self.params)

    def __str__(self) -> str:
        return self.detail("en")


class BadInputError(NeurantError):
    """The request is understood but not acceptable."""

    status = 422


class MalformedError(NeurantError):
    """The request cannot be read at all."""

    status = 400


class WrongHostError(NeurantError):
    """The request is for somebody else's name (RFC 9110, 15.5.20)."""

    status = 421


class UnauthenticatedError(NeurantError):
    """Nobody, or somebody whose proof is wrong or expired."""

    status = 401


class ForbiddenError(NeurantError):
    """Somebody known, who may not do this."""

    status = 403


class NotFoundError(NeurantError):
    """No such thing, or not one that this principal may know of: the two look the same."""

    status = 404


class ConflictError(NeurantError):
    """Somebody else was first, or the thing is not in a state that allows this."""

    status = 409


class LimitReachedError(ConflictError):
    """The company's plan leaves no room for it."""


class PreconditionFailedError(NeurantError):
    """What the request was made for (If-Match) is no longer so."""

    status = 412


class GoneError(NeurantError):
    """It was there, and its time is over."""

    status = 410


class RateLimitedError(NeurantError):
    """Too much at once; waiting ``seconds`` helps. A text may say it in words, as ``{when}``."""

    status = 429

    def detail(self, language: Language = "es") -> str:
        """What happened, and when to try again."""
        seconds = self.params.get("seconds")
        when = waiting(seconds, language) if isinstance(seconds, int) else ""
        return text(f"errors.{self.code}", language, when=when, **self.params)


class TooLargeError(NeurantError):
    """The body is larger than the documented limit."""

    status = 413


class UnsupportedTypeError(NeurantError):
    """The content is of a type that we do not take."""

    status = 415


class UnavailableError(NeurantError):
    """A part that we need does not answer now; trying again later is right."""

    status = 503


class SetupError(NeurantError):
    """The installation cannot start or continue as it is configured. Shown by the command line."""
