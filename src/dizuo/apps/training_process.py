"""The training process as the apps see it: `python -m dizuo.train`, and the files in a run's folder.

Whatever needs torch happens over there, so that a training can be killed, runs beside the server, and costs the apps
nothing at import. What goes between is a folder:

    recipe.yaml     what to do, resolved; written before the process starts
    status.json     state, step, steps, eta_s, message, error; replaced whole
    metrics.jsonl   a line for every point of the curve
    log.txt         all that the process said
    checkpoints/    what it resumes from
    model/          the finished model
    lock            held by the process for as long as it lives
"""

import fcntl
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dizuo.core.documents import Note
from dizuo.core.errors import UserError
from dizuo.core.trainings import TrainingPlan, TrainingPoint

logger = logging.getLogger(__name__)

# Without -P a file named torch.py in the folder where somebody stands would be run.
COMMAND = (sys.executable, "-P", "-m", "dizuo.train")
_PLAN_TIMEOUT_S = 600
_STOP_S = 60.0  # a checkpoint of a few GB on a slow disk; then it is killed, and the last checkpoint stands
_NICENESS = 5  # pages and answers go first


@dataclass(frozen=True)
class Resolved:
    """A recipe with the overrides in it. `text` is the YAML that a run keeps."""

    name: str
    stage: str
    text: str


@dataclass(frozen=True)
class Status:
    """What a run's status.json says; of a run that has not begun, nothing."""

    state: str = ""
    step: int = 0
    steps: int = 0
    eta_s: float | None = None
    message: str = ""
    doing: Note | None = None
    error: Note | None = None


def read_status(folder: Path) -> Status:
    """The status of a run. One that cannot be read counts as not begun."""
    try:
        told = json.loads((folder / "status.json").read_text("utf-8"))
    except (OSError, ValueError):
        return Status()
    message = str(told.get("message") or "")
    doing = _note(told.get("stage"))
    if doing is None and message and told.get("state") == "preparing":
        doing = Note(template="{message}", params={"message": message})
    return Status(
        state=str(told.get("state", "")),
        step=int(told.get("step") or 0),
        steps=int(told.get("steps") or 0),
        eta_s=told.get("eta_s"),
        message=message,
        doing=doing,
        error=_note(told.get("error")),
    )


def _note(told: Any) -> Note | None:
    if not isinstance(told, Mapping) or "template" not in told:
        return None
    return Note(template=str(told["template"]), params=dict(told.get("params") or {}))


@dataclass
class Curve:
    """The points of a run, read on from where the last look ended. Not thread-safe."""

    file: Path
    points: list[TrainingPoint] = field(default_factory=list)
    _read: int = 0  # bytes
    _inode: int = 0

    def look(self) -> list[TrainingPoint]:
        """Every point so far, by step. After a resume the steps past the checkpoint are gone until they come anew."""
        try:
            with self.file.open("rb") as lines:
                about = os.fstat(lines.fileno())
                if about.st_ino != self._inode or about.st_size < self._read:
                    self._inode, self._read, self.points = about.st_ino, 0, []
                lines.seek(self._read)
                whole, newline, _begun = lines.read().rpartition(b"\n")
        except FileNotFoundError:
            return []
        self._read += len(whole) + len(newline)
        for line in whole.splitlines():
            self._take(line)
        return self.points

    def _take(self, line: bytes) -> None:
        try:
            told = json.loads(line)
            known = {name: told[name] for name in TrainingPoint.model_fields if name in told}
            scores = {name: value for name, value in told.items() if name not in known and name != "grad_norm"}
            point = TrainingPoint(**known, scores=scores)
        except (ValueError, TypeError):  # a crash of the machine can leave half a line or zeros
            logger.debug("a line of %s is none", self.file)
            return
        while self.points and self.points[-1].step >= point.step:
            self.points.pop()
        self.points.append(point)


class TrainingProcess:
    """A process that works on a run's folder."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    @property
    def exit_status(self) -> int | None:
        """None while it lives; negative: the signal that ended it."""
        return self._process.poll()

    def stop(self) -> None:
        """Has it save and leave. One that does not come to it is killed; its last checkpoint stands."""
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            logger.warning("training process %d does not stop and is killed", self._process.pid)
            self._process.kill()
            self._process.wait()


class Trainer:
    """Starts the training process, and asks it about recipes. `environment` goes on top of our own."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def resolve(self, recipe: str, overrides: Sequence[str]) -> Resolved:
        """The recipe with every value in its place. Raises UserError for whatever is wrong with it."""
        told = self._ask("--resolve", recipe, overrides)
        return Resolved(name=told["name"], stage=told["stage"], text=told["recipe"])

    def plan(self, recipe: str, overrides: Sequence[str]) -> TrainingPlan:
        """What the recipe takes on this machine; makes a few real steps. Raises UserError."""
        told = self._ask("--plan", recipe, overrides)
        known = {name: told[name] for name in TrainingPlan.model_fields if name in told and name != "recipe"}
        return TrainingPlan(recipe=told["name"], **known)

    def begin(self, folder: Path, base: Path, wait: Callable[[], None]) -> TrainingProcess:
        """Starts work on a folder, or goes on with it. `wait` is called while the process before is still leaving.

        Relative paths in the recipe are meant from `base`. The process stops by itself, with a checkpoint, when this
        one is gone.
        """
        lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    wait()
            with (folder / "log.txt").open("ab") as log:
                process = subprocess.Popen(
                    [*COMMAND, str(folder), "--parent", str(os.getpid())],
                    cwd=base if base.is_dir() else None,
                    env=os.environ | self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(lock,),  # the open file is shared, and with it the lock: it ends with the last of us
                    start_new_session=True,  # Ctrl-C in our terminal is for us to pass on
                )
        finally:
            os.close(lock)
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, process.pid, _NICENESS)
        return TrainingProcess(process)

    def _ask(self, what: str, recipe: str, overrides: Sequence[str]) -> dict[str, Any]:
        options = [part for one in overrides for part in ("--set", one)]
        try:
            ran = subprocess.run(
                [*COMMAND, what, recipe, *options],
                env=os.environ | self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_PLAN_TIMEOUT_S,
                encoding="utf-8",
                errors="replace",
            )
        except subprocess.TimeoutExpired:
            raise UserError(
                "The recipe {recipe!r} could not be measured within {minutes} minutes on this machine. Make it "
                "smaller, such as with batch=1.",
                recipe=recipe,
                minutes=_PLAN_TIMEOUT_S // 60,
            ) from None
        lines = ran.stdout.strip().splitlines()
        try:
            told = json.loads(lines[-1]) if lines else None
        except ValueError:
            told = None
        if isinstance(told, dict):
            error = _note(told.get("error"))
            if error is not None:
                raise UserError(error.template, **error.params)
            if ran.returncode == 0:
                return told
        if ran.returncode < 0:
            raise UserError(
                "Measuring the recipe {recipe!r} was ended by signal {signal}, most often because memory ran out. Make "
                "it smaller, such as with batch=1.",
                recipe=recipe,
                signal=-ran.returncode,
            )
        logger.error("the training process says:\n%s", ran.stderr[-10_000:])
        raise RuntimeError(f"the training process failed: {(ran.stderr.strip().splitlines() or ['?'])[-1][:300]}")
