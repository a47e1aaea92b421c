"""How well the embedded search finds passages and how well the bot knows what it does not know.

Run: ``python bench/answers.py`` (about 4 minutes on one core); writes ``bench/out/answers.json``,
a list of {name, value, goal, ok, how}. All figures come from data that no tuning used: the
odd-numbered articles of the SQuAD-es file and the held-out half of the demo questions.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calibrate_answers import Example, demo_examples, plain, squad_companies, squad_examples
from offline_search import SQUAD

from neurant.knowledge import embed
from neurant.knowledge.answer import answer
from neurant.knowledge.rank import Ranked, fuse

OUT = Path(__file__).resolve().parent / "out" / "answers.json"


@dataclass
class Figure:
    """One measured figure; ``goal`` is a floor, or a ceiling where ``lower`` is true."""

    name: str
    value: float
    goal: float
    how: str
    lower: bool = False

    def row(self) -> dict[str, Any]:
        ok = self.value <= self.goal if self.lower else self.value >= self.goal
        value = round(self.value, 4)
        return {"name": self.name, "value": value, "goal": self.goal, "ok": ok, "how": self.how}


def recall_figures(per_article: int = 20) -> list[Figure]:
    """Recall of the right paragraph, each odd-numbered article being one company."""
    hits = {"dense": 0, "words": 0, "fused": 0, "fused@5": 0}
    asked = 0
    for article, company in squad_companies(1):
        pairs = [
            (one["question"], plain(paragraph["context"]))
            for paragraph in article["paragraphs"]
            for one in paragraph["qas"]
            if not one["is_impossible"]
        ]
        for question, context in pairs[:: max(1, len(pairs) // per_article)]:
            ranked = company.search(question)
            asked += 1
            candidates = [one.candidate for one in ranked]
            only_words = [c for c in candidates if c.lexical is not None]
            hits["dense"] += _first_in(fuse(candidates, dense_weight=1.0), context, 1)
            hits["words"] += _first_in(fuse(only_words, dense_weight=0.0), context, 1)
            hits["fused"] += _first_in(ranked, context, 1)
            hits["fused@5"] += _first_in(ranked, context, 5)
    how = f"{asked} Spanish questions (SQuAD-es, machine translated) to 17 unseen articles"
    goals = {"dense": 0.75, "words": 0.70, "fused": 0.80, "fused@5": 0.94}
    names = {
        "dense": "recall@1, meaning only",
        "words": "recall@1, words only",
        "fused": "recall@1, both",
        "fused@5": "recall@5, both",
    }
    return [Figure(names[key], hits[key] / asked, goals[key], how) for key in hits]


def _first_in(ranked: list[Ranked], context: str, top: int) -> bool:
    return any(plain(one.candidate.content) in context for one in ranked[:top])


def answer_figures(
    examples: list[Example], label: str, goals: tuple[float, float, float]
) -> list[Figure]:
    """Answered right, answered with a wrong quote, and answered what has no answer."""
    right = wrong = false = 0
    answerable = [example for example in examples if example.expected]
    for example in examples:
        given = answer(example.question, example.ranked)
        if given is None:
            continue
        source = given.sources[0]
        good = example.good(source.quote, source.document)
        right += good
        wrong += bool(example.expected) and not good
        false += not example.expected
    without = len(examples) - len(answerable)
    how = f"{label}: {len(answerable)} questions with an answer, {without} without"
    figures = [
        Figure(f"answered right ({label})", right / len(answerable), goals[0], how),
        Figure(f"wrong quote ({label})", wrong / len(answerable), goals[1], how, lower=True),
    ]
    if without:
        name = f"answered without grounds ({label})"
        figures.append(Figure(name, false / without, goals[2], how, lower=True))
    return figures


def timed(name: str, goal: float, how: str, work: Callable[[], object], times: int) -> Figure:
    """Mean milliseconds of ``work``."""
    started = time.perf_counter()
    for _ in range(times):
        work()
    milliseconds = (time.perf_counter() - started) / times * 1000
    return Figure(name, milliseconds, goal, how, lower=True)


def main() -> int:
    if not SQUAD.exists():
        print(f"skipped: {SQUAD.name} is not there, and most figures come from it")
        return 2
    embed.warm()
    demo = [one for one in demo_examples() if one.group == "demo held out"]
    squad = list(squad_examples(1, "squad", used=False))
    on_topic = [one for one in squad if not one.group.endswith("near misses")]
    near = [one for one in squad if one.group.endswith("near misses")]
    question = "¿Cuánto cuesta una limpieza dental?"
    passage = max((c.candidate.content for c in demo[0].ranked), key=len)
    figures = [
        *recall_figures(),
        *answer_figures(demo, "demo clinic, held out", (0.80, 0.10, 0.10)),
        *answer_figures(on_topic, "SQuAD-es, unseen articles", (0.55, 0.20, 0.02)),
        Figure(
            "near misses answered (SQuAD-es)",
            sum(answer(one.question, one.ranked) is not None for one in near) / len(near),
            0.65,
            f"{len(near)} questions that only seem answerable from their paragraph",
            lower=True,
        ),
        timed("answer, ms", 10, "choosing and deciding, 30 candidates, one core",
              lambda: answer(question, demo[0].ranked), 100),
        timed("question embedding, ms", 60, "35 characters, one core",
              lambda: embed.embed_query(question), 20),
        timed("passage embedding, ms", 400, f"{len(passage)} characters, one core",
              lambda: embed.embed_passage(passage), 10),
    ]  # fmt: skip
    rows = [figure.row() for figure in figures]
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(rows, ensure_ascii=False, indent=2) + "\n", "utf-8")
    for row in rows:
        mark = "ok  " if row["ok"] else "MISS"
        print(f"{mark} {row['name']:52} {row['value']:>9} (goal {row['goal']})  {row['how']}")
    return 0 if all(row["ok"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
