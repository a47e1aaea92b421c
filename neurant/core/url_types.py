"""The type of URLs that customers provide for requests: https, a public name, no password."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

_LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"

HttpsUrl = Annotated[
    str,
    Field(
        max_length=2000,
        # A name of at least two labels that ends in letters is no IP address and no local name.
        pattern=rf"^https://({_LABEL}\.){{1,8}}[a-z]{{2,63}}(:[1-9][0-9]{{0,3}})?(/[!-~]{{0,1500}})?$",
        description="https, a host name in lower case, and no user or password before it",
        examples=["https://crm.example.com/hooks"],
    ),
]
"""A URL of the public internet. The address of its name is checked at each request."""
