"""The terminal output of ``neurant up``, in the person's language."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console
from rich.text import Text

from neurant.core.errors import NeurantError
from neurant.core.settings import Settings
from neurant.texts import Language, catalogue, text


class Teller:
    """The printer of each step at its beginning (on a terminal) and end, and of the first hints."""

    def __init__(self, settings: Settings, language: Language, console: Console | None = None):
        self._settings, self._language = settings, language
        self._console = console or Console(highlight=False, soft_wrap=True)

    def _print(self, line: str | Text, *style: str, **how: Any) -> None:
        """Print a line; after the terminal is closed, print nothing any more.

        Rich would end the process on a broken pipe, but this process supervises others.
        """
        try:
            self._console.print(line, *style, **how)
        except (OSError, SystemExit):
            self._console.quiet = True
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def _text(self, name: str, **params: object) -> str:
        return text(f"cli.{name}", self._language, **params)

    @contextmanager
    def step(self, name: str, **facts: object) -> Iterator[None]:
        """Show a step, and its duration when it ends."""
        what = self._text(f"step.{name}", **facts)
        if self._console.is_terminal:
            self._print(f"  [dim]· {what}…[/]", end="\r")
        started = time.monotonic()
        try:
            yield
        except BaseException:
            self._print(f"  [red]✗[/] {what} ")
            raise
        self._print(f"  [green]✓[/] {what} [dim]{time.monotonic() - started:.1f} s[/]")

    def note(self, name: str, **facts: object) -> None:
        """Show one line about an event."""
        told = {
            key: fact.detail(self._language) if isinstance(fact, NeurantError) else fact
            for key, fact in facts.items()
        }
        self._print(Text("  ! " + self._text(f"note.{name}", **told), "yellow"))

    def ready(self, address: str, demo: Mapping[str, Any] | None) -> None:
        """Show the address and, for a sample company, the logins and what to try."""
        folder = self._settings.data_dir.expanduser().resolve()
        lines: list[str | Text] = [
            "",
            Text(self._text("ready.title", address=address), "bold green"),
        ]
        if demo:
            lines += ["", *self._demo(address, demo), ""]
            lines.append(Text(self._text("ready.logs", folder=folder / "logs"), "dim"))
        else:
            server = self._settings.smtp_url is not None
            mail = "ready.mail_by_server" if server else "ready.mail_in_folder"
            lines.append(Text(self._text("ready.sign_up", address=address)))
            lines.append(Text(self._text(mail, folder=folder / "mail")))
        lines.append(Text(self._text("ready.stop", folder=folder), "dim"))
        for line in lines:
            self._print(line)

    def _demo(self, address: str, demo: Mapping[str, Any]) -> list[str | Text]:
        logins: list[tuple[str, str]] = [
            (self._role(role), email) for role, email in demo["logins"]
        ]
        width = max(len(role) for role, _ in logins)
        facts = {
            "address": address,
            "bot": str(demo["bot_name"]),
            "chat": f"{address}{demo['chat_path']}",
            "command": "neurant" if shutil.which("neurant") else sys.argv[0],
            "options": self._options(),
        }
        return [
            Text(self._text("ready.logins", address=address, password=demo["password"])),
            *(Text(f"  {role:<{width}}  {email}") for role, email in logins),
            "",
            Text(self._text("ready.try"), "bold"),
            *(
                Text("  " + self._text(f"ready.{name}", **facts))
                for name in ("try_chat", "try_human", "try_teach")
            ),
        ]

    def _options(self) -> str:
        """Return the options that make another command use this data folder."""
        folder = self._settings.data_dir
        usual = folder == Settings.model_fields["data_dir"].default
        return "" if usual else f" --data-dir {shlex.quote(str(folder))}"

    def _role(self, role: str) -> str:
        return catalogue(self._language).get(f"cli.role.{role}", role)
