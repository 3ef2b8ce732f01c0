"""Batches of separate examples (a question with its passage, a pair of sentences): drawn by weight, shuffled anew each
time round, those of like length together, and resumable at any batch.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn

from dizuo.core.errors import UserError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from numpy.typing import NDArray

Example = TypeVar("Example")
Collated = TypeVar("Collated")

# Batches that are drawn at once, ordered by length and cut: more pads less and mixes lengths less well.
_POOL = 16


def example_batches(
    sets: Sequence[Sequence[Example]],
    weights: Sequence[float],
    size: int,
    seed: int,
    state: Mapping[str, Any] | None,
    rank: int,
    world: int,
    *,
    length: Callable[[Example], int],
    collate: Callable[[Sequence[Example]], Collated],
) -> Iterator[tuple[Collated, dict[str, Any]]]:
    """Endless (batch, the state that resumes after it).

    `weights` are the shares of the sets among the examples that are drawn; every example of a set comes once before
    any comes again. Each of `world` processes gets `size / world` examples of the same batch.

    Raises UserError when the state belongs to sets of other sizes.
    """
    drawn = Draws(list(map(len, sets)), weights, seed, state)
    at = int(state["batch"]) if state else 0
    while True:
        begun = drawn.state()
        chance = random.Random(f"{seed}:{begun['drawn']}")  # noqa: S311  # an order, no secret
        pool = [sets[s][n] for s, n in drawn.take(size * _POOL)]
        pool.sort(key=length)
        batches = [pool[first : first + size] for first in range(0, len(pool), size)]
        chance.shuffle(batches)
        for number in range(at, len(batches)):
            after = {**begun, "batch": number + 1}
            if number + 1 == len(batches):
                after = {**drawn.state(), "batch": 0}
            yield collate(batches[number][rank::world]), after
        at = 0


def shares(weights: Sequence[float | None], sets: Sequence[Sequence[Any]]) -> list[float]:
    """The weights of a recipe, a set's size where it names none."""
    return [len(one) if weight is None else weight for weight, one in zip(weights, sets, strict=True)]


Tensors = TypeVar("Tensors", bound="DataclassInstance")


def on_device_of(batch: Tensors, model: nn.Module) -> Tensors:
    """The batch, a dataclass of tensors, where the model's weights are."""
    device = next(model.parameters()).device
    return replace(batch, **{one.name: getattr(batch, one.name).to(device) for one in fields(batch)})


def filled(rows: "Sequence[Sequence[int] | NDArray[Any]]", with_: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids (B, T) filled up to the longest of the rows, and the mask of what is a token, (B, T) of bool."""
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.full((len(rows), int(lengths.max())), with_)
    for n, row in enumerate(rows):
        ids[n, : len(row)] = torch.tensor(row)
    return ids, torch.arange(ids.shape[1])[None, :] < lengths[:, None]


class Draws:
    """Which example comes next: a set by its weight, then the next of that set's order for this time round."""

    def __init__(
        self, sizes: Sequence[int], weights: Sequence[float], seed: int, state: Mapping[str, Any] | None
    ) -> None:
        self._sizes, self._weights, self._seed = sizes, weights, seed
        self._drawn = int(state["drawn"]) if state else 0
        self._taken = list(state["taken"]) if state else [0] * len(sizes)
        self._orders: dict[tuple[int, int], list[int]] = {}
        if state and state.get("sizes", sizes) != sizes:
            raise UserError(
                "The data has changed since the checkpoint: it has {found} examples and had {known}. Bring the data "
                "back as it was, or start a new training.",
                found=", ".join(map(str, sizes)),
                known=", ".join(map(str, state["sizes"])),
            )

    def state(self) -> dict[str, Any]:
        return {"drawn": self._drawn, "taken": list(self._taken), "sizes": list(self._sizes)}

    def take(self, n: int) -> list[tuple[int, int]]:
        """The next `n` as (set, example)."""
        chance = random.Random(f"{self._seed}:{self._drawn}:set")  # noqa: S311
        chosen = chance.choices(range(len(self._sizes)), self._weights, k=n)
        self._drawn += n
        found: list[tuple[int, int]] = []
        for s in chosen:
            round_, at = divmod(self._taken[s], self._sizes[s])
            found.append((s, self._order(s, round_)[at]))
            self._taken[s] += 1
        return found

    def _order(self, s: int, round_: int) -> list[int]:
        if (s, round_) not in self._orders:
            self._orders = {key: order for key, order in self._orders.items() if key[0] != s}
            order = list(range(self._sizes[s]))
            random.Random(f"{self._seed}:{s}:{round_}").shuffle(order)  # noqa: S311
            self._orders[s, round_] = order
        return self._orders[s, round_]
