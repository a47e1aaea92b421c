"""The replies that are composed of quotes: right, wrong and groundless ones of three companies.

A reply is right when all expected texts stand in it and none of the excluded ones, wrong when it
says something else. With SQuAD-es (the odd-numbered articles, which no rule was tuned on), it also
measures whether a quote from the right passage contains the expected answer.
"""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Iterator
from typing import Any

from semantic_text_splitter import TextSplitter

from bench.answer_set import plain
from bench.figures import Figure, Figures, NotMeasuredError, quotient
from bench.offline_search import SQUAD, Company
from bench.product import (
    MAX_CHUNK_CHARS,
    asks_something,
    best_window,
    chunk,
    embed,
    extract,
    judge,
    read_question,
    stems,
    weights,
)
from bench.sizes import sized
from bench.support import ROOT

CASES = ROOT / "bench" / "phrasing_cases.toml"
COMPANIES, QUESTIONS = sized((None, None), tiny=(1, 3))  # all, or the first few
ARTICLES, PER_ARTICLE = sized((None, 40), tiny=(1, 2))
NEIGHBOURS = 20  # the passages that the words of a question are weighted on


def company_of(documents: list[dict[str, str]]) -> Company:
    company = Company()
    for document in documents:
        for piece in chunk(extract(document["text"].encode(), document["name"])):
            company.add(
                document["name"],
                piece.content,
                page=piece.page_number,
                section=piece.section_title,
                text_to_embed=piece.embedding_text(),
            )
    return company


def outcome(question: dict[str, Any], reply: str | None) -> str:
    if question.get("silent"):
        return "quiet" if reply is None else "groundless"
    if reply is None:
        return "silent"
    has_all = all(text in reply for text in question["right"])
    return (
        "right" if has_all and not any(t in reply for t in question.get("wrong", ())) else "wrong"
    )


def case_figures() -> Figures:
    """Yield the shares of right, wrong and groundless replies; the first quote is the baseline."""
    replies, quotes = Counter[str](), Counter[str]()
    for case in tomllib.loads(CASES.read_text("utf-8"))["company"][:COMPANIES]:
        company = company_of(case["document"])
        for question in case["question"][:QUESTIONS]:
            answer = judge(question["ask"], company.search(question["ask"])).answer
            replies[outcome(question, answer.text if answer else None)] += 1
            quotes[outcome(question, answer.sources[0].quote if answer else None)] += 1
    answerable = replies["right"] + replies["wrong"] + replies["silent"]
    without = replies["quiet"] + replies["groundless"]
    for key, of, goal in (("right", answerable, 0.85), ("wrong", answerable, 0.10),
        ("groundless", without, 0.12)):  # fmt: skip
        yield Figure(
            id=f"phrasing_{key}",
            title=f"replies that are {key} (shop, hotel, university)",
            measured=replies[key] / max(1, of),
            unit="of 1",
            baseline="the first quote as the reply",
            baseline_measured=quotes[key] / max(1, of),
            ratio=quotient(replies[key], quotes[key]),
            goal=goal,
            goal_on="measured",
            higher_is_better=key == "right",
            details=f"{answerable} questions with an answer, {without} without",
        )


def passages_of(article: dict[str, Any]) -> Iterator[tuple[str, list[str], str, list[str]]]:
    """Yield each question with its answers, the passage that has one, and the passages near it."""
    splitter = TextSplitter(MAX_CHUNK_CHARS)
    divided = [list(splitter.chunks(one["context"])) for one in article["paragraphs"]]
    every = [(passage, frozenset(stems(passage))) for passages in divided for passage in passages]
    for paragraph, own in zip(article["paragraphs"], divided, strict=True):
        for question in paragraph["qas"]:
            golds = [plain(one["text"]) for one in question["answers"] if one["text"]]
            holding = [one for one in own if any(gold in plain(one) for gold in golds)]
            if question["is_impossible"] or not holding:
                continue
            asked = frozenset(stems(question["question"]))
            near = sorted(every, key=lambda one: -len(asked & one[1]))[:NEIGHBOURS]
            yield question["question"], golds, holding[0], [passage for passage, _ in near]


def squad_figure() -> Figure:
    """Return the share of quotes, taken from the right passage, that contain the answer."""
    held = begun = asked = length = 0
    for article in json.loads(SQUAD.read_text("utf-8"))["data"][1::2][:ARTICLES]:
        examples = list(passages_of(article))
        for question, golds, passage, near in examples[:: max(1, len(examples) // PER_ARTICLE)]:
            wanted = read_question(question)
            if not asks_something(wanted):
                continue
            window = best_window(wanted, weights(wanted, near), passage, None)
            if window is None:
                continue
            asked += 1
            length += len(window.quote)
            held += any(gold in plain(window.quote) for gold in golds)
            begun += any(gold in plain(passage[: len(window.quote)]) for gold in golds)
    return Figure(
        id="phrasing_quote_holds",
        title="quotes from the right passage that contain the answer (SQuAD-es)",
        measured=held / asked,
        unit="of 1",
        baseline="as many characters from the passage's beginning",
        baseline_measured=begun / asked,
        ratio=quotient(held, begun),
        goal=0.95,
        goal_on="measured",
        higher_is_better=True,
        details=f"{asked} questions to unseen articles, quotes of {length / asked:.0f} characters",
    )


def measure() -> Figures:
    embed.warm()
    yield from case_figures()
    if not SQUAD.exists():
        raise NotMeasuredError(f"the figures of SQuAD-es: {SQUAD.name} is not there")
    yield squad_figure()
