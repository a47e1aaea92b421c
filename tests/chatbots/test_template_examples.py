"""The examples of the templates show what their own settings do."""

from __future__ import annotations

import re
from typing import Any

import psycopg
import pytest

from neurant.installation.embedded import Urls
from neurant.replies.decide import Decision, Situation, decide
from neurant.replies.intent import matched_keyword

TEMPLATES = 18
_QUESTION = re.compile(r"¿[^?]*\?")
_HANDS_OVER = re.compile(r"\b(?:te|le) (?:comunico|paso con)\b", re.IGNORECASE)


@pytest.fixture(scope="module")
def templates(urls: Urls) -> list[tuple[str, dict[str, Any], list[dict[str, Any]]]]:
    """Name, settings and examples of each."""
    with psycopg.connect(urls.admin) as db:
        return db.execute(
            "select t.name, t.recommended_settings, t.example_conversations"
            " from chatbot_templates t order by t.name"
        ).fetchall()


def decided(settings: dict[str, Any], said: str, before: str | None) -> Decision:
    return decide(
        Situation(
            company_name="Los Cedros",
            bot_name="Cedro",
            bot_is_active=True,
            limit_reached=False,
            is_hitl_active=False,
            hitl_enabled=True,
            hitl_triggers=settings["hitl_triggers"],
            keywords=settings["hitl_trigger_keywords"],
            fallback_message=settings["fallback_message"],
            question=said,
            last_notice=None,
            last_bot_text=before,
            language="es",
        )
    )


def hands_over(bot: str) -> bool:
    """Whether the bot's words bring a person; what it only offers is a question."""
    return bool(_HANDS_OVER.search(_QUESTION.sub("", bot)))


def test_every_example_shows_what_its_settings_do(
    templates: list[tuple[str, dict[str, Any], list[dict[str, Any]]]],
) -> None:
    wrong, answered, handed = [], 0, 0
    for name, settings, examples in templates:
        for example in examples:
            before = None
            turns = example["turns"]
            assert [one["from"] for one in turns] == ["customer", "bot"] * (len(turns) // 2)
            for customer, bot in zip(turns[::2], turns[1::2], strict=True):
                said, shown = customer["text"], hands_over(bot["text"])
                does = decided(settings, said, before).action == "escalate"
                if does is not shown:
                    wrong.append((name, said, "handed over" if does else "answered"))
                if shown and bot is not turns[-1]:
                    wrong.append((name, bot["text"], "a bot is silent where a person attends"))
                before = bot["text"]
                answered, handed = answered + (not shown), handed + shown
    assert wrong == []
    assert len(templates) >= TEMPLATES
    assert answered > handed > TEMPLATES


def test_no_template_offers_a_person_where_the_bot_hands_nothing_over(
    templates: list[tuple[str, dict[str, Any], list[dict[str, Any]]]],
) -> None:
    for name, settings, _ in templates:
        declined = decided(settings | {"hitl_triggers": []}, "quiero hablar con una persona", None)
        assert (declined.action, declined.by) == ("answer", "user_request"), name
        assert settings["fallback_message"] not in str(declined.content), name


def test_what_a_template_explains_is_not_taken_from_it_by_a_keyword(
    templates: list[tuple[str, dict[str, Any], list[dict[str, Any]]]],
) -> None:
    keywords = {name: settings["hitl_trigger_keywords"] for name, settings, _ in templates}
    for name, said, found in (
        ("Restaurante: carta y domicilios", "¿Hay pedido mínimo?", None),
        ("Restaurante: carta y domicilios", "Quiero hacer un pedido", "hacer un pedido"),
        ("Restaurante: carta y domicilios", "Tengo alergias", "alergia"),
        ("Admisiones", "¿Qué becas hay?", None),
        ("Cambios y garantías", "¿Cómo es la garantía?", None),
        ("Envíos y rastreo", "¿Dónde van mis guías?", "guía"),
        ("Tienda en línea: pedidos y envíos", "¿Dónde están mis pedidos?", "mi pedido"),
        ("Tienda en línea: pedidos y envíos", "¿Cuánto tarda un pedido?", None),
    ):
        assert matched_keyword(said, keywords[name]) == found, (name, said)
