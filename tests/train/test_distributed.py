"""One process and two: the same losses, the same checkpoints."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dizuo.train.recipe import as_yaml, load_recipe
from dizuo.train.run_folder import RunFolder
from tests.train.test_loop import go, losses

SMALL = [
    "data.0.name=guide",
    "model.channels=32", "model.layers=2", "model.heads=2", "length=32", "batch=4", "options.vocab_size=400", "steps=8",
    "checkpoint_every=2", "evaluate_every=8", "options.evaluate_tokens=256", "precision=float32", "optimizer=muon",
]  # fmt: skip


def keep_only(place: RunFolder, step: int) -> None:
    for at, path in place.checkpoints():
        if at != step:
            shutil.rmtree(path)


@pytest.mark.slow
def test_two_processes_learn_what_one_does_and_each_goes_on_from_the_others_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dizuo.train.gradients._CORES", 1)
    recipe = load_recipe("tiny", SMALL)
    alone = go(tmp_path / "one", recipe)
    place = RunFolder(tmp_path / "two")
    calls = iter(range(9))
    go(place.path, recipe, lambda: next(calls) == 2)

    place.recipe.write_text(as_yaml(recipe), "utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "dizuo.train"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, str(place.path)], env=environment, check=True, capture_output=True)
    assert place.status()["state"] == "done"
    together = place.metrics()
    assert [line["loss"] for line in together] == pytest.approx([line["loss"] for line in alone], abs=1e-4)
    assert together[-1]["val_loss"] == pytest.approx(alone[-1]["val_loss"], abs=1e-4)
    assert (place.path / "model" / "model.safetensors").is_file()

    keep_only(place, 6)  # written by two
    again = go(place.path, recipe)
    assert losses(again)[:6] == losses(together)[:6]
    assert [line["loss"] for line in again] == pytest.approx([line["loss"] for line in alone], abs=1e-4)
