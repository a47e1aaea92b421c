"""The one list of what the console leads to, and the permission that each entry takes.

An entry whose page the application does not have, or that the reader may not open, is not shown.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from fastapi import FastAPI, Request
from fastapi.routing import iter_route_contexts


@dataclass(frozen=True, slots=True)
class Entry:
    """Somewhere to go; ``name`` is of the texts ``console.nav``, ``permission`` None: everybody;
    ``is_tab``: at the thumb of a phone."""

    name: str
    path: str
    icon: str
    permission: str | None = None
    is_tab: bool = False


@dataclass(frozen=True, slots=True)
class Link:
    """An entry as the reader of one page sees it."""

    name: str
    path: str
    icon: str
    is_current: bool
    is_tab: bool


@dataclass(frozen=True, slots=True)
class Navigation:
    """Where the reader of a page may go from it."""

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
    """What the reader of the page at ``request`` may open; ``may`` None: not asked yet, all."""
    known = _paths(request)
    here = request.url.path
    return Navigation(
        *(list(_links(entries, known, here, may)) for entries in (WORK, COMPANY, SETTINGS, OWN))
    )


def first_setting(request: Request, may: Collection[str]) -> str | None:
    """Where the settings begin for this reader."""
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
    """The paths of the application's pages; its routes do not change while it runs."""
    app: FastAPI = request.app
    if app not in _PATHS:
        contexts = iter_route_contexts(app.routes)
        _PATHS[app] = frozenset(context.path for context in contexts if context.path)
    return _PATHS[app]
