"""A question and a passage as windows of tokens, answers as targets.

Reading as in BERT (Devlin et al. 2019, §4.2 and §4.3): `[CLS] question [SEP] window [SEP]`, a start and an end logit a
token; where a window holds no answer, both targets are the position of [CLS].
A passage that is longer than a window is read in several that overlap.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dizuo.train.examples import filled

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

_AT_ONCE = 1000  # rows that are encoded together
_SHARED = 4  # neighbouring windows share a fourth of their tokens, and a question takes at most as many


@dataclass(frozen=True)
class Window:
    """A question with a stretch of its passage, T tokens. `start` and `end` are token positions of the answer, 0 and 0
    for none; `offsets` (T, 2) says from and to which character of the passage each token goes (0, 0: not the
    passage's). Arrays, because lists of 100,000 windows take several gigabytes."""

    ids: "NDArray[np.int32]"
    segments: "NDArray[np.int8]"
    start: int
    end: int
    offsets: "NDArray[np.int32]"
    row: int


@dataclass(frozen=True)
class SpanBatch:
    """Windows filled up to the longest of them. All (B, T) but `start` and `end`, (B,)."""

    ids: torch.Tensor
    mask: torch.Tensor
    segments: torch.Tensor
    start: torch.Tensor
    end: torch.Tensor


def windows(rows: Sequence[Mapping[str, Any]], tokenizer: "Tokenizer", length: int) -> list[Window]:
    """The windows of every row, in the order of the rows; targets are of the first answer that a window holds."""
    tokenizer.no_padding()
    found: list[Window] = []
    for first in range(0, len(rows), _AT_ONCE):
        found += _windows(rows[first : first + _AT_ONCE], tokenizer, length, first)
    return found


def _windows(rows: Sequence[Mapping[str, Any]], tokenizer: "Tokenizer", length: int, first: int) -> Iterator[Window]:
    tokenizer.enable_truncation(length // _SHARED)
    questions = tokenizer.encode_batch([str(row["question"]) for row in rows], add_special_tokens=False)
    cut = [str(row["question"])[: e.offsets[-1][1]] if e.ids else "" for row, e in zip(rows, questions, strict=True)]
    tokenizer.enable_truncation(length, stride=length // _SHARED, strategy="only_second")
    encodings = tokenizer.encode_batch(list(zip(cut, (str(row["passage"]) for row in rows), strict=True)))
    for number, (row, encoding) in enumerate(zip(rows, encodings, strict=True), start=first):
        for one in (encoding, *encoding.overflowing):
            offsets = [o if s == 1 else (0, 0) for o, s in zip(one.offsets, one.sequence_ids, strict=True)]
            start, end = _target(row.get("answers", ()), offsets)
            ids, segments = np.array(one.ids, np.int32), np.array(one.type_ids, np.int8)
            yield Window(ids, segments, start, end, np.array(offsets, np.int32), number)


def _target(answers: Sequence[Mapping[str, Any]], offsets: Sequence[tuple[int, int]]) -> tuple[int, int]:
    for answer in answers:
        begins = int(answer["answer_start"])
        ends = begins + len(str(answer["text"]))
        held = [n for n, (at, to) in enumerate(offsets) if to > at and at < ends and to > begins]
        # Only where the window holds all of it: its first token begins before or at the answer's first letter.
        if held and offsets[held[0]][0] <= begins and offsets[held[-1]][1] >= ends:
            return held[0], held[-1]
    return 0, 0


def collate(batch: Sequence[Window]) -> SpanBatch:
    """A batch of the windows."""
    ids, mask = filled([one.ids for one in batch])
    segments, _there = filled([one.segments for one in batch])
    start, end = (torch.tensor([getattr(one, side) for one in batch]) for side in ("start", "end"))
    return SpanBatch(ids, mask, segments, start, end)
