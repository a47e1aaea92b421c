"""The demo mailbox: mails that would have been sent. Only ``neurant up --demo`` mounts it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from neurant.console.page_route import PageRoute
from neurant.console.templating import render
from neurant.core.errors import NotFoundError
from neurant.core.services import services_of
from neurant.mail.folder import mail_folder, newest_mails, part_of, read_mail

# A mail is shown in a frame of our page, without scripts; its links open in a new tab.
_MAIL_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self';"
    " sandbox allow-popups allow-popups-to-escape-sandbox"
)
_LINKS_OUT = '<head><base target="_blank">'

router = APIRouter(prefix="/demo/mailbox", route_class=PageRoute, include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Shown:
    """A mail as the page shows it."""

    name: str
    subject: str
    to: str
    date: str
    text: str


def _folder(request: Request) -> Path:
    return mail_folder(services_of(request).settings.data_dir)


def _shown(folder: Path, name: str) -> Shown | None:
    message = read_mail(folder, name)
    if message is None:
        return None
    date = parsedate_to_datetime(str(message["Date"])).strftime("%Y-%m-%d %H:%M")
    to = str(message["To"])
    return Shown(name, str(message["Subject"]), to, date, part_of(message, "plain"))


def _list(folder: Path) -> list[Shown]:
    found = (_shown(folder, name) for name in newest_mails(folder))
    return [one for one in found if one]


@router.get("", response_class=HTMLResponse)
async def mailbox(request: Request) -> HTMLResponse:
    """Show the newest mails."""
    mails = await asyncio.to_thread(_list, _folder(request))
    return render(request, "mailbox/list.html", mails=mails)


@router.get("/{name}", response_class=HTMLResponse)
async def mail(request: Request, name: str) -> HTMLResponse:
    """Show one mail, rendered and as text."""
    found = await asyncio.to_thread(_shown, _folder(request), name)
    if found is None:
        raise NotFoundError("not_found")
    return render(request, "mailbox/mail.html", mail=found)


@router.get("/{name}/html", response_class=HTMLResponse)
async def mail_html(request: Request, name: str) -> HTMLResponse:
    """Return the mail's HTML for the frame."""
    message = await asyncio.to_thread(read_mail, _folder(request), name)
    if message is None:
        raise NotFoundError("not_found")
    content = part_of(message, "html").replace("<head>", _LINKS_OUT, 1)
    return HTMLResponse(content, headers={"content-security-policy": _MAIL_POLICY})
