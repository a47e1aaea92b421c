"""Addresses that people give us to call: https, a public name, no password inside."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

_LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"

HttpsUrl = Annotated[
    str,
    Field(
        max_length=2000,
        # A name of at least two labels that ends in letters is no address of a local network.
        pattern=rf"^https://({_LABEL}\.){{1,8}}[a-z]{{2,63}}(:[1-9][0-9]{{0,3}})?(/[!-~]{{0,1500}})?$",
        description="https, a host name in lower case, and no user or password before it",
        examples=["https://crm.example.com/hooks"],
    ),
]
"""What may be called over the internet. Where the name leads is checked when it is called."""
