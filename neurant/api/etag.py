"""ETag and If-Match (RFC 9110): a change applies to the version that its author read, or is
refused.

The tag is computed from the editable fields only, so that a counter that changes in the meantime
causes no conflict.
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
    """Return the strong tag of a representation: a digest of the fields that ``editable`` names."""
    fields = set(editable.model_fields)
    values = shown.model_dump(mode="json", include=fields)
    return f'"{sha256(orjson.dumps(values, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]}"'


def tagged(response: Response, shown: BaseModel, editable: type[BaseModel]) -> None:
    """Set the ETag header of the answer."""
    response.headers["etag"] = etag_of(shown, editable)


def check_match(request: Request, current: BaseModel, editable: type[BaseModel]) -> None:
    """Compare the If-Match header of the request, if there is one, with ``current``.

    ``current`` must be locked. RFC 9110, 13.1.1 asks for the strong comparison, because a weak tag
    may stand for several representations. Our tags never do: each is the digest of the editable
    values, so a tag that a proxy has weakened still identifies the version that its author read.
    The comparison therefore uses the opaque part alone.

    Raises PreconditionFailedError: ``api.changed_meanwhile`` if the resource has changed since it
    was read, ``api.no_entity_tag`` if the header holds no tag.
    """
    wanted = ", ".join(request.headers.getlist("if-match")).strip()
    if not wanted or wanted == "*":
        return
    tags = {found.group(1) for found in _TAG.finditer(wanted)}
    if not tags:
        raise PreconditionFailedError("api.no_entity_tag")
    if etag_of(current, editable).strip('"') not in tags:
        raise PreconditionFailedError("api.changed_meanwhile")
