"""ETag and If-Match (RFC 9110): a change is applied to what its author saw, or refused.

The tag is made of the fields that can be edited, so that a counter that moves meanwhile does not
get in anybody's way.
"""

from __future__ import annotations

from hashlib import sha256

import orjson
from fastapi import Request, Response
from pydantic import BaseModel

from neurant.errors import PreconditionFailedError


def etag_of(shown: BaseModel, editable: type[BaseModel]) -> str:
    """The strong tag of a representation: of those of its fields that ``editable`` names."""
    fields = set(editable.model_fields)
    values = shown.model_dump(mode="json", include=fields)
    return f'"{sha256(orjson.dumps(values, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]}"'


def tagged(response: Response, shown: BaseModel, editable: type[BaseModel]) -> None:
    """Give the answer its ETag."""
    response.headers["etag"] = etag_of(shown, editable)


def check_match(request: Request, current: BaseModel, editable: type[BaseModel]) -> None:
    """Hold the request to its If-Match, if it has one. ``current`` must be locked.

    Raises PreconditionFailedError: somebody changed it since it was read.
    """
    wanted = request.headers.getlist("if-match")
    if not wanted:
        return
    # Strong comparison (13.1.1): a weak tag matches nothing, and ours have no comma inside.
    tags = {tag.strip() for one in wanted for tag in one.split(",")}
    if tags == {"*"}:
        return
    if etag_of(current, editable) not in tags:
        raise PreconditionFailedError("api.changed_meanwhile")
