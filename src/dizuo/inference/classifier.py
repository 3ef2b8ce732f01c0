"""Labels for texts by an encoder with a classification head."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dizuo.core.protocols import Label
from dizuo.inference.windows import WindowEncoder
from dizuo.nn.heads import SequenceClassifier


class TextClassifier:
    """A checkpoint with several labels. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        """Raises UserError when the checkpoint is damaged or is none of this kind."""
        self._encoder = WindowEncoder(folder, SequenceClassifier)

    def count_tokens(self, text: str) -> int:
        """How many tokens a text has, without the marks around it."""
        return self._encoder.count_tokens(text)

    def classify(self, texts: Sequence[str]) -> list[list[Label]]:
        """Every label with its probability for each text, the likeliest first.

        Where one label of all is right they add up to 1. A text of several windows has the mean of theirs, each
        weighted by its number of tokens.
        """
        names, alone = self._encoder.model.labels, self._encoder.model.problem == "multi_label_classification"
        windows = self._encoder.windows(texts)
        logits = self._encoder.run(windows, self._encoder.model)
        sums, weights = np.zeros((len(texts), len(names))), np.zeros(len(texts))
        for window, row in zip(windows, logits, strict=True):
            weight = max(1, sum(window.own))
            sums[window.text] += weight * (_logistic(row) if alone else _softmax(row))
            weights[window.text] += weight
        return [
            sorted(
                (Label(name, float(p)) for name, p in zip(names, row, strict=True)),
                key=lambda label: -label.probability,
            )
            for row in sums / weights[:, None]
        ]


def _logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x.astype(np.float64)))


def _softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x.astype(np.float64) - x.max())
    return e / e.sum()
