"""The command line finds a bot's company by the bot's name."""

from __future__ import annotations

import secrets

import pytest

from neurant.cli.company_lookup import find_bot, find_owner
from neurant.core.errors import SetupError
from neurant.installation.embedded import Urls
from tests.companies import make_company

pytestmark = pytest.mark.anyio


async def test_the_only_company_that_has_a_bot_of_that_name_is_taken(urls: Urls) -> None:
    acme = make_company(urls.admin, f"acme{secrets.token_hex(4)}")
    make_company(urls.admin, f"rival{secrets.token_hex(4)}")
    staff, bot = await find_bot(urls.admin, acme.bot_name.upper(), None)
    assert (staff, bot) == (acme.staff("owner"), acme.bot_id)


async def test_several_companies_with_such_a_bot_are_asked_for_and_no_others(urls: Urls) -> None:
    name = f"doble{secrets.token_hex(4)}"
    acme, rival = make_company(urls.admin, name), make_company(urls.admin, name)
    other = make_company(urls.admin, f"otra{secrets.token_hex(4)}")
    with pytest.raises(SetupError) as asked:
        await find_bot(urls.admin, acme.bot_name, None)
    assert asked.value.code == "which_company"
    named = str(asked.value.params["companies"]).split(", ")
    assert named == sorted([acme.slug, rival.slug])
    for one in (acme, rival):
        staff, bot = await find_bot(urls.admin, one.bot_name, one.slug)
        assert (staff.company_id, bot) == (one.id, one.bot_id)
    with pytest.raises(SetupError) as missing:
        await find_bot(urls.admin, acme.bot_name, other.slug)
    assert missing.value.code == "unknown_chatbot"
    assert missing.value.params["bots"] == f"«{other.bot_name}»"


async def test_a_bot_that_nobody_has_is_reported_without_the_bots_of_all_companies(
    urls: Urls,
) -> None:
    acme = make_company(urls.admin, f"acme{secrets.token_hex(4)}")
    make_company(urls.admin, f"rival{secrets.token_hex(4)}")
    with pytest.raises(SetupError) as missing:
        await find_bot(urls.admin, f"nadie{secrets.token_hex(4)}", None)
    assert missing.value.code == "unknown_chatbot_anywhere"
    assert acme.bot_name not in missing.value.detail("es")


async def test_what_names_no_bot_still_asks_for_the_company(urls: Urls) -> None:
    acme = make_company(urls.admin, f"acme{secrets.token_hex(4)}")
    make_company(urls.admin, f"rival{secrets.token_hex(4)}")
    with pytest.raises(SetupError) as asked:
        await find_owner(urls.admin, None)
    assert asked.value.code == "which_company"
    assert (await find_owner(urls.admin, acme.slug)).company_id == acme.id
    with pytest.raises(SetupError) as unknown:
        await find_owner(urls.admin, "no-existe")
    assert unknown.value.code == "unknown_company"
