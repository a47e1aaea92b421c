"""What browsers are told about every answer of ours (OWASP ASVS 5.0, 3.4; MDN: HTTP headers)."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders

_CONTENT_POLICY = (
    "default-src 'self'; img-src 'self' data:{}; object-src 'none'; base-uri 'none';"
    " form-action 'self'; worker-src 'self'; frame-ancestors {}"
)
# A bot's picture is wherever its company keeps it; no other page loads anything from elsewhere.
_WITH_PICTURES = ("/chat/", "/console/bots")
# A year, and every name below ours (ASVS 3.4.1).
_TRANSPORT = "max-age=31536000; includeSubDomains"
# Our pages use none of these; clipboard-write stays, for the buttons that copy.
_UNUSED = (
    "accelerometer", "autoplay", "bluetooth", "browsing-topics", "camera", "display-capture",
    "encrypted-media", "geolocation", "gyroscope", "hid", "idle-detection", "local-fonts",
    "magnetometer", "microphone", "midi", "payment", "picture-in-picture",
    "publickey-credentials-get", "screen-wake-lock", "serial", "usb", "xr-spatial-tracking",
)  # fmt: skip
_PERMISSIONS = ", ".join(f"{feature}=()" for feature in _UNUSED)


def add_security_headers(headers: MutableHeaders, path: str, *, https: bool) -> None:
    """Add what the answer does not say itself. ``https``: browsers reach us by https.

    The chat's page and the widget's script are made to be embedded by any site; nothing else is.
    """
    framed = path.startswith("/chat/")
    embedded = framed or path == "/widget.js"
    pictures = " https:" if path.startswith(_WITH_PICTURES) else ""
    policy = _CONTENT_POLICY.format(pictures, "*" if framed else "'none'")
    headers.setdefault("content-security-policy", policy)
    headers.setdefault("x-content-type-options", "nosniff")
    headers.setdefault("referrer-policy", "strict-origin-when-cross-origin")
    headers.setdefault("permissions-policy", _PERMISSIONS)
    headers.setdefault("cross-origin-opener-policy", "same-origin")
    headers.setdefault(
        "cross-origin-resource-policy", "cross-origin" if embedded else "same-origin"
    )
    if https:
        headers.setdefault("strict-transport-security", _TRANSPORT)
