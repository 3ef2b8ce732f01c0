"""Texts to unit vectors: tokenised, batched by length, encoded, pooled.

Work is spread over the processor's cores by batches, each computed by one thread, and never by PyTorch inside an
operator: its threads wait for each other by spinning, and where anything else runs beside them (a web server, the
parser, a second instance) a query of 5 ms was measured to take 75 ms, and every thousandth one a second.
"""

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dizuo.core import effort
from dizuo.core.once import once
from dizuo.nn.tokenizer import tokenizer_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from dizuo.nn.encoder import Encoder

# Tokens (padding included) of one batch: more was measured to be slower, because activations leave the cache.
_BATCH_TOKENS = 512
# Texts are filled up to a multiple of this. oneDNN keeps the code that it makes for every shape it meets, up to 1,024
# of them: with any width, 388 passages and 300 queries took 430 MB more; with these 125 MB, and no more time.
_WIDTH_STEP = 16
# No token of a word-piece vocabulary is longer; cuts a huge text before the tokenizer sees all of it.
_CHARS_PER_TOKEN = 24


class TextEncoder:
    """A checkpoint of a sentence encoder. Tokenizer and weights load when first needed. Thread-safe."""

    def __init__(self, folder: Path, max_tokens: int) -> None:
        """`max_tokens` counts the two marks around a text; what is longer is cut."""
        self._folder = folder
        self._max_tokens = max_tokens

    def count_tokens(self, text: str) -> int:
        """How many tokens a text has, uncut and without the marks around it."""
        return len(self._tokenizer.encode_batch_fast([text], add_special_tokens=False)[0].ids)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """(N, C) float32, rows of length 1, in the order of the texts."""
        ids = self._token_ids(texts)
        encoder = self._encoder
        vectors = np.empty((len(texts), encoder.config.channels), dtype=np.float32)

        def compute(batch: list[int]) -> float:
            began_s = time.thread_time()
            vectors[batch] = _encode_batch(encoder, [ids[i] for i in batch])
            return time.thread_time() - began_s

        batches = _batches([_width(len(one)) for one in ids])
        effort.took(compute(batches[0]) if len(batches) == 1 else sum(self._workers.map(compute, batches)))
        return vectors

    def _token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        longest = self._max_tokens * _CHARS_PER_TOKEN
        cut = [text[:longest] for text in texts]
        encodings = self._tokenizer.encode_batch_fast(cut)
        return [_shortened(encoding.ids, self._max_tokens) for encoding in encodings]

    @once
    def _tokenizer(self) -> "Tokenizer":
        return tokenizer_of(self._folder)  # uncut: `count_tokens` counts all

    @once
    def _encoder(self) -> "Encoder":
        import torch

        from dizuo.inference.packed import fastest_type, pack_encoder
        from dizuo.nn.checkpoint import load_encoder

        torch.set_num_threads(1)
        encoder = load_encoder(self._folder)
        pack_encoder(encoder, fastest_type())
        return encoder

    @once
    def _workers(self) -> ThreadPoolExecutor:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        return ThreadPoolExecutor(cores, thread_name_prefix="encoder")


def _encode_batch(encoder: "Encoder", ids: Sequence[list[int]]) -> np.ndarray:
    import torch

    from dizuo.nn.encoder import mean_pool

    with torch.inference_mode():
        rows, mask = _padded(ids)
        return mean_pool(encoder(rows, mask), mask).numpy()


def _shortened(ids: list[int], limit: int) -> list[int]:
    return ids if len(ids) <= limit else [*ids[: limit - 1], ids[-1]]


def _batches(lengths: Sequence[int]) -> list[list[int]]:
    """Positions, texts of like length together, so that little is padding."""
    batches: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        # Longest first: a batch's first text says how wide all of it becomes.
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= _BATCH_TOKENS:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches


def _width(length: int) -> int:
    return -(-length // _WIDTH_STEP) * _WIDTH_STEP


def _padded(ids: Sequence[list[int]]) -> tuple[Any, Any]:
    """(B, T) ids, and the mask of what is a token: None when nothing had to be filled up."""
    import torch

    width = _width(max(map(len, ids)))
    if all(len(one) == width for one in ids):
        return torch.tensor(ids), None
    rows = torch.zeros((len(ids), width), dtype=torch.long)
    mask = torch.zeros((len(ids), width), dtype=torch.bool)
    for row, one in enumerate(ids):
        rows[row, : len(one)] = torch.tensor(one)
        mask[row, : len(one)] = True
    return rows, mask
