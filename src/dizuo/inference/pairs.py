"""How well texts fit a query, both read together by a cross-encoder (Nogueira and Cho 2019)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dizuo.inference.windows import WindowEncoder
from dizuo.nn.heads import SequenceClassifier


class PairScorer:
    """A checkpoint with one output for a pair of texts. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        """Raises UserError when the checkpoint is damaged or is none of this kind."""
        self._encoder = WindowEncoder(folder, SequenceClassifier)

    def count_tokens(self, text: str) -> int:
        """How many tokens a text has, without the marks around it."""
        return self._encoder.count_tokens(text)

    def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """The logistic function of the logit for each text, 0 to 1.

        A text longer than one window is as good as its best one (MaxP: Dai and Callan 2019, section 3.2).
        Raises UserError for a query that leaves no room.
        """
        windows = self._encoder.pairs(query, texts)
        logits = self._encoder.run(windows, self._encoder.model)
        best = np.full(len(texts), -np.inf)
        for window, logit in zip(windows, logits, strict=True):
            best[window.text] = max(best[window.text], float(logit[0]))
        return (1 / (1 + np.exp(-best))).tolist()
