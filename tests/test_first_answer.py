"""From signing up to a bot's first answer by the API alone, as docs/examples/first_answer.py does it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.support.platform import free_port, platform_up

SCRIPT = Path(__file__).parents[1] / "docs" / "examples" / "first_answer.py"


@pytest.mark.platform
def test_the_documented_script_gets_an_answer_from_its_own_document(tmp_path: Path) -> None:
    data, port, log = tmp_path / "data", free_port(), tmp_path / "log"
    tmp_path.chmod(0o711)
    url = f"http://127.0.0.1:{port}"
    with platform_up(data, port, log):
        assert is_ready(url), log.read_text()
        command = [sys.executable, str(SCRIPT), "--url", url, "--mail", str(data / "mail")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr + log.read_text()
    assert "8:00 a 18:00" in done.stdout


def is_ready(url: str, seconds: float = 60) -> bool:
    """Whether the platform serves within these seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/readyz").status_code == 200:
                return True
        except httpx.TransportError:
            time.sleep(0.1)
    return False
