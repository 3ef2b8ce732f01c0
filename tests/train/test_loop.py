"""The loop: exact resuming, threads, and what stops it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dizuo.core.errors import UserError
from dizuo.train import gradients
from dizuo.train.distributed import join_world
from dizuo.train.loop import train
from dizuo.train.pretrain import Pretrain
from dizuo.train.recipe import Recipe, load_recipe
from dizuo.train.run_folder import RunFolder

SMALL = [
    "data.0.name=guide",
    "model.channels=32",
    "model.layers=1",
    "model.heads=2",
    "length=32",
    "batch=4",
    "options.vocab_size=400",
]
RUN = [*SMALL, "steps=12", "checkpoint_every=4", "evaluate_every=6", "accumulate=2", "options.evaluate_tokens=512"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trainings beside each other share tokenizer and shards."""
    return tmp_path_factory.mktemp("trainings")


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    torch.set_num_threads(1)
    return lambda count: monkeypatch.setattr(gradients, "_CORES", count)


def go(
    folder: Path, recipe: Recipe, stop: Callable[[], bool] = lambda: False, stage: Pretrain | None = None
) -> list[dict[str, Any]]:
    stage = stage or Pretrain()
    place = RunFolder(folder)
    stage.prepare(recipe, place.work)
    train(recipe, stage, place, join_world(), stop)
    return place.metrics()


def after(count: int) -> Callable[[], bool]:
    calls = iter(range(1000))
    return lambda: next(calls) >= count


def losses(lines: list[dict[str, Any]]) -> list[tuple[float, ...]]:
    return [(line["step"], line["loss"], line.get("val_loss", 0.0), line["tokens"]) for line in lines]


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_stopped_training_goes_on_to_the_same_losses_to_the_last_digit(
    home: Path, optimizer: str, cores: Callable[[int], None]
) -> None:
    cores(2)
    recipe = load_recipe("tiny", [*RUN, f"optimizer={optimizer}"])
    whole = go(home / f"{optimizer}-whole", recipe)
    assert len(go(home / f"{optimizer}-cut", recipe, after(7))) == 7
    assert losses(go(home / f"{optimizer}-cut", recipe)) == losses(whole)
    assert whole[-1]["loss"] < whole[0]["loss"]
    assert whole[-1]["bits_per_byte/guide"] > 0


def test_dropout_and_masks_are_drawn_the_same_after_a_stop(home: Path, cores: Callable[[int], None]) -> None:
    cores(2)
    recipe = load_recipe("tiny", [*RUN, "options.objective=span", "model.family=t5"])

    class Dropping(Pretrain):
        def model(self, recipe: Recipe) -> torch.nn.Module:
            model: Any = super().model(recipe)
            for layer in model.modules():
                if hasattr(layer, "dropout"):
                    layer.dropout = 0.2
            return model

    whole = go(home / "span-whole", recipe, stage=Dropping())
    go(home / "span-cut", recipe, after(5), Dropping())
    assert losses(go(home / "span-cut", recipe, stage=Dropping())) == losses(whole)


def test_two_threads_learn_what_one_does(home: Path, cores: Callable[[int], None]) -> None:
    recipe = load_recipe("tiny", [*RUN, "precision=float32", "optimizer=adamw"])
    cores(1)
    one = go(home / "one", recipe)
    cores(2)
    two = go(home / "two", recipe)
    assert [line["loss"] for line in two] == pytest.approx([line["loss"] for line in one], abs=1e-4)


def test_accumulated_micro_batches_learn_what_one_large_batch_does(home: Path, cores: Callable[[int], None]) -> None:
    cores(1)
    small = load_recipe("tiny", [*RUN, "precision=float32", "optimizer=adamw", "batch=2", "accumulate=4"])
    large = replace(small, batch=8, accumulate=1)
    assert [line["loss"] for line in go(home / "large", large)] == pytest.approx(
        [line["loss"] for line in go(home / "small", small)], abs=1e-4
    )


def test_a_loss_that_is_no_number_stops_the_training_and_keeps_the_checkpoint(
    home: Path, cores: Callable[[int], None]
) -> None:
    cores(1)

    class Diverging(Pretrain):
        def loss(self, model: torch.nn.Module, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
            total, count = super().loss(model, batch)
            steps.append(1)
            return total * (float("nan") if len(steps) > 12 else 1.0), count

    steps: list[int] = []
    with pytest.raises(UserError, match=r"at step 7 is nan.*has diverged"):
        go(home / "nan", load_recipe("tiny", RUN), stage=Diverging())
    assert [step for step, _path in RunFolder(home / "nan").checkpoints()] == [4]


def test_an_unreadable_checkpoint_gives_way_to_the_one_before(home: Path, cores: Callable[[int], None]) -> None:
    cores(1)
    recipe = load_recipe("tiny", RUN)
    whole = go(home / "damaged", recipe)
    (home / "damaged" / "checkpoints" / "step-12" / "state.pt").write_bytes(b"PK half")
    assert losses(go(home / "damaged", recipe)) == losses(whole)


def test_a_full_disk_is_told_and_the_last_checkpoint_stays(
    home: Path, cores: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    cores(1)
    saved = torch.save

    def full(state: Any, file: Path) -> None:
        if file.parent.name.endswith("-8"):
            raise RuntimeError("unexpected pos 64 vs 0")  # what torch's writer says then
        saved(state, file)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match=r"could not write.*The last checkpoint is kept"):
        go(home / "full", load_recipe("tiny", RUN))
    assert [step for step, _path in RunFolder(home / "full").checkpoints()] == [4]
