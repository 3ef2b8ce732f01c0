"""`dizuo train`. Most of it on the stand-in process of tests/apps; one training is real."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dizuo.cli.training_view import sparkline
from dizuo.core.trainings import TrainingPoint
from tests.apps import stand_in_training
from tests.apps.stand_in_training import SECONDS
from tests.cli.conftest import Ran, dizuo_process


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch, dizuo: Callable[..., Ran]) -> Callable[..., Ran]:
    stand_in_training.use(monkeypatch)
    return lambda *arguments: dizuo("train", *arguments)


def wait_until(come: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 120
    while not come():
        assert time.monotonic() < deadline_s, "it did not come"
        time.sleep(0.02)


def test_a_training_says_what_it_takes_then_trains_and_names_its_model(train: Callable[..., Ran]) -> None:
    ran = train("tiny", "--set", "steps=40", "--name", "mine")
    assert ran.status == 0, ran.err
    assert ran.out.startswith("local/mine is made: loss 0.1, 40 steps in 0:0")
    assert "tiny: pretrain, 1 M parameters" in ran.err
    assert "2.56 K tokens in 40 steps, at 6.4 K tokens/s on cpu" in ran.err
    assert "it fits" in ran.err
    listed = train("--list").out
    assert all(part in listed for part in ("mine", "tiny", "done", "40/40", "0.1025"))
    shown = train("--show", "mine").out
    assert "40/40 · loss 0.1 · held-out 0.1025" in shown
    assert "val_accuracy 0.5" in shown
    assert "4 █" in shown
    assert "▁ 0.1" in shown
    assert "Model: local/mine" in shown


def test_with_json_one_object_comes_at_the_end(train: Callable[..., Ran]) -> None:
    told = train("tiny", "--json").json
    assert (told["training"]["state"], told["training"]["model"]) == ("done", "local/tiny")
    assert (told["plan"]["parameters"], told["plan"]["fits"]) == (1_000_000, True)
    assert train("tiny", "--plan", "--json").json == told["plan"]
    assert [point["step"] for point in train("--show", "tiny", "--json").json["metrics"]] == list(range(1, 21))
    assert train("--delete", "tiny", "--json").json == {"removed": {"training": "tiny"}}
    assert train("--list", "--json").json == {"trainings": []}


def test_without_a_recipe_the_recipes_are_listed_in_the_reader_s_language(train: Callable[..., Ran]) -> None:
    assert "Small." in train().out
    assert "小模型。" in train("--language", "zh").out
    assert train("--json").json["recipes"][0]["name"] == "tiny"


def test_what_does_not_fit_is_not_started_unless_one_insists(train: Callable[..., Ran]) -> None:
    refused = train("tiny", "--set", "fault=large")
    assert (refused.status, "does not fit" in refused.err) == (1, True)
    assert train("--list", "--json").json == {"trainings": []}
    assert train("tiny", "--set", "fault=large", "--yes").status == 0


def test_a_failure_is_told_with_the_log_and_resumed(train: Callable[..., Ran]) -> None:
    failed = train("tiny", "--set", "fault=user")
    assert failed.status == 1
    assert "The loss is nan. The log: " in failed.err
    assert "log.txt" in failed.err
    assert train("--resume", "tiny").status == 0
    assert train("--resume", "tiny").status == 1


def test_wrong_use_is_refused_with_the_nearest(train: Callable[..., Ran]) -> None:
    for arguments, said in (
        (("tinny",), "Nearest: tiny"),
        (("none.yaml",), "no recipe file"),
        (("tiny", "--set", "stepz=1"), "nearest steps"),
        (("--show", "nothing"), "There is no training 'nothing'"),
    ):
        ran = train(*arguments)
        assert (ran.status, said in ran.err) == (1, True), ran.err
    for arguments in (("tiny", "--list"), ("--set", "steps=1"), ("--stop", "a", "--resume", "b")):
        assert train(*arguments).status == 2


def test_the_sparkline_shows_a_fall_and_bears_what_is_no_number() -> None:
    def points(*losses: float) -> list[TrainingPoint]:
        return [
            TrainingPoint(step=n, loss=loss, lr=0, tokens=0, tokens_per_s=0, time=0) for n, loss in enumerate(losses)
        ]

    assert sparkline(points(8, 4, 2, 1), 4) == "█▄▂▁"
    assert sparkline(points(4, 2, 2, 0), 2) == "█▁"
    assert sparkline(points(1, 1), 9) == "▁▁"
    assert sparkline(points(float("nan"), 1), 9) == "▁▁"
    assert sparkline([], 9) == ""


_COMMAND = """
import pytest
from dizuo.cli.main import main
from tests.apps import stand_in_training
with pytest.MonkeyPatch.context() as patch:
    stand_in_training.use(patch)
    main()
"""


def test_ctrl_c_saves_stops_and_says_how_to_go_on(home: Path, train: Callable[..., Ran]) -> None:
    command = [sys.executable, "-c", _COMMAND, "train", "tiny", "--set", "steps=9000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8") as process:
        curve = home / "trainings/tiny/metrics.jsonl"
        wait_until(lambda: curve.exists() and len(curve.read_text().splitlines()) > 5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert "saving a checkpoint" in err
    assert "To go on: dizuo train --resume tiny" in err
    shown = train("--show", "tiny", "--json").json
    assert shown["training"]["state"] == "stopped"
    assert len(shown["metrics"]) == shown["training"]["step"] > 5


def test_a_real_training_goes_on_after_kill_9_and_its_model_is_there(dizuo: Callable[..., Ran], home: Path) -> None:
    changes = [*SECONDS, "steps=40", "checkpoint_every=8", "evaluate_every=20"]
    options = [part for one in changes for part in ("--set", one)]
    with dizuo_process(home, "train", "tiny", *options) as process:
        wait_until(lambda: any((home / "trainings/tiny/checkpoints").glob("step-*")))
        process.kill()
        assert "it fits" in process.communicate()[1]
    killed = dizuo("train", "--show", "tiny", "--json").json["training"]
    assert (killed["state"], killed["model"]) == ("running", None), "it goes on when somebody comes"
    resumed = dizuo("train", "--resume", "tiny", "--json")
    assert resumed.status == 0, resumed.err
    assert resumed.json["training"]["model"] == "local/tiny"
    metrics = dizuo("train", "--show", "tiny", "--json").json["metrics"]
    assert [point["step"] for point in metrics] == list(range(1, 41))
    assert metrics[39]["val_loss"] < metrics[19]["val_loss"] < metrics[0]["loss"]
    assert (home / "models/tiny/model.safetensors").is_file()
