"""Texts and pairs of texts as an encoder with a head reads them: cut into windows that overlap, batched by length.

Shapes: B batch, T time, N labels.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dizuo.core import effort
from dizuo.core.errors import UserError
from dizuo.inference.packed import fastest_type, pack_encoder
from dizuo.inference.quantize import precision_of
from dizuo.nn.checkpoint import load_model
from dizuo.nn.tokenizer import tokenizer_of

# As in the sentence encoder (encoder.py), where both were measured.
_BATCH_TOKENS = 512
_WIDTH_STEP = 16
_OVERLAP = 0.25  # share of a window that the one before it holds, too; SQuAD's own: 128 of 512 tokens
_LEAST_ROOM = 16  # tokens of a text that must fit beside a question

Forward = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Window:
    """A piece of one text that fits into the model, with the marks around it."""

    text: int  # which of the texts it is a piece of
    ids: list[int]
    segments: list[int]
    own: list[bool]  # whether a token is of the text itself: not a mark, not of the first text of a pair
    offsets: list[tuple[int, int]]  # characters of the text, where `own`


class WindowEncoder:
    """A checkpoint of an encoder with a head, loaded. Thread-safe."""

    def __init__(self, folder: Path, kind: type[nn.Module]) -> None:
        """Raises UserError when the checkpoint is damaged or its head is not of that kind."""
        model = load_model(folder).requires_grad_(False)
        if not isinstance(model, kind):
            raise UserError(
                "The checkpoint {folder} is a {found}; this needs a {needed}.",
                folder=folder,
                found=type(model).__name__,
                needed=kind.__name__,
            )
        self.model: Any = model
        pack_encoder(self.model.encoder, torch.float32 if precision_of(folder) == "float32" else fastest_type())
        self.longest: int = self.model.encoder.config.positions
        self._tokenizer = tokenizer_of(folder)
        self._single = tokenizer_of(folder)
        self._single.enable_truncation(self.longest, stride=int(self.longest * _OVERLAP))
        # Of a pair the second text alone is cut: the question stays whole in each window.
        self._pair = tokenizer_of(folder)
        self._pair.enable_truncation(self.longest, stride=int(self.longest * _OVERLAP), strategy="only_second")

    def count_tokens(self, text: str) -> int:
        """How many tokens a text has, uncut and without the marks around it."""
        return len(self._tokenizer.encode_batch_fast([text], add_special_tokens=False)[0].ids)

    def windows(self, texts: Sequence[str]) -> list[Window]:
        """Every text as one window or several, text by text."""
        return [
            Window(i, piece.ids, piece.type_ids, [one == 0 for one in piece.sequence_ids], piece.offsets)
            for i, whole in enumerate(self._single.encode_batch(list(texts)))
            for piece in (whole, *whole.overflowing)
        ]

    def pairs(self, first: str, texts: Sequence[str]) -> list[Window]:
        """Every text as the second of a pair with `first`, in one window or several, text by text.

        Raises UserError when `first` leaves no room.
        """
        n_tokens = self.count_tokens(first)
        if self.longest - n_tokens - self._tokenizer.num_special_tokens_to_add(True) < self._stride_room():
            raise UserError(
                "The question has {n} tokens. The model reads {limit} at once, question and text together. Shorten it.",
                n=n_tokens,
                limit=self.longest,
            )
        return [
            Window(i, piece.ids, piece.type_ids, [one == 1 for one in piece.sequence_ids], piece.offsets)
            for i, whole in enumerate(self._pair.encode_batch([(first, text) for text in texts]))
            for piece in (whole, *whole.overflowing)
        ]

    def run(self, windows: Sequence[Window], forward: Forward) -> list[np.ndarray]:
        """What `forward` gives for each window, float32, in their order.

        `forward` takes ids (B, T), mask (B, T) of bool and segments (B, T), and gives (B, …). Where it gives
        something for each token, what stands behind a window's end is padding.
        """
        results: list[np.ndarray] = [np.empty(0)] * len(windows)

        def compute(batch: list[int]) -> float:
            began_s = time.thread_time()
            torch.set_num_threads(1)  # of this worker: see encoder.py
            with torch.inference_mode():
                rows = forward(*_padded([windows[i] for i in batch])).float().numpy()
            for i, row in zip(batch, rows, strict=True):
                results[i] = row
            return time.thread_time() - began_s

        effort.took(sum(_workers().map(compute, _batches([len(window.ids) for window in windows]))))
        return results

    def _stride_room(self) -> int:
        # The tokenizer can only cut into windows that are longer than their overlap.
        return int(self.longest * _OVERLAP) + _LEAST_ROOM


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Positions, windows of like length together, the longest first: the first of a batch says how wide it becomes."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        if batch and (len(batch) + 1) * lengths[batch[0]] > _BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _padded(windows: Sequence[Window]) -> tuple[Tensor, Tensor, Tensor]:
    """ids, mask and segments, each (B, T)."""
    width = -(-max(len(window.ids) for window in windows) // _WIDTH_STEP) * _WIDTH_STEP
    ids, segments = (torch.zeros((len(windows), width), dtype=torch.long) for _ in range(2))
    mask = torch.zeros((len(windows), width), dtype=torch.bool)
    for row, window in enumerate(windows):
        length = len(window.ids)
        ids[row, :length] = torch.tensor(window.ids)
        segments[row, :length] = torch.tensor(window.segments)
        mask[row, :length] = True
    return ids, mask, segments


@cache
def _workers() -> ThreadPoolExecutor:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return ThreadPoolExecutor(cores, thread_name_prefix="windows")
