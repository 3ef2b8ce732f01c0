"""Batches of documents packed side by side: no document sees another, and any batch can be come back to.

Several short documents fill one row; a document longer than a row is cut into pieces that are each a document of their
own. Within a window of about 256 rows pieces are put into rows by best-fit decreasing (Ding et al. 2024, "Fewer
truncations improve language modeling", arXiv:2404.10830): only what cannot fit one row is ever cut.

Everything is a function of (documents, weights, length, batch, seed): the order of an epoch is a pseudo-random
permutation that is computed, not stored, so the state that a checkpoint keeps is a few numbers a source.

Shapes: B rows of the batch, T length.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch

from dizuo.core.errors import UserError
from dizuo.data.shards import Shards
from dizuo.nn.cross_entropy import IGNORED

# Rows that are packed together. More packs tighter and costs memory: (document, start, stop) of each piece is held.
_WINDOW_ROWS = 256
_VERSION = 1


@dataclass(frozen=True)
class Batch:
    """(B, T) int64 each. Where nothing stands, `ids` are 0, `targets` -100 and `documents` -1."""

    ids: torch.Tensor
    targets: torch.Tensor  # the token that follows
    documents: torch.Tensor  # which piece of its row a token belongs to, from 0
    positions: torch.Tensor  # from 0 at the start of every piece


Piece = TypeVar("Piece", bound=Sized)


@dataclass(frozen=True)
class _Piece:
    document: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


class PackedBatches:
    """An iterator of (batch, state): whoever starts again with that state gets the very batches that come after it.

    A batch is drawn as a whole and cut by rank: rank r of `world` processes sees rows [r·B/world, (r+1)·B/world), so
    that the processes together see what one process would. The state is the same on every rank, and JSON-able.
    """

    def __init__(
        self,
        source: Shards | Sequence[tuple[Shards, float | None]],
        length: int,
        batch: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        state: dict[str, Any] | None = None,
        epochs: int | None = None,
    ) -> None:
        """`batch` counts the rows of all ranks together. A mixture is (shards, weight) pairs: weights are shares of
        the rows; without any, a source weighs as much as it has tokens. `epochs`: end after so many passes over a
        single source, the last batch filled up with empty rows; without it there is no end.

        Raises UserError when the ranks cannot share a batch evenly, a source is empty, or the state belongs to other
        data, another seed or other sizes.
        """
        sources = [(source, 1.0)] if isinstance(source, Shards) else list(source)
        if batch < 1 or length < 1 or world < 1 or batch % world:
            raise UserError(
                "A batch of {batch} rows of {length} tokens cannot be shared evenly by {world} processes.",
                batch=batch, length=length, world=world,
            )  # fmt: skip
        if epochs is not None and len(sources) != 1:
            raise ValueError("epochs are counted over one source")
        self._weights = _shares(sources)
        self._batch, self._rank, self._world, self._length, self._epochs = batch, rank, world, length, epochs
        self._rows = [_Rows(shards, length, _mixed(seed, i)) for i, (shards, _w) in enumerate(sources)]
        self._taken = [0] * len(sources)
        self._key = {
            "version": _VERSION,
            "seed": seed,
            "length": length,
            "batch": batch,
            "weights": [round(weight, 12) for weight in self._weights],
            "data": [shards.fingerprint for shards, _w in sources],
        }
        if state is not None:
            self._resume(state)

    def __iter__(self) -> Iterator[tuple[Batch, dict[str, Any]]]:
        share = self._batch // self._world
        mine = range(self._rank * share, (self._rank + 1) * share)
        while True:
            rows: list[tuple[Shards, list[_Piece]]] = []
            for _ in range(self._batch):
                source = self._next_source()
                if self._epochs is not None and self._rows[source].epoch >= self._epochs:
                    break
                rows.append((self._rows[source].shards, self._rows[source].take()))
                self._taken[source] += 1
            if not rows:
                return
            yield self._filled([rows[i] if i < len(rows) else None for i in mine]), self.state

    @property
    def state(self) -> dict[str, Any]:
        """Where the next batch begins."""
        return {**self._key, "taken": list(self._taken), "sources": [rows.state for rows in self._rows]}

    def _resume(self, state: dict[str, Any]) -> None:
        for field, value in self._key.items():
            if state.get(field) != value:
                raise UserError(
                    "The batches cannot go on where they stopped: {field} was {found!r} then and is {wanted!r} now. "
                    "Go on with the same settings and data, or start a new run.",
                    field=field, found=state.get(field), wanted=value,
                )  # fmt: skip
        self._taken = list(state["taken"])
        for rows, where in zip(self._rows, state["sources"], strict=True):
            rows.state = where

    def _next_source(self) -> int:
        """The source that lags most behind its share: shares are exact to one row at any time."""
        if len(self._rows) == 1:
            return 0
        total = sum(self._taken) + 1
        lags = [weight * total - taken for weight, taken in zip(self._weights, self._taken, strict=True)]
        return int(np.argmax(lags))

    def _filled(self, rows: Sequence[tuple[Shards, list[_Piece]] | None]) -> Batch:
        shape = (len(rows), self._length)
        ids, positions = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        targets, documents = np.full(shape, IGNORED, np.int64), np.full(shape, -1, np.int64)
        for row, content in enumerate(rows):
            at = 0
            shards, pieces = content or (None, [])
            for number, piece in enumerate(pieces):
                assert shards is not None
                tokens = shards.document(piece.document)[piece.start : piece.stop + 1]
                here = slice(at, at + len(piece))
                ids[row, here], targets[row, here] = tokens[:-1], tokens[1:]
                documents[row, here] = number
                positions[row, here] = np.arange(len(piece))
                at += len(piece)
        return Batch(*(torch.from_numpy(one) for one in (ids, targets, documents, positions)))


class _Rows:
    """The endless rows of one source, epoch after epoch. It stands at (epoch, first document of the window, row)."""

    def __init__(self, shards: Shards, length: int, seed: int) -> None:
        self.shards = shards
        self._length, self._seed = length, seed
        self.epoch = self._document = self._row = 0
        self._window: list[list[_Piece]] | None = None
        self._after = 0  # the first document behind the window

    @property
    def state(self) -> dict[str, int]:
        return {"epoch": self.epoch, "document": self._document, "row": self._row}

    @state.setter
    def state(self, state: dict[str, int]) -> None:
        self.epoch, self._document, self._row = state["epoch"], state["document"], state["row"]
        self._window = None

    def take(self) -> list[_Piece]:
        if self._window is None:
            self._window = self._packed()
        row = self._window[self._row]
        self._row += 1
        if self._row == len(self._window):
            self._window, self._row, self._document = None, 0, self._after
            if self._document >= len(self.shards):
                self.epoch, self._document = self.epoch + 1, 0
        return row

    def _packed(self) -> list[list[_Piece]]:
        """The rows of the window that begins at `_document` of this epoch's order."""
        pieces: list[_Piece] = []
        tokens = 0
        at = self._document
        while at < len(self.shards) and tokens < _WINDOW_ROWS * self._length:
            document = permuted(at, len(self.shards), _mixed(self._seed, self.epoch))
            length = self.shards.length(document)
            pieces += [
                _Piece(document, start, min(start + self._length, length)) for start in range(0, length, self._length)
            ]
            tokens += length
            at += 1
        self._after = at
        rows = best_fit(pieces, self._length)
        order = np.random.default_rng([self._seed, self.epoch, self._document]).permutation(len(rows))
        return [rows[i] for i in order]


def best_fit(pieces: Sequence[Piece], length: int) -> list[list[Piece]]:
    """Rows of at most `length` tokens, as `len` counts them: the longest piece first, each into the row that it fills
    best. None may be longer than a row."""
    rows: list[list[Piece]] = []
    room: list[tuple[int, int]] = []  # (tokens free, row), ascending
    for piece in sorted(pieces, key=len, reverse=True):
        at = bisect_left(room, (len(piece), 0))
        if at == len(room):
            rows.append([])
            free, row = length, len(rows) - 1
        else:
            free, row = room.pop(at)
        rows[row].append(piece)
        if free > len(piece):
            insort(room, (free - len(piece), row))
    return rows


def permuted(index: int, count: int, seed: int) -> int:
    """The place of `index` in a pseudo-random order of 0 … count-1, without the order being stored.

    A Feistel cipher over the next even number of bits, walked until it lands inside (Black & Rogaway 2002, "Ciphers
    with arbitrary finite domains", method 2 and 3): a bijection for every seed; under four steps a call on average.
    """
    half = max(1, ((count - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    while True:
        left, right = index >> half, index & mask
        for turn in range(4):
            left, right = right, left ^ (_mixed(seed, turn, right) & mask)
        index = left << half | right
        if index < count:
            return index


def _mixed(*values: int) -> int:
    """64 well-mixed bits of some integers (the finaliser of SplitMix64, Steele et al. 2014)."""
    bits = 0
    for value in values:
        bits = (bits + value + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        bits = ((bits ^ bits >> 30) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        bits = ((bits ^ bits >> 27) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        bits ^= bits >> 31
    return bits


def _shares(sources: Sequence[tuple[Shards, float | None]]) -> list[float]:
    """The weights as shares of one; without any, a source's share is that of its tokens."""
    for shards, weight in sources:
        if not len(shards):
            raise UserError("{folder} holds no documents: nothing can be packed.", folder=shards.folder)
        if weight is not None and not weight > 0:
            raise UserError(
                "The weight of {folder} is {weight}; it must be above 0.", folder=shards.folder, weight=weight
            )
    weights = [shards.manifest.tokens if weight is None else weight for shards, weight in sources]
    given = sum(weight is not None for _s, weight in sources)
    if 0 < given < len(sources):
        raise UserError("Give every source of the mixture a weight, or none.")
    return [weight / sum(weights) for weight in weights]
