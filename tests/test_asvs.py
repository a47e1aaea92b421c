"""OWASP ASVS 5.0: that docs/asvs.md is complete and true, and lines that no other test holds."""

from __future__ import annotations

import ast
import re
import secrets
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import httpx
import psycopg
import pytest

import neurant
from neurant.auth.codes import new_token
from neurant.auth.passwords import Match, check_new_password, compare, hash_password
from neurant.installation.embedded import Urls
from tests.accounts.sent_mails import PASSWORD, sent_mails, sign_in
from tests.companies import Company, make_company

pytest_plugins = ("tests.console.running_web",)
SignIn = Callable[..., httpx.Client]
ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(Path(neurant.__file__).parent.rglob("*.py"))
# How many requirements of levels 1 and 2 each section of ASVS 5.0.0 has.
SECTIONS = {
    "1.1": 2, "1.2": 9, "1.3": 11, "1.4": 3, "1.5": 2, "2.1": 3, "2.2": 3, "2.3": 4, "2.4": 1,
    "3.2": 2, "3.3": 4, "3.4": 6, "3.5": 5, "3.7": 2, "4.1": 3, "4.2": 1, "4.3": 2, "4.4": 4,
    "5.1": 1, "5.2": 3, "5.3": 2, "5.4": 3, "6.1": 3, "6.2": 12, "6.3": 4, "6.4": 4, "6.5": 5,
    "6.6": 3, "6.8": 4, "7.1": 3, "7.2": 4, "7.3": 2, "7.4": 5, "7.5": 2, "7.6": 2, "8.1": 2,
    "8.2": 3, "8.3": 1, "8.4": 1, "9.1": 3, "9.2": 4, "10.1": 2, "10.2": 2, "10.3": 4, "10.4": 11,
    "10.5": 5, "10.6": 2, "10.7": 3, "11.1": 2, "11.2": 3, "11.3": 3, "11.4": 4, "11.5": 1,
    "11.6": 1, "12.1": 3, "12.2": 2, "12.3": 4, "13.1": 1, "13.2": 5, "13.3": 2, "13.4": 5,
    "14.1": 2, "14.2": 4, "14.3": 3, "15.1": 3, "15.2": 3, "15.3": 7, "16.1": 1, "16.2": 5,
    "16.3": 4, "16.4": 3, "16.5": 3, "17.1": 1, "17.2": 4, "17.3": 2,
}  # fmt: skip


def rows() -> list[list[str]]:
    lines = (ROOT / "docs" / "asvs.md").read_text("utf-8").splitlines()
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines
        if line.startswith("| ")
    ]
    return [one for one in cells if re.fullmatch(r"\d+\.\d+\.\d+", one[0])]


@lru_cache
def functions_of(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, functions))


def test_the_table_has_each_requirement_of_levels_1_and_2_once() -> None:
    numbers = [row[0] for row in rows()]
    assert len(numbers) == len(set(numbers))
    counted: dict[str, int] = {}
    for number in numbers:
        section = number.rpartition(".")[0]
        counted[section] = counted.get(section, 0) + 1
    assert counted == SECTIONS
    levels = [row[1] for row in rows()]
    assert (levels.count("1"), levels.count("2")) == (70, 183)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_a_row_says_how_and_what_shows_it(row: list[str]) -> None:
    _number, _level, requirement, how, shown = row
    assert requirement
    assert how
    named = re.findall(r"`([^`]+)`", shown)
    for one in named:
        path, _, test = one.partition("::")
        assert (ROOT / path).is_file(), one
        assert not test or test in functions_of(path), one
    said = re.match(r"(Does not apply|Not yet): \S.{5,}", shown)
    assert named or said


def _calls(name: str) -> list[str]:
    found = []
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == name:
                found.append(f"{source.name}:{node.lineno}")
    return found


def test_nothing_evaluates_text() -> None:
    for name in ("eval", "exec", "pickle.load", "pickle.loads", "marshal.loads", "yaml.load"):
        assert _calls(name) == [], name


def test_no_program_is_started_through_a_shell() -> None:
    for name in ("os.system", "os.popen", "asyncio.create_subprocess_shell"):
        assert _calls(name) == [], name
    for source in SOURCES:
        assert not re.search(r"shell\s*=\s*True", source.read_text("utf-8")), source


def test_no_broken_hash_is_used() -> None:
    for name in ("md5", "sha1", "hashlib.md5", "hashlib.sha1"):
        assert _calls(name) == [], name


def test_no_secret_is_made_by_a_predictable_generator() -> None:
    """Whoever imports ``random`` uses it for waiting times, and makes nothing secret."""
    users = [
        s for s in SOURCES if re.search(r"^(import random|from random)", s.read_text("utf-8"), re.M)
    ]
    for source in users:
        text = source.read_text("utf-8")
        assert not re.search(r"token|password|secret", text), source


def test_a_token_has_256_bits_and_no_two_are_alike() -> None:
    made = {new_token() for _ in range(1000)}
    assert len(made) == 1000
    assert all(len(token) * 6 >= 256 for token in made)


def test_no_answer_opens_itself_to_another_origin(nobody: httpx.Client, acme: Company) -> None:
    headers = {"origin": "https://malo.example", "access-control-request-method": "POST"}
    for path in ("/login", "/v1/session", "/v1/company", f"/chat/{acme.web}", "/widget.js"):
        for answer in (nobody.get(path, headers=headers), nobody.options(path, headers=headers)):
            assert not [name for name in answer.headers if name.startswith("access-control-")], path


def test_trace_is_no_method_of_ours(nobody: httpx.Client) -> None:
    for path in ("/login", "/v1/session", "/static/css/base.css"):
        assert nobody.request("TRACE", path).status_code == 405


def test_a_page_says_its_type_and_charset(nobody: httpx.Client) -> None:
    assert nobody.get("/login").headers["content-type"] == "text/html; charset=utf-8"
    assert nobody.get("/v1/session").headers["content-type"] == "application/problem+json"


def test_what_is_personal_is_stored_by_no_cache(sign_in: SignIn, acme: Company) -> None:
    owner = sign_in(acme, "owner")
    for path in ("/console/inbox", "/console/account", "/v1/account", "/v1/company", "/v1/nothing"):
        assert owner.get(path).headers["cache-control"] == "no-store", path


def test_password_fields_are_masked_and_take_what_is_pasted(
    nobody: httpx.Client, sign_in: SignIn, acme: Company
) -> None:
    pages = [nobody.get("/login").text, nobody.get("/signup").text]
    pages.append(sign_in(acme, "owner").get("/console/account").text)
    for page in pages:
        fields = [
            one
            for one in re.findall(r"<input[^>]*>", page)
            if re.search(r'name="[^"]*password', one)
        ]
        assert fields
        for field in fields:
            assert 'type="password"' in field
            assert re.search(r'autocomplete="(current|new)-password"', field)
    scripts = (ROOT / "neurant" / "console" / "static" / "js").rglob("*.js")
    assert not [
        one for one in scripts if re.search(r"""["']paste["']|onpaste""", one.read_text("utf-8"))
    ]


def test_every_page_of_the_console_offers_to_sign_out(sign_in: SignIn, acme: Company) -> None:
    owner = sign_in(acme, "owner")
    for path in (
        "/console/inbox",
        "/console/knowledge",
        "/console/account",
        "/console/team",
        "/console/bots",
    ):
        page = owner.get(path)
        assert page.status_code == 200
        assert 'action="/logout"' in page.text, path


def test_signing_out_clears_what_the_browser_keeps(sign_in: SignIn, acme: Company) -> None:
    answer = sign_in(acme, "supervisor").post("/logout")
    assert answer.headers["clear-site-data"] == '"storage"'


@pytest.mark.anyio
async def test_a_long_password_serves_whole() -> None:
    long = secrets.token_urlsafe(600)[:700]
    check_new_password(long, "ana@acme.example")
    known = hash_password(long)
    assert await compare(known, long) is Match.RIGHT
    for other in (long[:-1], long + "x", long.swapcase(), long[:72]):
        assert await compare(known, other) is Match.WRONG


def test_no_password_runs_out(
    urls: Urls, nobody: httpx.Client, known_password: str, database: psycopg.Connection
) -> None:
    company = make_company(urls.admin, "acme", password_hash=known_password)
    database.execute(
        "update auth.users set created_at = now() - interval '10 years', updated_at = now() - interval '10 years'"
        " where email = %s",
        (company.people["owner"].email,),
    )
    assert sign_in(nobody, company.people["owner"].email)


def test_a_reset_opens_no_session(
    urls: Urls, nobody: httpx.Client, known_password: str, database: psycopg.Connection
) -> None:
    company = make_company(urls.admin, "acme", password_hash=known_password)
    email = company.people["owner"].email
    nobody.post("/v1/password-resets", json={"email": email})
    link = sent_mails(database, email)[-1].link
    done = nobody.post("/reset", data={"link": link, "password": f"{PASSWORD}-nuevo"})
    assert done.status_code == 303
    assert not [name for name in nobody.cookies if "session" in name]
    assert done.headers["location"].startswith("/login")


def test_a_new_database_has_no_login(fresh_database: Callable[[], str]) -> None:
    from neurant.installation.migrate import migrate

    url = fresh_database()
    migrate(url)
    with psycopg.connect(url) as db:
        for table in ("auth.users", "public.users", "public.companies", "public.api_keys"):
            assert db.execute(f"select count(*) from {table}").fetchone() == (0,)


def test_the_demos_mailbox_is_not_there_without_the_demo(nobody: httpx.Client) -> None:
    assert nobody.get("/demo/mailbox").status_code == 404
