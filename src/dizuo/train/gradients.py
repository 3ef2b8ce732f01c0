"""Loss and gradient of one step: micro-batches, spread over the cores.

On a CPU every core computes a slice of the micro-batch in a thread of its own, with PyTorch single-threaded inside:
the cores meet once a micro-step instead of in every operator. On two idle cores this was 1.13 times as fast as two
threads inside operators; beside another busy process 9 times (median tokens a second, llama of 7 M weights, 2026-11:
PyTorch's threads spin while they wait for each other). Threads sum in a fixed order, so a step repeats to the bit.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import torch
from torch import nn

from dizuo.nn.dropout import noise
from dizuo.train.distributed import World, add_up
from dizuo.train.recipe import Recipe
from dizuo.train.stage import Stage

Batches = Iterator[tuple[Any, dict[str, Any]]]
Item = TypeVar("Item")
Result = TypeVar("Result")

# Threads that may work here: the cores, or what OMP_NUM_THREADS says. Read before anyone sets PyTorch's own to 1.
_CORES = torch.get_num_threads()


@dataclass
class _Part:
    """What one thread has seen of a step."""

    loss: float = 0.0  # sum over the targets
    targets: int = 0
    tokens: int = 0
    state: dict[str, Any] = field(default_factory=dict)  # resumes the data behind it


class Gradients:
    """Fills `.grad` of the model's weights, step by step."""

    def __init__(self, stage: Stage, model: nn.Module, recipe: Recipe, world: World, dtype: torch.dtype) -> None:
        """`dtype` is that of activations."""
        self._stage, self._model, self._recipe, self._world = stage, model, recipe, world
        self._dtype = dtype
        self._weights = [weight for weight in model.parameters() if weight.requires_grad]
        self.workers = workers(recipe, world)
        self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="gradients") if self.workers > 1 else None
        self._batches: Sequence[Batches] = ()
        # Fixed, so that every process divides by the same before gradients are averaged; put right at the end.
        self._scale = float(recipe.batch * recipe.length)

    def start(self, state: Mapping[str, Any] | None) -> None:
        """Where the data begin: None for the very beginning."""
        first, count = self._world.rank * self.workers, self._world.size * self.workers
        self._batches = [
            self._stage.batches(self._recipe, state, first + worker, count) for worker in range(self.workers)
        ]

    def step(self, number: int) -> tuple[float, int, dict[str, Any]]:
        """(mean loss over the step's targets, tokens read, the state that resumes the data), over all processes.

        Dropout draws by the recipe's seed and the step's `number`, so that a resumed training draws the same.
        """
        parts = [self._backward(number)] if self._pool is None else self._in_threads(number)
        loss, targets, tokens = add_up(
            self._world,
            sum(part.loss for part in parts),
            sum(part.targets for part in parts),
            sum(part.tokens for part in parts),
        )
        for weight in self._weights:
            if weight.grad is not None:
                weight.grad.mul_(self._world.size * self._scale / max(1.0, targets))
        return loss / max(1.0, targets), int(tokens), parts[0].state

    def _backward(self, number: int) -> "_Part":
        part = _Part()
        for micro in range(self._recipe.accumulate):
            total = self._forward(part, 0, number, micro)
            (total / self._scale).backward()
        return part

    def _in_threads(self, number: int) -> "list[_Part]":
        assert self._pool is not None
        done = list(self._pool.map(partial(self._slice, number), range(self.workers)))
        for i, weight in enumerate(self._weights):
            weight.grad = done[0][1][i]
            for _part, sums in done[1:]:
                weight.grad.add_(sums[i])
        return [part for part, _sums in done]

    def _slice(self, number: int, worker: int) -> "tuple[_Part, list[torch.Tensor]]":
        """One thread's share of all micro-batches of a step; `.grad` is everyone's, so it returns its own sums."""
        torch.set_num_threads(1)
        part, sums = _Part(), []
        for micro in range(self._recipe.accumulate):
            total = self._forward(part, worker, number, micro)
            gradients = torch.autograd.grad(total / self._scale, self._weights, materialize_grads=True)
            if not sums:
                sums = [gradient.contiguous() for gradient in gradients]
                continue
            for held, gradient in zip(sums, gradients, strict=True):
                held.add_(gradient)
        return part, sums

    def _forward(self, part: "_Part", worker: int, number: int, micro: int) -> torch.Tensor:
        """The summed loss of the next micro-batch, which is added to `part`."""
        batch, part.state = next(self._batches[worker])
        with autocast(self._world.device, self._dtype), self._noise(number, micro, self._world.rank + worker):
            total, count = self._stage.loss(self._model, batch)
        part.loss += float(total.detach())
        part.targets += int(count)
        part.tokens += batch.ids.numel()
        return total

    def _noise(self, number: int, micro: int, worker: int) -> AbstractContextManager[None]:
        place = (number * self._recipe.accumulate + micro) * 4096 + worker
        return noise(self._recipe.seed * 1_000_003 + place, self._world.device)


def workers(recipe: Recipe, world: World) -> int:
    """Threads that share a micro-batch: as many as PyTorch may use here (OMP_NUM_THREADS), as far as rows divide."""
    if world.size > 1 or world.device.type != "cpu":
        return 1
    return max(n for n in range(1, _CORES + 1) if recipe.batch % n == 0)


def in_threads(compute: Callable[[Item], Result], items: Iterable[Item], device: torch.device) -> list[Result]:
    """`compute` of every item, in order, on a CPU with a thread a core; autocast and no_grad hold in them too."""
    if device.type != "cpu" or "WORLD_SIZE" in os.environ:
        return [compute(item) for item in items]
    mixed, dtype, learning = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu"), torch.is_grad_enabled()

    def alone(item: Item) -> Result:
        torch.set_num_threads(1)
        with torch.autocast("cpu", dtype, enabled=mixed), torch.set_grad_enabled(learning):
            return compute(item)

    with ThreadPoolExecutor(_CORES, thread_name_prefix="evaluate") as pool:
        return list(pool.map(alone, items))


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Matrix products in `dtype`; nothing changes in float32."""
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def precision(recipe: Recipe, device: torch.device) -> torch.dtype:
    """The dtype of activations: with `auto` bfloat16 where the machine multiplies it in hardware."""
    if recipe.precision != "auto":
        return getattr(torch, recipe.precision)
    fast = torch.cuda.is_bf16_supported(including_emulation=False) if device.type == "cuda" else _cpu_has_bfloat16()
    return torch.bfloat16 if fast else torch.float32


def _cpu_has_bfloat16() -> bool:
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
