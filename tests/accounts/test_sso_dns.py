"""Looking for a domain's TXT record: whatever a name server answers, or does not."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import dns.flags
import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from neurant.accounts.sso import dns as lookup
from neurant.accounts.sso.dns import look_up, record_name, record_value
from neurant.core.errors import SetupError
from neurant.core.settings import Settings, dns_server
from tests.support.dns_server import DnsServer, closed_port, reply, running_dns

pytestmark = pytest.mark.anyio
DOMAIN, TOKEN = "empresa.example", "0123456789abcdef0123456789abcdef"
NAME = record_name(DOMAIN)
RIGHT = f'"{record_value(TOKEN)}"'


@pytest.fixture
def server() -> Iterator[DnsServer]:
    with running_dns() as running:
        yield running


@pytest.fixture
def settings(server: DnsServer) -> Settings:
    return Settings(dns_servers=server.address)


@pytest.mark.parametrize(
    ("records", "found"),
    [
        ([RIGHT], "found"),
        (['"v=spf1 -all"', RIGHT, '"other"'], "found"),
        ([f'"{record_value(TOKEN)[:20]}" "{record_value(TOKEN)[20:]}"'], "found"),
        ([f'"{record_value(TOKEN)[:20]} " "{record_value(TOKEN)[20:]}"'], "absent"),
        (['"v=spf1 -all"'], "absent"),
        ([f'"{record_value(TOKEN)}0"'], "absent"),
        ([f'"{record_value(TOKEN[:-1])}"'], "absent"),
        ([f'"{TOKEN}"'], "absent"),
        ([f'"{record_value(TOKEN).upper()}"'], "absent"),
        (['""'], "absent"),
        (['"\\000\\255\\200"', RIGHT], "found"),
        ([], "absent"),  # the name exists, without a TXT record (NODATA)
        ([*(f'"{n:03}{"x" * 200}"' for n in range(60)), RIGHT], "found"),  # larger than UDP takes
    ],
)
async def test_a_record_counts_when_one_of_them_says_exactly_the_token(
    server: DnsServer, settings: Settings, records: list[str], found: str
) -> None:
    server.answers = {NAME: records}
    assert await look_up(settings, DOMAIN, TOKEN) == found
    assert set(server.asked) == {NAME}


async def test_a_name_that_does_not_exist_is_an_answer(
    server: DnsServer, settings: Settings
) -> None:
    assert await look_up(settings, DOMAIN, TOKEN) == "absent"
    server.answers = {DOMAIN: [RIGHT]}  # at the domain itself it does not count
    assert await look_up(settings, DOMAIN, TOKEN) == "absent"


async def test_an_alias_is_followed(server: DnsServer, settings: Settings) -> None:
    server.say = lambda query: reply(
        query, f"{NAME} CNAME proof.else.example.", f"proof.else.example TXT {RIGHT}"
    ).to_wire()
    assert await look_up(settings, DOMAIN, TOKEN) == "found"
    server.say = lambda query: reply(query, f"{NAME} CNAME proof.else.example.").to_wire()
    assert await look_up(settings, DOMAIN, TOKEN) == "absent"
    server.say = lambda query: reply(
        query, f"{NAME} CNAME a.example.", f"a.example CNAME {NAME}."
    ).to_wire()
    assert await look_up(settings, DOMAIN, TOKEN) in ("absent", "unreachable")


async def test_a_record_of_another_name_does_not_count(
    server: DnsServer, settings: Settings
) -> None:
    server.say = lambda query: reply(query, f"evil.example TXT {RIGHT}").to_wire()
    assert await look_up(settings, DOMAIN, TOKEN) == "absent"


@pytest.mark.parametrize("rcode", [dns.rcode.SERVFAIL, dns.rcode.REFUSED, dns.rcode.FORMERR])
async def test_a_failure_of_the_server_says_nothing_of_the_record(
    server: DnsServer, settings: Settings, rcode: dns.rcode.Rcode
) -> None:
    server.say = lambda query: reply(query, rcode=rcode).to_wire()
    assert await look_up(settings, DOMAIN, TOKEN) == "unreachable"


@pytest.mark.parametrize("nonsense", [b"", b"x", b"\xff" * 40, os.urandom(500)])
async def test_nonsense_says_nothing_of_the_record(
    server: DnsServer, settings: Settings, monkeypatch: pytest.MonkeyPatch, nonsense: bytes
) -> None:
    monkeypatch.setattr(lookup, "SECONDS", 0.6)
    server.say = lambda query: query.id.to_bytes(2, "big") + nonsense
    assert await look_up(settings, DOMAIN, TOKEN) == "unreachable"


async def test_an_answer_to_another_question_is_not_taken(
    server: DnsServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "SECONDS", 0.6)

    def forged(query: dns.message.Message) -> bytes:
        made = reply(query, f"{NAME} TXT {RIGHT}")
        made.id = (query.id + 1) % 65536
        return made.to_wire()

    server.say = forged
    assert await look_up(settings, DOMAIN, TOKEN) == "unreachable"


async def test_a_server_that_says_nothing_is_not_waited_for_longer_than_set(
    server: DnsServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "SECONDS", 0.6)
    server.say = lambda query: None
    began = time.monotonic()
    assert await look_up(settings, DOMAIN, TOKEN) == "unreachable"
    assert time.monotonic() - began < 3


async def test_a_truncated_answer_without_an_end_is_not_waited_for_either(
    server: DnsServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "SECONDS", 1.0)

    def truncated(query: dns.message.Message) -> bytes | None:
        if server.by_tcp:
            return None
        made = reply(query)
        made.flags |= dns.flags.TC
        return made.to_wire()

    server.say = truncated
    assert await look_up(settings, DOMAIN, TOKEN) == "unreachable"


async def test_the_second_server_is_asked_where_the_first_is_away(
    server: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers = {NAME: [RIGHT]}
    both = Settings(dns_servers=f"127.0.0.1:{closed_port()}, {server.address}")
    assert await look_up(both, DOMAIN, TOKEN) == "found"
    away = Settings(dns_servers=f"127.0.0.1:{closed_port()}")
    monkeypatch.setattr(lookup, "SECONDS", 0.6)
    assert await look_up(away, DOMAIN, TOKEN) == "unreachable"


async def test_a_domain_that_is_too_long_for_the_record_is_reported_as_unreachable(
    settings: Settings,
) -> None:
    longest = ".".join(["a" * 60] * 4) + ".co"
    assert await look_up(settings, longest, TOKEN) == "unreachable"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("192.0.2.1", ("192.0.2.1", 53)),
        (" 192.0.2.1:5353", ("192.0.2.1", 5353)),
        ("2001:db8::1", ("2001:db8::1", 53)),
        ("[2001:db8::1]", ("2001:db8::1", 53)),
        ("[2001:DB8::1]:5353", ("2001:db8::1", 5353)),
    ],
)
async def test_a_server_s_address_is_read(written: str, read: tuple[str, int]) -> None:
    assert dns_server(written) == read


@pytest.mark.parametrize("written", ["dns.example", "192.0.2.1:0", "192.0.2.1:x", "1.2.3", ","])
async def test_what_is_no_server_s_address_is_reported_at_the_start(written: str) -> None:
    with pytest.raises((SetupError, ValidationError)):
        Settings(dns_servers=written)


@given(st.text(max_size=60))
async def test_any_text_is_an_address_or_refused(written: str) -> None:
    try:
        host, port = dns_server(written)
    except ValueError:
        return
    assert 0 < port < 65536
    assert dns_server(f"[{host}]:{port}") == (host, port)
