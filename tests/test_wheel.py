"""The wheel as a stranger uses it: built, installed in an empty folder, and started there offline."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import tomllib
import urllib.request
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import neurant
from tests.support.platform import free_port

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 120
# A proxy that does not exist: nothing can be fetched from another host.
NO_NETWORK = {
    f"{scheme}_proxy": "http://127.0.0.1:9" for scheme in ("http", "https", "HTTP", "HTTPS")
}
# What is not part of the source: results of earlier builds, tools, and data.
NOT_SOURCE = shutil.ignore_patterns(
    ".git", ".venv", "node_modules", "neurant-data", "build", "dist", "out",
    "*.egg-info", "__pycache__", ".*_cache", ".hypothesis",
)  # fmt: skip


def clean_environment(home: Path) -> dict[str, str]:
    """The environment without settings of this process, and without a way to other hosts."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NEURANT_", "PYTHON"))}
    return {**kept, **NO_NETWORK, "no_proxy": "127.0.0.1", "HOME": str(home), "LC_ALL": "C.UTF-8"}


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, env=clean_environment(cwd), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that ``python -m build`` makes of the source tree, by way of the source archive."""
    folder = tmp_path_factory.mktemp("build")
    shutil.copytree(ROOT, folder / "source", ignore=NOT_SOURCE, symlinks=True)
    run(
        *(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist"),
        cwd=folder / "source",
    )
    [made] = (folder / "dist").glob("neurant-*.whl")
    return made


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    held = {
        name
        for name in zipfile.ZipFile(wheel).namelist()
        if not re.match(r"[^/]+\.dist-info/", name)
    }
    in_tree = {
        f"neurant/{path.relative_to(ROOT / 'neurant')}"
        for folder, _, names in os.walk(ROOT / "neurant", followlinks=True)
        for name in names
        if "__pycache__" not in (path := Path(folder) / name).parts
    }
    assert held == in_tree
    assert any(name.endswith(".sql") for name in held), "no migration"
    assert any("/vendor/" in name for name in held), "no page asset"


def install(wheel: Path, home: Path) -> Path:
    """A new environment with the wheel and, beside it, the packages that the tests run with."""
    venv.create(home / "venv", with_pip=False)
    python = home / "venv" / "bin" / "python"
    [site] = (home / "venv" / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    run(
        *(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index"),
        *("--no-deps", "--ignore-installed", "--disable-pip-version-check", wheel),
        cwd=home,
    )
    return python.parent


@contextmanager
def started(program: Path, home: Path, log: Path) -> Iterator[str]:
    """``neurant up --demo`` in this folder until its sample company can be talked to; its URL."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [program, "up", "--demo", "--port", str(port)],
            cwd=home, env=clean_environment(home), stdin=subprocess.DEVNULL, stdout=out, stderr=out,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + START_SECONDS
        while f"{url}/chat/" not in log.read_text("utf-8", "replace"):
            assert process.poll() is None, log.read_text("utf-8", "replace")
            assert time.monotonic() < deadline, log.read_text("utf-8", "replace")
            time.sleep(0.1)
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(60) in (0, 130)
        finally:
            process.kill()


def fetch(url: str) -> str:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url) as answer:
        return answer.read().decode("utf-8", "replace")


@pytest.mark.platform
def test_the_installed_wheel_starts_the_demo_in_an_empty_folder(wheel: Path, folder: Path) -> None:
    home = folder / "empty"
    home.mkdir()
    home.chmod(0o711)
    programs = install(wheel, folder)
    place = run(programs / "python", "-c", "import neurant; print(neurant.__file__)", cwd=home)
    assert Path(place.strip()).is_relative_to(folder / "venv"), "the repository was imported"
    assert not Path(place.strip()).is_relative_to(ROOT)
    assert run(programs / "neurant", "--version", cwd=home) == f"neurant {neurant.__version__}\n"
    with started(programs / "neurant", home, folder / "up.log") as url:
        page = fetch(f"{url}/login")
        assert 'type="password"' in page
        assets = re.findall(r'(?:href|src)="(/static/[^"]+)"', page)
        assert len(assets) > 5, assets
        for asset in [*assets, "/static/vendor/htmx.min.js", "/static/vendor/inter-latin.woff2"]:
            assert fetch(f"{url}{asset}")
        assert "Los Cedros" in fetch(f"{url}/chat/demo-los-cedros")
    assert {path.name for path in home.iterdir()} == {"neurant-data"}


def test_the_version_is_written_in_one_place() -> None:
    assert "version" not in tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert '"version"' not in (ROOT / "package.json").read_text("utf-8")
    assert re.fullmatch(r"\d+\.\d+\.\d+([a-z.]+\d+)?", neurant.__version__)
