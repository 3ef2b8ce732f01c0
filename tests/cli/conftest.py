"""A way to run commands in this process, and a home that holds documents for those that only read."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dizuo.wiring import House
from tests.conftest import prepare_home


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def run_in_process(home: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], stdin: str) -> Ran:
    """A command as `main` runs it, without the half second that a process of its own takes."""
    from dizuo.cli.main import main

    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with monkeypatch.context() as patch:
        patch.setenv("DIZUO_HOME", str(home))
        patch.delenv("COLUMNS", raising=False)  # the width of whoever runs the tests
        patch.setattr(sys, "argv", ["dizuo", *arguments])
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        patch.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as left:
            main()
    texts = [stream.buffer.getvalue().decode("utf-8") for stream in (out, err)]  # type: ignore[attr-defined]
    return Ran(int(left.value.code or 0), *texts)


@pytest.fixture
def dizuo(home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Runs a command in a home of the test's own."""
    return lambda *arguments, stdin="": run_in_process(home, monkeypatch, arguments, stdin)


@pytest.fixture
def reader(filled_home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Runs a command in the home that holds documents. For commands that change none of them."""
    return lambda *arguments, stdin="": run_in_process(filled_home, monkeypatch, arguments, stdin)


@pytest.fixture(scope="session")
def filled_home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose knowledge base "handbook" holds an English and a Chinese document and a hostile one."""
    home, folder = tmp_path_factory.mktemp("cli") / "home", tmp_path_factory.mktemp("documents")
    write_documents(folder)
    prepare_home(request, home)
    with House.open({"DIZUO_HOME": str(home)}) as house:
        job = house.library.add("handbook", [folder])
        assert list(house.jobs.watch(job.id))[-1].status == "done"
    return home


def write_documents(folder: Path) -> None:
    (folder / "leave.md").write_text("# Leave\n\nEmployees have 25 days of paid leave a year.\n", "utf-8")
    (folder / "报销.md").write_text("# 报销制度\n\n差旅费应在出差结束后三十日内报销。\n", "utf-8")
    hostile = (
        "The \x1b]0;owned\x07\x1b[31mzebra\x1b[0m clause allows 12 \u202estriped animals a year. "
        + "It stands among plain sentences. " * 20
    )
    (folder / "hostile.txt").write_text(hostile, "utf-8")


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    folder.mkdir()
    write_documents(folder)
    return folder


def dizuo_process(home: Path, *arguments: str, **more: Any) -> "subprocess.Popen[str]":
    """The command as a process of its own, for signals and pipes."""
    return subprocess.Popen(
        [sys.executable, "-m", "dizuo", *arguments],
        env={**os.environ, "DIZUO_HOME": str(home), "PYTHONWARNINGS": "default"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        **more,
    )
