"""From a template's texts to a message: text and HTML, in the reader's language.

Texts are ``mail.<group>.<name>.<part>`` of the catalogue. Parts: ``subject``, ``title``, ``body``
(paragraphs, a blank line between), and if there are: ``preview`` (what an inbox shows beside the
subject), ``button`` (leads to the parameter ``link``), ``after`` (below the button or the code),
``footer`` (why the reader gets this; else the layout's own).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime, parseaddr
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from neurant.core.errors import SetupError
from neurant.core.names import HIDDEN
from neurant.texts import LANGUAGES, Language, catalogue

_PARTS = ("subject", "title", "body", "preview", "button", "after", "footer")
_NEEDED = ("subject", "title", "body")
_LONGEST_PARAM = 120
_LINKS = ("link", "reset_link", "refuse_link")  # made by us, never typed by anybody
_UNPRINTED = re.compile(f"[ {HIDDEN}]+")
_ADDRESS_IN_TEXT = re.compile(
    r"(?i)(?:\b[a-z][a-z0-9+.-]*:)?//\S*|\bwww\.\S*|\b\d{1,3}(?:\.\d{1,3}){3}\S*"
)
# Mail programs make a link of a bare domain or address: a word joiner (U+2060, invisible, no
# character of a host name) after the dot and the @ keeps them from it.
_LINKED = re.compile(r"(?<=[^\s.])\.(?=[^\s.\d]{2})|@(?=\S)")
_JOINER = "\u2060"
_QUOTES = re.compile("[«»„“”‟]")  # the texts quote a company's name: it must not end the quote


@dataclass(frozen=True, slots=True)
class Words:
    """A mail's texts with everything filled in. None: the template has no such part."""

    subject: str
    title: str
    body: tuple[str, ...]
    preview: str
    button: str | None
    after: str | None
    footer: str
    link: str | None
    code: str | None
    refuse_link: str | None = None


@lru_cache(maxsize=1)
def _environment() -> Environment:
    folder = Path(__file__).parent / "templates"
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def as_language(language: str) -> Language:
    """One of ours; Spanish for any other."""
    return next((one for one in LANGUAGES if one == language), "es")


def words(template: str, language: Language, params: Mapping[str, str]) -> Words:
    """The texts of a template. KeyError for an unknown one or a missing parameter.

    People choose their names and their company's: those come without line breaks, cut, and
    without anything that a mail program would make a link of. A company's name is quoted.
    """
    texts = {**catalogue("es"), **catalogue(language)}
    told = {name: _harmless(name, value) for name, value in params.items()}
    parts: dict[str, str] = {}
    for part in _PARTS:
        known = texts.get(f"mail.{template}.{part}")
        if known is None and part in _NEEDED:
            raise KeyError(f"mail.{template}.{part}")
        if known is not None:
            parts[part] = known.format(**told)
    link = told.get("link")
    if "button" in parts and link is None:
        raise KeyError("link")
    return Words(
        # "=?" begins an encoded word, and the library decodes line breaks out of one (RFC 2047).
        subject=" ".join(parts["subject"].split()).replace("=?", "= ?"),
        title=parts["title"],
        body=tuple(one.strip() for one in parts["body"].strip().split("\n\n")),
        preview=parts.get("preview", parts["title"]),
        button=parts.get("button"),
        after=parts.get("after"),
        footer=parts.get("footer", texts["mail.layout.footer"]),
        link=link,
        code=told.get("code"),
        refuse_link=told.get("refuse_link"),
    )


def _harmless(name: str, value: str) -> str:
    if name in _LINKS:
        if urlsplit(value).scheme not in ("http", "https") or _UNPRINTED.search(value):
            raise ValueError(f"{name}: not an address of ours")
        return value
    plain = _ADDRESS_IN_TEXT.sub("…", _UNPRINTED.sub(" ", value)).strip()
    if len(plain) > _LONGEST_PARAM:
        plain = plain[: _LONGEST_PARAM - 1] + "…"
    return _LINKED.sub(lambda found: found.group() + _JOINER, _QUOTES.sub('"', plain))


def sender_of(mail_from: str) -> Address:
    """The sender in the setting ``mail_from``. Raises SetupError."""
    name, address = parseaddr(mail_from)
    try:
        found = Address(display_name=name, addr_spec=address)
    except (ValueError, IndexError, MessageError):
        found = Address()
    if not found.username or not found.domain or not mail_from.isprintable():
        raise SetupError("setup.bad_mail_from", value=mail_from)
    return found


def compose(
    mail_id: UUID,
    to: str,
    template: str,
    language: Language,
    params: Mapping[str, str],
    *,
    sender: Address,
    moment: datetime,
) -> EmailMessage:
    """The whole message. The same mail has the same Message-ID however often it is made."""
    told = words(template, language, params)
    # Without non-ASCII in the address every server takes it (RFC 6531 is not everywhere).
    message = EmailMessage(policy=SMTP if to.isascii() else SMTPUTF8)
    message["From"] = sender
    username, _, domain = to.rpartition("@")
    message["To"] = Address(username=username, domain=domain)
    message["Subject"] = told.subject
    message["Date"] = format_datetime(moment)
    message["Message-ID"] = f"<{mail_id}@{sender.domain}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers to us
    context = {"words": told, "language": language, "texts": catalogue(language)}
    environment = _environment()
    message.set_content(
        environment.get_template("mail.txt").render(context), cte="quoted-printable"
    )
    html = environment.get_template("mail.html").render(context)
    message.add_alternative(html, subtype="html", cte="quoted-printable")
    message["Content-Language"] = language
    return message
