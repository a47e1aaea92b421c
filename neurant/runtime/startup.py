"""Checks before a process starts; each problem is a one-line error for the operator."""

from __future__ import annotations

import hmac

from neurant.core.errors import SetupError, first_line
from neurant.core.settings import Settings


def check_settings(settings: Settings) -> None:
    """Raise SetupError for an invalid setting that would otherwise fail only later."""
    from neurant.audit.chain_heads import signing_key
    from neurant.core.object_store import open_url
    from neurant.core.vault import master_key
    from neurant.mail.message import sender_of
    from neurant.mail.smtp import server_of
    from neurant.plans.billing import require_complete

    if settings.master_key is not None:
        master_key(settings)
    if settings.audit_key is not None:
        signing_key(settings)
    if settings.files_url:
        open_url(settings.files_url, "NEURANT_FILES_URL")
    sender_of(settings.mail_from)
    server_of(settings)
    require_complete(settings)


def fingerprint(settings: Settings) -> str:
    """Return the fingerprint of the master key, which decrypts nothing. Raises SetupError."""
    from neurant.core.vault import master_key

    return hmac.digest(master_key(settings), b"neurant: which master key", "sha256").hex()


def with_master_key(settings: Settings) -> Settings:
    """Return the settings with the data folder's master key, if it has one and none is set."""
    from pydantic import SecretStr

    from neurant.installation.install import read_secrets

    folder = settings.data_dir.expanduser().resolve()
    if settings.master_key is not None or not (folder / "secrets.json").exists():
        return settings
    key = SecretStr(read_secrets(folder).master_key)
    return settings.model_copy(update={"master_key": key})


def ready_to_start(settings: Settings, url: str) -> Settings:
    """Check that a process can start, and return its settings with the master key.

    Raises SetupError if a setting is missing or invalid, or if the database at ``url`` uses another
    master key. An unreachable database does not prevent the start.
    """
    settings = with_master_key(settings)
    mine = fingerprint(settings)
    check_settings(settings)
    import psycopg

    from neurant.core.db.connection import with_timeouts
    from neurant.installation.role_settings import strange_settings

    try:
        with psycopg.connect(with_timeouts(url), prepare_threshold=None) as connection:
            strange = strange_settings(connection)
            row = connection.execute("select private.is_master_key(%s)", (mine,)).fetchone()
    except psycopg.Error as error:
        from neurant.core.logs import get_logger

        get_logger(__name__).warning("master_key_not_compared", error=first_line(error))
        return settings
    if strange:
        raise SetupError("setup.strange_role_settings", settings=", ".join(strange))
    if row is None or not row[0]:
        raise SetupError("wrong_master_key")
    return settings
