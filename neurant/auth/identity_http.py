"""Requests to identity providers, whose addresses customers enter (``core.outbound_http``)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx

from neurant.core.errors import UnavailableError
from neurant.core.outbound_http import PrivateAddressError, TooMuchError

SECONDS = 8.0  # for one request and its whole answer


class ProviderError(UnavailableError):
    """The identity provider cannot be used now; ``errors.sso.<code>`` says why."""


async def ask_json(
    client: httpx.AsyncClient, url: str, headers: dict[str, str] | None = None
) -> dict[str, Any]:
    """Return the JSON object at an address.

    Raises ProviderError: ``sso.provider_away``, ``sso.provider_private``, ``sso.provider_wrong``.
    """
    try:
        async with asyncio.timeout(SECONDS):
            answer = await client.get(url, headers=headers)
    except (httpx.HTTPError, TimeoutError) as error:
        raise provider_error(error, url) from error
    if answer.status_code != 200:
        away = answer.status_code >= 500 or answer.status_code == 429
        code = "sso.provider_away" if away else "sso.provider_wrong"
        raise ProviderError(code, url=url, what=f"HTTP {answer.status_code}")
    try:
        found = json.loads(answer.content)
    except (ValueError, RecursionError):
        raise ProviderError("sso.provider_wrong", url=url, what="no JSON") from None
    if not isinstance(found, dict):
        raise ProviderError("sso.provider_wrong", url=url, what="no JSON object")
    return found


def provider_error(error: BaseException, url: str) -> ProviderError:
    """Return the error that explains why a request to a provider failed."""
    if isinstance(error.__cause__, PrivateAddressError):
        return ProviderError("sso.provider_private", url=url)
    if isinstance(error, TooMuchError | httpx.DecodingError | httpx.UnsupportedProtocol):
        return ProviderError("sso.provider_wrong", url=url, what=str(error))
    return ProviderError("sso.provider_away", url=url, what=type(error).__name__)
