"""Fit the model of ``neurant.understanding.classify`` on its examples and write ``model.json``.

Run: ``python -m scripts.train_understanding`` (about a minute on one core) after an edit of the
examples or of ``surface.py``. Each example is also used as people write it in a chat: in lower
case, without accents and punctuation. ``tests/understanding/test_classify.py`` fails while the file
is out of date.
"""

from __future__ import annotations

import json
from base64 import b85encode
from typing import Any

import numpy as np

from neurant.knowledge.embed import DIMENSIONS, embed_query
from neurant.understanding.classify import MODEL_FILE, examples, fingerprint
from neurant.understanding.kinds import KINDS
from neurant.understanding.surface import FORMS, PLACES, form, places, plain

# Halving or tripling any of these moves the accuracy on held-out messages by 0.01 or less.
RIDGE_DENSE = 0.0003
RIDGE_HASHED = 0.0003
DENSE_SCALE = 8.0
HASHED_SCALE = 3.0
STEPS = 300
# Customers ask far more often than the examples do.
QUESTION_WEIGHT = 2.0


def variants(text: str) -> list[str]:
    """Return the text, and the text as it is written in a chat."""
    chat = plain(text)
    return [text, chat] if chat and chat != text else [text]


def rows(labelled: dict[Any, list[str]]) -> tuple[Any, Any, Any, list[str]]:
    """Return the dense signals, the hashed signals, the classes and the texts of the examples."""
    dense, hashed, classes, texts = [], [], [], []
    for number, kind in enumerate(KINDS):
        for text in labelled[kind]:
            for written in variants(text):
                dense.append([*embed_query(written), *form(written)])
                row = np.zeros(PLACES)
                for place, value in places(written).items():
                    row[place] = value
                hashed.append(row)
                classes.append(number)
                texts.append(text)
    return (
        np.array(dense, dtype=np.float32),
        np.array(hashed, dtype=np.float32),
        np.array(classes),
        texts,
    )


def fit(dense: Any, hashed: Any, classes: Any) -> tuple[Any, Any, Any, Any]:
    """Return mean, intercepts, dense and hashed weights of a softmax regression.

    It uses gradient steps with momentum on standardised signals; the result is deterministic.
    """
    mean = dense[:, :DIMENSIONS].mean(axis=0)
    signals = np.c_[
        np.ones(len(dense)),
        (dense[:, :DIMENSIONS] - mean) * DENSE_SCALE,
        dense[:, DIMENSIONS:],
        hashed * HASHED_SCALE,
    ]
    signals = signals.astype(np.float32)
    target = np.eye(len(KINDS), dtype=np.float32)[classes]
    used = np.where(classes == KINDS.index("question"), QUESTION_WEIGHT, 1.0)
    used = (used / used.sum()).astype(np.float32)[:, None]
    ridge = np.r_[0.0, np.full(DIMENSIONS + FORMS, RIDGE_DENSE), np.full(PLACES, RIDGE_HASHED)]
    ridge = ridge.astype(np.float32)
    weights = np.zeros((signals.shape[1], len(KINDS)), dtype=np.float32)
    ahead, rate = weights.copy(), 1.0
    for step in range(STEPS):
        scores = signals @ ahead
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        slope = signals.T @ (used * (p - target)) + ridge[:, None] * ahead
        after = ahead - rate * slope
        ahead = after + step / (step + 3) * (after - weights)
        weights = after
    end = 1 + DIMENSIONS
    dense_weights = np.r_[weights[1:end] * DENSE_SCALE, weights[end : end + FORMS]]
    return mean, weights[0], dense_weights, weights[end + FORMS :] * HASHED_SCALE


def packed(row: Any) -> dict[str, Any]:
    """Return a row of weights as signed bytes with their scale."""
    scale = float(np.abs(row).max()) / 127 or 1.0
    return {
        "scale": float(f"{scale:.6g}"),
        "bytes": b85encode(np.rint(row / scale).astype(np.int8).tobytes()).decode(),
    }


def main() -> None:
    """Fit the model on all examples and write it."""
    dense, hashed, classes, _ = rows(examples())
    mean, intercepts, dense_weights, hashed_weights = fit(dense, hashed, classes)
    stored = {
        "fingerprint": fingerprint(),
        "intercepts": [round(float(value), 4) for value in intercepts],
        "mean": [round(float(value), 5) for value in mean],
        "dense": [packed(row) for row in dense_weights.T],
        "hashed": [packed(row) for row in hashed_weights.T],
    }
    MODEL_FILE.write_text(json.dumps(stored, indent=0) + "\n", "utf-8")
    print(f"{len(classes)} examples, {MODEL_FILE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
