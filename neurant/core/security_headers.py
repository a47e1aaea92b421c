"""The security headers of every answer (OWASP ASVS 5.0, 3.4; MDN: HTTP headers)."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders

_CONTENT_POLICY = (
    "default-src 'self'; img-src 'self' data:{}; object-src 'none'; base-uri 'none';"
    " form-action 'self'; worker-src 'self'; frame-ancestors {}"
)
# These pages show a bot's picture, which may be on any site; no other page loads foreign content.
_WITH_PICTURES = ("/chat/", "/console/bots")
# One year, with all subdomains (ASVS 3.4.1).
_TRANSPORT = "max-age=31536000; includeSubDomains"
# Our pages use none of these; clipboard-write stays allowed for the copy buttons.
_UNUSED = (
    "accelerometer", "autoplay", "bluetooth", "browsing-topics", "camera", "display-capture",
    "encrypted-media", "geolocation", "gyroscope", "hid", "idle-detection", "local-fonts",
    "magnetometer", "microphone", "midi", "payment", "picture-in-picture",
    "publickey-credentials-get", "screen-wake-lock", "serial", "usb", "xr-spatial-tracking",
)  # fmt: skip
_PERMISSIONS = ", ".join(f"{feature}=()" for feature in _UNUSED)


def add_security_headers(headers: MutableHeaders, path: str, *, https: bool) -> None:
    """Add the headers that the answer does not set itself. ``https``: browsers use https.

    Any site may embed the chat's page and the widget's script, and nothing else.
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
