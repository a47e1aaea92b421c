"""From a question sent to its cited answer on the visitor's screen, with 20 visitors asking.

Run: ``python bench/web_answer.py`` (about 2 minutes). Visitors, platform and browser share the
machine, so a figure holds the clients' own work too.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Sequence

from playwright.async_api import Page, async_playwright
from support import CHAT_PATH, busy, demo, demo_questions, empty_folder, percentile, report
from visitors import Measured, Visitor, busy_hour, cited_questions, crowd, one_instant

GOAL_MS = 600
VISITORS = 20
EACH = 6
ROUNDS_AT_ONCE = 6
BROWSER_QUESTIONS = 10
CHROMIUM = "/usr/bin/chromium"

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
    """Each question typed and sent as a person does; seconds as the page itself saw them."""
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


async def browser_among(
    base: str, visitors: Sequence[Visitor], questions: Sequence[str]
) -> Measured:
    """Ten questions in a real browser while the visitors go on asking."""

    async def go_on() -> None:
        for seed in itertools.count(2):
            await busy_hour(visitors, questions, EACH, seed)

    async with async_playwright() as play:
        browser = await play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
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


async def main() -> None:
    before = busy()
    with empty_folder() as folder, demo(folder) as platform:
        questions, alone = await cited_questions(platform.url, demo_questions())
        async with crowd(platform.url, VISITORS) as visitors:
            steady = await busy_hour(visitors, questions, EACH)
            at_once = Measured()
            for turn in range(ROUNDS_AT_ONCE):
                burst = await one_instant(visitors, questions[turn:] + questions[:turn])
                at_once.seconds += burst.seconds
                at_once.missing += burst.missing
                await asyncio.sleep(1)
            seen = await browser_among(platform.url, visitors, questions)
    median_alone = percentile(alone, 0.5) * 1000
    report(
        "web_answer",
        "web chat, question to cited answer, 20 visitors, p95 ms",
        steady.milliseconds(0.95),
        GOAL_MS,
        f"{len(steady.seconds)} questions, median {steady.milliseconds(0.5):.0f} ms,"
        f" worst {max(steady.seconds) * 1000:.0f} ms, {steady.missing} without a source;"
        f" 1 to 3 s of thinking between two questions; one visitor alone:"
        f" median {median_alone:.0f} ms; {before}",
    )
    report(
        "web_answer_browser",
        "the same on the screen of a real browser, p95 ms",
        seen.milliseconds(0.95),
        GOAL_MS,
        f"{len(seen.seconds)} questions in Chromium while the 20 go on asking,"
        f" median {seen.milliseconds(0.5):.0f} ms",
    )
    report(
        "web_answer_at_once",
        "web chat, 20 visitors press send in the same instant, p95 ms",
        at_once.milliseconds(0.95),
        GOAL_MS,
        f"{ROUNDS_AT_ONCE} rounds of 20, median {at_once.milliseconds(0.5):.0f} ms,"
        f" {at_once.missing} without a source",
    )


if __name__ == "__main__":
    asyncio.run(main())
