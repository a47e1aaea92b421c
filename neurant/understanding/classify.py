"""The class of a turn, by a small calibrated model over the vector that the search needs anyway.

The model is a multinomial logistic regression on the sentence vector and on the signals of
``surface``. ``scripts/train_understanding.py`` fits it on the labelled examples in ``examples`` and
writes ``model.json``; no example is embedded while the product runs. Classifying takes less than a
millisecond.
"""

from __future__ import annotations

import json
import math
import tomllib
from base64 import b85decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from struct import iter_unpack

from neurant.knowledge.embed import MODEL
from neurant.texts import LANGUAGES
from neurant.understanding.kinds import CARE, KINDS, REQUESTS, SMALL_TALK, Kind
from neurant.understanding.surface import form, places, plain

_HERE = Path(__file__).parent
MODEL_FILE = _HERE / "model.json"


@dataclass(frozen=True, slots=True)
class Classified:
    """The probabilities of the classes of one turn."""

    probabilities: Mapping[Kind, float]

    @property
    def kind(self) -> Kind:
        """The likeliest class."""
        return max(self.probabilities, key=self.probabilities.__getitem__)

    @property
    def probability(self) -> float:
        """The probability of the likeliest class."""
        return self.probabilities[self.kind]

    @property
    def certainty(self) -> float:
        """The probability of the likeliest class and of those that are treated like it."""
        families = (SMALL_TALK, REQUESTS, CARE)
        family = next((one for one in families if self.kind in one), frozenset({self.kind}))
        return self.of(family)

    def of(self, kinds: frozenset[Kind]) -> float:
        """Return the probability that the turn belongs to one of ``kinds``."""
        return sum(self.probabilities[kind] for kind in kinds)


@dataclass(frozen=True, slots=True)
class _Model:
    """One row of weights for each class: the vector's, the form's, then the hashed places'."""

    intercepts: list[float]
    mean: list[float]
    dense: list[list[float]]
    hashed: list[list[float]]


def classify(text: str, vector: Sequence[float]) -> Classified:
    """Return the probabilities of a message's classes; ``vector`` is its ``embed_query``."""
    model = _model()
    centred = [value - mean for value, mean in zip(vector, model.mean, strict=True)]
    signals = [*centred, *form(text)]
    found = places(text)
    scores = [
        intercept
        + sum(map(float.__mul__, signals, dense))
        + sum(value * hashed[place] for place, value in found.items())
        for intercept, dense, hashed in zip(
            model.intercepts, model.dense, model.hashed, strict=True
        )
    ]
    most = max(scores)
    powers = [math.exp(score - most) for score in scores]
    total = sum(powers)
    return Classified({kind: p / total for kind, p in zip(KINDS, powers, strict=True)})


def is_known_small_talk(text: str) -> bool:
    """Return whether a message is word for word one of the examples that ask nothing."""
    return plain(text) in _known_small_talk()


def examples() -> dict[Kind, list[str]]:
    """Return the labelled examples of all languages by class."""
    found: dict[Kind, list[str]] = {kind: [] for kind in KINDS}
    for language in LANGUAGES:
        labelled = tomllib.loads((_HERE / "examples" / f"{language}.toml").read_text("utf-8"))
        for kind in KINDS:
            found[kind] += labelled[kind]
    return found


def fingerprint() -> str:
    """Return a digest of everything that determines the model: embedding, examples, signals."""
    digest = sha256(MODEL.encode())
    for kind, texts in examples().items():
        for text in texts:
            digest.update(repr((kind, text, form(text), sorted(places(text)))).encode())
    return digest.hexdigest()


def warm() -> None:
    """Read the model now, so that the first turn does not wait for it."""
    _model()


@lru_cache(maxsize=1)
def _known_small_talk() -> frozenset[str]:
    labelled = examples()
    return frozenset(plain(text) for kind in SMALL_TALK for text in labelled[kind])


@lru_cache(maxsize=1)
def _model() -> _Model:
    """Read the weights. They are signed bytes, each row with the scale of its largest value."""
    stored = json.loads(MODEL_FILE.read_text("utf-8"))
    return _Model(
        stored["intercepts"],
        stored["mean"],
        [_unpacked(row) for row in stored["dense"]],
        [_unpacked(row) for row in stored["hashed"]],
    )


def _unpacked(row: dict[str, str | float]) -> list[float]:
    scale = float(row["scale"])
    return [value * scale for (value,) in iter_unpack("b", b85decode(str(row["bytes"])))]
