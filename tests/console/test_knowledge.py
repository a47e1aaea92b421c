"""The knowledge page and its API: who may add, what is refused, and what is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.companies import Company

pytest_plugins = ("tests.console.running_web",)

SignIn = Callable[[Company, str], httpx.Client]
TextFile = Callable[[str], Path]
HTMX = {"HX-Request": "true"}


def add(client: httpx.Client, company: Company, path: Path, bot: object = None) -> httpx.Response:
    with path.open("rb") as file:
        return client.post(
            f"/v1/chatbots/{bot or company.bot_id}/documents", files={"file": (path.name, file)}
        )


def test_a_document_is_taken_and_shown(sign_in: SignIn, acme: Company, text_file: TextFile) -> None:
    client = sign_in(acme, "supervisor")
    path = text_file("Abrimos de 8 a 18.")
    answer = add(client, acme, path)
    assert answer.status_code == 202
    shown = client.get("/console/knowledge").text
    assert path.name in shown
    assert "En espera" in shown
    listed = client.get(f"/v1/documents?chatbot_id={acme.bot_id}").json()["data"]
    assert answer.json()["id"] in {document["id"] for document in listed}


def test_the_same_document_twice_is_refused(
    sign_in: SignIn, acme: Company, text_file: TextFile
) -> None:
    client = sign_in(acme, "supervisor")
    path = text_file("Una sola vez.")
    assert add(client, acme, path).status_code == 202
    again = add(client, acme, path)
    assert again.status_code == 409
    assert path.name in again.json()["detail"]


def test_an_operator_reads_documents_but_adds_none(
    sign_in: SignIn, acme: Company, text_file: TextFile
) -> None:
    client = sign_in(acme, "operador")
    assert add(client, acme, text_file("Del operador.")).status_code == 403
    shown = client.get("/console/knowledge").text
    assert 'id="upload"' not in shown
    assert "data-retire" not in shown


def test_nobody_teaches_another_companys_bot(
    sign_in: SignIn, acme: Company, rival: Company, text_file: TextFile
) -> None:
    client = sign_in(rival, "owner")
    assert add(client, rival, text_file("Mentiras."), bot=acme.bot_id).status_code == 404
    assert client.get(f"/v1/documents?chatbot_id={acme.bot_id}").json()["data"] == []


def test_a_retired_document_is_gone_from_the_list_and_another_companys_is_not_found(
    sign_in: SignIn, acme: Company, rival: Company, text_file: TextFile
) -> None:
    path = text_file("Precio viejo.")
    owner = sign_in(acme, "owner")
    form = {"document_id": add(owner, acme, path).json()["id"]}
    assert sign_in(rival, "owner").post("/console/knowledge/retire", data=form).status_code == 404
    assert sign_in(acme, "operador").post("/console/knowledge/retire", data=form).status_code == 403
    assert path.name in owner.get("/console/knowledge").text
    answer = owner.post("/console/knowledge/retire", data=form, headers=HTMX)
    assert "Documento retirado" in answer.text
    assert path.name not in owner.get("/console/knowledge").text


def test_a_document_that_failed_says_why_in_the_readers_language_and_can_be_tried_again(
    sign_in: SignIn, acme: Company, text_file: TextFile, database: psycopg.Connection
) -> None:
    client = sign_in(acme, "supervisor")
    identity = add(client, acme, text_file("Se rompe.")).json()["id"]
    error = '{"code": "document_encrypted", "params": {"filename": "tarifas.pdf"}}'
    database.execute(
        "update documents set processing_status = 'failed', processing_error = %s where id = %s",
        (error, identity),
    )
    spanish = client.get("/console/knowledge").text
    english = client.get("/console/knowledge", headers={"Accept-Language": "en"}).text
    assert "«tarifas.pdf» está protegido con contraseña" in spanish
    assert "tarifas.pdf" in english
    assert "contraseña" not in english
    jobs = "select count(*) from jobs.procrastinate_jobs where args ->> 'document_id' = %s"
    before = database.execute(jobs, (identity,)).fetchone()[0]
    form = {"document_id": identity}
    answer = client.post("/console/knowledge/retry", data=form, headers=HTMX)
    assert "Lo estamos leyendo otra vez" in answer.text
    assert database.execute(jobs, (identity,)).fetchone()[0] == before + 1


def test_only_what_failed_is_tried_again(
    sign_in: SignIn, acme: Company, text_file: TextFile
) -> None:
    client = sign_in(acme, "supervisor")
    form = {"document_id": add(client, acme, text_file("Va bien.")).json()["id"]}
    assert client.post("/console/knowledge/retry", data=form).status_code == 404


@pytest.mark.parametrize("name", ["foto.png", "nombre.pdf"])
def test_a_file_that_we_cannot_read_is_refused_with_a_reason(
    sign_in: SignIn, acme: Company, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 64)
    answer = add(sign_in(acme, "supervisor"), acme, path)
    assert answer.status_code in (415, 422)
    assert name in answer.json()["detail"]


def test_without_script_the_form_takes_files_too(
    sign_in: SignIn, acme: Company, text_file: TextFile
) -> None:
    client = sign_in(acme, "supervisor")
    path = text_file("Sin script.")
    form = {"chatbot_id": str(acme.bot_id)}
    files = {"file": (path.name, path.read_bytes())}
    answer = client.post("/console/knowledge/documents", data=form, files=files)
    assert answer.headers["location"] == "/console/knowledge"
    again = client.post("/console/knowledge/documents", data=form, files=files)
    assert again.status_code == 409
    assert 'role="alert"' in again.text


def test_documents_are_found_by_their_names_and_only_by_their_own_company(
    sign_in: SignIn, acme: Company, rival: Company, tmp_path: Path
) -> None:
    for company in (acme, rival):
        path = tmp_path / f"Póliza_de_garantía-{company.slug}.txt"
        path.write_text(f"Dura un año. {company.slug}")
        assert add(sign_in(company, "supervisor"), company, path).status_code == 202
    for typed in ("garantia", "poliza gar", "PÓLIZAS", f"garantia-{acme.slug}", acme.bot_name):
        shown = sign_in(acme, "operador").get("/console/knowledge", params={"q": typed}).text
        assert f"Póliza_de_garantía-{acme.slug}" in shown, typed
        assert f"Póliza_de_garantía-{rival.slug}" not in shown
    for typed in ("televisor", "'", ":*", "\\", "😀", "\0", "x" * 5_000):
        answer = sign_in(acme, "owner").get("/console/knowledge", params={"q": typed})
        assert answer.status_code == 200
        assert (acme.slug in answer.text.split("<tbody>")[-1]) == (typed == "\0"), typed
