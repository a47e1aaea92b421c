"""A child that reads documents is refused everything else, with root and without."""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from neurant.core.sandbox import call_filter
from neurant.knowledge import reader
from neurant.knowledge.reader import limits_for
from neurant.knowledge.reader_limits import measured_limits

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
ROOT = Path(__file__).resolve().parents[2]
ACCOUNT = 60_901  # owns nothing
ACCOUNTS = [pytest.param(None, id="this account")]
if os.geteuid() == 0 and shutil.which("setpriv"):
    ACCOUNTS.append(pytest.param(ACCOUNT, id="without root"))
# The one right it keeps lets it reach a Python that is in root's home; it loses nothing by that.
WITHOUT_ROOT = (
    "setpriv", f"--reuid={ACCOUNT}", f"--regid={ACCOUNT}", "--clear-groups",
    "--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search",
    "--bounding-set=-all,+dac_read_search",
)  # fmt: skip


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def refused_attempts(how: str, folder: Path, port: int, account: int | None) -> dict[str, bool]:
    """What a child of this account was refused."""
    secret = folder / "secrets.json"
    secret.write_text('{"master_key": "do not read"}')
    if account is not None:
        os.chown(folder, account, account)
        os.chown(secret, account, account)
    secret.chmod(0o600)
    given = {
        "memory": 2 * limits_for(0).memory,
        "secret": str(secret),
        "folder": str(folder),
        "port": port,
    }
    code = "from tests.knowledge.probing import main; main()"
    done = subprocess.run(
        [*(WITHOUT_ROOT if account else ()), sys.executable, "-c", code, how, json.dumps(given)],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "NEURANT_MASTER_KEY": "secret",
        },
        cwd=ROOT,
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


@LINUX
@pytest.mark.parametrize("account", ACCOUNTS)
def test_a_child_is_refused_everything_but_computing(
    folder: Path, listening: int, account: int | None
) -> None:
    refused = refused_attempts("confined", folder, listening, account)
    assert len(refused) == 19
    assert [name for name, holds in refused.items() if not holds] == []
    assert [path.name for path in folder.iterdir()] == ["secrets.json"]


@LINUX
@pytest.mark.parametrize("account", ACCOUNTS)
def test_an_ordinary_child_would_be_refused_nothing_of_it(
    folder: Path, listening: int, account: int | None
) -> None:
    refused = refused_attempts("ordinary", folder, listening, account)
    # Without IPv6, or where the kernel guards processes of the same account (Yama), these may hold.
    depends = {"tcp6", "parent_memory", "parent_memory_call", "parent_trace"}
    assert {name for name, holds in refused.items() if holds} <= depends


@LINUX
def test_a_child_dies_with_the_process_that_started_it(folder: Path) -> None:
    waits = (
        "import asyncio; from neurant.knowledge.reader import run_child, limits_for\n"
        "from tests.knowledge import bombs\n"
        "data = bombs.the_same_page_many_times()\n"
        "asyncio.run(run_child('pdf', limits_for(0), b'{\"filename\": \"a.pdf\"}\\n', data))\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", waits],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
    )
    try:
        deadline = time.monotonic() + 60
        children: list[psutil.Process] = []
        while not children:
            assert time.monotonic() < deadline
            time.sleep(0.02)
            children = [
                one for one in psutil.Process(parent.pid).children() if one.cpu_times().user > 0.3
            ]
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []


@LINUX
@pytest.mark.anyio
async def test_the_start_tells_which_limits_hold_here(folder: Path) -> None:
    limits = await measured_limits(folder)
    assert limits["missing"] == []
    assert set(limits["hold"]) >= {"memory", "network", "files", "processes", "environment", "cpu"}


@pytest.mark.anyio
async def test_a_limit_that_does_not_hold_is_reported(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_COMMAND", (*reader._COMMAND[:-1], reader._COMMAND[-1].replace(
        "import main;", "import main; import neurant.knowledge.reader_child as c;"
        " c.confine = lambda *_: None;"
    )))  # fmt: skip
    limits = await measured_limits(folder)
    assert {"memory", "network", "files", "processes", "cpu"} <= set(limits["missing"])


@LINUX
@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="no filter here")
def test_the_filter_of_calls_is_well_formed() -> None:
    program = call_filter(0xC000003E, (0, 1, 3))
    assert len(program) % 8 == 0
    instructions = [program[start : start + 8] for start in range(0, len(program), 8)]
    # Each of the three calls jumps to the last instruction, which allows; the one before refuses.
    jumps = {place: code[2] for place, code in enumerate(instructions) if 4 <= place < 7}
    assert {place + 1 + jump for place, jump in jumps.items()} == {len(instructions) - 1}


@LINUX
def test_a_reader_gives_way_before_it_imports_anything_large() -> None:
    code = (
        "import os, sys; from pathlib import Path; import neurant.knowledge.reader_child as child\n"
        "def told(kind):\n"
        "    group = Path('/proc/self/autogroup')\n"
        "    print(os.nice(0), group.read_text() if group.exists() else 'none')\n"
        "    os._exit(0 if not sys.stdout.flush() else 1)\n"
        "child._import_for = told; sys.argv[1:] = ['txt', '1', '1', '1']; child.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], start_new_session=True, capture_output=True, text=True
    )
    nice, group = done.stdout.split(" ", 1)
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert int(nice) == min(own + 10, 19)
    assert group.strip() == "none" or group.split()[-1] == "10"
