"""The contract between the loop and what is trained: a stage.

The loop knows steps, optimizers, checkpoints and processes; a stage knows data, model and loss. A new kind of training
is one module with a class that keeps to `Stage`, one line in `_STAGES`, and a recipe.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

from dizuo.core.documents import Note
from dizuo.nn.checkpoint import Provenance, inherited_data

if TYPE_CHECKING:
    from dizuo.train.recipe import Recipe

_STAGES = {
    "pretrain": "dizuo.train.pretrain:Pretrain",
    "sft": "dizuo.train.sft:ChatTuning",
    "translate": "dizuo.train.translate:Translate",
    "classify": "dizuo.train.classify:Classify",
    "pairs": "dizuo.train.pairs:Pairs",
    "read": "dizuo.train.read:Read",
}
STAGES = tuple(_STAGES)


class Batch(Protocol):
    """Whatever a stage's `loss` takes. The loop reads the size of `ids`, for tokens a second, and nothing else."""

    @property
    def ids(self) -> torch.Tensor: ...


class Stage(Protocol):
    """What is trained, on what, towards what. Made without arguments; `prepare` comes first."""

    # A frozen dataclass: the keys that a recipe may have under `options`, with defaults.
    Options: type

    def prepare(self, recipe: "Recipe", work: Path) -> None:
        """Makes or finds tokenizer and data, under `work` (shared by all runs; named by content)."""
        ...

    def model(self, recipe: "Recipe") -> nn.Module:
        """The model with fresh weights, or those that the recipe starts from. float32, on the CPU."""
        ...

    def batches(
        self, recipe: "Recipe", state: Mapping[str, Any] | None, rank: int, world: int
    ) -> Iterator[tuple[Any, dict[str, Any]]]:
        """Endless (batch, the state that resumes after it). With `world` processes each gets `recipe.batch / world`
        rows of the same batch, and the state is the same in all of them."""
        ...

    def loss(self, model: nn.Module, batch: Any) -> tuple[torch.Tensor, int | torch.Tensor]:
        """(sum of the loss over what is to be learnt, how many of them that is)."""
        ...

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Held-out figures by name; `val_loss` is among them where there is held-out data. Lower is better for it."""
        ...

    def finish(self, model: nn.Module, folder: Path, made: "Made") -> None:
        """Writes the model in the Hugging Face layout."""
        ...


@dataclass(frozen=True)
class Made:
    """How a model came to be, as the loop knows it; a stage adds its data and writes it into the checkpoint."""

    recipe: dict[str, Any]
    commit: str
    scores: dict[str, float]

    def provenance(self, data: Sequence[dict[str, Any]], start: Path | None) -> Provenance:
        """What goes into the checkpoint: the stage's own sets, and those that the model it started from had learnt."""
        return Provenance(
            recipe=self.recipe,
            data=[*data, *inherited_data(start)],
            commit=self.commit,
            scores=self.scores,
            parents=[str(self.recipe["model"]["start"])] if start else [],
        )


_listeners: list[Callable[[Note], None]] = []


def listen(listener: Callable[[Note], None]) -> None:
    """From now on `listener` is told what stages are doing before their first step."""
    _listeners.append(listener)


def doing(note: Note) -> None:
    """Says what is being done, by a stage whose preparation takes longer than a moment."""
    for listener in _listeners:
        listener(note)


def stage_class(name: str) -> type[Stage]:
    """The class of a stage by its name, one of `STAGES`. Imports only that module."""
    module, _colon, attribute = _STAGES[name].partition(":")
    return getattr(import_module(module), attribute)
