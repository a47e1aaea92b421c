"""The list of the console's menu entries, each with the permission that its page needs.

The menu shows an entry only if the application has its page and the reader has the permission.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from fastapi import FastAPI, Request
from fastapi.routing import iter_route_contexts


@dataclass(frozen=True, slots=True)
class Entry:
    """A menu entry.

    ``name``: key of the texts ``console.nav``; ``permission``: None shows it to everyone;
    ``is_tab``: whether the tab bar of a phone shows it, too.
    """

    name: str
    path: str
    icon: str
    permission: str | None = None
    is_tab: bool = False


@dataclass(frozen=True, slots=True)
class Link:
    """A menu entry as the reader of one page sees it."""

    name: str
    path: str
    icon: str
    is_current: bool
    is_tab: bool


@dataclass(frozen=True, slots=True)
class Navigation:
    """The menus that a page shows to its reader."""

    work: list[Link]
    company: list[Link]
    settings: list[Link]
    own: list[Link]


SETTINGS_PATH = "/console/settings"
_PATHS: WeakKeyDictionary[FastAPI, frozenset[str]] = WeakKeyDictionary()
WORK = (
    Entry("dashboard", "/console/home", "home", "company.read", is_tab=True),
    Entry("inbox", "/console/inbox", "inbox", "conversations.read", is_tab=True),
    Entry("bots", "/console/bots", "bot", "chatbots.read", is_tab=True),
    Entry("knowledge", "/console/knowledge", "book", "documents.read"),
    Entry("notifications", "/console/notifications", "bell", "notifications.read", is_tab=True),
    Entry("analytics", "/console/analytics", "chart", "analytics.read"),
)
COMPANY = (
    Entry("team", "/console/team", "users", "team.read"),
    Entry("plan", "/console/plan", "card", "company.read"),
    Entry("settings", SETTINGS_PATH, "gear", "company.read"),
)
SETTINGS = (
    Entry("company", f"{SETTINGS_PATH}/company", "home", "company.edit"),
    Entry("permissions", f"{SETTINGS_PATH}/permissions", "lock", "company.read"),
    Entry("language_model", f"{SETTINGS_PATH}/language-model", "bot", "language_models.read"),
    Entry("integrations", f"{SETTINGS_PATH}/integrations", "plug", "integrations.read"),
    Entry("api_keys", f"{SETTINGS_PATH}/api-keys", "bolt", "api_keys.read"),
    Entry("sso", f"{SETTINGS_PATH}/sso", "shield", "sso.read"),
    Entry("audit", f"{SETTINGS_PATH}/audit", "eye", "audit.read"),
    Entry("data", f"{SETTINGS_PATH}/data", "download", "data.export"),
)
OWN = (
    Entry("account", "/console/account", "gear"),
    Entry("companies", "/console/companies", "transfer"),
)


def navigation(request: Request, may: Collection[str] | None) -> Navigation:
    """Return the menus for the reader of a page. ``may``: permissions; None shows every entry."""
    known = _paths(request)
    here = request.url.path
    return Navigation(
        *(list(_links(entries, known, here, may)) for entries in (WORK, COMPANY, SETTINGS, OWN))
    )


def first_setting(request: Request, may: Collection[str]) -> str | None:
    """Return the path of the first settings page that this reader may open, or None."""
    return next((link.path for link in navigation(request, may).settings), None)


def _links(
    entries: Iterable[Entry], known: Collection[str], here: str, may: Collection[str] | None
) -> Iterator[Link]:
    for entry in entries:
        allowed = may is None or entry.permission is None or entry.permission in may
        if allowed and entry.path in known:
            current = here == entry.path or here.startswith(f"{entry.path}/")
            yield Link(entry.name, entry.path, entry.icon, current, entry.is_tab)


def _paths(request: Request) -> frozenset[str]:
    """Return the paths of the application's routes, cached because they never change."""
    app: FastAPI = request.app
    if app not in _PATHS:
        contexts = iter_route_contexts(app.routes)
        _PATHS[app] = frozenset(context.path for context in contexts if context.path)
    return _PATHS[app]
