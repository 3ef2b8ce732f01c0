"""Keys and values of many texts in slots, and what a step of the engine asks of a model.

A step is one call on a flat row of new tokens: one of each text that is being continued, and a piece of each prompt
that is still being read. Shapes: N new tokens, H heads, G key-value heads, S tokens of a slot, D head width,
C channels, V vocabulary.
"""

import mmap
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F

from dizuo.inference.fused import FusedDecoder
from dizuo.nn.decoder import Decoder, DecoderConfig

# Texts of unequal length share one call as long as this many tokens more are read for it. A call costs about as much
# as reading 100 tokens of eight heads.
_WASTE_TOKENS = 100
# A thread of its own is worth it for this many new tokens; more threads than these read the weights too often.
_THREAD_TOKENS = 8
_MOST_THREADS = 4


@dataclass(frozen=True)
class Segment:
    """New tokens of one text: `count` of them, after the `past` that its slot holds."""

    slot: int
    past: int
    count: int


class SlotModel(Protocol):
    """What the engine needs of a model: a step over slots, logits, and the copy of a slot's beginning.

    `DecoderSlots` is that for the decoders of `nn`, `ForeignSlots` for those that transformers computes.
    """

    vocab_size: int

    def forward(self, ids: torch.Tensor, segments: Sequence[Segment]) -> torch.Tensor:
        """(N,) ids, segment after segment, to hidden states (N, C). Slots hold past + count tokens afterwards."""
        ...

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """(M, C) to (M, V)."""
        ...

    def copy(self, source: int, target: int, count: int) -> None:
        """The first `count` tokens that one slot holds become the content of another."""
        ...

    def clear(self, slot: int, count: int) -> None:
        """Forgets the first `count` tokens of a slot, numbers that are none among them."""
        ...

    def close(self) -> None:
        """Ends threads of its own, where it has any."""
        ...


class SlotCache:
    """Keys and values of every layer, (slots, 2G, S, D): the keys of a slot, then its values.

    Memory: slots · S · layers · 2·G·D numbers at most (`TextEngine` keeps that under 4 GiB by fewer slots or a shorter
    context). The system hands out pages when they are first written, so a quiet server has a few of them only.
    """

    def __init__(self, slots: int, tokens: int, layers: int, groups: int, width: int) -> None:
        self.shape = (slots, 2 * groups, tokens, width)
        self.groups = groups
        self.layers = [_lazy_zeros(self.shape) for _ in range(layers)]

    @staticmethod
    def bytes_per_token(config: DecoderConfig) -> int:
        """Memory of one token's keys and values."""
        return config.layers * 2 * config.groups * config.width * torch.float32.itemsize

    def copy(self, source: int, target: int, count: int) -> None:
        """The first `count` tokens of one slot into another."""
        for one in self.layers:
            one[target, :, :count] = one[source, :, :count]

    def clear(self, slot: int, count: int) -> None:
        """Zeros for the first `count` tokens of a slot. A NaN there would reach those masked from it, as 0 · NaN."""
        for one in self.layers:
            one[slot, :, :count] = 0


class Plan:
    """Where the new tokens of one step are written and what each looks at: worked out once, used by every layer."""

    def __init__(self, cache: SlotCache, segments: Sequence[Segment]) -> None:
        """Texts with one new token come first, by slot."""
        self._cache = cache
        _slots, both, tokens, _width = cache.shape
        slots = np.array([one.slot for one in segments])
        pasts = np.array([one.past for one in segments])
        counts = np.array([one.count for one in segments])
        if (counts == 1).all():
            positions, owners = pasts, slots
        else:
            positions = np.concatenate([np.arange(one.past, one.past + one.count) for one in segments])
            owners = slots.repeat(counts)
        rows = (owners * (both * tokens) + positions)[:, None] + np.arange(both) * tokens
        self._rows = torch.from_numpy(rows.reshape(-1))
        self.positions = torch.from_numpy(positions)
        single = next((i for i, count in enumerate(counts) if count > 1), len(segments))
        self._attending: list[_Singles | _Piece] = [_Singles(segments, *span) for span in _spans(segments[:single])]
        row = single
        for one in segments[single:]:
            self._attending.append(_Piece(one, row))
            row += one.count

    def attend(self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """q (1, H, N, D), k and v (1, G, N, D) of the new tokens; returns (1, H, N, D)."""
        rows = torch.cat((q, k, v), dim=1)[0].transpose(0, 1)
        heads, width = q.shape[1], q.shape[3]
        return self.attend_rows(layer, rows, heads).view(-1, heads, width).transpose(0, 1)[None]

    def attend_rows(self, layer: int, qkv: torch.Tensor, heads: int) -> torch.Tensor:
        """(N, H + 2G, D), what a token asks, is found by, and tells, to (N, H·D)."""
        both = self._cache.layers[layer]
        width = both.shape[3]
        both.view(-1, width).index_copy_(0, self._rows, qkv[:, heads:].reshape(-1, width))
        keys, values = both[:, : self._cache.groups], both[:, self._cache.groups :]
        queries = qkv[:, :heads]
        mixed = [one.attend(queries, keys, values) for one in self._attending]
        whole = mixed[0] if len(mixed) == 1 else torch.cat(mixed)
        return whole.reshape(-1, heads * width)


class _Singles:
    """Texts in neighbouring slots with one new token each."""

    def __init__(self, segments: Sequence[Segment], begin: int, end: int) -> None:
        self._rows = slice(begin, end)
        self._slots = slice(segments[begin].slot, segments[end - 1].slot + 1)
        lengths = [one.past + 1 for one in segments[begin:end]]
        self._width = max(lengths)
        self._mask: torch.Tensor | None = None
        if min(lengths) < self._width:
            held = torch.tensor(lengths)[:, None] > torch.arange(self._width)
            self._mask = torch.zeros(held.shape).masked_fill_(~held, float("-inf"))[:, None, None]

    def attend(self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """(N, H, D) queries of all to (n, H, D) of these."""
        queries = queries[self._rows]
        n, heads, width = queries.shape
        groups = keys.shape[1]
        # Heads that share keys stand in the place of time: all of them see the same tokens.
        mixed = F.scaled_dot_product_attention(
            queries.reshape(n, groups, heads // groups, width),
            keys[self._slots, :, : self._width],
            values[self._slots, :, : self._width],
            attn_mask=self._mask,
        )
        return mixed.reshape(n, heads, width)


class _Piece:
    """A piece of a prompt."""

    def __init__(self, segment: Segment, row: int) -> None:
        self._rows = slice(row, row + segment.count)
        self._slot = slice(segment.slot, segment.slot + 1)
        self._width = segment.past + segment.count
        self._mask: torch.Tensor | None = None
        if segment.past:
            sees = torch.arange(segment.past, self._width)[:, None] >= torch.arange(self._width)
            self._mask = sees[None, None]

    def attend(self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """(N, H, D) queries of all to (n, H, D) of this piece."""
        mixed = F.scaled_dot_product_attention(
            queries[self._rows].transpose(0, 1)[None],
            keys[self._slot, :, : self._width],
            values[self._slot, :, : self._width],
            attn_mask=self._mask,
            is_causal=self._mask is None,
            enable_gqa=queries.shape[1] != keys.shape[1],
        )
        return mixed[0].transpose(0, 1)


def _spans(segments: Sequence[Segment]) -> list[tuple[int, int]]:
    """Runs of neighbouring slots whose texts are about equally long."""
    spans: list[tuple[int, int]] = []
    begin, longest, total = 0, 0, 0
    for i, one in enumerate(segments):
        length = one.past + 1
        widest = max(longest, length)
        neighbours = i > begin and one.slot == segments[i - 1].slot + 1
        if i > begin and (not neighbours or widest * (i - begin + 1) - total - length > _WASTE_TOKENS * (i - begin)):
            spans.append((begin, i))
            begin, widest, total = i, length, 0
        longest, total = widest, total + length
    if segments:
        spans.append((begin, len(segments)))
    return spans


def _lazy_zeros(shape: tuple[int, ...]) -> torch.Tensor:
    """Zeros whose pages exist once they are written: `torch.zeros` writes them all.

    They must be zeros: what is masked is multiplied by 0, and an uninitialised number may be NaN. The pages must be
    small: with huge ones the first token of a text was measured to take 80 ms, because every head of a slot lies on a
    page of its own that is cleared first, and a few short texts held the memory of full slots.
    """
    count = int(np.prod(shape))
    if not hasattr(mmap, "MADV_NOHUGEPAGE"):
        return torch.from_numpy(np.zeros(shape, dtype=np.float32))
    pages = mmap.mmap(-1, max(count * 4, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # a kernel without huge pages
        pages.madvise(mmap.MADV_NOHUGEPAGE)
    return torch.frombuffer(pages, dtype=torch.float32, count=count).view(shape)


def _shares(segments: Sequence[Segment], parts: int) -> list[Sequence[Segment]]:
    """Segments in at most `parts` runs with about as many tokens each."""
    total = sum(one.count for one in segments)
    shares: list[Sequence[Segment]] = []
    begin, taken = 0, 0
    for i, one in enumerate(segments):
        taken += one.count
        if taken * parts >= total * (len(shares) + 1) or i == len(segments) - 1:
            shares.append(segments[begin : i + 1])
            begin = i + 1
    return shares


class DecoderSlots:
    """A decoder of `nn` over slots, as it is or rearranged (`inference/fused.py`)."""

    def __init__(self, decoder: Decoder | FusedDecoder, slots: int, tokens: int) -> None:
        config = decoder.config
        self.vocab_size: int = config.vocab_size
        self._decoder = decoder
        self._cache = SlotCache(slots, tokens, config.layers, config.groups, config.width)

        # One thread a core at most, each with texts of its own (see `inference/encoder.py` on PyTorch's threads).
        self._threads = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1, _MOST_THREADS)
        self._helpers = ThreadPoolExecutor(max(self._threads - 1, 1), thread_name_prefix="text-engine-helper")

    def forward(self, ids: torch.Tensor, segments: Sequence[Segment]) -> torch.Tensor:
        """As in `SlotModel`."""
        shares = _shares(segments, min(self._threads, len(ids) // _THREAD_TOKENS))
        if len(shares) == 1:
            return self._compute(ids, segments)
        pieces = ids.split([sum(one.count for one in share) for share in shares])
        others = [
            self._helpers.submit(self._compute, piece, share)
            for piece, share in zip(pieces[1:], shares[1:], strict=True)
        ]
        try:
            first = self._compute(pieces[0], shares[0])
        finally:
            wait(others)  # none may write into a slot that the next step gives to another text
        return torch.cat([first, *(other.result() for other in others)])

    def _compute(self, ids: torch.Tensor, segments: Sequence[Segment]) -> torch.Tensor:
        plan = Plan(self._cache, segments)
        with torch.inference_mode():
            if isinstance(self._decoder, FusedDecoder):
                return self._decoder.forward(ids, plan.positions, plan)
            return self._decoder(ids[None], positions=plan.positions[None], cache=plan)[0]

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """As in `SlotModel`."""
        with torch.inference_mode():
            return self._decoder.logits(hidden)

    def copy(self, source: int, target: int, count: int) -> None:
        """As in `SlotModel`."""
        self._cache.copy(source, target, count)

    def clear(self, slot: int, count: int) -> None:
        """As in `SlotModel`."""
        self._cache.clear(slot, count)

    def close(self) -> None:
        """As in `SlotModel`."""
        self._helpers.shutdown()


class ForeignSlots:
    """A decoder that transformers computes (`inference/foreign.py`), text by text."""

    def __init__(self, decoder: Any) -> None:
        self.vocab_size: int = decoder.config.vocab_size
        self._decoder = decoder
        self._caches: dict[int, Any] = {}

    def forward(self, ids: torch.Tensor, segments: Sequence[Segment]) -> torch.Tensor:
        """As in `SlotModel`; what it calls hidden states are logits."""
        rows = []
        for piece, one in zip(ids.split([one.count for one in segments]), segments, strict=True):
            if not one.past:
                self._caches[one.slot] = self._decoder.cache()
            cache = self._caches[one.slot]
            cache.cut(one.past)
            rows.append(self._decoder(piece[None], cache=[cache])[0])
        return torch.cat(rows)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """As in `SlotModel`."""
        return self._decoder.logits(hidden)

    def copy(self, source: int, target: int, count: int) -> None:
        """As in `SlotModel`."""
        self._caches[target] = self._caches[source].copy()
        self._caches[target].cut(count)

    def clear(self, slot: int, count: int) -> None:
        """As in `SlotModel`."""
        self._caches.pop(slot, None)

    def close(self) -> None:
        """As in `SlotModel`."""
        self._caches.clear()
