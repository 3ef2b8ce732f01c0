"""Trainings as durable jobs. The process is a stand-in with the real one's files; the faces' tests have real ones,
tests/cli/test_train.py also kills one.
"""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dizuo.apps.training_process import Curve
from dizuo.core.errors import Conflict, NotFound, UserError
from dizuo.core.trainings import Training
from dizuo.wiring import House
from tests.apps import stand_in_training


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in_training.use(monkeypatch)


def finish(house: House, training: Training) -> Training:
    assert training.job
    list(house.jobs.watch(training.job))
    return house.trainings.get(training.name)


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not what():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


def at_step(house: House, name: str, step: int) -> Callable[[], bool]:
    return lambda: bool(house.jobs.start() and house.trainings.get(name).step >= step)


def test_a_training_runs_to_a_model_in_the_catalogue_s_folder(house: House, home: Path) -> None:
    begun = house.trainings.start("tiny", ["steps=30"])
    assert (begun.name, begun.state, begun.stage, begun.over) == ("tiny", "queued", "pretrain", False)
    done = finish(house, begun)
    assert (done.state, done.step, done.steps, done.model) == ("done", 30, 30, "local/tiny")
    assert (home / "models/tiny/config.json").exists()
    assert [point.step for point in house.trainings.metrics("tiny")] == list(range(1, 31))
    assert (done.loss, done.val_loss) == (pytest.approx(4 / 30), pytest.approx(4.1 / 30))
    assert done.scores == {"val_accuracy": 0.5}
    assert [point.step for point in house.trainings.metrics("tiny", after_step=28)] == [29, 30]
    assert [point.step for point in house.trainings.metrics("tiny", limit=3)] == [1, 10, 11, 20, 21, 30]


def test_a_stopped_training_goes_on_where_it_was(house: House) -> None:
    name = house.trainings.start("tiny", ["steps=120"], "mine").name
    wait_for(at_step(house, name, 5))
    house.trainings.stop(name)
    stopped = finish(house, house.trainings.get(name))
    assert (stopped.state, stopped.model, stopped.over) == ("stopped", None, True)
    assert 5 <= stopped.step < 120
    assert house.trainings.stop(name) == stopped
    resumed = house.trainings.resume(name)
    assert house.trainings.resume(name).job == resumed.job, "what is under way stays so"
    done = finish(house, resumed)
    assert (done.state, done.model) == ("done", "local/mine")
    assert f"starts at step {stopped.step}" in Path(done.log).read_text()
    assert [point.step for point in house.trainings.metrics(name)] == list(range(1, 121))
    with pytest.raises(Conflict, match="'mine' is done"):
        house.trainings.resume(name)


def test_a_queued_training_is_stopped_at_once(house: House) -> None:
    name = house.trainings.start("tiny").name
    assert house.trainings.stop(name).state == "stopped"
    assert finish(house, house.trainings.resume(name)).state == "done"


def test_a_training_goes_on_with_the_next_start_of_the_instance(home: Path) -> None:
    with House.open() as house:
        job = house.trainings.start("tiny", ["steps=120"]).job
        wait_for(at_step(house, "tiny", 5))
    with House.open() as house:
        between = house.trainings.get("tiny")
        assert (between.state, between.job) == ("running", job)
        done = finish(house, between)
        assert done.state == "done"
        assert f"starts at step {between.step}" in Path(done.log).read_text()


def test_what_the_process_says_of_a_mistake_is_told_with_the_log(house: House) -> None:
    failed = finish(house, house.trainings.start("tiny", ["fault=user"]))
    assert failed.state == "failed"
    assert str(failed.error) == f"The loss is nan. The log: {failed.log}"
    assert finish(house, house.trainings.resume("tiny")).state == "done"


def test_a_process_that_is_killed_leaves_a_sentence_and_can_go_on(house: House) -> None:
    failed = finish(house, house.trainings.start("tiny", ["fault=killed"]))
    assert "without a word (exit status -9" in str(failed.error)
    assert "dizuo train --resume tiny" in str(failed.error)
    assert finish(house, house.trainings.resume("tiny")).state == "done"


def test_a_name_that_is_taken_is_refused_and_a_default_one_is_counted_up(house: House, home: Path) -> None:
    assert [house.trainings.start("tiny").name for _twice in range(2)] == ["tiny", "tiny-2"]
    with pytest.raises(Conflict, match="a training 'tiny' already"):
        house.trainings.start("tiny", name="tiny")
    (home / "models/other").mkdir(parents=True)
    with pytest.raises(Conflict, match="a model local/other already"):
        house.trainings.start("tiny", name="other")
    for bad in ("", ".hidden", "../up", "a b", "x" * 65):
        with pytest.raises(UserError, match="cannot be the name"):
            house.trainings.start("tiny", name=bad)
    assert sorted(one.name for one in house.trainings.list()) == ["tiny", "tiny-2"]


def test_wrong_recipes_are_refused_with_the_nearest_and_leave_nothing_behind(house: House, tmp_path: Path) -> None:
    for recipe, overrides, said in (
        ("tinny", [], "no recipe 'tinny'. Nearest: tiny"),
        (str(tmp_path / "none.yaml"), [], "no recipe file"),
        ("/" + "x" * 5000, [], "no recipe file"),
        ("tiny", ["stepz=3"], "No key 'stepz'; nearest steps"),
        ("tiny", ["steps"], "KEY=VALUE"),
    ):
        for call in (house.trainings.start, house.trainings.plan):
            with pytest.raises(UserError, match=said):
                call(recipe, overrides)
    assert house.trainings.list() == []
    assert house.jobs.list() == []


def test_a_recipe_of_one_s_own_is_given_by_its_path_and_runs_where_it_was_given(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.yaml").touch()
    monkeypatch.chdir(tmp_path)
    plan = house.trainings.plan("mine.yaml", ["steps=7"])
    assert (plan.recipe, plan.steps, plan.tokens, plan.fits) == ("mine", 7, 448, True)
    begun = house.trainings.start("mine.yaml")
    assert begun.recipe == "mine"
    monkeypatch.chdir("/")  # the server's folder is another one
    assert f"in {tmp_path}\n" in Path(finish(house, begun).log).read_text()


def test_a_deleted_training_leaves_its_model_and_frees_its_name_later(house: House, home: Path) -> None:
    begun = house.trainings.start("tiny", ["steps=4"])
    with pytest.raises(Conflict, match="is at work"):
        house.trainings.delete("tiny")
    finish(house, begun)
    house.trainings.delete("tiny")
    assert house.trainings.list() == []
    assert not list((home / "trainings").iterdir())
    assert (home / "models/tiny").is_dir()
    shutil.rmtree(home / "models/tiny")
    again = house.trainings.start("tiny", ["steps=4"], "tiny")
    assert (again.state, again.step) == ("queued", 0)
    with pytest.raises(NotFound, match=r"no training 'tyni'\. Nearest: tiny"):
        house.trainings.get("tyni")


def test_a_model_that_has_come_meanwhile_is_not_overwritten(house: House, home: Path) -> None:
    begun = house.trainings.start("tiny", ["steps=4"])
    (home / "models/tiny").mkdir(parents=True)
    failed = finish(house, begun)
    assert "has come meanwhile" in str(failed.error)
    (home / "models/tiny").rmdir()
    done = finish(house, house.trainings.resume("tiny"))
    assert (done.state, (home / "models/tiny/config.json").exists()) == ("done", True)


def test_a_curve_is_read_on_and_a_resume_takes_back_what_it_did_not_keep(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    line = '{{"step": {}, "loss": {}, "lr": 0, "tokens": 1, "tokens_per_s": 1, "time": 0}}\n'
    curve = Curve(file)
    assert curve.look() == []
    file.write_text(line.format(1, 3.0) + line.format(2, 2.0) + "\0\0\n" + line.format(3, 1.0)[:20])
    assert [point.step for point in curve.look()] == [1, 2]
    with file.open("a") as more:
        more.write(line.format(3, 1.0)[20:] + line.format(2, 1.5))
    assert [(point.step, point.loss) for point in curve.look()] == [(1, 3.0), (2, 1.5)]
    os.truncate(file, len(line.format(1, 3.0)))
    assert [point.step for point in curve.look()] == [1]
