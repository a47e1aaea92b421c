"""Queueing of mail: a mail is sent only if the caller's transaction commits."""

from __future__ import annotations

import json
from uuid import UUID, uuid4

from email_validator import EmailNotValidError, validate_email

from neurant.core.db.pool import Connection
from neurant.core.errors import BadInputError
from neurant.core.vault import Vault
from neurant.mail.message import as_language, words
from neurant.mail.queries import insert_mail

SEALED_AS = "mail"


async def queue_mail(
    connection: Connection,
    vault: Vault,
    *,
    to: str,
    template: str,
    language: str,
    params: dict[str, str],
    company_id: UUID | None = None,
) -> None:
    """Queue ``template`` (``<group>.<name>`` of ``texts/<language>/mail.<group>.toml``) for ``to``.

    ``params`` fill the texts; the button opens ``link``, and ``code`` is shown large. The
    parameters are encrypted until the mail is sent and then deleted. ``company_id`` is the company
    whose owner is notified if the mail fails, None for a mail to a login. A crash right after
    sending may send a mail twice, with the same Message-ID; no mail is lost.

    Raises BadInputError (``accounts.bad_email``) for an invalid address. Raises KeyError or
    ValueError for a template or parameter that the texts do not know, which is a programming error.
    """
    known = as_language(language)
    words(template, known, params)
    mail_id = uuid4()
    sealed = vault.seal(SEALED_AS, mail_id, json.dumps(params))
    address = mailbox(to)
    await insert_mail(connection, mail_id, company_id, address, template, known, sealed)


def mailbox(address: str) -> str:
    """Return an address as an envelope has it, with an ASCII (IDNA) domain.

    Raises BadInputError.
    """
    try:
        # The mail server decides whether the address exists; names of an intranet are valid.
        found = validate_email(
            address.strip(),
            check_deliverability=False,
            globally_deliverable=False,
            test_environment=True,
        )
    except EmailNotValidError:
        raise BadInputError("accounts.bad_email", email=address[:100]) from None
    return found.ascii_email or f"{found.local_part}@{found.ascii_domain}"
