"""Which addresses are on the public internet: IANA's registries of special-purpose addresses.

Sources: iana-ipv4-special-registry, iana-ipv6-special-registry, ipv6-address-space.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurant.core.outbound_http import is_public

REFUSED_4 = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
]
REFUSED_6 = [
    "::1/128",
    "::/128",
    "::/96",
    "::ffff:0:0:0/96",
    "64:ff9b:1::/48",
    "100::/64",
    "100:0:0:1::/64",
    "2001::/23",
    "2001::/32",
    "2001:1::1/128",
    "2001:1::2/128",
    "2001:1::3/128",
    "2001:2::/48",
    "2001:3::/32",
    "2001:4:112::/48",
    "2001:10::/28",
    "2001:20::/28",
    "2001:30::/28",
    "2001:db8::/32",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
    "100::/8",
    "200::/7",
    "400::/6",
    "800::/5",
    "1000::/4",
    "4000::/3",
    "6000::/3",
    "8000::/3",
    "a000::/3",
    "c000::/3",
    "e000::/4",
    "f000::/5",
    "f800::/6",
    "fe00::/9",
]
# The addresses just outside the blocks of IPv4, where nothing else begins.
PUBLIC = [
    "1.0.0.0",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "191.255.255.255",
    "192.0.1.0",
    "192.0.3.0",
    "192.88.98.255",
    "192.88.100.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "198.51.99.255",
    "198.51.101.0",
    "203.0.112.255",
    "203.0.114.0",
    "223.255.255.255",
    "192.31.196.1",
    "192.52.193.1",
    "192.175.48.1",
    "2000::",
    "2001:200::",
    "2001:db7:ffff:ffff::",
    "2001:db9::",
    "2003::",
    "2606:4700::1111",
    "2620:4f:8000::1",
    "3ffe:ffff::",
    "3fff:1000::",
    "3fff:ffff:ffff::",
    "2a00:1450::200e",
]
inner = st.ip_addresses(v=4)


@pytest.mark.parametrize("block", [*REFUSED_4, *REFUSED_6])
def test_a_special_purpose_block_is_refused_from_its_first_to_its_last_address(block: str) -> None:
    network = ip_network(block)
    middle = network[network.num_addresses // 2]
    for address in (network[0], middle, network[-1]):
        assert not is_public(str(address)), address


@pytest.mark.parametrize("address", PUBLIC)
def test_beyond_the_borders_of_the_blocks_the_internet_begins(address: str) -> None:
    assert is_public(address)


@given(st.sampled_from([*REFUSED_4, *REFUSED_6]), st.integers(min_value=0))
def test_no_address_inside_a_block_is_public(block: str, number: int) -> None:
    network = ip_network(block)
    assert not is_public(str(network[number % network.num_addresses]))


@given(st.ip_addresses(v=6))
def test_no_address_outside_global_unicast_is_public_but_one_that_carries_ipv4(
    address: IPv6Address,
) -> None:
    carried = address in ip_network("::ffff:0:0/96") or address in ip_network("64:ff9b::/96")
    if address not in ip_network("2000::/3") and not carried:
        assert not is_public(str(address))


@given(inner)
def test_every_form_of_ipv6_that_leads_to_an_ipv4_address_is_judged_by_it(
    address: IPv4Address,
) -> None:
    number, public = int(address), is_public(str(address))
    mapped = IPv6Address(0xFFFF << 32 | number)
    translated = IPv6Address(0x64FF9B << 96 | number)
    six_to_four = IPv6Address(0x2002 << 112 | number << 80 | 1)
    for outer in (mapped, translated, six_to_four):
        assert is_public(str(outer)) == public, outer
    for identifier in (0x5EFE, 0x02005EFE):  # ISATAP, in a public network
        isatap = IPv6Address(0x2606_4700 << 96 | identifier << 32 | number)
        assert is_public(str(isatap)) == public, isatap


@given(inner)
def test_the_other_forms_that_carry_ipv4_are_never_public(address: IPv4Address) -> None:
    number = int(address)
    for outer in (
        IPv6Address(number),  # IPv4-compatible
        IPv6Address(0xFFFF << 48 | number),  # IPv4-translated
        IPv6Address(0x64FF9B0001 << 80 | number),  # a translator's local prefix
        IPv6Address(0x2001 << 112 | number << 64),  # Teredo, by its server
        IPv6Address(0x2001 << 112 | number ^ 0xFFFFFFFF),  # and by its client
    ):
        assert not is_public(str(outer)), outer


def test_a_zone_changes_nothing() -> None:
    assert not is_public("fe80::1%eth0")
    assert is_public("2606:4700::1111%eth0")
    assert ip_address("2606:4700::1111")
