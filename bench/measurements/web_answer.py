"""The time from a sent question to its cited answer on the screen, with 20 visitors asking.

Visitors, platform and browser share the machine, so a figure includes the clients' own work. The
baseline is one visitor who asks alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Page, async_playwright

from bench.figures import Figure, Figures, NotMeasuredError
from bench.platform import platform
from bench.sizes import sized
from bench.support import CHAT_PATH, busy, demo_questions, percentile
from bench.visitors import Measured, Visitor, busy_hour, cited_questions, crowd, one_instant

GOAL_MS = 600
VISITORS = sized(20, tiny=2)
EACH = sized(6, tiny=1)
ROUNDS_PER_RUN = sized(6, tiny=1)
BROWSER_QUESTIONS = sized(10, tiny=1)
QUESTIONS = sized(None, tiny=3)  # the demo questions, all or the first few
CHROMIUM = Path("/usr/bin/chromium")
HAS_BROWSER = CHROMIUM.exists()

# Time runs from the form's submit to the frame in which a bot's message with its source shows.
WATCH = """
window.answered = [];
let asked = null;
document.addEventListener("submit", () => { asked = performance.now(); }, true);
new MutationObserver((changes) => {
  for (const change of changes) for (const node of change.addedNodes) {
    if (asked === null || !node.matches?.(".msg--bot[data-seq]")) continue;
    const cited = !node.querySelector("[data-sources]").hidden;
    const began = asked;
    asked = null;
    requestAnimationFrame(() => answered.push({ ms: performance.now() - began, cited }));
  }
}).observe(document, { childList: true, subtree: true });
"""


async def ask_in_browser(page: Page, questions: Sequence[str]) -> Measured:
    """Type and send each question as a person does; measure the seconds inside the page."""
    measured = Measured()
    for number, question in enumerate(questions, 1):
        await page.fill("#draft", question)
        await page.press("#draft", "Enter")
        await page.wait_for_function("count => answered.length >= count", arg=number)
        seen = await page.evaluate("answered.at(-1)")
        if not seen["cited"]:
            raise RuntimeError(f"the page shows no source for: {question}")
        measured.seconds.append(seen["ms"] / 1000)
        await page.wait_for_timeout(500)
    return measured


async def all_at_once(visitors: Sequence[Visitor], questions: Sequence[str]) -> Measured:
    """Run rounds in which all visitors press "send" in the same instant."""
    measured = Measured()
    for turn in range(ROUNDS_PER_RUN):
        burst = await one_instant(visitors, [*questions[turn:], *questions[:turn]])
        measured.seconds += burst.seconds
        measured.missing += burst.missing
        await asyncio.sleep(1)
    return measured


async def browser_among(
    base: str, visitors: Sequence[Visitor], questions: Sequence[str]
) -> Measured:
    """Ask in a real browser while the visitors continue to ask."""

    async def go_on() -> None:
        for seed in itertools.count(2):
            await busy_hour(visitors, questions, EACH, seed)

    async with async_playwright() as play:
        browser = await play.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = await browser.new_page(locale="es-CO")
        await page.add_init_script(WATCH)
        await page.goto(base + CHAT_PATH)
        others = asyncio.create_task(go_on())
        try:
            return await ask_in_browser(page, questions[:BROWSER_QUESTIONS])
        finally:
            others.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await others
            await browser.close()


@dataclass(frozen=True)
class Crowd:
    """The seconds of one visitor alone, and the measurements of the crowd."""

    alone: list[float]
    steady: Measured
    at_once: Measured
    browser: Measured | None  # None without a browser


async def visit(base: str) -> Crowd:
    """Make all measurements on one platform."""
    questions, alone = await cited_questions(base, demo_questions()[:QUESTIONS])
    async with crowd(base, VISITORS) as visitors:
        steady = await busy_hour(visitors, questions, EACH)
        at_once = await all_at_once(visitors, questions)
        browser = await browser_among(base, visitors, questions) if HAS_BROWSER else None
    return Crowd(alone, steady, at_once, browser)


def figure(name: str, title: str, measured: Measured, alone: float, details: str) -> Figure:
    milliseconds = measured.milliseconds(0.95)
    return Figure(
        id=name,
        title=f"{title}, p95",
        measured=milliseconds,
        unit="ms",
        baseline="one visitor alone, median",
        baseline_measured=alone,
        ratio=milliseconds / alone,
        goal=GOAL_MS,
        goal_on="measured",
        details=f"{len(measured.seconds)} questions, median {measured.milliseconds(0.5):.0f} ms,"
        f" worst {max(measured.seconds) * 1000:.0f} ms, {measured.missing} without a source;"
        f" {details}",
    )


def measure() -> Figures:
    before = busy()
    with platform() as running:
        seen = asyncio.run(visit(running.url))
    alone = percentile(seen.alone, 0.5) * 1000
    yield figure(
        "web_answer",
        f"web chat, question to cited answer, {VISITORS} visitors",
        seen.steady,
        alone,
        f"1 to 3 s of thinking between two questions; {before}",
    )
    yield figure(
        "web_answer_at_once",
        f"web chat, {VISITORS} visitors press send in the same instant",
        seen.at_once,
        alone,
        f"{ROUNDS_PER_RUN} rounds",
    )
    if seen.browser is None:
        raise NotMeasuredError(f"the figure of a real browser: {CHROMIUM} does not exist")
    yield figure(
        "web_answer_browser",
        "question to cited answer on the screen of a real browser",
        seen.browser,
        alone,
        f"Chromium, while the {VISITORS} visitors go on asking",
    )
