"""The folder of a training: whole files, whatever happens while they are written."""

import errno
from pathlib import Path

import pytest

from dizuo.train.run_folder import RunFolder


def test_metrics_after_the_checkpoint_and_a_half_written_line_are_dropped(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for step in range(1, 6):
        folder.add_metrics({"step": step, "loss": 1 / step})
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 6, "lo')
    folder.cut_metrics(3)
    assert [line["step"] for line in folder.metrics()] == [1, 2, 3]


def test_the_last_two_checkpoints_are_kept(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for step in (5, 10, 100):
        with folder.new_checkpoint(step) as path:
            (path / "state.pt").write_text(str(step))
    assert [step for step, _path in folder.checkpoints()] == [10, 100]


def test_a_full_disk_leaves_the_older_checkpoints_and_nothing_half_written(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with folder.new_checkpoint(5) as path:
        (path / "state.pt").write_text("whole")

    def write(step: int) -> None:
        with folder.new_checkpoint(step) as path:
            (path / "state.pt").write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write(10)
    assert [entry.name for entry in (tmp_path / "checkpoints").iterdir()] == ["step-5"]


def test_the_status_is_read_back(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.status() == {}
    folder.write_status("running", 3, 10, eta_s=7.5)
    assert folder.status()["eta_s"] == 7.5


def test_a_status_that_a_power_cut_emptied_is_none(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    (tmp_path / "run/status.json").write_bytes(b"")
    assert folder.status() == {}
