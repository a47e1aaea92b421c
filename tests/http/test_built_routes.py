"""No request waits while the framework builds the routes of another."""

from __future__ import annotations

import pytest
from fastapi import routing

from neurant.core.settings import Settings
from neurant.runtime import app as web

pytestmark = pytest.mark.anyio


async def test_after_the_start_no_route_is_built_by_a_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(web, "_BETWEEN_ROUTERS", 0)
    built = 0
    plain = routing._populate_api_route_state

    def counting(*args: object, **named: object) -> object:
        nonlocal built
        built += 1
        return plain(*args, **named)

    api = web._make_api(Settings())
    monkeypatch.setattr(routing, "_populate_api_route_state", counting)
    await web.build_routes(api)
    assert built > 100, "the framework builds its routes in another way now"
    built = 0
    scope = {"type": "http", "method": "GET", "path": "/v1/nothing", "root_path": "", "headers": []}
    for route in api.router.routes:
        route.matches(scope)
    assert built == 0
