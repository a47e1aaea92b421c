"""Codes that people type: from a mail, from an authenticator app, and for recovery without
the app.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

import pyotp
import segno
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from neurant.core.settings import Settings
from neurant.core.vault import master_key

STEP_SECONDS = 30  # RFC 6238, section 5.2
_SKEW_STEPS = 1  # the accepted error of a telephone's clock, in either direction
RECOVERY_CODES = 10
# Crockford's base 32, which has no characters that look alike; 12 characters hold 60 bits.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_LOOKS_LIKE = str.maketrans("oil", "011")
_RECOVERY_CHARACTERS = 12


def keyed_digest(settings: Settings, kind: str, subject: bytes, code: str) -> bytes:
    """Return the digest under which a short code is stored, so that a reader of the table cannot
    try all codes.

    The digest is HMAC-SHA-256 under a key of its own, derived (HKDF, RFC 5869) from the master key.
    """
    key = HKDF(SHA256(), 32, None, f"neurant accounts {kind}".encode()).derive(master_key(settings))
    return hmac.digest(key, subject + b"|" + code.encode(), "sha256")


def new_mail_code() -> str:
    """Return a new code of six digits."""
    return f"{secrets.randbelow(1_000_000):06}"


def plain_digits(typed: str) -> str:
    """Return a typed code without the spaces and hyphens that people add."""
    return "".join(sign for sign in typed if not sign.isspace() and sign != "-")[:64]


@dataclass(frozen=True, slots=True)
class NewFactor:
    """A secret for an authenticator app: as text, as an address, and as a QR code."""

    secret: str
    uri: str
    qr_svg: str


def new_factor(email: str, secret: str | None = None) -> NewFactor:
    """Return a secret of 160 bits (RFC 4226, R6) for the account of this address.

    The address has the form that the "Key Uri Format" page of Google Authenticator describes.
    """
    chosen = secret or pyotp.random_base32()
    uri = pyotp.TOTP(chosen).provisioning_uri(name=email, issuer_name="NeurAnt")
    # The style sheet of the page sets colours and sizes, for the light and the dark theme.
    drawn = segno.make(uri, error="m", micro=False).svg_inline(
        border=2, omitsize=True, dark="#000", light="#fff", svgclass="qr", lineclass=None
    )
    return NewFactor(chosen, uri, drawn)


def matching_step(secret: str, code: str, now: datetime) -> int | None:
    """Return the time step of the code if it is near ``now``, else None."""
    if not (len(code) == 6 and code.isascii() and code.isdigit()):
        return None
    totp = pyotp.TOTP(secret, interval=STEP_SECONDS)
    current = int(now.timestamp()) // STEP_SECONDS
    for step in range(current - _SKEW_STEPS, current + _SKEW_STEPS + 1):
        if hmac.compare_digest(totp.generate_otp(step), code):
            return step
    return None


def new_recovery_codes() -> list[str]:
    """Return ten codes in the form in which they are shown: ``xxxx-xxxx-xxxx``."""

    def one() -> str:
        signs = "".join(secrets.choice(_ALPHABET) for _ in range(_RECOVERY_CHARACTERS))
        return "-".join(signs[at : at + 4] for at in range(0, _RECOVERY_CHARACTERS, 4))

    return [one() for _ in range(RECOVERY_CODES)]


def plain_recovery_code(typed: str) -> str:
    """Return a typed recovery code in the form that is digested; o, i and l become digits."""
    return plain_digits(typed).lower().translate(_LOOKS_LIKE)


def new_token() -> str:
    """Return a token of 32 random bytes for a link, a cookie or a session."""
    return secrets.token_urlsafe(32)


def digest(token: str) -> bytes:
    """Return the stored digest of a token; a plain hash is enough, because the token is random."""
    return sha256(token.encode("utf-8", "surrogatepass")).digest()
