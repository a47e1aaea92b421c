"""Rows that the released versions took and that this one does not: nothing stops, nothing is lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from neurant.database.embedded import RunningServer
from neurant.database.migrate import MIGRATIONS, migrate
from tests.conftest import databases

LAST_RELEASED = "20261122999999"
ROWS = Path(__file__).parent / "released"
FREE_HOURS = {"mon-fri": "8 to 5"}
PROMPT = "Eres {{persona}} de {{empresa}}. {{company_name}} }} atiende."
OLD_EXAMPLES = [{"user": "¿Abren hoy?", "bot": "Sí."}, "una nota"]


@pytest.fixture(scope="module")
def upgraded(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("released")
    makers = databases(server)
    url = next(makers)()
    released = sorted(file for file in MIGRATIONS.glob("*.sql") if file.name < LAST_RELEASED)
    for file in released:
        shutil.copy(file, folder)
        rows_then = ROWS / f"{file.name.split('_')[0]}.sql"
        if rows_then.exists():
            migrate(url, folder)
            with psycopg.connect(url) as db:
                db.execute(rows_then.read_bytes())
    migrate(url, folder)
    with psycopg.connect(url) as db:
        odd_rows(db)
    migrate(url)
    yield url
    makers.close()  # type: ignore[attr-defined]


def odd_rows(db: psycopg.Connection[Any]) -> None:
    companies = [row[0] for row in db.execute("select id from companies order by id").fetchall()]
    past_due, trialing = companies[:2]
    db.execute(
        "update companies set subscription_status = 'past_due', subscription_plan = 'starter',"
        " subscription_ends_at = null, website = 'acme.co/tienda',"
        " logo_url = 'http://acme.co/logo.png', industry = 'Abarrotes' where id = %s",
        (past_due,),
    )
    db.execute(
        "update companies set subscription_status = 'trialing', subscription_ends_at = null"
        " where id = %s",
        (trialing,),
    )
    db.execute(
        "update chatbots set working_hours = %s, personality_traits = %s, system_prompt = %s,"
        " avatar_url = 'http://acme.co/a.png', hitl_triggers = %s where company_id = %s",
        (
            json.dumps(FREE_HOURS),
            json.dumps({"tone": "calm", "language": "es", "mood": "good"}),
            "x" * 6000,
            json.dumps(["user_request", "sentiment"]),
            past_due,
        ),
    )
    db.execute(
        "insert into chatbot_templates (name, description, industry, category,"
        " system_prompt_template, default_personality, recommended_settings, example_conversations)"
        " values ('Propia', 'La nuestra', 'ferretería', 'sales', %s, %s, %s, %s),"
        " ('Sin horario', 'Otra', 'retail', 'sales', 'Hola', '{}', null, '[]')",
        (
            PROMPT,
            json.dumps({"tone": "calm", "style": "short"}),
            json.dumps({"working_hours": FREE_HOURS, "response_delay_ms": 900}),
            json.dumps(OLD_EXAMPLES),
        ),
    )


def rows(url: str, query: str) -> list[dict[str, Any]]:
    with psycopg.connect(url, row_factory=dict_row) as db:
        return db.execute(query).fetchall()


def test_a_template_of_ones_own_fits_and_keeps_what_was_written(upgraded: str) -> None:
    [own] = rows(upgraded, "select * from chatbot_templates where name = 'Propia'")
    assert own["industry"] == "other"
    assert (
        own["system_prompt_template"]
        == "Eres {{persona}} de {empresa}. {{company_name}} } atiende."
    )
    assert own["default_personality"] == {"style": "short"}
    assert own["example_conversations"] == [
        {
            "title": "¿Abren hoy?",
            "turns": [
                {"from": "customer", "text": "¿Abren hoy?"},
                {"from": "bot", "text": "Sí."},
            ],
        }
    ]
    assert own["recommended_settings"] == {
        "response_delay_ms": 900,
        "before_upgrade": {
            "industry": "ferretería",
            "system_prompt_template": PROMPT,
            "default_personality": {"tone": "calm", "style": "short"},
            "working_hours": FREE_HOURS,
            "example_conversations": OLD_EXAMPLES,
        },
    }


def test_a_template_needs_no_hours(upgraded: str) -> None:
    [plain] = rows(upgraded, "select * from chatbot_templates where name = 'Sin horario'")
    assert plain["recommended_settings"] is None
    with psycopg.connect(upgraded) as db:
        db.execute(
            "insert into chatbot_templates (name, description, industry, category,"
            " system_prompt_template, recommended_settings) values ('C', 'D', 'retail', 'sales', 'E', '{}')"
        )
        with pytest.raises(psycopg.errors.CheckViolation):
            db.execute(
                "update chatbot_templates set recommended_settings = '{\"working_hours\": []}'"
            )


def test_bots_and_companies_fit_and_a_bot_keeps_what_was_written(upgraded: str) -> None:
    [bot] = rows(upgraded, "select * from chatbots where char_length(system_prompt) = 5000 limit 1")
    assert bot["working_hours"] == {}
    assert bot["personality_traits"] == {
        "language": "es",
        "mood": "good",
        "before_upgrade": {
            "working_hours": FREE_HOURS,
            "personality_traits": {"tone": "calm", "language": "es", "mood": "good"},
            "avatar_url": "http://acme.co/a.png",
            "system_prompt": "x" * 6000,
            "hitl_triggers": ["user_request", "sentiment"],
        },
    }
    assert (bot["avatar_url"], bot["hitl_triggers"]) == (None, ["user_request"])
    [company] = rows(upgraded, "select * from companies where subscription_status = 'past_due'")
    assert (company["website"], company["logo_url"]) == ("https://acme.co/tienda", None)
    assert company["industry"] == "other"


def test_no_company_is_stuck_in_a_state_that_never_ends(upgraded: str) -> None:
    left = rows(
        upgraded,
        "select subscription_status::text, subscription_ends_at - now() as remaining from companies"
        " where subscription_status in ('past_due', 'trialing') order by 1",
    )
    assert [row["subscription_status"] for row in left] == ["past_due", "trialing"]
    for row in left:
        assert timedelta(days=13, hours=23) < row["remaining"] <= timedelta(days=14)
