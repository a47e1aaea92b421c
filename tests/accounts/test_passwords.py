"""Passwords: what is refused, and that an unknown address costs as much as a known one."""

from __future__ import annotations

import asyncio
import random
import re
import string
import threading
import unicodedata
from pathlib import Path

import httpx
import psycopg
import pytest
from argon2 import PasswordHasher, extract_parameters
from hypothesis import given, settings
from hypothesis import strategies as st

from neurant.auth import common_passwords, passwords
from neurant.auth.common_passwords import build, folded, is_common
from neurant.auth.passwords import Match, check_new_password, compare, hash_password, opaque
from neurant.core import client_address
from neurant.core.errors import BadInputError, RateLimitedError
from neurant.installation.embedded import Urls
from tests.accounts.sent_mails import begin_sign_up, new_address, sent_mails, sign_in
from tests.companies import Company, make_company

pytest_plugins = ("tests.console.running_web",)
DOCS = Path(__file__).resolve().parents[2] / "docs"
COMPOSED = unicodedata.normalize("NFC", "un pingüino añil ve el café")
APART = unicodedata.normalize("NFD", COMPOSED)


@pytest.mark.anyio
async def test_whoever_has_no_password_is_checked_against_a_hash_of_the_same_cost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checked: list[str] = []
    real = passwords._matches

    def matches(known: str, password: str) -> bool:
        checked.append(known)
        return real(known, password)

    monkeypatch.setattr(passwords, "_matches", matches)
    assert not await passwords.matches(None, "algo")
    [hashed] = checked
    assert extract_parameters(hashed) == extract_parameters(passwords.hash_password("otra"))


def test_a_damaged_hash_is_a_wrong_password_and_not_a_crash() -> None:
    assert not passwords._matches("!", "algo")
    assert not passwords._matches(passwords.hash_password("algo"), "\ud800")


@pytest.mark.parametrize(
    "weak",
    [
        "corta",
        "aaaaaaaaaaaa",
        "1234567890",
        "30-12-1985 ",
        "abcdefghij",
        "Contraseña123",
        "Password2026!",
        "ana.maria@acme.example",
        "ana.mariaana.maria",
        "ana.maria2026",
        "x" * 500 + "yz1" * 300,
    ],
)
def test_a_password_that_is_quickly_guessed_is_refused_with_the_rule(weak: str) -> None:
    with pytest.raises(BadInputError) as refused:
        passwords.check_new_password(weak, "ana.maria@acme.example")
    assert "10" in str(refused.value)


@pytest.mark.parametrize(
    "leaked",
    [
        "iloveyousomuch", "qwertyuiop12", "alejandro1985", "bienvenido2024", "realmadrid7!",
        "1q2w3e4r5t6y", "passwordpassword", "PRINCESS2026", "teamomucho", "contraseña2026",
    ],
)  # fmt: skip
def test_a_leaked_or_common_password_is_refused_as_such(leaked: str) -> None:
    with pytest.raises(BadInputError) as refused:
        check_new_password(leaked, "ana@acme.example")
    assert refused.value.code == "accounts.leaked_password"


@pytest.mark.parametrize(
    "common",
    [
        # One word of Spanish or English, with digits, a year or signs around it.
        "oficina1234", "Impresora2025", "¡Jueves2026!", "Otoño-2024", "otono20245", "gerente00!",
        "Keyboard99", "thursday-77", "1999invoice", "seguridad#1", "Soporte€2026", "miércoles 1",
        "Sol123456789", "Septiembre🎉", "«Almuerzo»1",
        # Repeated, also with digits or signs between.
        "clienteclientecliente", "zapato7zapato7", "Venta-Venta-9", "autumn1autumn2", "dragon1dragon1!",
        "micontraseña1micontraseña1", "letmein letmein",
        # Other signs in place of letters, and a leaked phrase with signs between its words.
        "S3gur1d4d!!", "C0ntr4s3ñ4", "p@ssw0rdp@ssw0rd1", "i-love-you-so-much", "Te amo mucho 3",
        "correct horse battery staple", "The.Quick.Brown.Fox",
    ],
)  # fmt: skip
def test_one_common_word_makes_no_password_whatever_is_around_it(common: str) -> None:
    with pytest.raises(BadInputError) as refused:
        check_new_password(common, "ana@acme.example")
    assert refused.value.code == "accounts.leaked_password"


@pytest.mark.parametrize(
    "honest",
    [
        "tres gatos en la nevera", "lunes sin prisa y con café", "mi impresora odia los jueves",
        "oficina-zapato-nube", "nube7oficina", "ventana azul 1987", "purple kettle sings",
        "umbrella+invoice", "Gw7#kLp0xQ", "8f3a-91kd-x02m", "El perro de Lucía ronca", "¿dónde está mi té?",
        "🌵🐢🍊🚲🎻🦊🌊🔥🍇🧩", "漢字仮名交じり文を書く人", "zorblaxquint42", "Tren7Faro2Mar",
    ],
)  # fmt: skip
def test_several_words_or_random_characters_make_a_password(honest: str) -> None:
    check_new_password(honest, "ana@acme.example")


_WORDS = ("oficina", "invierno", "umbrella", "zapato", "keyboard", "jueves", "ventana", "otoño")
_SIGNS = st.text("0123456789!?.-_#$€ ", min_size=0, max_size=4)


@given(st.sampled_from(_WORDS), _SIGNS, _SIGNS, st.integers(1, 4), st.booleans())
def test_a_common_word_is_found_however_it_is_repeated_and_decorated(
    word: str, before: str, after: str, times: int, is_capital: bool
) -> None:
    typed = word.capitalize() if is_capital else word
    assert is_common(f"{before}{typed}{after}" * times)
    assert is_common(f"{before}{typed * times}{after}")


@given(st.lists(st.sampled_from(_WORDS), min_size=3, max_size=5, unique=True), _SIGNS)
def test_different_words_together_are_not_taken_for_one(words: list[str], sign: str) -> None:
    assert not is_common((sign or "-").join(words))


def test_random_passwords_are_not_taken_for_words() -> None:
    chosen = random.Random(9)
    characters = string.ascii_letters + string.digits + "-_!"
    made = ["".join(chosen.choices(characters, k=10)) for _ in range(5_000)]
    made += ["".join(chosen.choices("0123456789abcdef", k=12)) for _ in range(5_000)]
    assert sum(map(is_common, made)) <= 5


@pytest.mark.parametrize("word", ["Neurant-2026", "Clínica.Ñandú", "clinica-nandu-77", "ruiz.ñandu.1", "1234-acme-1234"])  # fmt: skip
def test_what_belongs_to_the_person_does_not_make_a_password(word: str) -> None:
    context = ("Clínica Ñandú", "Ana", "Ruiz")
    with pytest.raises(BadInputError) as refused:
        check_new_password(word, "ana@acme.example", context)
    assert refused.value.code == "accounts.weak_password"
    check_new_password(f"{word} bajo la lluvia", "ana@acme.example", context)


@given(st.sets(st.text(min_size=1), min_size=1))
def test_the_filter_finds_everything_that_it_was_built_of(words: set[str]) -> None:
    entries = {folded(word) for word in words}
    data = build(entries)
    assert all(common_passwords._holds(data, entry) for entry in entries)


def test_the_filter_takes_hardly_any_other_password_for_a_leaked_one() -> None:
    others = [f"x{number:x}-paraguas-{number * 7919 % 99991}" for number in range(20_000)]
    assert sum(map(is_common, others)) < 10


def test_the_documents_tell_the_measured_number_of_entries() -> None:
    entries = (len(common_passwords.DATA.read_bytes()) - 1) * 8 // common_passwords._BITS_PER_ENTRY
    decision = "decisions/0018-passwords-names-mail-sessions.md"
    for name in ("asvs.md", decision):
        told = re.findall(r"([\d,]+) entries", (DOCS / name).read_text("utf-8"))
        assert told, name
        assert all(abs(int(one.replace(",", "")) - entries) <= 1 for one in told), name


# The examples of RFC 8265, section 4.3 (table 5), and what a Spanish keyboard sends.
@pytest.mark.parametrize(
    ("typed", "prepared"),
    [
        ("correct horse battery staple", "correct horse battery staple"),
        ("Correct Horse Battery Staple", "Correct Horse Battery Staple"),
        ("πßå", "πßå"),
        ("Jack of ♦s", "Jack of ♦s"),
        ("foo\u1680bar", "foo bar"),
        ("a\u00a0b", "a b"),
        (APART, COMPOSED),
        ("  spaces at the ends ", "  spaces at the ends "),
        ("🌵 nopal", "🌵 nopal"),
    ],
)
def test_a_password_is_prepared_as_an_opaque_string(typed: str, prepared: str) -> None:
    assert opaque(typed) == prepared


@pytest.mark.parametrize("typed", ["", "my cat is a \tby", "a\u200bb", "a\u202eb", "a\x00b", "a\ufeffb"])  # fmt: skip
def test_what_nobody_can_type_again_makes_no_password(typed: str) -> None:
    with pytest.raises(BadInputError) as refused:
        opaque(typed)
    assert refused.value.code == "accounts.password_characters"


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        ("🫨 temblor largo", "new_character"),  # Unicode 15, unassigned in Python 3.11
        ("cifra \u0378 rara", "new_character"),
        ("mi 👨\u200d👩\u200d👧 querida", "emoji"), ("❤\ufe0f de café", "emoji"), ("3\ufe0f\u20e3 osos", "emoji"),
        ("🏳\ufe0f\u200d🌈 libre", "emoji"), ("🧑🏽\u200d💻 cansada", "emoji"), ("‼\ufe0f alerta", "emoji"),
        ("🏴\U000e0067\U000e0062\U000e007f norte", "emoji"),
        ("una\u200dpalabra", "characters"), ("una\ufe0fpalabra", "characters"), ("fin.\u200d", "characters"),
        ("🌵\u200bnopal", "characters"), ("dos\u2028líneas", "characters"),
        ("punto·medio", "symbol"), ("privado \ue000", "symbol"), ("mitad \ud800", "symbol"), ("\u1100 antiguo", "symbol"),
    ],
)  # fmt: skip
def test_a_refused_character_is_reported_with_its_true_reason(typed: str, reason: str) -> None:
    with pytest.raises(BadInputError) as refused:
        opaque(typed)
    assert refused.value.code == f"accounts.password_{reason}"
    assert refused.value.detail("es") != refused.value.detail("en")


@given(st.text(min_size=1))
def test_preparing_twice_changes_nothing(typed: str) -> None:
    try:
        prepared = opaque(typed)
    except BadInputError:
        return
    assert opaque(prepared) == prepared
    assert unicodedata.is_normalized("NFC", prepared)


def test_the_length_counts_characters_and_not_how_they_were_typed() -> None:
    with pytest.raises(BadInputError):
        check_new_password(unicodedata.normalize("NFD", "ñáéíóúüñá"), "ana@acme.example")
    check_new_password("ñ" + "áéíóúü xyzw", "ana@acme.example")


@pytest.mark.anyio
@pytest.mark.parametrize(("kept", "typed"), [(COMPOSED, APART), (APART, COMPOSED)])
async def test_one_password_is_right_however_it_is_typed(kept: str, typed: str) -> None:
    assert await compare(hash_password(kept), typed) is Match.RIGHT
    assert await compare(hash_password(kept), typed + "!") is Match.WRONG


@pytest.mark.anyio
async def test_a_hash_from_before_goes_on_working_and_is_called_outdated() -> None:
    before = PasswordHasher().hash(APART)
    assert await compare(before, APART) is Match.OUTDATED
    assert await compare(before, APART + "!") is Match.WRONG
    control = "una clave\tcon tabulador"
    assert await compare(PasswordHasher().hash(control), control) is Match.RIGHT
    cheap = PasswordHasher(time_cost=1, memory_cost=8 * 1024).hash("un-paraguas-amarillo")
    assert await compare(cheap, "un-paraguas-amarillo") is Match.OUTDATED


@pytest.mark.anyio
@settings(max_examples=5, deadline=None)
@given(st.sampled_from([COMPOSED, APART, "a\tb", "x" * 2000]))
async def test_who_has_no_password_costs_as_many_hashes(typed: str) -> None:
    counted: list[str] = []
    real = passwords._matches

    def matches(known: str, password: str) -> bool:
        counted.append(known)
        return real(known, password)

    passwords._matches = matches
    try:
        await compare(None, typed)
        nobody = len(counted)
        await compare(hash_password("otra-clave-cualquiera"), typed)
    finally:
        passwords._matches = real
    assert len(counted) == nobody * 2


def test_a_login_whose_hash_is_from_before_is_rehashed_when_its_owner_signs_in(
    urls: Urls, nobody: httpx.Client, database: psycopg.Connection
) -> None:
    company = make_company(urls.admin, "acme", password_hash=PasswordHasher().hash(APART))
    email = company.people["owner"].email
    query = "select encrypted_password from auth.users where email = %s"
    [(before,)] = database.execute(query, (email,)).fetchall()
    # Only the exact form that was hashed opens it; from then on every form does.
    refused = nobody.post("/v1/session", json={"email": email, "password": COMPOSED})
    assert refused.status_code == 401
    session = sign_in(nobody, email, APART)
    [(after,)] = database.execute(query, (email,)).fetchall()
    assert after != before
    assert nobody.get("/v1/session", headers=session).status_code == 200
    assert sign_in(nobody, email, COMPOSED)
    assert sign_in(nobody, email, APART)
    assert database.execute(query, (email,)).fetchall() == [(after,)]
    other = company.people["operador"].email
    [(untouched,)] = database.execute(query, (other,)).fetchall()
    assert untouched == before


def test_what_is_set_composed_may_be_typed_apart(
    nobody: httpx.Client, database: psycopg.Connection
) -> None:
    email = new_address()
    begun = begin_sign_up(nobody, email, COMPOSED)
    assert begun.status_code == 202, begun.text
    link = sent_mails(database, email)[-1].link
    elsewhere = {"link_token": link, "password": APART}
    proven = nobody.post("/v1/accounts/verification", json=elsewhere)
    assert proven.status_code in (200, 201), proven.text
    assert sign_in(nobody, email, APART)
    assert sign_in(nobody, email, COMPOSED)


def test_every_way_to_a_new_password_refuses_leaked_ones_and_names_of_the_company(
    urls: Urls, nobody: httpx.Client, database: psycopg.Connection, known_password: str
) -> None:
    company: Company = make_company(urls.admin, "zapateria", password_hash=known_password)
    email = company.people["owner"].email
    session = sign_in(nobody, email)
    refused = {"iloveyousomuch": "leaked_password", "zapateria-2026": "weak_password"}
    assert nobody.post("/v1/password-resets", json={"email": email}).status_code == 202
    link = sent_mails(database, email)[-1].link
    for password, code in refused.items():
        change = {"current_password": "un-paraguas-amarillo", "new_password": password}
        reset = {"token": link, "password": password}
        answers = [
            nobody.put("/v1/account/password", json=change, headers=session),
            nobody.post("/v1/password-resets/confirm", json=reset),
        ]
        for answer in answers:
            assert (answer.status_code, answer.json()["code"]) == (422, f"accounts.{code}")
    signed = begin_sign_up(nobody, new_address("zapateria"), "zapateria-2026")
    assert signed.json()["code"] == "accounts.weak_password"


@pytest.mark.parametrize("fine", ["un-paraguas-amarillo", "ñandú çöñ 漢字漢字 1", "correct horse battery"])  # fmt: skip
def test_any_characters_make_a_password(fine: str) -> None:
    passwords.check_new_password(fine, "ana@acme.example")


@pytest.mark.anyio
async def test_a_flood_of_one_address_keeps_nobody_else_from_being_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    let_go = threading.Event()

    def slow(_known: str, password: str) -> Match:
        if password == "of the flood":
            let_go.wait(10)
        return Match.RIGHT

    monkeypatch.setattr(passwords, "_compare", slow)

    async def ask(address: str, password: str) -> Match:
        client_address._sender.set(address)
        return await passwords.compare("known", password)

    flood = [asyncio.create_task(ask("192.0.2.1", "of the flood")) for _ in range(100)]
    try:
        assert await asyncio.wait_for(ask("198.51.100.1", "honest"), 5) is Match.RIGHT
    finally:
        let_go.set()
    answers = await asyncio.gather(*flood, return_exceptions=True)
    refused = [one for one in answers if isinstance(one, RateLimitedError)]
    assert len(refused) == 100 - 1 - 40
    assert {one for one in answers if one not in refused} == {Match.RIGHT}
