"""Reading an untrusted document in a process of its own that has no other rights.

Each document gets a fresh process (``reader_child``) without an environment, files or network, and
with limited memory, CPU, wall time and output. Whatever the document does to it, this process only
receives a JSON answer or an exit status, and translates it into one of our errors.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, cast, get_args

import orjson

import neurant
from neurant.core.errors import BadInputError, NeurantError, UnsupportedTypeError
from neurant.core.logs import get_logger
from neurant.core.sandbox import Limits
from neurant.knowledge.chunk import MAX_CHUNKS, Chunk, chunks_at
from neurant.knowledge.extract import MAX_CHARS, MAX_TITLE, Extracted, FileType, Page
from neurant.texts import catalogue

_MEGABYTE = 1024 * 1024
# The largest accepted text (6 million emoji in 20 MB) needs 600 MB, a page of prices 20 MB.
_MEMORY, _MEMORY_FACTOR = 512 * _MEGABYTE, 8
# The largest text takes 8 s, and 6 million characters on the pages of a PDF take 5 s.
_CPU_SECONDS, _CPU_SECONDS_PER_MEGABYTE = 10, 2
_WALL_FACTOR, _WALL_SECONDS = 5, 30  # generous, because answers have a higher CPU priority
_MAX_OUTPUT = 40 * _MEGABYTE  # 6 million characters of four bytes, and the passages' spans
_MAX_COMPLAINTS = 500  # bytes of the child's stderr that are logged
# A process that a signal ended above this share of its limit ran out of memory.
_MUCH_MEMORY = 0.6
_BLOCK = 256 * 1024
_LOOK_EVERY = 0.05  # seconds

# Isolated (-I) and without ``site`` (-S), which takes longer than our own imports. The child
# receives the paths of our packages instead.
_COMMAND = (
    sys.executable, "-I", "-S", "-X", "utf8", "-c",
    "import sys; sys.path += sys.argv.pop(1).split(';');"
    "from neurant.knowledge.reader_child import main; main()",
)  # fmt: skip

# The threads only wait for their children: two documents at a time, and the probe.
_threads = ThreadPoolExecutor(4, thread_name_prefix="read-document")

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a child. ``code``: its exit status, or minus the signal that ended it.

    ``why``: the limit for which we ended it; ``cpu`` in seconds; ``resident``: peak memory in
    bytes.
    """

    output: bytes
    complaints: bytes
    code: int
    why: Literal["", "time", "output", "stopped"]
    cpu: float
    resident: int


def limits_for(size: int) -> Limits:
    """Return the limits for reading a file of ``size`` bytes."""
    memory = _MEMORY + _MEMORY_FACTOR * size
    return Limits(memory, _CPU_SECONDS + _CPU_SECONDS_PER_MEGABYTE * size // _MEGABYTE)


async def read_document(data: bytes, filename: str) -> tuple[Extracted, list[Chunk]]:
    """Return the text and the passages of a document.

    Raises BadInputError and UnsupportedTypeError as ``extract`` does, and BadInputError where the
    document needs too much (document_needs_memory, document_takes_too_long, document_too_deep,
    document_too_large_inside, document_too_many_passages) or crashes its reader
    (document_reader_crashed). Raises RuntimeError or OSError where no child can be started.
    """
    limits = limits_for(len(data))
    header = json.dumps({"filename": filename}).encode() + b"\n"
    ended = await run_child(_kind(data), limits, header, data)
    if ended.code != 0 or ended.complaints:
        log.warning("document_reader_ended", **_report(ended))
    return await asyncio.to_thread(_understood, ended, limits, filename)


def _places() -> list[str]:
    """Return the import paths of this process, except the current folder.

    An empty or relative name would mean that folder. An editable installation is not on the path:
    it is found by a hook that ``site`` would install.
    """
    ours = str(Path(neurant.__file__).parents[1])
    return [ours, *(place for place in sys.path if Path(place).is_absolute() and place != ours)]


def _kind(data: bytes) -> str:
    """Return the type whose modules the child imports.

    The child determines the file's type itself.
    """
    if b"%PDF-" in data[:1024]:
        return "pdf"
    return "docx" if data.startswith(b"PK") else "txt"


async def run_child(kind: str, limits: Limits, *given: bytes) -> Ended:
    """Start a child, give it this input, and return its end. Cancelling ends the child."""
    child = _Child(kind, limits)
    running = asyncio.get_running_loop().run_in_executor(_threads, child.run, given)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        child.stop()
        await asyncio.wait([running])
        raise


class _Child:
    """A child from its start to its end, driven by a thread."""

    def __init__(self, kind: str, limits: Limits) -> None:
        self._kind, self._limits = kind, limits
        self._answer, self._complaints = bytearray(), bytearray()
        self._deadline = 0.0
        self._resident = 0
        self._why: Literal["", "time", "output", "stopped"] = ""

    def stop(self) -> None:
        """End the child soon; for another thread than the one that runs it."""
        self._why = "stopped"

    def run(self, given: Sequence[bytes]) -> Ended:
        """Start the child and return when it has ended, at the latest when its time is over."""
        limits = (self._limits.memory, self._limits.cpu, os.getpid())
        process = subprocess.Popen(
            [*_COMMAND, ";".join(_places()), self._kind, *map(str, limits)],
            env={},
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        self._deadline = time.monotonic() + _WALL_FACTOR * self._limits.cpu + _WALL_SECONDS
        try:
            self._talk(process, given)
            status, used = self._wait(process.pid)
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream:
                    stream.close()
        process.returncode = os.waitstatus_to_exitcode(status)  # wait4 has reaped it already
        return Ended(
            bytes(self._answer),
            bytes(self._complaints[:_MAX_COMPLAINTS]),
            process.returncode,
            self._why,
            used.ru_utime + used.ru_stime,
            max(self._resident, _peak(used)),
        )

    def _is_over(self, number: int) -> bool:
        self._resident = max(self._resident, _resident(number))
        if not self._why and time.monotonic() > self._deadline:
            self._why = "time"
        if not self._why and max(len(self._answer), len(self._complaints)) > _MAX_OUTPUT:
            self._why = "output"
        return bool(self._why)

    def _talk(self, process: subprocess.Popen[bytes], given: Sequence[bytes]) -> None:
        """Write the child's input and read its output until it closes its streams."""
        assert process.stdin and process.stdout and process.stderr  # noqa: S101, PT018 - asked for
        waiting = [memoryview(part) for part in given if part]
        into = {process.stdout: self._answer, process.stderr: self._complaints}
        with selectors.DefaultSelector() as ready:
            for stream in (process.stdin, process.stdout, process.stderr):
                os.set_blocking(stream.fileno(), False)
                writes = stream is process.stdin
                ready.register(stream, selectors.EVENT_WRITE if writes else selectors.EVENT_READ)
            while ready.get_map() and not self._is_over(process.pid):
                for key, _ in ready.select(_LOOK_EVERY):
                    stream = cast(IO[bytes], key.fileobj)
                    if stream is process.stdin:
                        going_on = _send(stream, waiting)
                    else:
                        going_on = _receive(stream, into[stream])
                    if not going_on:
                        ready.unregister(stream)
                        stream.close()

    def _wait(self, number: int) -> tuple[int, resource.struct_rusage]:
        """Return the child's status and usage; end the child when its time is over."""
        pause = 0.001
        while True:
            if self._is_over(number):
                os.kill(number, signal.SIGKILL)
                _, status, used = os.wait4(number, 0)
                return status, used
            found, status, used = os.wait4(number, os.WNOHANG)
            if found:
                return status, used
            time.sleep(pause)
            pause = min(2 * pause, _LOOK_EVERY)


def _resident(number: int) -> int:
    """Return the bytes that a process has in memory now (proc(5), statm); 0 if unknown."""
    try:
        pages = Path(f"/proc/{number}/statm").read_text("ascii").split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * resource.getpagesize()


def _peak(used: resource.struct_rusage) -> int:
    """Return the peak memory of a child that has ended, or 0 if it is not above our own peak.

    A peak up to our own is inherited from this process and says nothing about the child.
    """
    if used.ru_maxrss <= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss:
        return 0
    return used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _send(stream: IO[bytes], waiting: list[memoryview]) -> bool:
    """Write as much as possible without waiting; return whether there is more to write."""
    try:
        while waiting:
            waiting[0] = waiting[0][os.write(stream.fileno(), waiting[0]) :]
            if not waiting[0]:
                waiting.pop(0)
    except BlockingIOError:
        return True
    except BrokenPipeError:  # the child has ended; its answer or its exit status says why
        return False
    return False


def _receive(stream: IO[bytes], into: bytearray) -> bool:
    """Read the available bytes; return whether there may be more."""
    try:
        block = os.read(stream.fileno(), _BLOCK)
    except BlockingIOError:
        return True
    into += block
    return bool(block)


def _understood(ended: Ended, limits: Limits, filename: str) -> tuple[Extracted, list[Chunk]]:
    """Validate and return a child's answer.

    The answer may be anything, because a document may have taken over the child.
    """
    if ended.code > 0 and not ended.why:  # a reader that could start always exits with 0
        raise RuntimeError("the process that reads documents could not start")
    if ended.code != 0:
        raise _failure(ended, limits, filename)
    try:
        answer = orjson.loads(ended.output)
        if error := answer.get("error"):
            raise _error_from_child(error, filename)
        pages = [_page(*page) for page in answer["pages"]]
        spans = [_span(*span) for span in answer["spans"]]
        if len(spans) > MAX_CHUNKS or sum(len(page.text) for page in pages) > MAX_CHARS:
            raise ValueError("more than a reader of ours answers")
        extracted = Extracted(_file_type(answer["file_type"]), _title(answer["title"]), pages)
        return extracted, chunks_at(extracted, spans)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _failure(ended, limits, filename) from error


def _file_type(value: object) -> FileType:
    if value in get_args(FileType):
        return cast(FileType, value)
    raise ValueError(value)


def _page(number: object, text: object, section: object) -> Page:
    if not isinstance(number, int | None):
        raise TypeError
    return Page(number, _text(text) or "", _title(section))


def _text(value: object) -> str | None:
    """Return a text that PostgreSQL can store, or None."""
    if value is not None and (not isinstance(value, str) or "\0" in value):
        raise TypeError
    return value


def _title(value: object) -> str | None:
    text = _text(value)
    if text is not None and len(text) > MAX_TITLE:
        raise ValueError("a title that is too long")
    return text


def _span(page: object, start: object, end: object) -> tuple[int, int, int]:
    if isinstance(page, int) and isinstance(start, int) and isinstance(end, int):
        return page, start, end
    raise TypeError


def _error_from_child(error: Mapping[str, Any], filename: str) -> NeurantError:
    """Return the error that the child names.

    Raises ValueError unless it is an error of a document.
    """
    code, params = str(error["code"]), dict(error["params"])
    if not code.startswith("document_") or f"errors.{code}" not in catalogue("es"):
        raise ValueError(code)
    kind = UnsupportedTypeError if code.startswith("document_type_") else BadInputError
    return kind(code, **{**params, "filename": filename})


def _failure(ended: Ended, limits: Limits, filename: str) -> NeurantError:
    """Return the error for a child that ended without an answer."""
    if ended.why == "output":
        return BadInputError("document_too_large_inside", filename=filename)
    if ended.why == "time" or ended.code == -signal.SIGXCPU or ended.cpu >= limits.cpu:
        return BadInputError("document_takes_too_long", filename=filename)
    # A SIGKILL that is not ours means that the machine itself was out of memory.
    starved = ended.code < 0 and ended.resident >= _MUCH_MEMORY * limits.memory
    if starved or ended.code == -signal.SIGKILL:
        return BadInputError("document_needs_memory", filename=filename)
    return BadInputError("document_reader_crashed", filename=filename)


def _report(ended: Ended) -> dict[str, object]:
    """Return the fields for the log.

    The child's stderr may contain words of the document: only its type is logged.
    """
    said = ended.complaints.decode("utf-8", "replace").splitlines()
    return {
        "code": ended.code,
        "why": ended.why,
        "cpu": round(ended.cpu, 2),
        "resident_mb": ended.resident // _MEGABYTE,
        "said": said[-1].partition(":")[0] if said else "",
    }
