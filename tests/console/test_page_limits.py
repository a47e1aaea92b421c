"""Console pages are counted by company, apart from the API, and told in words beyond the number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import uuid4

import httpx
import psycopg
import pytest

from neurant.core.realtime import MAX_STREAMS, StaffStreams
from neurant.installation.embedded import Urls
from tests.companies import Company, make_company

pytest_plugins = ("tests.console.running_web",)
SignIn = Callable[[Company, str], httpx.Client]
NUMBER = 20


@pytest.fixture
def limited(urls: Urls, known_password: str, database: psycopg.Connection) -> Iterator[Company]:
    """A company on a plan of few requests."""
    company = make_company(urls.admin, "acme", password_hash=known_password)
    database.execute(
        "update companies set subscription_plan = 'starter' where id = %s", (company.id,)
    )
    database.execute("update plans set requests_per_minute = %s where plan = 'starter'", (NUMBER,))
    yield company
    database.execute("update plans set requests_per_minute = 300 where plan = 'starter'")


def opened(client: httpx.Client, path: str, count: int) -> list[httpx.Response]:
    return [client.get(path) for _ in range(count)]


def test_a_company_opens_pages_up_to_its_number_and_is_shown_when_to_come_back(
    limited: Company, rival: Company, sign_in: SignIn
) -> None:
    client = sign_in(limited, "owner")
    answers = opened(client, "/console/inbox", 3 * NUMBER)
    refused = [one for one in answers if one.status_code == 429]
    assert NUMBER / 2 <= len(answers) - len(refused) <= 2 * NUMBER
    assert {one.status_code for one in answers} == {200, 429}
    page = refused[-1]
    assert page.headers["content-type"].startswith("text/html")
    assert int(page.headers["retry-after"]) >= 1
    assert "Demasiadas solicitudes seguidas" in page.text
    assert sign_in(rival, "owner").get("/console/inbox").status_code == 200


def test_a_colleague_and_another_page_count_to_the_same_number(
    limited: Company, sign_in: SignIn
) -> None:
    opened(sign_in(limited, "owner"), "/console/knowledge", 3 * NUMBER)
    colleague = sign_in(limited, "supervisor")
    colleague.headers["hx-request"] = "true"
    answers = opened(colleague, "/console/bots", NUMBER)
    refused = [one for one in answers if one.status_code == 429]
    assert len(refused) > NUMBER / 2  # some come back while the pages are asked for
    answer = refused[-1]
    assert answer.headers["hx-reswap"] == "none"
    assert int(answer.headers["retry-after"]) >= 1


def test_a_program_that_uses_up_the_api_locks_nobody_out_of_the_console_nor_the_reverse(
    limited: Company, sign_in: SignIn
) -> None:
    client = sign_in(limited, "owner")
    assert 429 in {one.status_code for one in opened(client, "/v1/chatbots", 3 * NUMBER)}
    assert client.get("/console/inbox").status_code == 200
    other = sign_in(limited, "administrador")
    assert 429 in {one.status_code for one in opened(other, "/console/inbox", 3 * NUMBER)}


def test_static_files_are_not_counted(limited: Company, sign_in: SignIn) -> None:
    client = sign_in(limited, "owner")
    assert {one.status_code for one in opened(client, "/widget.js", 3 * NUMBER)} == {200}
    assert client.get("/console/inbox").status_code == 200


def test_what_the_live_stream_asks_for_is_not_counted_and_nothing_else_passes_as_that() -> None:
    streams, session = StaffStreams(), uuid4()
    assert not streams.take_redraw(session)
    with streams.opened(session):
        for _ in range(10):
            streams.grant_redraw(session)
        assert [streams.take_redraw(session) for _ in range(6)] == [True] * 4 + [False] * 2
        assert not streams.take_redraw(uuid4())
        streams.grant_redraw(session)
    assert not streams.take_redraw(session)


def test_a_session_has_a_number_of_live_streams_and_they_come_back(
    acme: Company, rival: Company, sign_in: SignIn
) -> None:
    client, path = sign_in(acme, "owner"), "/console/inbox/stream"
    asked = client.build_request("GET", path)
    held = []
    with httpx.Client(base_url=client.base_url, cookies=client.cookies) as browser:
        for _ in range(MAX_STREAMS):
            stream = browser.send(asked, stream=True)
            assert stream.status_code == 200
            pieces = stream.iter_raw()  # kept: httpx closes what nobody iterates any more
            next(pieces)
            held.append((stream, pieces))
        refused = browser.get(path, headers={"accept": "text/event-stream"})
        assert refused.status_code == 429
        assert "retry-after" in refused.headers
        with sign_in(rival, "owner").stream("GET", path) as other:
            assert other.status_code == 200
        for stream, _ in held:
            stream.close()
    for _ in range(100):
        with client.stream("GET", path) as again:
            if again.status_code == 200:
                break
    assert again.status_code == 200
