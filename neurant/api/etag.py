"""ETag and If-Match (RFC 9110): a change is applied to what its author saw, or refused.

The tag is made of the fields that can be edited, so that a counter that moves meanwhile does not
get in anybody's way.
"""

from __future__ import annotations

import re
from hashlib import sha256

import orjson
from fastapi import Request, Response
from pydantic import BaseModel

from neurant.core.errors import PreconditionFailedError

# A compressing proxy marks our tag as weak (nginx: W/"x") or adds a suffix (Apache: "x-gzip").
_TAG = re.compile(r'(?:W/)?"([^"]*?)(?:-(?:gzip|br|zstd|deflate))?"')


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

    RFC 9110, 13.1.1 asks for the strong comparison, because a weak tag may stand for several
    representations. Our tags never do: each is the digest of the editable values, so a tag of ours
    that a proxy on the way weakened still names exactly what its author saw. The comparison is
    therefore by the opaque part alone.

    Raises PreconditionFailedError: somebody changed it since it was read
    (``api.changed_meanwhile``), or the header holds no tag at all (``api.no_entity_tag``).
    """
    wanted = ", ".join(request.headers.getlist("if-match")).strip()
    if not wanted or wanted == "*":
        return
    tags = {found.group(1) for found in _TAG.finditer(wanted)}
    if not tags:
        raise PreconditionFailedError("api.no_entity_tag")
    if etag_of(current, editable).strip('"') not in tags:
        raise PreconditionFailedError("api.changed_meanwhile")
