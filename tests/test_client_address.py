"""The client's address: believed from configured proxies only, whatever the header holds."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurant.core import client_address
from neurant.core.client_address import ClientAddress, TrustedProxies, place_of, read_address

PROXY, CLIENT = "192.0.2.1", "203.0.113.9"
addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
public = addresses.filter(lambda a: a != IPv4Address(PROXY)).filter(
    lambda a: not (isinstance(a, IPv6Address) and (a.ipv4_mapped or a.scope_id))
)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("203.0.113.9", "203.0.113.9"),
        (" 203.0.113.9\t", "203.0.113.9"),
        ("203.0.113.9:4711", "203.0.113.9"),
        ('"203.0.113.9:4711"', "203.0.113.9"),
        ("2001:DB8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%25eth0]:80", "fe80::1"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("[::ffff:203.0.113.9]:80", "203.0.113.9"),
        ("", None),
        ("unknown", None),
        ("_hidden", None),
        ("203.0.113", None),
        ("203.0.113.9:", None),
        ("203.0.113.9:123456", None),
        ("[2001:db8::1", None),
        ("2001:db8::1]:80", None),
        ("203.0.113.9, 203.0.113.8", None),
        ("1" * 10_000, None),
        ("\x00", None),
    ],
)
def test_an_address_is_read_as_peers_and_proxies_write_it(written: str, read: str | None) -> None:
    assert read_address(written) == (ip_address(read) if read else None)


@given(st.text(max_size=60))
def test_anything_else_is_no_address(text: str) -> None:
    found = read_address(text)
    assert found is None or isinstance(found, IPv4Address | IPv6Address)


@given(addresses, st.lists(st.text(max_size=40), max_size=5))
def test_a_peer_that_is_not_trusted_is_the_client_whatever_it_claims(
    peer: IPv4Address | IPv6Address, claims: list[str]
) -> None:
    plain = str(read_address(str(peer)))
    assert TrustedProxies("").client_of(str(peer), claims) == plain


@given(st.lists(st.text(max_size=40), max_size=6), public)
def test_what_stands_left_of_the_address_that_the_proxy_saw_changes_nothing(
    forged: list[str], client: IPv4Address | IPv6Address
) -> None:
    trusted = TrustedProxies(PROXY)
    for header in ([", ".join([*forged, str(client)])], [*forged, str(client)]):
        assert trusted.client_of(PROXY, header) == str(client)


@given(st.lists(st.integers(1, 254), min_size=1, max_size=5), public)
def test_every_trusted_proxy_of_a_chain_is_stepped_over(
    hops: list[int], client: IPv4Address | IPv6Address
) -> None:
    trusted = TrustedProxies(f"{PROXY}, 198.51.100.0/24")
    chain = [str(client), *(f"198.51.100.{hop}" for hop in hops)]
    expected = "6.6.6.6" if trusted.has(client) else str(client)
    assert trusted.client_of(PROXY, [", ".join(["6.6.6.6", *chain])]) == expected


def test_an_entry_that_is_no_address_ends_the_search_at_the_last_proxy_that_is_known() -> None:
    trusted = TrustedProxies(f"{PROXY},198.51.100.0/24")
    assert trusted.client_of(PROXY, [f"{CLIENT}, unknown"]) == PROXY
    assert trusted.client_of(PROXY, [f"{CLIENT}, garbage, 198.51.100.7"]) == "198.51.100.7"
    assert trusted.client_of(PROXY, []) == PROXY
    assert trusted.client_of(PROXY, ["", " , "]) == PROXY


def test_with_an_asterisk_only_the_nearest_hop_is_believed() -> None:
    trusted = TrustedProxies("*")
    assert trusted.client_of("10.0.0.5", [f"6.6.6.6, {CLIENT}"]) == CLIENT
    assert trusted.client_of("10.0.0.5", []) == "10.0.0.5"


def test_loopback_is_a_client_like_any_other_unless_it_is_configured() -> None:
    assert TrustedProxies("").client_of("127.0.0.1", [CLIENT]) == "127.0.0.1"
    assert TrustedProxies("127.0.0.1,::1").client_of("127.0.0.1", [CLIENT]) == CLIENT
    assert TrustedProxies("127.0.0.1,::1").client_of("::1", [CLIENT]) == CLIENT


@given(addresses)
def test_limits_count_an_ipv6_address_by_its_64_and_networks_by_24_and_48(
    address: IPv4Address | IPv6Address,
) -> None:
    place = place_of(str(address))
    if ":" in place.address:
        assert place.address.endswith("/64")
        assert place.network.endswith("/48")
        neighbour = IPv6Address(int(read_address(str(address))) ^ 0xFFFF)
        if not neighbour.ipv4_mapped:
            assert place_of(str(neighbour)) == place
    else:
        assert place.network.endswith("/24")
        assert TrustedProxies(place.network).has(ip_address(place.address))


class Log:
    """What would be logged, whatever the tests before have set up."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def warning(self, event: str, *, peer: str, **_: str) -> None:
        self.told.append((event, peer))


def served(
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
    headers: list[tuple[bytes, bytes]],
    path: str = "/",
    times: int = 1,
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """What the application sees of a request of the peer PROXY, and what is logged."""
    seen: dict[str, Any] = {}
    log = Log()

    async def app(scope: dict[str, Any], *_: object) -> None:
        seen.update(scope)

    monkeypatch.setattr(client_address, "log", log)
    layer = ClientAddress(app, setting)
    scope = {
        "type": "http", "path": path, "headers": headers, "client": (PROXY, 5), "scheme": "http",
    }  # fmt: skip
    for _ in range(times):
        asyncio.run(layer(dict(scope), None, None))
    return seen, log.told


def test_scheme_and_address_come_from_a_trusted_proxy_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    headers = [(b"x-forwarded-for", CLIENT.encode()), (b"x-forwarded-proto", b"https")]
    seen, _ = served(monkeypatch, PROXY, headers)
    assert (seen["client"][0], seen["scheme"], seen["state"]["peer"]) == (CLIENT, "https", PROXY)
    seen, _ = served(monkeypatch, "", headers)
    assert (seen["client"][0], seen["scheme"]) == (PROXY, "http")


def test_a_trusted_proxy_that_names_no_client_is_logged_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, told = served(monkeypatch, PROXY, [], times=3)
    assert told == [("proxy_names_no_client", PROXY)]
    assert served(monkeypatch, PROXY, [], path="/healthz")[1] == []


def test_a_peer_that_is_not_trusted_and_forwards_again_and_again_is_logged_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    headers = [(b"x-forwarded-for", CLIENT.encode())]
    assert served(monkeypatch, "", headers, times=19)[1] == []
    _, told = served(monkeypatch, "", headers, times=60)
    assert told == [("proxy_not_trusted", PROXY)]
