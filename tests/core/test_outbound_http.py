"""An address that a customer writes does not make the platform ask its own network."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator
from ipaddress import IPv4Address, IPv6Address

import httpcore
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurant.auth import identity_http
from neurant.auth.identity_http import ProviderError, ask_json
from neurant.core import outbound_http as net
from neurant.core.errors import SetupError
from neurant.core.outbound_http import GuardedTransport, is_public, may_ask, private_hosts_of
from neurant.core.private_hosts import PrivateHosts
from neurant.core.settings import Settings

pytestmark = pytest.mark.anyio
THIS_MACHINE = PrivateHosts.parse("127.0.0.1, localhost")


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
        *("0.0.0.0", "224.0.0.1", "255.255.255.255", "198.18.0.1"),
        *("::1", "::", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:10.0.0.1", "::ffff:7f00:1"),
        *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2001:db8::1"),
    ],
)
def test_an_address_of_ours_or_of_nobody_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_an_address_of_the_internet_is(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses(v=4))
def test_ipv6_does_not_make_an_ipv4_address_public(inner: IPv4Address) -> None:
    for outer in (
        IPv6Address(0xFFFF << 32 | int(inner)),
        IPv6Address(0x64FF9B << 96 | int(inner)),
    ):
        assert is_public(str(outer)) == is_public(str(inner))


@pytest.mark.parametrize(
    ("url", "open_", "private"),
    [
        ("https://id.example", True, True),
        ("https://id.example:8443/realm", True, True),
        ("http://id.example", False, False),
        ("http://127.0.0.1:9", False, True),
        ("http://localhost", False, True),
        ("http://localhost.evil.example", False, False),
        ("https://user:pass@id.example", False, False),
        ("file:///etc/passwd", False, False),
        ("https://", False, False),
        ("https://[", False, False),
        ("id.example", False, False),
        ("", False, False),
    ],
)
def test_only_https_is_asked_and_plain_http_of_a_listed_host(
    url: str, open_: bool, private: bool
) -> None:
    assert may_ask(url, PrivateHosts()) is open_
    assert may_ask(url, THIS_MACHINE) is private


@pytest.fixture
async def guarded() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=GuardedTransport(PrivateHosts())) as client:
        yield client


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "2130706433", "0x7f.1"])
async def test_a_name_that_leads_to_us_is_not_connected_to(
    guarded: httpx.AsyncClient, host: str
) -> None:
    reached: list[object] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.append(writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ProviderError) as refused:
            await ask_json(guarded, f"https://{host}:{port}/x")
    assert refused.value.code in ("sso.provider_private", "sso.provider_away")
    assert reached == []


async def test_the_address_that_was_looked_at_is_the_one_connected_to(
    guarded: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that answers with a public address first and a private one later (DNS rebinding)."""
    looked_up: list[object] = []
    connected: list[str] = []
    loop = asyncio.get_running_loop()

    async def resolve(host: object, port: object, **more: object) -> list[object]:
        looked_up.append(host)
        address = "203.0.114.7" if len(looked_up) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    async def open_to(self: object, host: str, *more: object, **named: object) -> object:
        connected.append(host)
        raise httpcore.ConnectError("as far as it goes")

    monkeypatch.setattr(loop, "getaddrinfo", resolve)
    monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", open_to)
    with pytest.raises(ProviderError):
        await ask_json(guarded, "https://rebind.example/x")
    assert looked_up == ["rebind.example"]
    assert connected == ["203.0.114.7"]


async def answered(content: bytes, headers: str = "") -> ProviderError | dict[str, object]:
    """What we make of a raw answer."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(content)}\r\n{headers}\r\n"
        writer.write(head.encode() + content)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with (
        server,
        httpx.AsyncClient(transport=GuardedTransport(THIS_MACHINE)) as client,
    ):
        port = server.sockets[0].getsockname()[1]
        try:
            return await ask_json(client, f"http://127.0.0.1:{port}/x")
        except ProviderError as error:
            return error


async def test_a_bomb_is_not_unpacked_and_a_flood_is_cut_off() -> None:
    bomb = await answered(gzip.compress(b" " * 10**7), "content-encoding: gzip\r\n")
    assert isinstance(bomb, ProviderError)
    assert bomb.code == "sso.provider_wrong"
    flood = await answered(b" " * (net.MAX_BYTES + 1))
    assert isinstance(flood, ProviderError)
    assert flood.code == "sso.provider_wrong"
    assert await answered(b'{"a": 1}') == {"a": 1}


async def test_one_who_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity_http, "SECONDS", 0.2)
    server = await asyncio.start_server(lambda reader, writer: asyncio.sleep(5), "127.0.0.1", 0)
    async with httpx.AsyncClient(transport=GuardedTransport(THIS_MACHINE)) as client:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ProviderError) as slow:
            await ask_json(client, f"http://127.0.0.1:{port}/x")
    server.close()
    assert slow.value.code == "sso.provider_away"


@pytest.mark.parametrize(
    ("listed", "host"),
    [
        ("localhost", "localhost"),
        ("LOCALHOST, n8n", "localhost"),
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.0/8", "127.0.0.1"),
        ("127.0.0.0/8", "127.8.9.10"),
    ],
)
async def test_a_listed_host_is_asked_on_a_private_network(listed: str, host: str) -> None:
    server = await asyncio.start_server(answer_yes, "0.0.0.0", 0)
    transport = GuardedTransport(PrivateHosts.parse(listed))
    async with server, httpx.AsyncClient(transport=transport) as client:
        port = server.sockets[0].getsockname()[1]
        assert (await client.get(f"http://{host}:{port}/")).text == "yes"


@pytest.mark.parametrize("listed", ["n8n", "10.0.0.0/8", "127.0.0.2", "localhost"])
async def test_a_list_opens_nothing_that_is_not_in_it(listed: str) -> None:
    server = await asyncio.start_server(answer_yes, "127.0.0.1", 0)
    transport = GuardedTransport(PrivateHosts.parse(listed))
    async with server, httpx.AsyncClient(transport=transport) as client:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(httpx.UnsupportedProtocol):
            await client.get(f"http://127.0.0.1:{port}/")
        with pytest.raises(httpx.ConnectError):
            await client.get(f"https://127.0.0.1:{port}/")


async def test_a_redirect_is_checked_like_the_first_request() -> None:
    """A listed server must not lead the platform to another private address."""
    reached: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        reached.append(head.split(b" ")[1].decode())
        place = f"https://127.0.0.1:{port}/secret"
        writer.write(
            f"HTTP/1.1 302 Found\r\nlocation: {place}\r\ncontent-length: 0\r\n\r\n".encode()
        )
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    transport = GuardedTransport(PrivateHosts.parse("localhost"))
    async with server, httpx.AsyncClient(transport=transport, follow_redirects=True) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(f"http://localhost:{port}/start")
    assert reached == ["/start"]


@pytest.mark.parametrize("wrong", ["http://n8n", "n8n:5678", "10.0.0.0/33", "a b", "ñandú/8"])
def test_a_list_that_cannot_be_read_is_refused_with_what_to_write(wrong: str) -> None:
    with pytest.raises(SetupError, match="NEURANT_OUTBOUND_PRIVATE_HOSTS"):
        Settings(outbound_private_hosts=f"n8n, {wrong}")


def test_the_servers_of_the_installations_own_settings_need_no_entry() -> None:
    hosts = private_hosts_of(Settings(telegram_api_url="http://bot-api:8081"))
    assert may_ask("http://bot-api:8081/bot1:x/getMe", hosts)
    assert not may_ask("http://bot-api.rival.example/", hosts)


async def answer_yes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nyes")
    writer.close()
