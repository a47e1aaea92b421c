"""A bot speaks of tú, usted or vos in all its phrases, and as briefly as it is set."""

from __future__ import annotations

import re
from itertools import product
from string import Formatter

import pytest

from neurant.chatbots.schemas import TONES
from neurant.texts import catalogue, in_tone
from neurant.texts.address import ADDRESSES, STYLES, Address, Manner, in_manner, manner

PHRASES = sorted(
    name
    for name in catalogue("es")
    if name.split(".")[0] == "replies" or name.endswith(".welcome") or name == "chat.welcome"
)
NAMES = {"bot": "Luz", "company": "Los Cedros", "name": "Ana", "fallback": "info@cedros.example"}
# Words that show the form of address.
TU = (
    r"\b(?:te|ti|tu|tus|necesitas|quieres|prefieres|deseas|buscas|puedas|tengas|precisas|dime"
    r"|cuéntame|escríbeme|pregúntame|comunicarte|encuentras)\b"
)
USTED = (
    r"\b(?:le(?! (?:paso|aviso))|su|sus|usted|necesita|prefiere|desea|pueda|tenga|cuenta|dígame|cuénteme|escríbame|pregúnteme"
    r"|comunicarle|comunicarse|encuentra)\b"
)
VOS = (
    r"\b(?:vos|necesitás|querés|preguntás|formulás|contás|precisás|decime|contame|escribime"
    r"|preguntame|encontrás)\b"
)


def spoken(name: str, how: Manner) -> str:
    section, rest = name.split(".", 1)
    for tone in TONES:
        rest = rest.removeprefix(f"{tone}.")
    wanted = {field for _, field, _, _ in Formatter().parse(catalogue("es")[name]) if field}
    given = NAMES | dict.fromkeys(wanted - NAMES.keys(), "X")
    return in_tone(f"{section}.{rest}", how, "es", **given)


@pytest.mark.parametrize("name", PHRASES)
def test_a_phrase_is_in_one_form_of_address_only(name: str) -> None:
    strange = {"tu": f"{USTED}|{VOS}", "usted": f"{TU}|{VOS}", "vos": USTED}
    for tone, address, style in product((None, *TONES), ADDRESSES, (None, *STYLES)):
        said = spoken(name, Manner(tone, address, style)).replace(NAMES["fallback"], "")
        assert not re.search(r"[\[\]|<>{}]", said), said
        assert not re.search(strange[address], said.lower()), (address, said)


def test_every_phrase_that_speaks_to_the_reader_marks_its_forms() -> None:
    """Outside of marks no word of a phrase may show a form of address."""
    for name in PHRASES:
        bare = re.sub(r"\[[^\]]*\]", "", catalogue("es")[name]).lower()
        assert not re.search(f"{TU}|{VOS}", bare), name


def test_lines_of_the_system_fit_every_form_of_address() -> None:
    for name, line in catalogue("es").items():
        if name.startswith("system."):
            assert not re.search(f"{TU}|{VOS}|tuyo|usted|puedes", line.lower()), name


@pytest.mark.parametrize(
    ("tone", "address", "timezone", "spoken"),
    [
        (None, None, "America/Bogota", "tu"),
        ("friendly", None, "America/Mexico_City", "tu"),
        ("friendly", None, "America/Argentina/Buenos_Aires", "vos"),
        ("expert", None, "America/Montevideo", "vos"),
        (None, None, "America/Costa_Rica", "usted"),
        ("professional", None, "America/Argentina/Cordoba", "usted"),
        ("formal", None, "America/Bogota", "usted"),
        ("professional", "tu", "America/Bogota", "tu"),
        ("friendly", "usted", "America/Montevideo", "usted"),
        (None, None, None, "tu"),
    ],
)
def test_without_a_setting_tone_and_country_decide(
    tone: str | None, address: str | None, timezone: str | None, spoken: Address
) -> None:
    assert manner(tone, address, None, timezone).address == spoken


def test_each_address_has_its_words() -> None:
    said = {
        one: in_tone("replies.helpful.thanks", Manner("helpful", one), "es") for one in ADDRESSES
    }
    assert said == {
        "tu": "¡Para eso estoy! Si te surge otra duda, escríbeme.",
        "usted": "¡Para eso estoy! Si le surge otra duda, escríbame.",
        "vos": "¡Para eso estoy! Si te surge otra duda, escribime.",
    }
    assert in_manner("[mira|mire] esto", Manner(address="vos")) == "mira esto"


def test_a_concise_bot_says_less_and_a_detailed_one_more() -> None:
    def lengths(name: str) -> list[int]:
        styles = ("concise", None, "detailed")
        return [len(in_tone(name, Manner(style=style), "es", **NAMES)) for style in styles]

    thanks, not_found = lengths("replies.thanks"), lengths("replies.not_found")
    assert thanks[0] < thanks[1] == thanks[2]
    assert not_found[0] == not_found[1] < not_found[2]
