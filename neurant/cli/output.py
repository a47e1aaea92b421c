"""What ``neurant up`` shows on the terminal, in the person's language."""

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
    """Tells of each step as it begins (on a terminal) and as it ends, and then what to try."""

    def __init__(self, settings: Settings, language: Language, console: Console | None = None):
        self._settings, self._language = settings, language
        self._console = console or Console(highlight=False, soft_wrap=True)

    def _print(self, line: str | Text, *style: str, **how: Any) -> None:
        """Print a line; where nobody reads any more (a closed terminal), nothing from then on.

        Rich ends the process for a broken pipe: ours has something to look after.
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
        """Show a step that takes a while, then how long it took."""
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
        """Show one line about something that happened."""
        told = {
            key: fact.detail(self._language) if isinstance(fact, NeurantError) else fact
            for key, fact in facts.items()
        }
        self._print(Text("  ! " + self._text(f"note.{name}", **told), "yellow"))

    def ready(self, address: str, demo: Mapping[str, Any] | None) -> None:
        """Show where it answers and, for a sample company, how to get in and what to try."""
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
        """What makes another command act on this data folder."""
        folder = self._settings.data_dir
        usual = folder == Settings.model_fields["data_dir"].default
        return "" if usual else f" --data-dir {shlex.quote(str(folder))}"

    def _role(self, role: str) -> str:
        return catalogue(self._language).get(f"cli.role.{role}", role)
