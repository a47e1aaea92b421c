"""``neurant company create``: the first company of a database, from its owner's hands."""

from __future__ import annotations

import secrets
import subprocess
from typing import Any

import psycopg
import pytest

from neurant.installation.embedded import Urls
from tests.test_cli import SPANISH, fails_with_one_line, neurant

PASSWORD = "un-paraguas-amarillo"


def create(
    urls: Urls, *arguments: str, password: str = PASSWORD, **environment: str
) -> subprocess.CompletedProcess[str]:
    return neurant(
        "company",
        "create",
        *arguments,
        NEURANT_APP_DATABASE_URL=urls.app,
        NEURANT_OWNER_PASSWORD=password,
        **environment,
    )


def companies(urls: Urls, slug: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(urls.admin) as db:
        return db.execute(
            "select c.name, c.subscription_plan::text, u.email, u.first_name, u.role::text"
            " from companies c join users u on u.company_id = c.id where c.slug = %s",
            (slug,),
        ).fetchall()


@pytest.fixture
def mark() -> str:
    return secrets.token_hex(4)


def test_a_company_with_its_owner_who_can_sign_in(urls: Urls, mark: str) -> None:
    email = f"Ana@{mark}.example"
    done = create(
        urls, f"Óptica {mark}", "--email", email, "--first-name", "Ana", "--plan", "starter"
    )
    assert done.returncode == 0, done.stderr
    slug = f"optica-{mark}"
    assert slug in done.stdout
    assert PASSWORD not in done.stdout + done.stderr
    assert companies(urls, slug) == [(f"Óptica {mark}", "starter", email.lower(), "Ana", "owner")]
    with psycopg.connect(urls.app) as db:
        login, hashed = db.execute(
            "select * from private.login_lookup(%s)", (email.upper(),)
        ).fetchone()
        assert hashed.startswith("$argon2id$")
        token = secrets.token_bytes(32)
        assert db.execute(
            "select * from private.open_login_session(%s, %s, null, null, '1 day')", (login, token)
        ).fetchall()


def test_the_same_name_again_gets_a_number_and_the_same_owner_proves_it(
    urls: Urls, mark: str
) -> None:
    arguments = (f"Bar {mark}", "--email", f"a@{mark}.example")
    assert create(urls, *arguments).returncode == 0
    assert f"bar-{mark}-2" in create(urls, *arguments).stdout
    refused = create(urls, *arguments, password="otro-paraguas-verde")
    assert "already has an account" in fails_with_one_line(refused)
    assert "ya tiene cuenta" in fails_with_one_line(
        create(urls, *arguments, password="otro-paraguas-verde", **SPANISH)
    )
    assert companies(urls, f"bar-{mark}-3") == []


@pytest.mark.parametrize(
    ("arguments", "password", "spanish", "english"),
    [
        (("--email", "nada"), PASSWORD, "no es una dirección", "is not an e-mail"),
        (("--email", "a@b.example"), "corta", "fácil de adivinar", "easy to guess"),
        (("--email", "a@b.example"), "aaaaaaaaaaaa", "fácil de adivinar", "easy to guess"),
        (
            ("--email", "a@b.example", "--slug", "Á b"),
            PASSWORD,
            "no sirve",
            "cannot be a short name",
        ),
        (("--email", "a@b.example", "--plan", "oro"), PASSWORD, "No existe el plan", "no plan"),
    ],
)
def test_what_is_wrong_is_one_line_in_the_persons_language(
    urls: Urls, mark: str, arguments: tuple[str, ...], password: str, spanish: str, english: str
) -> None:
    name = f"Café {mark}"
    told = fails_with_one_line(create(urls, name, *arguments, password=password, **SPANISH))
    assert spanish in told
    told = fails_with_one_line(create(urls, name, *arguments, password=password))
    assert english in told
    assert companies(urls, f"cafe-{mark}") == []


def test_a_taken_short_name_leaves_no_login_behind(urls: Urls, mark: str) -> None:
    first = create(urls, "Uno", "--email", f"uno@{mark}.example", "--slug", mark)
    assert first.returncode == 0, first.stderr
    second = create(urls, "Dos", "--email", f"dos@{mark}.example", "--slug", mark)
    assert mark in fails_with_one_line(second)
    with psycopg.connect(urls.app) as db:
        found = db.execute("select * from private.login_lookup(%s)", (f"dos@{mark}.example",))
        assert found.fetchall() == []
