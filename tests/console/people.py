"""Who the tests of the pages are: staff with one password, and visitors who write."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import httpx

PASSWORD = "un-paraguas-amarillo"


@dataclass(frozen=True)
class Visitor:
    """A visitor of a web chat and what they wrote."""

    token: str
    conversation_id: str
    client: httpx.Client
    path: str

    def say(self, text: str) -> None:
        write(self.client, self.path, self.token, text)


def write(client: httpx.Client, path: str, token: str, text: str) -> str:
    answer = client.post(
        f"{path}/messages",
        json={"client_id": str(uuid.uuid4()), "text": text},
        headers={"Authorization": f"Bearer {token}"},
    )
    assert answer.status_code == 200, answer.text
    return answer.json()["conversation_id"]
