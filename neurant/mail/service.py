"""Queueing a mail: it leaves if the caller's transaction commits, and only then."""

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

    ``params`` fill the texts; ``link`` is where the button leads, ``code`` is shown large. They
    are sealed until the mail has left and then forgotten. ``company_id``: whose mail it is, to
    tell its owner if it fails; None for a login's own. A crash at the very last step may send a
    mail twice (with one Message-ID); none is lost.

    Raises BadInputError (``accounts.bad_email``) for what is no address, KeyError or ValueError
    for a template or a parameter that the texts do not know: a mistake of ours, found here.
    """
    known = as_language(language)
    words(template, known, params)
    mail_id = uuid4()
    sealed = vault.seal(SEALED_AS, mail_id, json.dumps(params))
    address = mailbox(to)
    await insert_mail(connection, mail_id, company_id, address, template, known, sealed)


def mailbox(address: str) -> str:
    """An address as an envelope carries it: the domain in ASCII (IDNA). Raises BadInputError."""
    try:
        # The mail server says whether it exists; an intranet's names are as good as any.
        found = validate_email(
            address.strip(),
            check_deliverability=False,
            globally_deliverable=False,
            test_environment=True,
        )
    except EmailNotValidError:
        raise BadInputError("accounts.bad_email", email=address[:100]) from None
    return found.ascii_email or f"{found.local_part}@{found.ascii_domain}"
