"""Documents and knowledge search over the API, as two companies see them."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import httpx
import psycopg
import pytest

from tests.companies import Company

pytest_plugins = ("tests.console.running_web",)
SignIn = Callable[[Company, str], httpx.Client]
PATH = "/v1/documents"


def add(client: httpx.Client, text: str, path: str = PATH, name: str = "horario.txt") -> str:
    answer = client.post(path, files={"file": (name, f"{text} {uuid.uuid4()}".encode())})
    assert answer.status_code == 202, answer.text
    return f"{PATH}/{answer.json()['id']}"


def ids(answer: httpx.Response) -> set[str]:
    assert answer.status_code == 200, answer.text
    return {f"{PATH}/{one['id']}" for one in answer.json()["data"]}


def test_a_document_is_filed_and_found_by_what_it_is_filed_under(
    sign_in: SignIn, acme: Company, rival: Company
) -> None:
    client = sign_in(acme, "supervisor")
    mark = uuid.uuid4().hex[:12]
    path = add(client, "Abrimos a las ocho.")
    filed = {"title": f"Horario {mark}", "category": mark, "tags": [mark, "b"], "language": "pt-BR"}
    assert client.patch(path, json=filed).status_code == 200
    for query in (
        {"category": mark},
        {"tag": mark},
        {"q": mark},
        {"category": mark, "language": "pt-BR"},
    ):
        assert ids(client.get(PATH, params=query)) == {path}
        assert ids(sign_in(rival, "owner").get(PATH, params=query)) == set()
    assert ids(client.get(PATH, params={"category": mark, "language": "es"})) == set()
    page = client.get("/console/knowledge").text
    assert mark in page
    assert "pt-BR" in page
    emptied = client.patch(path, json={"category": None, "tags": []}).json()
    assert (emptied["category"], emptied["tags"], emptied["title"]) == (None, [], f"Horario {mark}")


def test_a_change_that_somebody_made_meanwhile_is_not_lost(sign_in: SignIn, acme: Company) -> None:
    client = sign_in(acme, "owner")
    path = add(client, "Precios.")
    tag = {"if-match": client.get(path).headers["etag"]}
    assert client.patch(path, json={"title": "Precios"}, headers=tag).status_code == 200
    assert client.patch(path, json={"title": "Otros"}, headers=tag).status_code == 412


def test_the_file_comes_back_as_it_was_sent(sign_in: SignIn, acme: Company, rival: Company) -> None:
    client, data = sign_in(acme, "owner"), f"Año {uuid.uuid4()}".encode()
    made = client.post(PATH, files={"file": ("año nuevo.txt", data)}).json()["id"]
    answer = client.get(f"{PATH}/{made}/file")
    assert answer.content == data
    assert answer.headers["content-disposition"].endswith("a%C3%B1o%20nuevo.txt")
    assert sign_in(acme, "operador").get(f"{PATH}/{made}/file").status_code == 200
    assert sign_in(rival, "owner").get(f"{PATH}/{made}/file").status_code == 404


def test_what_is_retired_leaves_the_list_and_stays_readable(
    sign_in: SignIn, acme: Company, rival: Company
) -> None:
    client = sign_in(acme, "owner")
    path = add(client, "Viejo.", f"/v1/chatbots/{acme.bot_id}/documents")
    assert sign_in(rival, "owner").post(f"{path}/retire").status_code == 404
    assert sign_in(acme, "operador").post(f"{path}/retire").status_code == 403
    retired = client.post(f"{path}/retire").json()
    assert retired["retired_at"]
    assert client.post(f"{path}/retire").json()["retired_at"] == retired["retired_at"]
    assert path not in ids(client.get(PATH, params={"chatbot_id": str(acme.bot_id)}))
    assert path in ids(client.get(PATH, params={"is_retired": True}))


def test_only_one_that_failed_is_read_again(
    sign_in: SignIn, acme: Company, database: psycopg.Connection
) -> None:
    client = sign_in(acme, "owner")
    path = add(client, "Roto.")
    refused = client.post(f"{path}/retry")
    assert (refused.status_code, refused.json()["code"]) == (409, "document_not_failed")
    error = '{"code": "document_without_text_one_page", "params": {}}'
    database.execute(
        "update documents set processing_status = 'failed', processing_error = %s where id = %s",
        (error, path.rsplit("/", 1)[1]),
    )
    told = client.get(path, headers={"accept-language": "en"}).json()["error"]
    assert told.startswith("We found no readable text on the only page")
    assert client.post(f"{path}/retry").status_code == 202


def test_nothing_is_kept_of_what_is_refused(
    sign_in: SignIn, acme: Company, rival: Company, database: psycopg.Connection
) -> None:
    client, count = sign_in(acme, "owner"), "select count(*) from documents where company_id = %s"
    before = database.execute(count, (acme.id,)).fetchone()
    for path, file, status in (
        (PATH, ("a.exe", b"MZ"), 415),
        (PATH, ("a.txt", b""), 422),
        (f"/v1/chatbots/{rival.bot_id}/documents", ("a.txt", b"Hola"), 404),
        (f"/v1/chatbots/{uuid.uuid4()}/documents", ("a.txt", b"Hola"), 404),
    ):
        assert client.post(path, files={"file": file}).status_code == status
    assert sign_in(acme, "operador").post(PATH, files={"file": ("a.txt", b"x")}).status_code == 403
    assert database.execute(count, (acme.id,)).fetchone() == before


@pytest.fixture
def passage(sign_in: SignIn, acme: Company, database: psycopg.Connection) -> tuple[str, str]:
    """A document that was read: its path and a word that only it has."""
    path, word = add(sign_in(acme, "owner"), "Trueque."), f"trueque{uuid.uuid4().hex[:8]}"
    document = path.rsplit("/", 1)[1]
    database.execute(
        "insert into document_chunks (company_id, document_id, content, chunk_index,"
        " character_count, page_number) values (%s, %s, %s, 0, char_length(%s), 3)",
        (acme.id, document, f"El {word} cuesta diez.", f"El {word} cuesta diez."),
    )
    database.execute(
        "update documents set processing_status = 'completed', chunk_count = 1 where id = %s",
        (document,),
    )
    return path, word


def test_a_search_tells_passage_document_page_and_scores(
    sign_in: SignIn, acme: Company, rival: Company, passage: tuple[str, str]
) -> None:
    path, word = passage
    asked = {"query": f"¿Cuánto cuesta el {word}?", "chatbot_id": str(acme.bot_id)}
    client = sign_in(acme, "owner")
    found = client.get("/v1/knowledge/search", params=asked).json()["data"]
    assert client.post("/v1/knowledge/search", json=asked).json()["data"] == found
    best = found[0]
    assert f"{PATH}/{best['document_id']}" == path
    assert (best["page_number"], best["similarity"]) == (3, None)
    assert best["lexical"] > 0
    chunks = client.get(f"{path}/chunks").json()["data"]
    assert [one["id"] for one in chunks] == [best["chunk_id"]]
    stranger = sign_in(rival, "owner")
    assert stranger.get("/v1/knowledge/search", params=asked).status_code == 404
    asked["chatbot_id"] = str(rival.bot_id)
    assert stranger.get("/v1/knowledge/search", params=asked).json()["data"] == []
    assert stranger.get(f"{path}/chunks").status_code == 404


def test_what_was_asked_is_reported_by_whether_it_was_answered(
    sign_in: SignIn, acme: Company, rival: Company, database: psycopg.Connection
) -> None:
    mark = uuid.uuid4().hex
    for text, count, confidence in ((f"sí {mark}", 2, 0.875), (f"no {mark}", 0, 0.125)):
        database.execute(
            "insert into knowledge_queries (company_id, query_text, results_count, confidence)"
            " values (%s, %s, %s, %s)",
            (acme.id, text, count, confidence),
        )

    def asked(company: Company, **query: bool) -> set[str]:
        data = sign_in(company, "owner").get("/v1/knowledge/queries", params=query).json()["data"]
        return {one["query"] for one in data if mark in one["query"]}

    assert asked(acme) == {f"sí {mark}", f"no {mark}"}
    rows = sign_in(acme, "owner").get("/v1/knowledge/queries").json()["data"]
    known = {one["query"]: one["confidence"] for one in rows if mark in one["query"]}
    assert known == {f"sí {mark}": 0.875, f"no {mark}": 0.125}, "a refusal has one as well"
    assert asked(acme, answered=False) == {f"no {mark}"}
    assert asked(acme, answered=True) == {f"sí {mark}"}
    assert asked(rival) == set()
