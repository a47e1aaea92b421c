"""Signed Telegram webhooks over kept-alive connections: a light load generator in its own process.

``webhook_durable`` runs it: ``python -m bench.webhook_load PORT SECONDS CONNECTIONS RATE SEED CUSTOMERS``.
With RATE 0 each connection sends its next webhook when the last one was answered. Otherwise RATE
webhooks a second are due at even distances, whether or not the earlier ones were answered, and a
latency counts from the moment at which the webhook was due; a webhook without an answer at the end
counts with the time that it has waited. Prints JSON: answered, seconds, errors, and the sorted
latencies in seconds.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import deque

TEXT = "Hola, ¿a qué hora abren hoy? Quisiera pedir una cita para mañana."
COMPANIES = 20


def webhook(number: int, customer: int) -> bytes:
    """Return a whole request; ``number`` makes it unique."""
    user = {"id": 1_000_000 + customer, "is_bot": False, "first_name": "Ana"}
    chat = {"id": 1_000_000 + customer, "type": "private", "first_name": "Ana"}
    message = {"message_id": number, "date": 1772000000, "from": user, "chat": chat, "text": TEXT}
    body = json.dumps({"update_id": number, "message": message}).encode()
    head = (
        f"POST /webhooks/telegram/tg-bench-{customer % COMPANIES} HTTP/1.1\r\nhost: bench\r\n"
        "content-type: application/json\r\nx-telegram-bot-api-secret-token: secret\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Load:
    """The webhooks that are due, the free connections, and the results."""

    def __init__(self, seed: int, closed: bool, customers: int) -> None:
        self.closed = closed
        self.customers = customers
        self.dice = random.Random(seed)
        self.number = seed * 10_000_000
        self.free: deque[Connection] = deque()
        self.due: deque[float] = deque()
        self.asked: set[Connection] = set()
        self.latencies: list[float] = []
        self.errors = 0
        self.ended = False

    def send(self, connection: Connection, since: float) -> None:
        self.number += 1
        connection.since = since
        self.asked.add(connection)
        connection.write(webhook(self.number, self.dice.randrange(self.customers)))

    def arrive(self, moment: float) -> None:
        """Send a webhook that is due on a free connection, or on the next one that becomes free."""
        if self.free:
            self.send(self.free.popleft(), moment)
        else:
            self.due.append(moment)

    def answered(self, connection: Connection, status: bytes) -> None:
        now = time.perf_counter()
        if not self.ended:
            self.latencies.append(now - connection.since)
            self.errors += status != b"200"
        if self.ended:
            return
        self.asked.discard(connection)
        if self.closed:
            self.send(connection, now)
        elif self.due:
            self.send(connection, self.due.popleft())
        else:
            self.free.append(connection)


class Connection(asyncio.Protocol):
    """One kept-alive connection; an answer ends with its body."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.since = 0.0
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.load.free.append(self)

    def write(self, request: bytes) -> None:
        assert isinstance(self.transport, asyncio.WriteTransport)
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, ended, body = self.buffer.partition(b"\r\n\r\n")
        if not ended:
            return
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        if len(body) >= length:
            self.buffer = b""
            self.load.answered(self, head[9:12])


async def closed_loop(load: Load, seconds: float) -> None:
    """Let every connection send its next webhook when the last one was answered."""
    now = time.perf_counter()
    for connection in list(load.free):
        load.send(connection, now)
    await asyncio.sleep(seconds)


async def open_loop(load: Load, seconds: float, rate: float) -> None:
    """Let ``rate`` webhooks per second become due, regardless of the answers."""
    began, sent = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - began) < seconds:
        while sent < elapsed * rate:
            load.arrive(began + sent / rate)
            sent += 1
        await asyncio.sleep(0.0005)


async def main(
    port: int, seconds: float, connections: int, rate: float, seed: int, customers: int
) -> None:
    load = Load(seed, rate == 0, customers)
    loop = asyncio.get_running_loop()
    for _ in range(connections):
        await loop.create_connection(lambda: Connection(load), "127.0.0.1", port)
    began = time.perf_counter()
    await (open_loop(load, seconds, rate) if rate else closed_loop(load, seconds))
    load.ended = True
    answered = len(load.latencies)
    if rate:  # an unanswered webhook counts with the time that it has waited
        now = time.perf_counter()
        waiting = [*load.due, *(connection.since for connection in load.asked)]
        load.latencies += [now - since for since in waiting]
    result = {
        "answered": answered,
        "seconds": time.perf_counter() - began,
        "errors": load.errors,
        "latencies": sorted(load.latencies),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    _, port, seconds, connections, rate, seed, customers = sys.argv
    asyncio.run(
        main(int(port), float(seconds), int(connections), float(rate), int(seed), int(customers))
    )
