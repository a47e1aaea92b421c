"""The name of a device, read from its user agent, in two words that a person recognizes."""

from __future__ import annotations

# The order matters: the user agent of a browser also names the browsers further down.
_BROWSERS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
_SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("CrOS", "ChromeOS"),
    ("Macintosh", "Mac"),
    ("Linux", "Linux"),
)
_PHONES = ("iPhone", "Android")
_MAX_CHARACTERS = 40


def device_of(user_agent: str | None) -> str | None:
    """Return a name such as ``Firefox · Linux``, else the program's own name; None if
    there is none.
    """
    agent = user_agent or ""
    browser = next((name for sign, name in _BROWSERS if sign in agent), None)
    system = next((name for sign, name in _SYSTEMS if sign in agent), None)
    if browser or system:
        return " · ".join(name for name in (browser, system) if name)
    return agent.partition(" ")[0][:_MAX_CHARACTERS] or None


def is_phone(user_agent: str | None) -> bool:
    """Return whether the user agent is that of a telephone."""
    return any(sign in (user_agent or "") for sign in _PHONES)
