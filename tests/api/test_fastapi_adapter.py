"""The names inside FastAPI that the product relies on still mean what it takes them for."""

from __future__ import annotations

from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI, File, Form, Query, UploadFile
from fastapi.routing import APIRoute
from pydantic import BaseModel

from neurant.api.fastapi_adapter import (
    is_json_body,
    query_fields,
    replace_validator,
    served_route,
    takes_several,
)


class Thing(BaseModel):
    name: str


def route_of(endpoint: Any) -> APIRoute:
    return APIRoute("/x", endpoint, methods=["POST"])


def test_query_parameters_are_found_and_those_that_may_repeat() -> None:
    async def endpoint(one: str, many: Annotated[list[int], Query()], thing: Thing) -> None: ...

    found = {
        field.alias: takes_several(field) for field in query_fields(route_of(endpoint).dependant)
    }
    assert found == {"one": False, "many": True}


@pytest.mark.parametrize("kind", ["json", "form", "file"])
def test_only_a_json_body_is_reported_as_one(kind: str) -> None:
    async def of_json(thing: Thing) -> None: ...
    async def of_form(name: Annotated[str, Form()]) -> None: ...
    async def of_file(file: Annotated[UploadFile, File()]) -> None: ...

    endpoint = {"json": of_json, "form": of_form, "file": of_file}[kind]
    (field,) = route_of(endpoint).dependant.body_params
    assert is_json_body(field) == (kind == "json")


@pytest.mark.anyio
async def test_a_replaced_validator_reads_the_body_of_an_included_route() -> None:
    class Refusing:
        def __init__(self, adapter: Any) -> None:
            self._adapter = adapter

        def validate_python(self, value: Any, **_: Any) -> Any:
            return Thing(name=f"validated {value['name']}")

        def __getattr__(self, name: str) -> Any:
            return getattr(self._adapter, name)

    class Route(APIRoute):
        def get_route_handler(self) -> Any:
            for field in served_route(self).dependant.body_params:
                replace_validator(field, Refusing)
            return super().get_route_handler()

    router = APIRouter(route_class=Route)

    @router.post("/things")
    async def make(thing: Thing) -> str:
        return thing.name

    app = FastAPI()
    app.include_router(router)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        answer = await client.post("/things", json={"name": "a"})
    assert answer.json() == "validated a"
