"""The quality of the embedded search, and of the bot's decision that it knows no answer.

All figures come from data that no tuning used: the held-out half of the demo questions and, if the
file exists, the odd-numbered articles of SQuAD-es, each article being one company. (SQuAD-es is not
a part of the project.) It takes about 4 minutes on one core with that file.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from bench.answer_set import VARIANTS, outcomes, plain, rates
from bench.calibrate_answers import (
    Example,
    demo_examples,
    squad_companies,
    squad_examples,
)
from bench.figures import Figure, Figures, NotMeasuredError, quotient
from bench.offline_search import SQUAD
from bench.product import Ranked, choose, embed, fuse, judge
from bench.sizes import sized

DOCUMENTS = sized(None, tiny=1)  # the demo clinic's documents, all or the first one
EXAMPLES = sized(None, tiny=6)  # questions of each set, all or the first few
TIMES = sized((100, 20, 10), tiny=(1, 1, 1))
PER_ARTICLE = 20
GOALS = {"dense": 0.75, "words": 0.70, "fused": 0.80, "fused_5": 0.94}
NAMES = {
    "dense": "recall@1, meaning only",
    "words": "recall@1, words only",
    "fused": "recall@1, meaning and words",
    "fused_5": "recall@5, meaning and words",
}
QUESTION = "¿Cuánto cuesta una limpieza dental?"


def recall_figures() -> Figures:
    """Yield the recall of the right paragraph, each odd-numbered article being one company."""
    hits = dict.fromkeys(GOALS, 0)
    asked = 0
    articles = squad_companies(1)
    for article, company in articles:
        pairs = [
            (one["question"], plain(paragraph["context"]))
            for paragraph in article["paragraphs"]
            for one in paragraph["qas"]
            if not one["is_impossible"]
        ]
        for question, context in pairs[:: max(1, len(pairs) // PER_ARTICLE)][:EXAMPLES]:
            ranked = company.search(question)
            asked += 1
            candidates = [one.candidate for one in ranked]
            only_words = [c for c in candidates if c.lexical is not None]
            hits["dense"] += _first_in(fuse(candidates, words_weight=0.0), context, 1)
            hits["words"] += _first_in(fuse(only_words, similarity_weight=0.0), context, 1)
            hits["fused"] += _first_in(ranked, context, 1)
            hits["fused_5"] += _first_in(ranked, context, 5)
    for key, goal in GOALS.items():
        baseline = "dense" if key == "words" else "words"
        yield Figure(
            id=f"answers_recall_{key}",
            title=NAMES[key],
            measured=hits[key] / asked,
            unit="of 1",
            baseline=NAMES[baseline],
            baseline_measured=hits[baseline] / asked,
            ratio=quotient(hits[key], hits[baseline]),
            goal=goal,
            goal_on="measured",
            higher_is_better=True,
            details=f"{asked} Spanish questions (SQuAD-es, machine translated) to {len(articles)}"
            " unseen articles",
        )


def _first_in(ranked: Sequence[Ranked], context: str, top: int) -> bool:
    return any(plain(one.candidate.content) in context for one in ranked[:top])


class Counts:
    """The answers of one method: right, with a wrong quote, and to questions without an answer."""

    def __init__(self) -> None:
        self.right = self.wrong = self.groundless = 0

    def add(self, example: Example, quote: str, document: str) -> None:
        good = example.good(quote, document)
        self.right += good
        self.wrong += bool(example.expected) and not good
        self.groundless += not example.expected


def answer_figures(
    key: str, label: str, examples: list[Example], goals: tuple[float, float, float]
) -> Figures:
    """Yield the shares of right answers, of wrong quotes, and of answers where there is none."""
    bot, always = Counts(), Counts()
    for example in examples:
        chosen = choose(example.question, example.ranked)
        if chosen is not None:
            always.add(example, chosen[1].quote, chosen[0].document)
        given = judge(example.question, example.ranked).answer
        if given is not None:
            bot.add(example, given.sources[0].quote, given.sources[0].document)
    answerable = sum(bool(example.expected) for example in examples)
    without = len(examples) - answerable
    details = f"{label}: {answerable} questions with an answer, {without} without"
    for name, title, ours, other, of, goal in (
        ("right", "answered right", bot.right, always.right, answerable, goals[0]),
        ("wrong", "wrong quote", bot.wrong, always.wrong, answerable, goals[1]),
        ("groundless", "answered without grounds", bot.groundless, always.groundless, without,
            goals[2]),
    ):  # fmt: skip
        if of:
            yield Figure(
                id=f"answers_{key}_{name}",
                title=f"{title} ({label})",
                measured=ours / of,
                unit="of 1",
                baseline="the best passage as the answer to every question",
                baseline_measured=other / of,
                ratio=quotient(ours, other),
                goal=goal,
                goal_on="measured",
                higher_is_better=name == "right",
                details=details,
            )


def near_miss_figure(examples: list[Example]) -> Figure:
    """Return the figure of questions that only seem answerable from their paragraph."""
    answered = sum(judge(one.question, one.ranked).answer is not None for one in examples)
    chosen = sum(choose(one.question, one.ranked) is not None for one in examples)
    return Figure(
        id="answers_near_misses",
        title="near misses answered (SQuAD-es)",
        measured=answered / len(examples),
        unit="of 1",
        baseline="the best passage as the answer to every question",
        baseline_measured=chosen / len(examples),
        ratio=quotient(answered, chosen),
        goal=0.65,
        goal_on="measured",
        details=f"{len(examples)} questions that only seem answerable from their paragraph",
    )


# Goals of recall@1, recall@5, the gold answer in the reply, groundless answers, and AUC.
TYPED_GOALS = {
    "plain": (0.97, 0.995, 0.85, 0.015, 0.985),
    "slips": (None, None, 0.78, 0.015, None),
    "chat": (None, None, 0.78, 0.015, None),
    "English": (None, None, 0.75, 0.02, None),
}
RATES = {
    "recall@1": "right paragraph first",
    "recall@5": "right paragraph among five",
    "gold in the reply": "answered with the gold answer in the reply",
    "groundless": "answered though the document was removed",
    "AUC": "known or not (AUC)",
}


def typed_figures() -> Figures:
    """Yield what becomes of questions typed plainly, with slips, as in chats, and in English."""
    usual: dict[str, float] = {}
    for variant, goals in TYPED_GOALS.items():
        found = outcomes(1, VARIANTS[variant])
        if not found:
            continue  # there is no file of translated questions
        measured = rates(found)
        usual = usual or measured
        for (rate, title), goal in zip(RATES.items(), goals, strict=True):
            yield Figure(
                id=f"answers_{variant.lower()}_{rate.replace(' ', '_').replace('@', '_')}",
                title=f"{title}, {variant}",
                measured=measured[rate],
                unit="of 1",
                baseline="the same questions typed plainly",
                baseline_measured=usual[rate],
                ratio=quotient(measured[rate], usual[rate]),
                goal=goal,
                goal_on="measured",
                higher_is_better=rate != "groundless",
                details=f"{len(found)} questions, six unseen articles of SQuAD-es in a company",
            )


def milliseconds(work: Callable[[], object], times: int) -> float:
    """Return the mean duration of some calls."""
    began = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - began) / times * 1000


def time_figures(example: Example) -> Figures:
    """Yield the milliseconds of choosing an answer and of embedding, on one core."""
    passage = max((ranked.candidate.content for ranked in example.ranked), key=len)
    choosing, asking, reading = (
        milliseconds(lambda: judge(QUESTION, example.ranked), TIMES[0]),
        milliseconds(lambda: embed.embed_query(QUESTION), TIMES[1]),
        milliseconds(lambda: embed.embed_passage(passage), TIMES[2]),
    )
    for key, title, took, baseline, other, goal in (
        ("choosing", "choosing and deciding an answer", choosing, "embedding the question", asking,
            10),
        ("question", "embedding a question of 35 characters", asking, "embedding the passage",
            reading, 60),
        ("passage", f"embedding a passage of {len(passage)} characters", reading,
            "embedding the question", asking, 400),
    ):  # fmt: skip
        yield Figure(
            id=f"answers_{key}_time",
            title=title,
            measured=took,
            unit="ms",
            baseline=baseline,
            baseline_measured=other,
            ratio=took / other,
            goal=goal,
            goal_on="measured",
            details="mean, one core",
        )


def squad_figures() -> Figures:
    """Yield the figures that need SQuAD-es."""
    yield from recall_figures()
    squad = list(squad_examples(1, "squad"))
    on_topic = [one for one in squad if not one.group.endswith("near misses")]
    near = [one for one in squad if one.group.endswith("near misses")]
    label = "SQuAD-es, unseen articles"
    yield from answer_figures("squad", label, on_topic[:EXAMPLES], (0.55, 0.20, 0.02))
    yield near_miss_figure(near[:EXAMPLES])
    yield from typed_figures()


def measure() -> Figures:
    embed.warm()
    held_out = [one for one in demo_examples(DOCUMENTS, EXAMPLES) if one.group == "demo held out"]
    yield from answer_figures("demo", "demo clinic, held out", held_out, (0.80, 0.10, 0.10))
    yield from time_figures(held_out[0])
    if not SQUAD.exists():
        raise NotMeasuredError(f"the figures of SQuAD-es: {SQUAD.name} is not there")
    yield from squad_figures()
