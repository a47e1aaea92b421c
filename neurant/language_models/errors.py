"""The errors of a language model's endpoint. Each has a text that says what a person can do."""

from __future__ import annotations

from typing import ClassVar

from neurant.core.errors import UnavailableError


class ModelError(UnavailableError):
    """The language model gave no usable answer.

    ``is_charged``: the endpoint has read the prompt and probably charges for it. ``is_outage``: the
    next request would probably fail as well. ``may_retry``: another attempt may succeed at once.
    """

    name: ClassVar[str]
    is_charged: ClassVar[bool] = False
    is_outage: ClassVar[bool] = False
    may_retry: ClassVar[bool] = False
    retry_after: float | None = None

    def __init__(self, **params: object) -> None:
        super().__init__(f"language_models.{self.name}", **params)


class ModelTimeoutError(ModelError):
    """No complete answer came in time."""

    name = "timeout"
    is_charged = is_outage = True


class ModelUnreachableError(ModelError):
    """No connection could be made, or it broke before the answer began."""

    name = "unreachable"
    is_outage = may_retry = True


class ModelAddressError(ModelError):
    """The address is on a private network or not encrypted, and the host has not allowed it."""

    name = "address_refused"


class ModelKeyError(ModelError):
    """The endpoint refused the API key (401 or 403)."""

    name = "key_refused"


class ModelUnknownError(ModelError):
    """The endpoint knows no such model or path (404)."""

    name = "unknown"


class ModelRequestError(ModelError):
    """The endpoint refused the request with another status of 400 to 499."""

    name = "request_refused"


class ModelBusyError(ModelError):
    """The endpoint accepts no more requests now (429)."""

    name = "busy"
    may_retry = True


class ModelServerError(ModelError):
    """The endpoint failed (500 to 599), or reported an error in the middle of an answer."""

    name = "server_error"
    is_outage = may_retry = True


class ModelMalformedError(ModelError):
    """The answer does not follow the protocol."""

    name = "malformed"
    is_charged = True


class ModelCutOffError(ModelError):
    """The stream ended before the answer did."""

    name = "cut_off"
    is_charged = True


class ModelTooLargeError(ModelError):
    """The answer is longer than any answer of a bot may be."""

    name = "too_large"
    is_charged = True


class ModelPausedError(ModelError):
    """The endpoint failed several times in a row and is not asked for half a minute."""

    name = "paused"
