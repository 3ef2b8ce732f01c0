"""Reading: the span of a passage that answers a question, and how much speaks for there being none.

Devlin et al. 2019, sections 4.2 (spans) and 4.3 (no answer: the score of the mark [CLS] as start and end).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dizuo.core.protocols import SpanAnswer
from dizuo.inference.windows import Window, WindowEncoder
from dizuo.nn.heads import SpanReader

# The longest answer in tokens; SQuAD's own evaluation of BERT uses 30, Chinese takes more tokens for as much.
MAX_ANSWER_TOKENS = 48


class Reader:
    """A checkpoint that marks starts and ends of answers. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        """Raises UserError when the checkpoint is damaged or is none of this kind."""
        self._encoder = WindowEncoder(folder, SpanReader)

    def count_tokens(self, text: str) -> int:
        """How many tokens a text has, without the marks around it."""
        return self._encoder.count_tokens(text)

    def read(
        self,
        question: str,
        passages: Sequence[str],
        max_answer_tokens: int = MAX_ANSWER_TOKENS,
        within: Sequence[tuple[int, int]] | None = None,
    ) -> list[SpanAnswer]:
        """The best span of each passage, with its score, and the score of "no answer here".

        `within` says of each passage from and to which character a span may stand; the rest is read, too. A long
        passage is read in windows that overlap: its answer is the best of all, and its null score the lowest,
        because one window that holds the answer is enough. A passage without words has an empty span.
        Raises UserError for a question that leaves no room for a passage.
        """
        windows = self._encoder.pairs(question, passages)
        rows = self._encoder.run(windows, self._logits)
        best: dict[int, tuple[int, int, float]] = {}
        null = np.full(len(passages), np.inf)
        for window, row in zip(windows, rows, strict=True):
            i = window.text
            null[i] = min(null[i], row[0, 0] + row[1, 0])
            found = _best_span(window, row, max_answer_tokens, within[i] if within else (0, len(passages[i])))
            if found is not None and (i not in best or found[2] > best[i][2]):
                best[i] = found
        return [_answer(passage, best.get(i), float(null[i])) for i, passage in enumerate(passages)]

    def _logits(self, ids: Tensor, mask: Tensor, segments: Tensor) -> Tensor:
        """(B, 2, T): start and end."""
        return torch.stack(self._encoder.model(ids, mask, segments), dim=1)


def _answer(passage: str, span: tuple[int, int, float] | None, null_score: float) -> SpanAnswer:
    if span is None:
        return SpanAnswer(0, 0, "", -np.inf, null_score)
    start, end, score = span
    text = passage[start:end]
    start += len(text) - len(text.lstrip())  # byte-level tokens hold the space before a word
    text = text.strip()
    return SpanAnswer(start, start + len(text), text, score, null_score)


def _best_span(
    window: Window, logits: np.ndarray, max_tokens: int, within: tuple[int, int]
) -> tuple[int, int, float] | None:
    """Characters start and end, and the score, of the best span of the passage between the characters `within`; None
    where the window has no token there.

    `logits` (2, T). The score of i to j is start[i] + end[j] with i ≤ j < i + max_tokens.
    """
    low, high = within
    places = [
        n
        for n, (own, (at, to)) in enumerate(zip(window.own, window.offsets, strict=True))
        if own and to > low and at < high
    ]
    if not places:
        return None
    first, last = places[0], places[-1] + 1
    start, end = logits[0, first:last], logits[1, first:last]
    scores = start[:, None] + end[None, :]
    allowed = np.triu(np.ones_like(scores, dtype=bool)) & ~np.triu(np.ones_like(scores, dtype=bool), max_tokens)
    scores = np.where(allowed, scores, -np.inf)
    i, j = np.unravel_index(int(scores.argmax()), scores.shape)
    start_at, end_at = window.offsets[first + i][0], window.offsets[first + j][1]
    return max(start_at, low), min(end_at, high), float(scores[i, j])
