"""The committed results of a full run: stored as JSON, shown as Markdown, quoted by README."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.figures import Figure, goal_text, number, verdict
from bench.run import Outcome
from bench.support import ROOT

RESULTS = ROOT / "bench" / "results.json"
RENDERED = ROOT / "bench" / "results.md"
# A number with a unit of time or memory, as in "208 ms". README may contain only quoted ones.
_CLAIM = re.compile(r"\d[\d.,]* (?:µs|ms|s|MB|GB|messages/s)\b")


@dataclass(frozen=True)
class Results:
    """The outcomes of one run, with its date, commit and machine."""

    date: str
    commit: str
    machine: str
    cores: int
    memory_gb: int
    outcomes: list[Outcome]

    @property
    def figures(self) -> list[Figure]:
        return [figure for outcome in self.outcomes for figure in outcome.figures]

    def figure(self, name: str) -> Figure:
        """Return the figure of this id. Raises LookupError if the run has none."""
        for figure in self.figures:
            if figure.id == name:
                return figure
        raise LookupError(f"the results have no figure {name}")


def collect(outcomes: Sequence[Outcome]) -> Results:
    """Return the outcomes as the results of this commit on this machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Results(
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        commit=_commit(),
        machine=_processor(),
        cores=os.cpu_count() or 1,
        memory_gb=round(memory / 1024**3),
        outcomes=list(outcomes),
    )


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def _processor() -> str:
    """Return the name of the processor, as Linux reports it."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def to_json(results: Results) -> str:
    return json.dumps(asdict(results), ensure_ascii=False, indent=1) + "\n"


def from_json(text: str) -> Results:
    held = json.loads(text)
    held["outcomes"] = [outcome_from(one) for one in held["outcomes"]]
    return Results(**held)


def outcome_from(held: dict[str, object]) -> Outcome:
    """Return the outcome of a JSON object."""
    figures = held["figures"]
    assert isinstance(figures, list)
    return Outcome(**{**held, "figures": [Figure(**one) for one in figures]})  # type: ignore[arg-type]


def write(results: Results) -> None:
    """Replace the committed results."""
    RESULTS.write_text(to_json(results), "utf-8")
    RENDERED.write_text(rendered(results), "utf-8")


def rendered(results: Results) -> str:
    """Return the results as a page of Markdown."""
    red = [figure for figure in results.figures if not figure.is_green]
    lines = [
        "# Results of `make bench`",
        "",
        "`make bench` writes this file and `results.json`; nobody edits them. bench/README.md says"
        " what each figure is.",
        "",
        f"{results.date}, commit {results.commit}, {results.cores} cores ({results.machine}),"
        f" {results.memory_gb} GB of memory. {len(results.figures)} figures, {len(red)} red.",
        "",
        *_problems(results),
        "## For README.md",
        "",
        readme_paragraph(results) if not _missing(results) else "A figure for README is missing.",
        "",
        "## Figures",
        "",
        "| | figure | measured | ratio | baseline | goal |",
        "|---|---|---|---|---|---|",
        *(_row(figure) for figure in results.figures),
        "",
        "## Details",
        "",
        *(f"- `{figure.id}`: {figure.details}" for figure in results.figures),
    ]
    return "\n".join(lines) + "\n"


def _problems(results: Results) -> list[str]:
    crashed = [f"- CRASHED: {one.name}: {one.crashed}" for one in results.outcomes if one.crashed]
    missing = [
        f"- not measured: {one.name}: {one.not_measured}"
        for one in results.outcomes
        if one.not_measured
    ]
    return [*crashed, *missing, ""] if crashed or missing else []


def _row(figure: Figure) -> str:
    mark = {"green": "🟢 green", "RED": "🔴 **RED**", "-": "-"}[verdict(figure)]
    cells = (
        mark,
        figure.title,
        f"{number(figure.measured)} {figure.unit}",
        number(figure.ratio),
        f"{figure.baseline}: {number(figure.baseline_measured)} {figure.unit}",
        goal_text(figure),
    )
    return f"| {' | '.join(cells)} |"


_QUOTED = (
    "web_answer",
    "web_answer_browser",
    "telegram_answer",
    "start_cold",
    "start_warm",
    "memory_idle",
)


def _missing(results: Results) -> list[str]:
    """Return the figures that README quotes and the run lacks."""
    measured = {figure.id for figure in results.figures}
    return [name for name in _QUOTED if name not in measured]


def readme_paragraph(results: Results) -> str:
    """Return the paragraph of README that quotes figures, on one line."""
    quoted = {name: results.figure(name) for name in _QUOTED}
    text = {name: f"{number(one.measured)} {one.unit}" for name, one in quoted.items()}
    red = sum(not figure.is_green for figure in results.figures)
    of_goals = f"all {len(results.figures)} figures, {red} of them red"
    return (
        f"Measured by `make bench` on {results.date} (commit {results.commit}, {results.cores} cores,"
        f" {results.machine}): with 20 visitors asking, 95 % of the cited answers are on the screen"
        f" within {text['web_answer']} ({text['web_answer_browser']} in a real browser,"
        f" {text['telegram_answer']} by Telegram); `neurant up --demo` gives its first answer"
        f" {text['start_cold']} after it starts from nothing and {text['start_warm']} when it starts"
        f" again; the whole platform idles in {text['memory_idle']}."
        f" [bench/results.md](bench/results.md) has {of_goals}."
    )


def wrong_claims(readme: str, results: Results) -> list[str]:
    """Return the claims of README about figures that the results contradict."""
    text = " ".join(readme.split())
    paragraph = readme_paragraph(results)
    wrong = [] if paragraph in text else [f"README lacks the paragraph: {paragraph}"]
    others = _CLAIM.findall(text.replace(paragraph, ""))
    return wrong + [f"README has a figure that no result proves: {claim}" for claim in others]
