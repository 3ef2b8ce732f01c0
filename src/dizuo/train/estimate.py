"""Before a training: does it fit this machine, and how long will it take?

Sizes are counted; time is measured by a few real steps. What cannot fit is refused before it is tried, because a
machine that runs out of memory kills the process without a word.
"""

import os
import shutil
import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import nn

from dizuo.core.documents import Note
from dizuo.core.errors import UserError
from dizuo.train.distributed import World, join_world
from dizuo.train.gradients import Gradients, precision, workers
from dizuo.train.optimizers import make_optimizers
from dizuo.train.recipe import Recipe
from dizuo.train.stage import Stage, stage_class

_STEPS = 3  # measured, after one that warms up
_CHECKPOINTS = 3  # two are kept while the third is written
_FLOAT32 = 4
# Of the free memory, what the rest of the machine may still want.
_USABLE = 0.9


@runtime_checkable
class Rehearsing(Protocol):
    """A stage that can make a model and a batch like the real ones without its data."""

    def rehearse(self, recipe: Recipe, rows: int, work: Path) -> tuple[nn.Module, Any]:
        """The model, and a batch of so many rows; `work` as in `Stage.prepare`."""
        ...


@dataclass(frozen=True)
class Estimate:
    """What a training takes, and what there is."""

    parameters: int
    tokens: int  # that the model will see
    steps: int
    seconds: float | None  # without held-out figures and checkpoints
    tokens_per_s: float
    memory_bytes: int
    memory_free_bytes: int
    disk_bytes: int
    disk_free_bytes: int
    fits: bool
    device: str
    notes: tuple[Note, ...]  # what does not fit, and what to change

    def as_json(self) -> dict[str, Any]:
        """For the process that asked."""
        return {**asdict(self), "notes": [note.model_dump() for note in self.notes]}


def estimate(recipe: Recipe, folder: Path) -> Estimate:
    """What the recipe takes when its training runs in `folder` or one beside it."""
    world = join_world()
    stage = stage_class(recipe.stage)()
    _refuse_giant(recipe, world)
    shared = workers(recipe, world)
    model, batch = _rehearsal(stage, recipe, recipe.batch // shared, folder)
    parameters = sum(weight.numel() for weight in model.parameters())
    memory, free_memory = memory_needed(model, recipe, world), free_memory_bytes(world.device)
    disk, free_disk = _disk_needed(model), shutil.disk_usage(_existing(folder)).free
    notes = _notes(recipe, memory, free_memory, disk, free_disk)
    seconds = None
    if memory <= free_memory * _USABLE:
        seconds = _seconds_a_step(stage, recipe, model.to(world.device), batch, world) * recipe.steps
    tokens = recipe.steps * recipe.accumulate * recipe.batch * recipe.length
    return Estimate(
        parameters=parameters,
        tokens=tokens,
        steps=recipe.steps,
        seconds=None if seconds is None else round(seconds, 1),
        tokens_per_s=round(tokens / seconds, 1) if seconds else 0.0,
        memory_bytes=memory,
        memory_free_bytes=free_memory,
        disk_bytes=disk,
        disk_free_bytes=free_disk,
        fits=not notes,
        device=_named(world.device, shared),
        notes=notes,
    )


def require_fit(model: nn.Module, recipe: Recipe, world: World, folder: Path) -> None:
    """Raises UserError when the training of this model cannot fit the memory or the disk."""
    memory, free_memory = memory_needed(model, recipe, world), free_memory_bytes(world.device)
    notes = _notes(recipe, memory, free_memory, _disk_needed(model), shutil.disk_usage(_existing(folder)).free)
    if notes:
        raise UserError(notes[0].template, **notes[0].params)


def memory_needed(model: nn.Module, recipe: Recipe, world: World) -> int:
    """Bytes of weights, gradients, optimizer state and activations in one process.

    Activations by Korthikanti et al. 2023, eq. 2: a layer holds T·B·C·(34 + 5·H·T/C) bytes with 16 bits a number.
    """
    weights = sum(weight.numel() for weight in model.parameters()) * _FLOAT32
    threads = workers(recipe, world)
    # Gradients are summed once a thread; AdamW keeps two numbers a weight.
    held = weights * (1 + (threads + 1 if threads > 1 else 1) + 2) // world.size
    sizes = _sizes(model, recipe)
    rows = -(-recipe.batch // world.size)
    wide = 2 if precision(recipe, world.device) == torch.float32 else 1
    layer = rows * recipe.length * (34 * sizes["channels"] + 5 * sizes["heads"] * recipe.length) * wide
    logits = min(rows * recipe.length * sizes["vocab_size"], threads * (8 << 20)) * (_FLOAT32 + 2)
    return held + layer * sizes["layers"] + logits


def free_memory_bytes(device: torch.device) -> int:
    """Memory that can be had on the device now."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text("utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):  # no Linux: all that is built in
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _sizes(model: nn.Module, recipe: Recipe) -> dict[str, int]:
    """channels, heads, layers and vocab_size: those of the model (it may come from a checkpoint), or the recipe's."""
    found = next((config for module in model.modules() if (config := getattr(module, "config", None))), recipe.model)
    return {
        name: int(getattr(found, name, None) or getattr(recipe.model, name, None) or 1)
        for name in ("channels", "heads", "layers", "vocab_size")
    }


def _refuse_giant(recipe: Recipe, world: World) -> None:
    """Refuses by a rough count what could not even be built to be counted."""
    sizes = recipe.model
    if sizes.start is not None:
        return
    hidden = sizes.hidden or 4 * sizes.channels
    vocab_size = int(recipe.options.get("vocab_size", 0))
    about = vocab_size * sizes.channels + sizes.layers * sizes.channels * (4 * sizes.channels + 2 * hidden)
    free = free_memory_bytes(world.device)
    if about * _FLOAT32 > free:
        note = _too_much_memory(about * _FLOAT32 * 4, free, recipe)
        raise UserError(note.template, **note.params)


def _rehearsal(stage: Stage, recipe: Recipe, rows: int, folder: Path) -> tuple[nn.Module, Any]:
    if isinstance(stage, Rehearsing):
        return stage.rehearse(recipe, rows, folder / ".cache")
    stage.prepare(recipe, folder / ".cache")
    batch, _state = next(stage.batches(recipe, None, 0, recipe.batch // rows))
    return stage.model(recipe), batch


class _SameBatch:
    """A stage whose every batch is the same one."""

    def __init__(self, stage: Stage, batch: Any) -> None:
        self._batch = batch
        self.loss = stage.loss

    def batches(
        self, _recipe: Recipe, _state: Mapping[str, Any] | None, _rank: int, _world: int
    ) -> Iterator[tuple[Any, dict[str, Any]]]:
        while True:
            yield self._batch, {}


def _seconds_a_step(stage: Stage, recipe: Recipe, model: nn.Module, batch: Any, world: World) -> float:
    threads = torch.get_num_threads()
    once = replace(recipe, accumulate=1)
    same = cast(Stage, _SameBatch(stage, batch))
    gradients = Gradients(same, model.train(), once, world, precision(recipe, world.device))
    if gradients.workers > 1:
        torch.set_num_threads(1)
    gradients.start(None)
    optimizers = make_optimizers(model, recipe)
    took = []
    try:
        for number in range(1 + _STEPS):
            begun = time.perf_counter()
            gradients.step(number)
            middle = time.perf_counter()
            nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
            took.append((middle - begun) * recipe.accumulate + time.perf_counter() - middle)
    finally:
        torch.set_num_threads(threads)
    return statistics.median(took[1:])


def _disk_needed(model: nn.Module) -> int:
    weights = sum(weight.numel() for weight in model.parameters()) * _FLOAT32
    return weights * 3 * _CHECKPOINTS + weights  # weights and two numbers of AdamW each; and the finished model


def _notes(recipe: Recipe, memory: int, free_memory: int, disk: int, free_disk: int) -> tuple[Note, ...]:
    notes = []
    if memory > free_memory * _USABLE:
        notes.append(_too_much_memory(memory, free_memory, recipe))
    if disk > free_disk * _USABLE:
        notes.append(
            Note(
                template="The training needs {need} of disk and {free} are free: make room, or choose a smaller model.",
                params={"need": _bytes(disk), "free": _bytes(free_disk)},
            )
        )
    return tuple(notes)


def _too_much_memory(need: int, free: int, recipe: Recipe) -> Note:
    return Note(
        template="The training needs about {need} of memory and {free} are free. Lower batch (now {batch}) and raise "
        "accumulate by as much, lower length (now {length}), or choose a smaller model.",
        params={"need": _bytes(need), "free": _bytes(free), "batch": recipe.batch, "length": recipe.length},
    )


def _bytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.0f} MB"


def _named(device: torch.device, threads: int) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({threads} {'core' if threads == 1 else 'cores'})"


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())
