"""Dizuo's loop as a recipe runs it: run_dizuo.py TASK."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from worker import Task, Turns, read_task

from dizuo.data.packing import Batch
from dizuo.nn.checkpoint import load_model
from dizuo.nn.cross_entropy import IGNORED
from dizuo.train.distributed import join_world
from dizuo.train.loop import train
from dizuo.train.objectives import Causal, Marks
from dizuo.train.options import PretrainOptions
from dizuo.train.recipe import Recipe, parse_recipe
from dizuo.train.run_folder import RunFolder
from dizuo.train.stage import Made


class Given:
    """A stage: the next token, as in pretraining, from the task's weights on the task's rows."""

    Options = PretrainOptions

    def __init__(self, task: Task) -> None:
        self._task, self._given = task, task.rows()
        self._objective = Causal(Marks(0, 0, 0, (), 0, 0))

    def prepare(self, recipe: Recipe, work: Path) -> None:
        """Everything is there."""

    def model(self, recipe: Recipe) -> nn.Module:
        return load_model(self._task.model)

    def batches(
        self, recipe: Recipe, state: Mapping[str, Any] | None, rank: int, world: int
    ) -> Iterator[tuple[Any, dict[str, Any]]]:
        share = recipe.batch // world
        for start in range(rank * share, len(self._given), recipe.batch):
            ids = self._given[start : start + share]
            targets = torch.cat((ids[:, 1:], torch.full((share, 1), IGNORED)), dim=1)
            yield Batch(ids, targets, torch.zeros_like(ids), torch.arange(ids.shape[1]).expand_as(ids)), {}

    def loss(self, model: nn.Module, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return self._objective.loss(model, batch)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        return {}

    def finish(self, model: nn.Module, folder: Path, made: Made) -> None:
        """Never reached: the benchmark ends before the last step."""


def main() -> None:
    task = read_task()
    recipe = parse_recipe(
        {
            "stage": "pretrain",
            "data": [{"name": "given"}],
            "model": {"start": str(task.model)},
            "steps": task.steps,
            "length": task.length,
            "batch": task.batch,
            "accumulate": task.accumulate,
            "lr": task.lr,
            "decay": 0.0,
            "weight_decay": task.weight_decay,
            "clip": task.clip,
            "precision": task.precision,
            "checkpoint_every": task.steps + 1,
            "evaluate_every": task.steps + 1,
            "seed": task.seed,
        }
    )
    with tempfile.TemporaryDirectory(prefix="dizuo-bench-") as folder:
        run = RunFolder(Path(folder, "run"))
        turns = Turns(lambda: [line["loss"] for line in run.metrics()])
        train(recipe, Given(task), run, join_world(), lambda: not turns.between_steps())


if __name__ == "__main__":
    main()
