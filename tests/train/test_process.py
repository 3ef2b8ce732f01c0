"""The training process: killed, stopped, failed; what it leaves for its parent to read."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dizuo.train.process import main
from dizuo.train.recipe import as_yaml, load_recipe
from dizuo.train.run_folder import RunFolder

SMALL = [
    "data.0.name=guide",
    "model.channels=32", "model.layers=1", "model.heads=2", "length=32", "batch=4", "options.vocab_size=400",
    "steps=60", "checkpoint_every=5", "evaluate_every=30", "options.evaluate_tokens=512",
]  # fmt: skip


def prepared(folder: Path, *overrides: str) -> RunFolder:
    place = RunFolder(folder)
    place.recipe.write_text(as_yaml(load_recipe("tiny", [*SMALL, *overrides])), "utf-8")
    return place


def process(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "dizuo.train", str(folder), *arguments], env=environment, stderr=subprocess.DEVNULL
    )


def wait_for(place: RunFolder, step: int) -> None:
    end = time.monotonic() + 60
    while len(place.metrics()) < step:
        assert time.monotonic() < end
        time.sleep(0.01)


def told(lines: list[dict[str, Any]]) -> list[tuple[float, ...]]:
    return [(line["step"], line["loss"], line["grad_norm"], line.get("val_loss", 0.0)) for line in lines]


def test_a_training_killed_at_any_moment_and_then_stopped_has_the_losses_of_one_left_alone_to_the_last_digit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, alone = prepared(tmp_path / "run"), prepared(tmp_path / "alone")
    first = process(place.path)
    wait_for(place, 10 + int(time.time() * 1000) % 13)  # a random step
    first.kill()
    first.wait()

    second = process(place.path)
    wait_for(place, 30)
    second.terminate()
    assert second.wait() == 0
    assert place.status()["state"] == "stopped"
    assert place.checkpoints()[-1][0] == len(place.metrics())

    assert process(place.path).wait() == 0
    assert place.status()["state"] == "done"
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr("dizuo.train.gradients._CORES", 1)
    assert main([str(alone.path)]) == 0
    assert told(place.metrics()) == told(alone.metrics())
    assert [line["step"] for line in place.metrics()] == list(range(1, 61))
    assert (place.path / "model" / "model.safetensors").is_file()


def test_a_training_whose_parent_is_gone_stops_by_itself(tmp_path: Path) -> None:
    place = prepared(tmp_path / "run", "steps=100000")
    assert process(place.path, "--parent", "1").wait(timeout=60) == 0
    assert place.status()["state"] == "stopped"


def test_what_a_person_can_mend_is_in_the_status_with_its_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = prepared(tmp_path / "run", "data.0.name=/nowhere/text.txt")
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert main([str(place.path)]) == 1
    status = place.status()
    assert status["state"] == "failed"
    assert status["error"]["params"]["name"] == "/nowhere/text.txt"


def test_resolve_prints_the_recipe_filled_in_and_refuses_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--resolve", "tiny", "--set", "steps=7"]) == 0
    resolved = json.loads(capsys.readouterr().out)
    assert resolved["name"] == "tiny"
    assert "steps: 7" in resolved["recipe"]
    assert main(["--resolve", "tiny", "--set", "step=7"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["params"]["key"] == "step"


def test_a_plan_measures_real_steps(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--plan", "tiny", *(part for one in SMALL for part in ("--set", one))]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["fits"]
    assert plan["seconds"] > 0
    assert plan["tokens"] == 60 * 4 * 2 * 32
