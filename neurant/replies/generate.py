"""An answer that a language model writes from passages of the company's documents.

The model is not trusted. Its prompt holds rows of one company only: the bot's instructions, the
last messages, and the passages, which are enclosed in marks that no text can forge, because they
contain a random number of this prompt. From its answer only those sentences are kept that cite a
passage of the prompt, share their words with it, and state no figure that it lacks. An answer that
repeats the instructions is dropped as a whole. Wherever the model fails, the caller falls back to
the quote of a document.
"""

from __future__ import annotations

import re
import secrets
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal
from uuid import UUID

from neurant.core.db.pool import Connection, fetch_one
from neurant.core.logs import get_logger
from neurant.knowledge.answer import Answer, Source, display_name
from neurant.knowledge.figure_guard import unsupported_figures
from neurant.knowledge.lines import units
from neurant.knowledge.passage import best_window, read_question, weights
from neurant.knowledge.rank import Candidate, Ranked
from neurant.knowledge.words import fold, likeness, stems
from neurant.language_models.client import Message
from neurant.language_models.errors import ModelError
from neurant.language_models.model import Model, Use
from neurant.language_models.service import LanguageModels, failed_use
from neurant.replies.intent import language_of
from neurant.texts import Language, catalogue, text
from neurant.texts.address import Manner, in_manner

MAX_PASSAGES = 5
MAX_PASSAGE_CHARS = 2_000
MAX_HISTORY_CHARS = 1_000  # of each message
MAX_QUESTION_CHARS = 2_000
MIN_SECONDS = 1.0  # no model answers sooner
DECLINES = re.compile(r"\W*(?:SIN_RESPUESTA|NO_ANSWER)\W*")
LEAKED_WORDS = 8  # in a row; shorter runs occur in honest answers, too
SUPPORT = 0.5  # the share of a sentence's words that its passages must contain
_MIN_KEPT = 0.5  # the share of the answer that must remain
_CITATION = r"\[(?:pasajes?|passages?)?\s*\d{1,2}(?:\s*[,y]\s*\d{1,2})*\]"
_CITED = re.compile(_CITATION, re.IGNORECASE)
# "… $130.000. [1]": the citation belongs to the sentence before it.
_LATE_CITATION = re.compile(rf"([.!?…])[ \t]*((?:{_CITATION}[ \t]*)+)(?=[.\s]|$)", re.IGNORECASE)
_LINES = "\n\t"
# Longer than the numbers of prices and hours, which the check of figures covers.
_CODE = re.compile(r"(?=\S*\d)(?=\S*[^\W\d_])[\w-]{6,}|\b[A-ZÁÉÍÓÚÑ]{5,}\b|\b\d{4,}\b")
_WORD = re.compile(r"[a-z0-9]+")
_VOICE = """
select b.system_prompt, b.max_context_messages
from public.chatbots b where b.id = %s
"""
log = get_logger(__name__)
Failure = Literal["unsupported", "leaked", "empty"]


@dataclass(frozen=True, slots=True)
class Voice:
    """The bot that speaks. ``persona``: its name for itself; ``max_messages``: how many earlier
    messages it considers.
    """

    bot_name: str
    company_name: str
    persona: str | None
    manner: Manner
    language: Language
    system_prompt: str
    max_messages: int


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as it is sent. ``mark``: the random number; ``passages``: [1] is the first."""

    messages: tuple[Message, ...]
    mark: str
    passages: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class ModelResult:
    """The result of asking a model.

    ``answer`` is None if the model gave no usable answer: ``is_declined`` if it found none in the
    passages; else the embedded answer stands in, and ``failure`` is the reason.
    """

    model: str
    use: Use
    messages: tuple[Message, ...] = ()
    answer: Answer | None = None
    is_declined: bool = False
    failure: str | None = None


@dataclass(slots=True)
class _Sentence:
    text: str
    line: int
    cited: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Instructions:
    system_prompt: str
    max_context_messages: int


@dataclass(frozen=True, slots=True)
class Writer:
    """The company's model and the bot's instructions, read before the model is asked."""

    models: LanguageModels
    model: Model
    system_prompt: str
    max_messages: int

    def within(self, seconds: float) -> Writer:
        """Return the writer with at most this time for an answer."""
        endpoint = self.model.endpoint
        hurried = replace(endpoint, seconds=min(endpoint.seconds, seconds))
        return replace(self, model=replace(self.model, endpoint=hurried))


async def find_writer(
    connection: Connection, models: LanguageModels | None, chatbot_id: UUID
) -> Writer | None:
    """Return the company's model with the bot's instructions; None without a model."""
    if models is None:
        return None
    model = await models.of_company(connection)
    if model is None:
        return None
    bot = await fetch_one(connection, _Instructions, _VOICE, (chatbot_id,))
    return Writer(models, model, bot.system_prompt, bot.max_context_messages) if bot else None


async def write(
    writer: Writer,
    voice: Voice,
    history: Sequence[Message],
    question: str,
    ranked: Sequence[Ranked],
    confidence: float | None,
) -> ModelResult | None:
    """Ask the model for an answer; None where there is no passage to answer from.

    ``history``: the messages before the question, oldest first; ``confidence``: that of the
    documents, which the answer keeps. No connection is held.
    """
    model, name = writer.model, writer.model.endpoint.model
    if not ranked:
        return None
    nothing = model.nothing_used()
    if model.is_spent:
        return _fallen_back(model, nothing, (), "spent")
    if model.endpoint.seconds < MIN_SECONDS:
        return _fallen_back(model, nothing, (), "late")
    prompt = make_prompt(voice, history, question, [one.candidate for one in ranked])
    try:
        completion, use = await writer.models.ask(model, prompt.messages)
    except ModelError as error:
        use = failed_use(model, prompt.messages, error)
        return _fallen_back(model, use, prompt.messages, error.name)
    if DECLINES.fullmatch(completion.text):
        return ModelResult(name, use, prompt.messages, is_declined=True)
    read = read_answer(completion.text, prompt, voice)
    if not isinstance(read, Answer):
        return _fallen_back(model, use, prompt.messages, read)
    answer = replace(read, confidence=confidence if confidence is not None else read.confidence)
    return ModelResult(name, use, prompt.messages, answer)


def _fallen_back(
    model: Model, use: Use, messages: tuple[Message, ...], failure: str
) -> ModelResult:
    log.warning(
        "language_model_fell_back",
        company=str(model.company_id),
        model=model.endpoint.model,
        failure=failure,
    )
    return ModelResult(model.endpoint.model, replace(use, fallbacks=1), messages, failure=failure)


def make_prompt(
    voice: Voice, history: Sequence[Message], question: str, found: Sequence[Candidate]
) -> Prompt:
    """Return the prompt for a question. Documents and messages are data in it, between marks."""
    mark = secrets.token_hex(8)
    passages = tuple(found[:MAX_PASSAGES])
    rules = text(
        "language_models.prompt.rules",
        voice.language,
        bot=voice.persona or voice.bot_name,
        company=voice.company_name,
        tone=_tone(voice),
        mark=mark,
    )
    system = f"{voice.system_prompt.strip()}\n\n{rules}"
    earlier = [
        Message(one.role, _plain(one.content)[:MAX_HISTORY_CHARS])
        for one in history[-voice.max_messages :]
    ]
    blocks = [
        _block(mark, "passage", voice.language, _passage(one), number)
        for number, one in enumerate(passages, start=1)
    ]
    asked = _block(mark, "question", voice.language, _plain(question)[:MAX_QUESTION_CHARS])
    last = Message("user", "\n\n".join([*blocks, asked]))
    return Prompt((Message("system", system), *earlier, last), mark, passages)


def _tone(voice: Voice) -> str:
    """Return the instructions for the bot's tone, form of address and style."""
    name = f"language_models.tones.{voice.manner.tone}"
    known = name if name in catalogue(voice.language) else "language_models.tones.friendly"
    how = in_manner(text("language_models.manner", voice.language), voice.manner)
    return f"{text(known, voice.language)}{how}"


def _block(
    mark: str,
    kind: Literal["passage", "question"],
    language: Language,
    content: str,
    number: int = 0,
) -> str:
    name = text(f"language_models.prompt.{kind}", language, number=number)
    return f"<<{name} {mark}>>\n{content}\n<</{name} {mark}>>"


def _passage(candidate: Candidate) -> str:
    page = f", p. {candidate.page_number}" if candidate.page_number is not None else ""
    heading = f"{display_name(candidate.document)}{page}"
    section = f"{candidate.section_title}\n" if candidate.section_title else ""
    return _plain(f"{heading}\n{section}{candidate.content[:MAX_PASSAGE_CHARS]}")


def _plain(content: str) -> str:
    """Return a text without control and invisible characters, which hide instructions."""
    return "".join(
        one for one in content if one in _LINES or not unicodedata.category(one).startswith("C")
    )


def read_answer(said: str, prompt: Prompt, voice: Voice) -> Answer | Failure:
    """Return the supported part of what the model said, with its sources, or why there is none."""
    plain = _plain(said).strip()
    if not plain:
        return "empty"
    sentences = _sentences(plain)
    cited = [prompt.passages[n - 1] for one in sentences for n in one.cited if _is(n, prompt)]
    if leaks(plain, prompt, voice, cited):
        return "leaked"
    kept = [one for one in sentences if one.text and _is_supported(one, prompt)]
    written = sum(len(one.text) for one in sentences)
    if not kept or sum(len(one.text) for one in kept) < _MIN_KEPT * written:
        return "unsupported"
    return Answer(_joined(kept), _sources(kept, prompt), 0.0)


def leaks(said: str, prompt: Prompt, voice: Voice, cited: Sequence[Candidate]) -> bool:
    """Return whether an answer repeats a long piece of the instructions, or a code of them.

    A code is a word with a digit or in capitals, such as the mark of the prompt or a password. What
    a cited passage says as well is no secret.
    """
    plain = _CITED.sub(" ", said)
    secret, known = prompt.messages[0].content, "\n".join(_passage(one) for one in cited)
    names = f"{voice.bot_name} {voice.persona or ''} {voice.company_name}"
    codes = _codes(secret) - _codes(known) - _codes(names)
    return bool((_runs(secret) & _runs(plain)) - _runs(known) or codes & _codes(plain))


def _codes(content: str) -> set[str]:
    return {one.lower() for one in _CODE.findall(content)}


def _runs(content: str) -> set[tuple[str, ...]]:
    words = _WORD.findall(fold(content))
    return {tuple(words[at : at + LEAKED_WORDS]) for at in range(len(words) - LEAKED_WORDS + 1)}


def _sentences(said: str) -> list[_Sentence]:
    """Return the sentences of an answer with the passages that each cites."""
    settled = _LATE_CITATION.sub(lambda found: f" {found[2].strip()}{found[1]}", said)
    found = []
    for unit in units(settled, None):
        cited = [int(n) for part in _CITED.findall(unit.text) for n in re.findall(r"\d+", part)]
        bare = re.sub(r"\s+([.,;:!?…])", r"\1", _CITED.sub("", unit.text))
        bare = re.sub(r"[ \t]{2,}", " ", bare).strip()
        found.append(_Sentence(bare, unit.line, tuple(dict.fromkeys(cited))))
    return found


def _is(number: int, prompt: Prompt) -> bool:
    return 1 <= number <= len(prompt.passages)


def _is_supported(sentence: _Sentence, prompt: Prompt) -> bool:
    """Return whether the passages that a sentence cites exist and support it."""
    if not sentence.cited or not all(_is(number, prompt) for number in sentence.cited):
        return False
    texts = [_passage(prompt.passages[number - 1]) for number in sentence.cited]
    if unsupported_figures(sentence.text, texts):
        return False
    wanted = set(stems(sentence.text))
    if not wanted or language_of(sentence.text) != language_of(texts[0]):
        return bool(wanted)  # words of another language cannot be compared; figures were
    known = frozenset(stems("\n".join(texts)))
    return sum(likeness(word, known) > 0 for word in wanted) >= SUPPORT * len(wanted)


def _joined(sentences: Sequence[_Sentence]) -> str:
    lines: dict[int, list[str]] = {}
    for one in sentences:
        lines.setdefault(one.line, []).append(one.text)
    return "\n".join(" ".join(parts) for parts in lines.values())


def _sources(sentences: Sequence[_Sentence], prompt: Prompt) -> list[Source]:
    """Return a source for each cited passage, with the literal lines that fit what was said."""
    said: dict[int, list[str]] = {}
    for one in sentences:
        for number in one.cited:
            said.setdefault(number, []).append(one.text)
    return [
        Source(one.document, one.page_number, _quote(one, " ".join(texts)), one.chunk_id)
        for number, texts in said.items()
        for one in [prompt.passages[number - 1]]
    ]


def _quote(candidate: Candidate, said: str) -> str:
    asked = read_question(said)
    window = best_window(
        asked, weights(asked, [candidate.content]), candidate.content, candidate.section_title
    )
    return window.quote if window else candidate.content[:MAX_PASSAGE_CHARS]
