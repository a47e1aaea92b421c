"""An address that leads nowhere: a page for a person, a problem for a program."""

from __future__ import annotations

import httpx
import pytest

pytest_plugins = ("tests.console.running_web",)


@pytest.mark.parametrize("path", ["/consola", "/console/nada", "/terms", "/v1/nada"])
def test_a_person_reads_a_page_and_a_program_a_problem(web_url: str, path: str) -> None:
    read = httpx.get(
        web_url + path, headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    )
    assert (read.status_code, read.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "urn:neurant" not in read.text
    called = httpx.get(web_url + path)
    assert called.status_code == 404
    assert called.headers["content-type"] == "application/problem+json"


def test_the_console_begins_at_its_own_address(web_url: str) -> None:
    assert httpx.get(f"{web_url}/console").headers["location"] == "/console/inbox"
