"""Conversations of end users, replayed against documents without a database: ``python -m bench.turns``.

The rows: courtesies after an answer that call a person, pairs of questions of which both are
answered, follow-ups that are answered right, questions that stand alone, and how the classes of
turns that no training saw are recognised by the model and by the older rules of words. The data:
``tests/understanding/conversations.toml`` and ``held_out.toml``.
"""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from bench.offline_search import Company, demo_company
from bench.product import (
    Decision,
    Prepared,
    Reply,
    Said,
    Situation,
    better,
    decide,
    embed,
    read_turn,
    respond,
    small_talk,
    understood,
    wants_person,
)
from bench.support import ROOT

TESTS = ROOT / "tests" / "understanding"
CONVERSATIONS = tomllib.loads((TESTS / "conversations.toml").read_text("utf-8"))
HELD_OUT = tomllib.loads((TESTS / "held_out.toml").read_text("utf-8"))
COURTESIES = ("courtesy", "thanks", "farewell", "reaction")
NAMES = ("hotel", "shop", "school")


@dataclass
class Chat:
    """A conversation with a bot about a company's documents."""

    company: Company
    hitl_enabled: bool = True
    thread: list[Said] = field(default_factory=list)

    def says(self, message: str) -> Reply:
        """Return the bot's reply to a message, and remember both."""
        reply = asyncio.run(self._reply(message))
        self.thread.append(Said(False, message))
        if reply.content:
            self.thread.append(Said(True, reply.content))
        return reply

    async def _reply(self, message: str) -> Reply:
        now = situation(message, self.thread, self.hitl_enabled)
        decision = decide(now)
        if decision.action != "retrieve":
            return _as_reply(decision)
        decision, turn = await understood(now, decision, message, self._prepare)
        if decision.action != "retrieve":
            return _as_reply(decision)
        findings = []
        for part in turn.parts:
            trials = [(one, self.company.search(one.text)) for one in part.readings]
            findings.append(better(part, trials))
        return respond(now, decision, turn, findings, 0)

    async def _prepare(self, text: str) -> Prepared:
        repaired = self.company.repaired(text)
        return Prepared(repaired, _vector(repaired.text))


def situation(message: str, thread: Sequence[Said], hitl_enabled: bool = True) -> Situation:
    last = next((one.text for one in reversed(thread) if one.by_bot), None)
    return Situation(
        company_name="Los Cedros",
        bot_name="Cedro",
        bot_is_active=True,
        limit_reached=False,
        is_hitl_active=False,
        hitl_enabled=hitl_enabled,
        hitl_triggers=["no_answer", "user_request", "keywords"],
        keywords=[],
        fallback_message=None,
        question=message,
        last_notice=None,
        last_bot_text=last,
        language="es",
        thread=list(thread),
    )


def _as_reply(decision: Decision) -> Reply:
    return Reply(decision.action, content=decision.content, reason=decision.reason, by=decision.by)


@cache
def _vector(text: str) -> list[float]:
    return embed.embed_query(text)


@cache
def company(name: str) -> Company:
    """Return the demo clinic or a company of ``answer_cases.toml``."""
    if name == "clinic":
        return demo_company()
    cases = tomllib.loads((ROOT / "bench" / "answer_cases.toml").read_text("utf-8"))["company"]
    case = cases[NAMES.index(name)]
    made = Company()
    for passage in case["passages"]:
        made.add(case["name"], passage, section=passage.split("\n")[0])
    return made


def courtesies() -> list[tuple[str, Reply]]:
    """Return the bot's reply to each courtesy that follows a good answer."""
    found = []
    for kind in COURTESIES:
        for message in HELD_OUT[kind]:
            chat = Chat(company("clinic"))
            chat.thread = [
                Said(False, "¿Abren los sábados?"),
                Said(True, "Sábados: 8:00 a. m. a 1:00 p. m."),
            ]
            found.append((message, chat.says(message)))
    return found


def pairs() -> list[tuple[dict[str, Any], Reply]]:
    return [(one, Chat(_of(one)).says(one["ask"])) for one in CONVERSATIONS["pair"]]


def follow_ups(kind: str = "follow_up") -> list[tuple[dict[str, Any], Reply]]:
    """Return the reply to each question after the replies to the messages before it."""
    found = []
    for one in CONVERSATIONS[kind]:
        chat = Chat(_of(one))
        for message in one["before"]:
            chat.says(message)
        found.append((one, chat.says(one["ask"])))
    return found


def is_right(expected: str | Sequence[str], reply: Reply) -> bool:
    wanted = [expected] if isinstance(expected, str) else expected
    return reply.action != "none" and all(one in (reply.content or "") for one in wanted)


async def _kind(message: str) -> str:
    return (await read_turn(message, [], Chat(Company())._prepare)).kind


def _of(one: dict[str, Any]) -> Company:
    return company(one.get("company", "clinic"))


def recognised() -> dict[str, tuple[int, int, int]]:
    """Return for each class: messages, recognised by the model, recognised by the rules of words."""
    found = {}
    for kind, messages in HELD_OUT.items():
        model = sum(asyncio.run(_kind(message)) == kind for message in messages)
        words = sum(_by_words(message) == kind for message in messages)
        found[kind] = (len(messages), model, words)
    return found


def _by_words(message: str) -> str:
    return "person" if wants_person(message) else small_talk(message) or "question"


def main() -> None:
    replies = courtesies()
    calling = [message for message, reply in replies if reply.action == "escalate"]
    print(f"courtesies that call a person: {len(calling)} of {len(replies)}  {calling}")
    for name, kind in (("follow-ups", "follow_up"), ("standing alone", "stands_alone")):
        asked = follow_ups(kind)
        wrong = [(one, reply) for one, reply in asked if not is_right(one["expect"], reply)]
        print(f"{name} right: {len(asked) - len(wrong)} of {len(asked)}")
        for one, reply in wrong:
            print(f"  {one['before']} {one['ask']} -> {reply.by}: {reply.content!r}")
    both = pairs()
    wrong = [(one, reply) for one, reply in both if not is_right(one["expect"], reply)]
    print(f"pairs with both answered: {len(both) - len(wrong)} of {len(both)}")
    for one, reply in wrong:
        print(f"  {one['ask']!r} -> {reply.by}: {reply.content!r}")
    print("class: messages, certain by the model, by the rules of words")
    for kind, (total, model, words) in recognised().items():
        print(f"  {kind}: {total}, {model}, {words}")


if __name__ == "__main__":
    main()
