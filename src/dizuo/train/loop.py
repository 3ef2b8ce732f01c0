"""The loop of every training: steps, checkpoints, held-out figures, stopping, and going on exactly where it stopped."""

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import nn

from dizuo.core import heap
from dizuo.core.errors import UserError
from dizuo.nn.card import model_card
from dizuo.train import distributed
from dizuo.train.distributed import World
from dizuo.train.estimate import require_fit
from dizuo.train.gradients import Gradients, autocast, precision
from dizuo.train.optimizers import make_optimizers, remember_peaks, set_rates
from dizuo.train.recipe import Recipe, as_dict
from dizuo.train.run_folder import RunFolder
from dizuo.train.schedule import rate
from dizuo.train.stage import Made, Stage

_log = logging.getLogger(__name__)

_METRICS_EVERY_S = 1.0  # a line for every step, the status at most so often
_RATE_OVER_STEPS = 20  # tokens a second and the ETA are over so many
_TRIM_EVERY = 20  # steps: memory of batches of other lengths goes back


def train(
    recipe: Recipe, stage: Stage, folder: RunFolder, world: World, stop: Callable[[], bool], commit: str = ""
) -> bool:
    """Trains to the last step and writes the model; or to the next step after `stop()` says so.

    Returns whether it is done. Raises UserError when the loss is not a number, or the disk is full; what was saved
    before stays.
    """
    run = _Run(recipe, stage, folder, world)
    step = run.resume()
    while step < recipe.steps:
        if distributed.any_of(world, stop()):
            run.save(step)
            return False
        run.step(step)
        step += 1
        if step % recipe.evaluate_every == 0 or step == recipe.steps:
            run.evaluate(step)
        run.report(step)
        if step % recipe.checkpoint_every == 0 or step == recipe.steps:
            run.save(step)
    run.finish(commit)
    return True


class _Run:
    """Everything that changes while a training goes on."""

    def __init__(self, recipe: Recipe, stage: Stage, folder: RunFolder, world: World) -> None:
        self._recipe, self._stage, self._folder, self._world = recipe, stage, folder, world
        torch.manual_seed(recipe.seed)
        self._dtype = precision(recipe, world.device)
        self._model: nn.Module = stage.model(recipe).to(world.device).train()
        require_fit(self._model, recipe, world, folder.path)
        distributed.shard(self._model, world, self._dtype)
        if recipe.compile:
            self._model.compile(dynamic=False)
        self._optimizers = make_optimizers(self._model, recipe)
        self._peaks = remember_peaks(self._optimizers)
        self._gradients = Gradients(stage, self._model, recipe, world, self._dtype)
        if self._gradients.workers > 1:
            torch.set_num_threads(1)
        self._weights = [weight for weight in self._model.parameters() if weight.requires_grad]
        self._data: dict[str, Any] | None = None
        self._tokens = 0
        self._seconds = 0.0  # of training, over all processes' lives
        self._recent: list[tuple[float, int]] = []  # (seconds, tokens) of the last steps
        self._line: dict[str, Any] = {}
        self._scores: dict[str, float] = {}
        self._reported = 0.0

    def resume(self) -> int:
        """The step to go on from: that of the newest checkpoint that can be read, or 0."""
        step = 0
        for at, path in reversed(self._folder.checkpoints()):
            try:
                state = torch.load(path / "state.pt", map_location="cpu", weights_only=True)
            except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
                _log.warning("The checkpoint of step %d cannot be read (%s); taking the one before.", at, error)
                continue
            distributed.restore_state(self._model, self._optimizers, state)
            self._data, self._tokens, self._seconds = state["data"], state["tokens"], state["seconds"]
            self._scores = state["scores"]
            step = at
            _log.info("Going on from step %d.", step)
            break
        if self._world.first:
            self._folder.cut_metrics(step)
            self._folder.write_status("running", step, self._recipe.steps)
        self._gradients.start(self._data)
        return step

    def step(self, step: int) -> None:
        """One optimizer step."""
        begun = time.perf_counter()
        recipe = self._recipe
        share = rate(step, recipe.steps, recipe.warmup, recipe.schedule, recipe.decay)
        set_rates(self._optimizers, self._peaks, share)
        loss, tokens, self._data = self._gradients.step(step)
        norm = float(nn.utils.clip_grad_norm_(self._weights, recipe.clip or math.inf, foreach=True))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise UserError(
                "The loss at step {step} is {loss} and the gradient's length {norm}: the training has diverged. Its "
                "last checkpoint is kept. Lower lr (now {lr}), or raise warmup (now {warmup} steps).",
                step=step + 1,
                loss=loss,
                norm=norm,
                lr=recipe.lr,
                warmup=recipe.warmup,
            )
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad()
        if step % _TRIM_EVERY == 0:
            heap.trim()
        took = time.perf_counter() - begun
        self._tokens += tokens
        self._seconds += took
        self._recent = [*self._recent[1 - _RATE_OVER_STEPS :], (took, tokens)]
        self._line = {
            "step": step + 1,
            "loss": loss,
            "lr": recipe.lr * share,
            "grad_norm": norm,
            "tokens": self._tokens,
            "tokens_per_s": round(self._tokens_per_s(), 1),
            "time": round(time.time(), 3),
            "seconds": round(self._seconds, 3),
        }

    def evaluate(self, step: int) -> None:
        """Adds the held-out figures to the line of this step."""
        self._model.eval()
        with torch.no_grad(), autocast(self._world.device, self._dtype):
            self._scores = self._stage.evaluate(self._model)
        self._model.train()
        self._line.update(self._scores)
        _log.info("step %d: %s", step, ", ".join(f"{name} {value:.4f}" for name, value in self._scores.items()))

    def report(self, step: int) -> None:
        """Writes the line of this step, and the status when the last is a second old."""
        if not self._world.first:
            return
        try:
            self._folder.add_metrics(self._line)
            if time.monotonic() - self._reported >= _METRICS_EVERY_S or step == self._recipe.steps:
                self._reported = time.monotonic()
                mean = sum(seconds for seconds, _tokens in self._recent) / len(self._recent)
                eta = round(mean * (self._recipe.steps - step), 1)
                self._folder.write_status("running", step, self._recipe.steps, eta_s=eta)
        except OSError as error:
            raise _disk(error, self._folder.path) from error

    def save(self, step: int) -> None:
        """Writes a checkpoint, from which `resume` goes on to the same losses."""
        state = distributed.whole_state(self._model, self._optimizers)
        if self._world.first:
            state |= {
                "data": self._data,
                "tokens": self._tokens,
                "seconds": self._seconds,
                "scores": self._scores,
            }
            try:
                with self._folder.new_checkpoint(step) as path:
                    torch.save(state, path / "state.pt")
            except (OSError, RuntimeError) as error:  # torch's zip writer says RuntimeError when the disk is full
                raise _disk(error, self._folder.path) from error
        distributed.wait_for_all(self._world)

    def finish(self, commit: str) -> None:
        """Writes the finished model."""
        model = self._model
        if self._world.size > 1:
            model = self._stage.model(self._recipe)
            weights = distributed.whole_state(self._model, self._optimizers)["model"]
            if self._world.first:
                model.load_state_dict(weights)
        if self._world.first:
            made = Made(as_dict(self._recipe), commit, self._scores)
            self._stage.finish(model.eval(), self._folder.model, made)
            if (self._folder.model / "dizuo.json").is_file():
                (self._folder.model / "README.md").write_text(model_card(self._folder.model), "utf-8")
        distributed.wait_for_all(self._world)

    def _tokens_per_s(self) -> float:
        seconds = sum(took for took, _tokens in self._recent)
        return sum(tokens for _took, tokens in self._recent) / max(seconds, 1e-9)


def _disk(error: Exception, folder: Path) -> UserError:
    return UserError(
        "The training could not write to {folder}: {reason}. The last checkpoint is kept: make room and start again.",
        folder=folder,
        reason=error,
    )
