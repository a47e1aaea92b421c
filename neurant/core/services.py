"""The services that a web process holds for its requests, in one typed object.

A service that every feature uses is a field. A service of a single feature is found by its type, so
that this module imports no feature: ``services_of(request).get(VisitorLimits)``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from fastapi import FastAPI, Request
from obstore.store import ObjectStore

from neurant.core.db.pool import Pool
from neurant.core.realtime import Hub, StaffStreams
from neurant.core.settings import Settings
from neurant.core.vault import Vault

T = TypeVar("T")


@dataclass(slots=True)
class Services:
    """The services of one process.

    ``pool`` serves requests. ``export_pool`` serves exports, which hold connections for a long
    time.
    """

    settings: Settings
    pool: Pool
    export_pool: Pool
    hub: Hub
    staff_streams: StaffStreams
    files: ObjectStore
    vault: Vault
    _by_type: dict[type[Any], object] = field(default_factory=dict)

    def add(self, kind: type[T], service: T) -> None:
        """Register the service of a feature under its type."""
        self._by_type[kind] = service

    def get(self, kind: type[T]) -> T:
        """Return the service of that type. Raises KeyError if there is none."""
        return cast(T, self._by_type[kind])

    def find(self, kind: type[T]) -> T | None:
        """Return the service of that type, or None if this installation has none."""
        return cast(T | None, self._by_type.get(kind))


def services_of(request: Request) -> Services:
    """Return the services of the process that serves the request."""
    return services_of_app(request.app)


def services_of_app(app: FastAPI) -> Services:
    """Return the services of an application that has started."""
    return cast(Services, app.state.services)
