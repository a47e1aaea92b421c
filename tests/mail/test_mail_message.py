"""What a mail looks like: both languages, text and HTML, and nothing that people wrote can break out."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from linkify_it import LinkifyIt

from neurant.core.errors import BadInputError, SetupError
from neurant.mail.message import as_language, compose, sender_of, words
from neurant.mail.service import mailbox
from neurant.texts import LANGUAGES, catalogue

SENDER = sender_of("NeurAnt <no-reply@mail.example>")
LINK = "https://app.example/invitation#abc123"
PARAMS = {
    "inviter": "Ana Ruiz",
    "company": "Clínica Ñandú",
    "role": "operador",
    "until": "29 de noviembre",
    "link": LINK,
}


def made(
    params: dict[str, str],
    *,
    to: str = "eva@casa.example",
    language: str = "es",
    mail_id: UUID | None = None,
) -> EmailMessage:
    message = compose(
        mail_id or uuid4(),
        to,
        "team.invitation",
        as_language(language),
        params,
        sender=SENDER,
        moment=datetime(2026, 11, 22, tzinfo=UTC),
    )
    return BytesParser(EmailMessage, policy=policy.default).parsebytes(message.as_bytes())


def body(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    assert part is not None
    return part.get_content()


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_mail_says_the_same_as_text_and_as_html(language: str) -> None:
    message = made(PARAMS, language=language)
    assert message["To"] == "eva@casa.example"
    assert message["From"] == "NeurAnt <no-reply@mail.example>"
    assert "Ana Ruiz" in message["Subject"]
    assert "Clínica Ñandú" in message["Subject"]
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Content-Language"] == language
    assert message.get_content_type() == "multipart/alternative"
    for kind in ("plain", "html"):
        content = body(message, kind)
        assert LINK in content
        assert "Clínica Ñandú" in content
        assert "29 de noviembre" in content
    assert "{" not in body(message, "plain")


def test_the_html_fetches_nothing_and_runs_nothing() -> None:
    html = body(made(PARAMS), "html")
    for remote in ("<img", "<link", "<script", "@import", "src=", "url(", "onclick"):
        assert remote not in html
    assert set(re.findall(r'href="([^"]+)"', html)) == {LINK}
    assert "prefers-color-scheme: dark" in html


def test_the_button_can_be_read() -> None:
    """White on #C2410C is 5.18:1 (WCAG 2.1 AA: 4.5); the brand's orange carries no text."""
    html = body(made(PARAMS), "html")
    assert "background:#C2410C; color:#FFFFFF" in html
    assert "color:#F97316" not in html.replace("background:#F97316", "")


def test_one_mail_has_one_message_id_however_often_it_is_made() -> None:
    known = uuid4()
    first, second = (made(PARAMS, mail_id=known) for _ in range(2))
    assert first["Message-ID"] == second["Message-ID"] == f"<{known}@mail.example>"
    assert made(PARAMS)["Message-ID"] != first["Message-ID"]


@pytest.mark.parametrize(
    "name",
    [
        "Mercado.com", "premio.malo.example", "http://malo.example/premio", "www.malo.example",
        "Gana ya: malo.co/premio", "ana@malo.example", "//malo.example", "malo.example:8080", "10.0.0.1",
        "premio.xn--p1ai", "ñandú.рф",
    ],
)  # fmt: skip
def test_no_mail_program_makes_a_link_of_a_name(name: str) -> None:
    """By linkify-it, which recognises bare domains and addresses as mail programs do."""
    finds = LinkifyIt(options={"fuzzy_ip": True}).tlds("example", True)
    assert finds.test("Mercado.com")  # it does find them
    message = made(PARAMS | {"inviter": name, "company": name})
    shown = body(message, "plain").replace(LINK, "")
    for text in (str(message["Subject"]), shown):
        assert finds.match(text) is None, text
    assert set(re.findall(r'href="([^"]+)"', body(message, "html"))) == {LINK}


def test_a_companys_name_is_quoted_and_cannot_end_the_quote() -> None:
    message = made(PARAMS | {"company": "Sol» te debe dinero «"})
    assert message["Subject"] == 'Ana Ruiz te invita a «Sol" te debe dinero "»'
    for language, quoted in (("es", "«Clínica Ñandú»"), ("en", "“Clínica Ñandú”")):
        message = made(PARAMS, language=language)
        assert quoted in message["Subject"]
        assert quoted in body(message, "plain")


NASTY = [
    "Eva\r\nBcc: rival@example.org",
    "Eva\nContent-Type: text/html\n\n<b>",
    "\x00\x0b\x0c\x1c\x85\u2028Bcc: x@y.example\u2029",
    "=?utf-8?q?Eva=0D=0ABcc:_x@y.example?=",
    "‮gnp.exe",
]


@pytest.mark.parametrize("name", NASTY)
def test_no_name_becomes_a_header(name: str) -> None:
    message = made(PARAMS | {"inviter": name, "company": name})
    assert message["Bcc"] is None
    assert set(message.keys()) == {
        "From", "To", "Subject", "Date", "Message-ID", "Content-Language", "Auto-Submitted",
        "MIME-Version", "Content-Type",
    }  # fmt: skip
    assert message.get_content_type() == "multipart/alternative"
    assert message["To"] == "eva@casa.example"


@given(name=st.text(max_size=300))
def test_whatever_a_name_holds_the_mail_has_one_reader_and_its_own_parts(name: str) -> None:
    message = made(PARAMS | {"inviter": name})
    assert message["Bcc"] is None
    assert message["Cc"] is None
    assert len(message.get_all("Subject")) == 1
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    assert set(re.findall(r'href="([^"]+)"', body(message, "html"))) == {LINK}


def test_names_are_no_advertisement() -> None:
    """Whoever names a company like an address must not get our mail to point there."""
    message = made(
        PARAMS | {"company": "Gana en https://evil.example/x www.evil.example <b>ya</b>"}
    )
    for kind in ("plain", "html"):
        assert "evil.example" not in body(message, kind)
    assert "<b>ya" not in body(message, "html")
    assert len(message["Subject"]) < 300
    assert "evil" not in message["Subject"]


def test_a_code_is_shown_large() -> None:
    told = words("team.invitation", "es", PARAMS | {"code": "123456"})
    assert told.code == "123456"
    assert "123456" in body(made(PARAMS | {"code": "123456"}), "html")


@pytest.mark.parametrize(
    ("template", "params", "error"),
    [
        ("team.unknown", PARAMS, KeyError),
        ("team.invitation", {}, KeyError),
        ("team.invitation", PARAMS | {"link": "javascript:alert(1)"}, ValueError),
        ("team.invitation", PARAMS | {"link": "https://a.example/ x"}, ValueError),
    ],
)
def test_our_own_mistakes_are_found_when_a_mail_is_queued(
    template: str, params: dict[str, str], error: type[Exception]
) -> None:
    with pytest.raises(error):
        words(template, "es", params)


def test_every_template_of_the_catalogue_can_be_rendered_in_every_language() -> None:
    found = {
        name.removeprefix("mail.").removesuffix(".subject")
        for name in catalogue("es")
        if name.startswith("mail.") and name.endswith(".subject") and name.count(".") == 3
    }
    assert "team.invitation" in found
    anything = {
        name: "Nombre" for text in catalogue("es").values() for name in re.findall(r"{(\w+)}", text)
    } | {"link": LINK, "reset_link": LINK, "code": "123456"}
    for template in found:
        for language in LANGUAGES:
            assert words(template, language, anything).subject


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (" Eva@Casa.Example ", "Eva@casa.example"),
        ("eva@ñandú.example", "eva@xn--and-6ma2c.example"),
        ("josé@ñandú.example", "josé@xn--and-6ma2c.example"),
        ("eva@intranet", "eva@intranet"),
    ],
)
def test_an_address_is_kept_as_an_envelope_carries_it(written: str, kept: str) -> None:
    assert mailbox(written) == kept


@pytest.mark.parametrize(
    "written",
    ["", "eva", "eva@", "@x.example", "eva@x.example\r\nBcc: a@b.example", "a b@x.example",
     "eva@x.example, otra@x.example", "<eva@x.example>", "Eva <eva@x.example>", "e" * 400 + "@x.example"],
)  # fmt: skip
def test_what_is_no_address_is_refused(written: str) -> None:
    with pytest.raises(BadInputError) as error:
        mailbox(written)
    assert error.value.code == "accounts.bad_email"


def test_an_address_beyond_ascii_is_a_header_too() -> None:
    message = compose(
        uuid4(), mailbox("josé@ñandú.example"), "team.invitation", "es", PARAMS,
        sender=SENDER, moment=datetime(2026, 11, 22, tzinfo=UTC),
    )  # fmt: skip
    assert "josé@xn--and-6ma2c.example".encode() in message.as_bytes()


@pytest.mark.parametrize("value", ["", "NeurAnt", "a@", "x@y\r\nBcc: z@w.example <", "@b.example"])
def test_a_sender_that_is_none_is_named(value: str) -> None:
    with pytest.raises(SetupError) as error:
        sender_of(value)
    assert error.value.code == "setup.bad_mail_from"
