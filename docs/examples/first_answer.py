#!/usr/bin/env python3
"""From nothing to a bot's first answer, by the HTTP API alone. Needs Python and httpx.

Start the platform (`neurant up`), then:

    python docs/examples/first_answer.py --url http://127.0.0.1:8000 --mail neurant-data/mail

`--mail` is where an installation without a mail server keeps its mail; with one, leave it out and
type the code that reaches your mailbox.
"""

from __future__ import annotations

import argparse
import email
import json
import re
import secrets
import sys
import time
import uuid
from email import policy
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

DOCUMENT = """Horarios de la clínica

La clínica atiende de lunes a viernes de 8:00 a 18:00 y los sábados de 9:00 a 13:00.

Pagos

Se puede pagar con tarjeta, en efectivo o por transferencia bancaria.
"""
QUESTION = "¿Qué días y a qué hora atienden?"


def main() -> int:
    """The whole way; every step is one request."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--url", default="http://127.0.0.1:8000")
    options.add_argument("--mail", type=Path)
    options.add_argument("--email", default=f"ana-{secrets.token_hex(4)}@clinica-sonrisa.example")
    given = options.parse_args()
    with httpx.Client(base_url=given.url, timeout=30) as api:
        api.headers["authorization"] = f"Bearer {sign_up(api, given.email, given.mail)}"
        company = found_company(api)
        chat = make_bot(api, company)
        print("Respuesta:", ask(given.url, chat, QUESTION))
    return 0


def call(api: httpx.Client, method: str, path: str, **options: Any) -> Any:
    """One request; an error stops here and says what the platform said."""
    answer = api.request(method, path, **options)
    if answer.is_error:
        sys.exit(f"{method} {path}: {answer.status_code} {answer.text}")
    return answer.json() if answer.content else None


def sign_up(api: httpx.Client, address: str, mail: Path | None) -> str:
    """An account, whose mailbox is proven by the code in the mail; the session's token."""
    begun = call(
        api,
        "POST",
        "/v1/accounts",
        json={
            "first_name": "Ana",
            "last_name": "Ríos",
            "email": address,
            "password": secrets.token_urlsafe(16),
            "accept_terms": True,
        },
    )
    code = code_in(mail, address) if mail else input("El código que te llegó por correo: ")
    proof = {"verification_token": begun["verification_token"], "code": code}
    return str(call(api, "POST", "/v1/accounts/verification", json=proof)["token"])


def code_in(folder: Path, address: str) -> str:
    """The code in the newest mail to an address, once the worker has written it."""
    for _ in range(150):
        for path in sorted(folder.glob("*.eml"), reverse=True):
            message = email.message_from_bytes(path.read_bytes(), policy=policy.default)
            text = message.get_body(("plain",))
            if address in str(message["to"]) and text is not None:
                found = re.search(r"\b\d{3} ?\d{3}\b", text.get_content())
                if found:
                    return found[0].replace(" ", "")
        time.sleep(0.2)
    sys.exit(f"No llegó ningún correo a {folder}. ¿Está en marcha el trabajador?")


def found_company(api: httpx.Client) -> str:
    """A company, in which the session goes on, on trial of a plan that allows documents."""
    name = f"Clínica Sonrisa {secrets.token_hex(3)}"
    made = call(api, "POST", "/v1/companies", json={"name": name, "industry": "health"})
    call(api, "POST", "/v1/session/company", json={"company_id": made["id"]})
    call(api, "POST", "/v1/subscription/trial", json={"plan": "starter"})
    return name


def make_bot(api: httpx.Client, company: str) -> str:
    """A bot from a template, its web chat, a document that it has read; the chat's path."""
    templates = call(api, "GET", "/v1/chatbot-templates", params={"category": "customer_service"})
    bot = call(
        api,
        "POST",
        "/v1/chatbots",
        json={
            "template_id": templates["data"][0]["id"],
            "name": f"Asistente de {company}",
            "is_active": True,
        },
        headers={"idempotency-key": str(uuid.uuid4())},
    )
    channel = call(api, "POST", f"/v1/chatbots/{bot['id']}/channels", json={"channel": "web"})
    file = {"file": ("horarios.txt", DOCUMENT.encode(), "text/plain")}
    call(api, "POST", f"/v1/chatbots/{bot['id']}/documents", files=file)
    for _ in range(300):
        listed = call(api, "GET", "/v1/documents", params={"chatbot_id": bot["id"]})
        document = listed["data"][0]
        if document["status"] == "completed":
            return str(urlsplit(channel["chat_url"]).path)
        if document["status"] == "failed":
            sys.exit(f"El documento no se pudo leer: {document['error']}")
        time.sleep(0.2)
    sys.exit("El documento sigue sin leerse. ¿Está en marcha el trabajador?")


def ask(url: str, chat: str, question: str) -> str:
    """What the bot answers a visitor."""
    with httpx.Client(base_url=url, timeout=30) as visitor:
        visitor.headers["authorization"] = (
            f"Bearer {call(visitor, 'POST', f'{chat}/session')['token']}"
        )
        body = {"client_id": str(uuid.uuid4()), "text": question}
        call(visitor, "POST", f"{chat}/messages", json=body)
        with visitor.stream("GET", f"{chat}/stream") as events:
            for line in events.iter_lines():
                if line.startswith("data:"):
                    said = json.loads(line.removeprefix("data:"))
                    if isinstance(said, dict) and said.get("sender") == "bot":
                        return str(said["text"])
    sys.exit("El chat terminó sin respuesta.")


if __name__ == "__main__":
    sys.exit(main())
