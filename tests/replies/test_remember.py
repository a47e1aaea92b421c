"""What a conversation establishes, and what it must not."""

from __future__ import annotations

import pytest

from neurant.replies.remember import completed, customer_name, established, without_introduction


def name_in(said: str) -> str | None:
    return established(said, (), {}).get("name")


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("Hola, soy Ana", "Ana"),
        (
            "Buenas tardes, me llamo Ana María Restrepo y quiero una habitación",
            "Ana María Restrepo",
        ),
        ("mi nombre es juan pablo", "Juan"),
        ("me llamo luz", "Luz"),
        ("Le escribe Carlos de la Torre, ¿tienen cupo?", "Carlos de la Torre"),
        ("yo soy Ximena quiero saber los horarios", "Ximena"),
        ("Hi, my name is Peter Brown", "Peter Brown"),
        ("I'm Laura, can I book a room?", "Laura"),
    ],
)
def test_a_stated_name_is_remembered(said: str, name: str) -> None:
    assert name_in(said) == name


@pytest.mark.parametrize(
    "said",
    [
        "soy nueva y quiero inscribirme",
        "Soy Cliente desde hace años",
        "soy de Medellín",
        "Soy alérgica al maní",
        "¿Quién es Ana?",
        "no me llamo Ana",
        "No soy Ana, se equivocan",
        "¿Habla español?",
        "mi hija se llama Sofía",
        "I'm Looking for a room",
        "I am from Bogotá",
        "¿Soy yo quien paga?",
        "",
    ],
)
def test_other_words_are_no_name(said: str) -> None:
    assert name_in(said) is None


def test_the_first_name_greets() -> None:
    assert customer_name({"name": "Ana María"}) == "Ana"
    assert customer_name({}) is None
    assert customer_name({"name": 7}) is None


def test_an_introduction_is_no_question() -> None:
    assert without_introduction("me llamo Ana") == "hola"
    assert without_introduction("¿Cuánto cuesta?") == "¿Cuánto cuesta?"
    assert "cuánto cuesta" in without_introduction("soy Ana, ¿cuánto cuesta?")


CHAPINERO = "Sede Chapinero"
BOTH = "Sede Chapinero: lunes a viernes de 8 a 18. Sede Laureles: sábados de 9 a 13."


@pytest.mark.parametrize(
    ("said", "cited", "branch"),
    [
        ("¿A qué hora abren?", [CHAPINERO, "Abrimos a las 8"], "Sede Chapinero"),
        ("¿A qué hora abren en laureles?", [BOTH], "Sede Laureles"),
        ("¿Dónde parqueo?", ["SEDE CEDRITOS", "Hay ocho cupos"], "Sede Cedritos"),
        ("¿A qué hora abren?", [BOTH], None),
        ("¿Y en la sede Norte?", ["Abrimos a las 8"], None),
        ("where do I pick it up?", ["Store Palermo Soho", "Open from 10"], "Store Palermo Soho"),
        ("¿dónde entrego?", ["Campus San Joaquín", "Bloque 3"], "Campus San Joaquín"),
        ("¿dónde queda?", ["La oficina está en el centro"], None),
    ],
)
def test_a_branch_is_remembered_where_the_cited_text_names_it(
    said: str, cited: list[str], branch: str | None
) -> None:
    assert established(said, cited, {}).get("branch") == branch


def test_a_preference_is_remembered_and_a_wish_for_a_person_is_none() -> None:
    said = "Prefiero por la mañana, si se puede"
    assert established(said, (), {}) == {"preference": "por la mañana"}
    assert established("prefiero hablar con una persona", (), {}) == {}
    assert established("¿prefiero mañana o tarde?", (), {}) == {}


def test_only_what_is_new_is_returned() -> None:
    assert established("soy Ana", (), {"name": "Ana"}) == {}
    assert established("soy Eva", (), {"name": "Ana", "pedido": "A-17"}) == {"name": "Eva"}


def test_words_that_point_at_the_branch_are_completed_with_it() -> None:
    known = {"branch": "Sede Laureles"}
    assert completed("¿y ahí hay parqueadero?", known) == "¿y ahí hay parqueadero? (Sede Laureles)"
    assert completed("¿esa sede abre los domingos?", known).endswith("(Sede Laureles)")
    assert completed("¿hay parqueadero?", known) == "¿hay parqueadero?"
    assert completed("¿y ahí hay parqueadero?", {}) == "¿y ahí hay parqueadero?"
