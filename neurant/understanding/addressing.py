"""Mentions and commands: they say to whom a message is addressed, and are no content of it."""

from __future__ import annotations

import re

# A name of a bot ends in "bot" at Telegram, so such a mention is an address wherever it stands.
_MENTION = re.compile(r"(?<![\w.])@(?:\w*bot\b|\w{3,}(?=[\s,:;.!?]*$))", re.IGNORECASE)
_LEADING_MENTION = re.compile(r"^\s*(?:@\w{3,}[\s,:;]*)+", re.IGNORECASE)
_COMMAND = re.compile(r"^\s*/([A-Za-z]\w{0,31})(?:@\w+)?(?:\s+|$)")
# These commands only introduce what follows; every other one is a word of the message.
_INTRODUCES = frozenset(
    {"pregunta", "preguntar", "consulta", "ask", "question", "q", "bot", "chat", "start"}
)
_ASKS_FOR_HELP = frozenset({"start", "help", "ayuda", "menu", "opciones", "options", "commands"})


def command(text: str) -> str | None:
    """Return the command of a message that is nothing but a command, without "/"; else None."""
    found = _COMMAND.match(text)
    return found[1].lower() if found and not text[found.end() :].strip() else None


def asks_for_help(text: str) -> bool:
    """Return whether a message is a command that asks what the bot can do: "/start", "/menu"."""
    return command(_without_mentions(text)) in _ASKS_FOR_HELP or bool(
        re.fullmatch(r"\s*/start(?:@\w+)?\s+\S+\s*", text)
    )


def without_address(text: str) -> str:
    """Return a message without the mentions of the bot and without its command.

    "/precio limpieza" gives "precio limpieza", because that command says something.
    """
    bare = _without_mentions(text)
    if found := _COMMAND.match(bare):
        rest = bare[found.end() :]
        bare = rest if found[1].lower() in _INTRODUCES else f"{found[1].replace('_', ' ')} {rest}"
    return bare.strip()


def _without_mentions(text: str) -> str:
    rest = _LEADING_MENTION.sub("", text, count=1)
    return _MENTION.sub("", rest).strip()
