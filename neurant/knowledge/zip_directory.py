"""Reading the directory of a ZIP archive, with an amount of work that is bounded in advance.

``zipfile`` makes an object of every entry: a directory of 25 MB has 500,000 entries, which take the
calling process seconds. A Word document has some dozens. Source: PKWARE APPNOTE.TXT 6.3, sections
4.3.7, 4.3.12 and 4.3.16.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

MAX_ENTRIES = 10_000
_MAX_DIRECTORY_BYTES = MAX_ENTRIES * 256
_END, _END_SIZE, _MAX_COMMENT_BYTES = b"PK\x05\x06", 22, 65_535
_CENTRAL, _CENTRAL_SIZE = b"PK\x01\x02", 46
_LOCAL, _LOCAL_SIZE = b"PK\x03\x04", 30
_ENCRYPTED = 1
_STORED, _DEFLATED = 0, 8


class NotAZipError(Exception):
    """The bytes are no ZIP archive, or one that is damaged or of a kind that Word never writes."""


class TooLargeInsideError(Exception):
    """The archive has too many entries, or an entry that is too large."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in the archive, as the directory declares it. Sizes and ``start`` are in bytes."""

    name: str
    size: int
    packed: int
    method: int
    crc: int
    start: int
    is_encrypted: bool


def read_directory(data: bytes) -> list[Entry]:
    """Return the entries that an archive declares, at most ``MAX_ENTRIES``.

    Raises NotAZipError and TooLargeInsideError. ZIP64 (archives of 4 GB or 65,535 entries) is
    refused as too large.
    """
    end = data.rfind(_END, max(0, len(data) - _END_SIZE - _MAX_COMMENT_BYTES))
    if end < 0 or end + _END_SIZE > len(data):
        raise NotAZipError
    entries, size, offset = struct.unpack_from("<10xHII", data, end)
    if entries > MAX_ENTRIES or size > _MAX_DIRECTORY_BYTES:
        raise TooLargeInsideError
    position = end - size
    moved = position - offset  # bytes that precede the archive in the file
    if position < 0 or moved < 0:
        raise NotAZipError
    found: list[Entry] = []
    while position + _CENTRAL_SIZE <= end:
        if len(found) >= MAX_ENTRIES:
            raise TooLargeInsideError
        entry, position = _entry(data, position, moved)
        found.append(entry)
    return found


def _entry(data: bytes, position: int, moved: int) -> tuple[Entry, int]:
    if data[position : position + 4] != _CENTRAL:
        raise NotAZipError
    flags, method, crc, packed, size, name, extra, comment, start = struct.unpack_from(
        "<8xHH4xIIIHHH8xI", data, position
    )
    begin = position + _CENTRAL_SIZE
    entry = Entry(
        name=data[begin : begin + name].decode("utf-8", "replace"),
        size=size,
        packed=packed,
        method=method,
        crc=crc,
        start=start + moved,
        is_encrypted=bool(flags & _ENCRYPTED),
    )
    return entry, begin + name + extra + comment


def read_entry(data: bytes, entry: Entry, most: int) -> bytes:
    """Return an entry's content of at most ``most`` bytes.

    Raises TooLargeInsideError for a larger one, and NotAZipError.
    """
    if entry.size > most:
        raise TooLargeInsideError
    if data[entry.start : entry.start + 4] != _LOCAL or entry.start + _LOCAL_SIZE > len(data):
        raise NotAZipError
    name, extra = struct.unpack_from("<26xHH", data, entry.start)
    begin = entry.start + _LOCAL_SIZE + name + extra
    content = _unpacked(data[begin : begin + entry.packed], entry.method, most)
    if len(content) != entry.size or zlib.crc32(content) != entry.crc:
        raise NotAZipError
    return content


def _unpacked(packed: bytes, method: int, most: int) -> bytes:
    if method == _STORED:
        return packed
    if method != _DEFLATED:
        raise NotAZipError
    try:
        content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, most + 1)
    except zlib.error as error:
        raise NotAZipError from error
    if len(content) > most:  # the directory may declare less
        raise TooLargeInsideError
    return content
