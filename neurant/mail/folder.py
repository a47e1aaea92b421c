"""The replacement for a mail server: each mail is written as an ``.eml`` file for the operator."""

from __future__ import annotations

import os
import re
from datetime import datetime
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from uuid import UUID

_NAME = re.compile(r"^\d{8}T\d{6}-[0-9a-f-]{36}\.eml$")
_NEWEST = 100


def mail_folder(data_dir: Path) -> Path:
    """Return the folder for mail that is not sent."""
    return data_dir / "mail"


def write_mail(folder: Path, mail_id: UUID, moment: datetime, message: EmailMessage) -> Path:
    """Write a message atomically; the same mail always has the same file. Raises OSError.

    Only our operating system account can read the folder, because the links of mails grant access.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = folder / f"{moment:%Y%m%dT%H%M%S}-{mail_id}.eml"
    aside = target.with_suffix(".new")
    aside.write_bytes(message.as_bytes())
    aside.chmod(0o600)
    aside.rename(target)
    return target


def newest_mails(folder: Path) -> list[str]:
    """Return the file names of the newest messages, the newest first."""
    try:
        names = [entry.name for entry in os.scandir(folder) if _NAME.match(entry.name)]
    except FileNotFoundError:
        return []
    return sorted(names, reverse=True)[:_NEWEST]


def read_mail(folder: Path, name: str) -> EmailMessage | None:
    """Return a message of the folder, or None if the name is invalid or unknown."""
    if not _NAME.match(name):
        return None
    try:
        content = (folder / name).read_bytes()
    except FileNotFoundError:
        return None
    return BytesParser(EmailMessage, policy=policy.default).parsebytes(content)


def part_of(message: EmailMessage, kind: str) -> str:
    """Return the message's ``plain`` or ``html`` text."""
    body = message.get_body((kind,))
    return str(body.get_content()) if body is not None else ""
