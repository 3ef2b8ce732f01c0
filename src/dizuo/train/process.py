"""The training process: runs the training of a folder, or says what a recipe is and would take.

    python -m dizuo.train FOLDER [--parent PID]          train; SIGTERM saves and stops
    python -m dizuo.train --resolve RECIPE [--set k=v]…  one JSON object: the recipe, checked and filled in
    python -m dizuo.train --plan RECIPE [--set k=v]…     the same, and whether it fits and how long it takes

Its parent talks with it by files (`RunFolder`), signals and the exit status. torch is imported only to train or plan.
"""

import argparse
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any

from dizuo.core.documents import Note
from dizuo.core.errors import UserError
from dizuo.train.recipe import Recipe, as_yaml, load_recipe
from dizuo.train.run_folder import RunFolder

_log = logging.getLogger(__name__)

_PARENT_EVERY_S = 1.0


class _Stopped(BaseException):
    """SIGTERM came while nothing could be saved yet; ends whatever is going on."""


def main(arguments: Sequence[str]) -> int:
    """The exit status: 0 done or stopped, 1 a UserError or a bug (both told in status.json), 2 wrong use."""
    parser = argparse.ArgumentParser(prog="python -m dizuo.train")
    parser.add_argument("folder", nargs="?", type=Path, help="the folder of the training, with recipe.yaml")
    parser.add_argument("--parent", type=int, help="stop when this process is no longer the parent")
    parser.add_argument("--resolve", metavar="RECIPE", help="print the recipe, checked and filled in")
    parser.add_argument("--plan", metavar="RECIPE", help="print what the recipe would take on this machine")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args(arguments)
    if options.resolve or options.plan:
        return _tell(options.resolve or options.plan, options.set, measure=bool(options.plan))
    if options.folder is None:
        parser.error("name the folder of a training")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    return _Training(options.folder, options.parent).run()


def _tell(name: str, overrides: Sequence[str], *, measure: bool) -> int:
    try:
        recipe = load_recipe(name, overrides)
        told: dict[str, Any] = {"name": recipe.name, "stage": recipe.stage, "recipe": as_yaml(recipe)}
        if measure:
            from dizuo.train.estimate import estimate

            told |= estimate(recipe, _home()).as_json()
    except UserError as error:
        print(json.dumps({"error": _as_json(error)}, ensure_ascii=False))
        return 1
    print(json.dumps(told, ensure_ascii=False))
    return 0


class _Training:
    """One life of a training: from its folder to done, stopped or failed."""

    def __init__(self, folder: Path, parent: int | None) -> None:
        self._folder = RunFolder(folder)
        self._parent = parent
        self._stop = threading.Event()
        self._in_loop = False

    def run(self) -> int:
        if self._folder.status().get("state") == "done":
            return 0
        recipe = None
        try:
            recipe = load_recipe(self._folder.recipe)
            self._listen()
            done = self._train(recipe)
            self._tell("done" if done else "stopped", recipe)
            return 0
        except _Stopped:
            self._tell("stopped", recipe)
            return 0
        except UserError as error:
            _log.error("%s", error)
            self._tell("failed", recipe, message=str(error), error=_as_json(error))
        except Exception as error:
            traceback.print_exc()
            self._tell("failed", recipe, message=f"{type(error).__name__}: {error}")
        return 1

    def _train(self, recipe: Recipe) -> bool:
        self._tell("preparing", recipe)
        from dizuo.train.distributed import join_world, leave_world, wait_for_all
        from dizuo.train.loop import train
        from dizuo.train.stage import listen, stage_class

        listen(lambda note: _log.info("%s", note))
        listen(lambda note: self._tell("preparing", recipe, stage=note.model_dump()))
        world = join_world()
        stage = stage_class(recipe.stage)()
        if world.first:  # the others then find tokenizer and shards made
            stage.prepare(recipe, self._folder.work)
        wait_for_all(world)
        if not world.first:
            stage.prepare(recipe, self._folder.work)
        self._in_loop = True
        if self._stop.is_set():
            raise _Stopped
        done = train(recipe, stage, self._folder, world, self._stop.is_set, _commit())
        leave_world(world)
        return done

    def _listen(self) -> None:
        signal.signal(signal.SIGTERM, self._on_signal)
        if self._parent is not None:
            threading.Thread(target=self._watch_parent, args=(self._parent,), daemon=True).start()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._stop.set()
        if not self._in_loop:
            raise _Stopped

    def _watch_parent(self, parent: int) -> None:
        while os.getppid() == parent:
            time.sleep(_PARENT_EVERY_S)
        os.kill(os.getpid(), signal.SIGTERM)

    def _tell(
        self, state: Any, recipe: Recipe | None, *, message: str = "", error: Any = None, stage: Any = None
    ) -> None:
        """Writes the status, in the first process; a full disk must not hide what went wrong."""
        if os.environ.get("RANK", "0") != "0":
            return
        last = self._folder.status()
        steps = recipe.steps if recipe else 0
        try:
            self._folder.write_status(
                state,
                steps if state == "done" else last.get("step", 0),
                steps,
                message=message,
                error=error,
                stage=stage,
            )
        except OSError:
            _log.exception("The status could not be written.")


def _as_json(error: UserError) -> dict[str, Any]:
    return Note.of(error).model_dump()


def _home() -> Path:
    """Where trainings would run: for the room on that disk, and what is cached there."""
    home = os.environ.get("DIZUO_HOME")
    return Path(home) / "trainings" if home else Path.cwd()


def _commit() -> str:
    """The commit of the source tree that runs, where it is one; else the package's version."""
    root = Path(__file__).parents[3]
    try:
        return subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return version("dizuo")
