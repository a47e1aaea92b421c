"""Fit the coefficients of ``neurant.knowledge.answer`` on labelled questions and print them.

Run: ``python -m bench.calibrate_answers`` (about 4 minutes on one core); paste its output into that
module. An example is a question with the passage that ``choose`` picks; it is good when that
passage holds the expected answer, so a wrong passage for an answerable question counts against
answering, like a question without an answer. Its data: the tuning half of the demo questions, three
more small companies (``answer_cases.toml``), and the even-numbered articles of SQuAD-es (machine
translated, hence the lower weights): plain, mistyped, and after their document was removed. "Held
out" figures come from the other data.
"""

from __future__ import annotations

import json
import random
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from semantic_text_splitter import TextSplitter

from bench.answer_set import VARIANTS, companies, plain
from bench.offline_search import SQUAD, Company, demo_company
from bench.product import (
    DEMO_QUESTIONS,
    MAX_CHUNK_CHARS,
    Candidate,
    Ranked,
    choose,
    embed,
    is_english,
)
from bench.sizes import sized
from bench.support import ROOT

ENGLISH = ROOT / "bench" / "english_questions.toml"
CASES = ROOT / "bench" / "answer_cases.toml"
PER_ARTICLE = 12
# An answer to a question that the documents do not answer is worse than no answer.
ANSWERABLE, UNANSWERABLE = 2.0, 4.0
# A wrong passage of the right document says less than one of a company that knows nothing.
NEAR = 0.3
# Of English questions, those at 0.50 are answered; one threshold (0.55) serves both models.
RAISED = 0.2
ARTICLES, PARAGRAPHS = sized((None, None), tiny=(2, 3))  # all, or the first few
RIDGE = 1.0


@dataclass
class Example:
    """A labelled question; a good quote contains one of ``expected`` (none: no answer exists)."""

    group: str
    weight: float
    question: str
    ranked: Sequence[Ranked]
    expected: list[str]
    document: str | None = None
    is_context: bool = False  # ``expected`` is the paragraph that contains the right passage

    def good(self, quote: str, document: str) -> bool:
        if self.document is not None and self.document != document:
            return False
        return any(plain(wanted) in plain(quote) for wanted in self.expected)

    def right(self, candidate: Candidate) -> bool:
        """Return whether a passage holds the answer."""
        if self.is_context:
            return plain(candidate.content) in self.expected[0]
        return self.good(candidate.content, candidate.document)


def demo_examples(documents: int | None = None, most: int | None = None) -> Iterator[Example]:
    """Yield the labelled questions about the demo clinic.

    ``most`` limits the number of questions with and without an answer.
    """
    company = demo_company(documents)
    labelled = tomllib.loads(DEMO_QUESTIONS.read_text("utf-8"))
    for one in labelled["answerable"][:most] + labelled["unanswerable"][:most]:
        yield Example(
            "demo held out" if one["held_out"] else "demo",
            0.0 if one["held_out"] else ANSWERABLE if "quote" in one else UNANSWERABLE,
            one["question"],
            company.search(one["question"]),
            [one["quote"]] if "quote" in one else [],
            one.get("document"),
        )


def cases() -> Iterator[tuple[str, Company, dict[str, Any]]]:
    """Yield the small companies with their names and labelled questions."""
    for case in tomllib.loads(CASES.read_text("utf-8"))["company"]:
        company = Company()
        for passage in case["passages"]:
            company.add(case["name"], passage, section=passage.split("\n")[0])
        yield case["name"], company, case


def case_examples() -> Iterator[Example]:
    for _, company, case in cases():
        for one in case["answerable"]:
            # Any sentence of the right passage counts as an answer, because the passages are short.
            body = [line for line in case["passages"][one["in"]].split("\n")[1:] if line]
            expected = [part.strip() for line in body for part in line.split(". ")]
            ranked = company.search(one["question"])
            yield Example("cases", ANSWERABLE, one["question"], ranked, expected)
        for question in case["unanswerable"]:
            yield Example("cases", UNANSWERABLE, question, company.search(question), [])


def english_examples() -> Iterator[Example]:
    """Yield English questions about the demo clinic and the companies of ``answer_cases.toml``."""
    companies_of_cases = {name: company for name, company, _ in cases()} | {"demo": demo_company()}
    for asked in tomllib.loads(ENGLISH.read_text("utf-8"))["company"]:
        for one in asked["questions"]:
            ranked = companies_of_cases[asked["name"]].search(one["question"])
            expected = [one["holds"]] if "holds" in one else []
            yield Example("English", 1.0, one["question"], ranked, expected)


def document_examples() -> Iterator[Example]:
    """Yield even-numbered questions as people type them, with their document and without it."""
    made, questions = companies(0)
    for asked in questions:
        for typed in VARIANTS.values():
            question = typed(asked)
            if question is None or not asked.expected:
                continue
            company, expected = made[asked.company], [asked.context]
            found = company.search(question)
            yield Example("documents", 0.25, question, found, expected, is_context=True)
            found = company.search(question, without=asked.document)
            yield Example("documents", 0.25, question, found, [])


def squad_examples(parity: int, group: str) -> Iterator[Example]:
    """Yield questions of the articles of one parity.

    There are questions with an answer, without one, and about another article. They are for the
    figures only: no coefficient is fitted on them.
    """
    chosen = random.Random(1)
    articles = squad_companies(parity)
    for number, (article, company) in enumerate(articles):
        questions = [q for paragraph in article["paragraphs"] for q in paragraph["qas"]]
        chosen.shuffle(questions)
        answerable = [q for q in questions if not q["is_impossible"]][:PER_ARTICLE]
        impossible = [q for q in questions if q["is_impossible"]][: PER_ARTICLE // 2]
        for one in answerable + impossible:
            expected = [a["text"] for a in one["answers"] if a["text"] and not one["is_impossible"]]
            kind = " near misses" if one["is_impossible"] else ""
            ranked = company.search(one["question"])
            yield Example(group + kind, 0.0, one["question"], ranked, expected)
        _, elsewhere = articles[(number + 1) % len(articles)]
        for one in questions[: PER_ARTICLE // 2]:
            ranked = elsewhere.search(one["question"])
            yield Example(group + " off topic", 0.0, one["question"], ranked, [])


@cache
def squad_companies(parity: int) -> list[tuple[dict[str, Any], Company]]:
    """Return the articles of one parity, each with its paragraphs as a company's passages."""
    articles = json.loads(SQUAD.read_text("utf-8"))["data"][parity::2][:ARTICLES]
    return [(article, squad_company(article)) for article in articles]


def squad_company(article: dict[str, Any]) -> Company:
    company = Company()
    splitter = TextSplitter(MAX_CHUNK_CHARS)
    for paragraph in article["paragraphs"][:PARAGRAPHS]:
        for content in splitter.chunks(paragraph["context"]):
            company.add(article["title"], content)
    return company


def signals(examples: list[Example], *, foreign: bool) -> tuple[Any, Any, Any]:
    """Return the signals, labels and weights of the examples that have a passage to compare.

    ``foreign``: of the questions in English, or of all others.
    """
    rows, labels, used = [], [], []
    for example in examples:
        found = choose(example.question, example.ranked)
        if found is None or is_english(example.question) is not foreign:
            continue
        candidate, _, seen = found
        right = example.right(candidate)
        rows.append(seen.foreign_vector() if foreign else seen.vector())
        labels.append(right)
        used.append(example.weight * (NEAR if example.is_context and not right else 1.0))
    return np.array(rows), np.array(labels, dtype=float), np.array(used)


def fit(rows: Any, labels: Any, used: Any) -> Any:
    """Return the coefficients of a ridge logistic regression, the intercept first.

    It uses Newton's method.
    """
    design = np.c_[np.ones(len(rows)), rows]
    beta = np.zeros(design.shape[1])
    ridge = np.eye(len(beta)) * RIDGE
    ridge[0, 0] = 1e-6
    for _ in range(50):
        p = 1 / (1 + np.exp(-design @ beta))
        hessian = (design * (used * p * (1 - p))[:, None]).T @ design + ridge
        beta = beta + np.linalg.solve(hessian, design.T @ (used * (labels - p)) - ridge @ beta)
    return beta


def main() -> None:
    if not SQUAD.exists():
        raise SystemExit(
            f"skipped: {SQUAD.name} is not there, and half of the examples come from it"
        )
    embed.warm()
    examples = [
        *demo_examples(),
        *case_examples(),
        *english_examples(),
        *document_examples(),
    ]
    for foreign in (False, True):
        rows, labels, used = signals(examples, foreign=foreign)
        beta = fit(rows[used > 0], labels[used > 0], used[used > 0])
        prefix = "FOREIGN_" if foreign else ""
        print(
            f"examples used: {int((used > 0).sum())}, of them good: {int(labels[used > 0].sum())}"
        )
        print(f"{prefix}INTERCEPT = {beta[0] + (RAISED if foreign else 0):.2f}")
        print(f"{prefix}COEFFICIENTS = ({', '.join(f'{value:.2f}' for value in beta[1:])})")


if __name__ == "__main__":
    main()
