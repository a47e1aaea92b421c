"""A DNS server on loopback (UDP and TCP) that answers what a test wants, also wrongly or not at all."""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

Answer = Callable[[dns.message.Message], bytes | None]


def reply(
    query: dns.message.Message, *records: str, rcode: dns.rcode.Rcode = dns.rcode.NOERROR
) -> dns.message.Message:
    """An answer with these records, each ``name TYPE data`` in the format of a zone file."""
    made = dns.message.make_response(query)
    made.set_rcode(rcode)
    for one in records:
        name, kind, data = one.split(" ", 2)
        made.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", kind, data))
    return made


@dataclass
class DnsServer:
    """``answers``: the TXT values of each name; a name that is missing does not exist. ``say``
    answers instead of them where it is set; None is no answer at all."""

    address: str = ""
    answers: dict[str, list[str]] = field(default_factory=dict)
    say: Answer | None = None
    asked: list[str] = field(default_factory=list)
    by_tcp: int = 0

    def respond(self, wire: bytes, *, tcp: bool) -> bytes | None:
        query = dns.message.from_wire(wire)
        name = query.question[0].name.to_text(omit_final_dot=True)
        self.asked.append(name)
        self.by_tcp += tcp
        if self.say is not None:
            return self.say(query)
        if name not in self.answers:
            return reply(query, rcode=dns.rcode.NXDOMAIN).to_wire()
        made = reply(query, *(f"{name} TXT {one}" for one in self.answers[name]))
        whole = made.to_wire(max_size=65535)
        if tcp or len(whole) <= 1232:
            return whole
        short = reply(query)
        short.flags |= dns.flags.TC
        return short.to_wire()

    @staticmethod
    def records_of(shown: list[str]) -> dict[str, list[str]]:
        """The records of a page that shows names and values in turn."""
        return {name: [f'"{value}"'] for name, value in zip(shown[::2], shown[1::2], strict=True)}


@contextmanager
def running_dns() -> Iterator[DnsServer]:
    """It listens in threads of its own, on one port of UDP and TCP."""
    server = DnsServer()

    class Udp(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            wire, sender = self.request
            if (answer := server.respond(wire, tcp=False)) is not None:
                sender.sendto(answer, self.client_address)

    class Tcp(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            (length,) = struct.unpack("!H", self.rfile.read(2))
            if (answer := server.respond(self.rfile.read(length), tcp=True)) is not None:
                self.wfile.write(struct.pack("!H", len(answer)) + answer)

    udp, tcp = _on_one_port(Udp, Tcp)
    with udp, tcp:
        server.address = f"127.0.0.1:{udp.server_address[1]}"
        for one in (udp, tcp):
            threading.Thread(target=one.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        for one in (udp, tcp):
            one.shutdown()


def _on_one_port(
    udp_handler: type[socketserver.BaseRequestHandler],
    tcp_handler: type[socketserver.BaseRequestHandler],
) -> tuple[socketserver.UDPServer, socketserver.TCPServer]:
    """A server of each protocol; another port where TCP's half of the first one is taken."""
    while True:
        udp = socketserver.ThreadingUDPServer(("127.0.0.1", 0), udp_handler)
        try:
            return udp, socketserver.ThreadingTCPServer(udp.server_address, tcp_handler)
        except OSError:
            udp.server_close()


def closed_port() -> int:
    """A UDP port at which nobody listens."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
