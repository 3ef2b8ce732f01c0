"""Trainings of an instance: start, follow, stop, go on, and what is made becomes a model.

A training is a durable job of one item in a lane of its own, and a folder (`training_process.py`). The job's body
starts the process and follows it. When this process dies, the training process saves and leaves; whoever becomes the
worker next begins the job anew, and the process goes on from its last checkpoint.
"""

import difflib
import errno
import json
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dizuo.apps.training_process import Curve, Status, Trainer, TrainingProcess, read_status
from dizuo.core.errors import Conflict, NotFound, UserError
from dizuo.core.jobs import Job
from dizuo.core.trainings import RecipeInfo, Training, TrainingPlan, TrainingPoint, TrainingState
from dizuo.platform import schema
from dizuo.platform.database import Database

if TYPE_CHECKING:
    from dizuo.platform.jobs import JobContext, Jobs

JOB_KIND = "train"

_NAME = re.compile(r"[^\W_][\w.\-]{0,63}")
_LOOK_S = 0.2
_TELL_S = 1.0  # how often the job's row says how far it is
_STATES: dict[str, TrainingState] = {
    "queued": "queued",
    "running": "running",
    "done": "done",
    "failed": "failed",
    "cancelled": "stopped",
}


class Trainings:
    """The trainings of an instance. Blocking; safe to use from several threads and processes."""

    def __init__(self, database: Database, jobs: "Callable[[], Jobs]", home: Path, trainer: Trainer) -> None:
        self._database = database
        self._jobs = jobs
        self._folder = home / "trainings"
        self._models = home / "models"
        self._trainer = trainer
        self._curves: dict[Path, Curve] = {}
        self._reading = threading.Lock()

    # --- recipes ----------------------------------------------------------------------------------------------

    def recipes(self) -> Sequence[RecipeInfo]:
        """The recipes that ship with Dizuo, by name."""
        return _shipped()

    def plan(self, recipe: str, overrides: Sequence[str] = (), name: str | None = None) -> TrainingPlan:
        """What a training will take, measured by a few real steps: seconds to a minute.

        Raises what `start` would raise, for a name that is no good as well.
        """
        if name is not None:
            self._check_name(name)
        return self._trainer.plan(_find(recipe), _checked(overrides))

    # --- trainings --------------------------------------------------------------------------------------------

    def start(
        self, recipe: str, overrides: Sequence[str] = (), name: str | None = None, *, user_id: int | None = None
    ) -> Training:
        """Accepts a training. When this returns it is safe, and some worker will do it.

        `recipe`: the name of a shipped one or a file; `overrides`: "key=value"; without a name it is called like its
        recipe. Raises UserError for whatever is wrong with the recipe, NotFound for an unknown one, Conflict for a name
        that a training or a model has.
        """
        if name is not None:
            self._check_name(name)
        resolved = self._trainer.resolve(_find(recipe), _checked(overrides))
        about = {"recipe": resolved.name, "stage": resolved.stage, "created_at": schema.now(), "base": os.getcwd()}
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = self._folder / f".new-{secrets.token_hex(8)}"
        draft.mkdir(mode=0o700)
        try:
            (draft / "recipe.yaml").write_text(resolved.text, "utf-8")
            (draft / "about.json").write_text(json.dumps(about), "utf-8")
            name = self._place(draft, name, resolved.name)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        try:
            self._submit(name, user_id)
        except BaseException:
            self._remove_folder(self._folder / name)
            raise
        return self.get(name)

    def list(self) -> Sequence[Training]:
        """Every training, the newest first."""
        jobs = self._newest_jobs()
        found = [self._training(folder, about, jobs.get(folder.name)) for folder, about in self._folders()]
        return sorted(found, key=lambda one: one.created_at, reverse=True)

    def get(self, name: str) -> Training:
        """One training. Raises NotFound, naming the nearest."""
        folder, about = self._find_folder(name)
        jobs = self._jobs().list(_subject(folder.name), limit=1, kind=JOB_KIND)
        return self._training(folder, about, jobs[0] if jobs else None)

    def metrics(self, name: str, after_step: int = 0, limit: int | None = None) -> Sequence[TrainingPoint]:
        """The curve past a step. `limit` thins it evenly; the last point, and scores on held-out data, stay.

        Raises NotFound.
        """
        folder, _about = self._find_folder(name)
        points = [point for point in self._points(folder) if point.step > after_step]
        if limit is None or len(points) <= limit:
            return points
        every = -(-len(points) // max(1, limit))
        last = len(points) - 1
        return [p for n, p in enumerate(points) if n % every == 0 or n == last or p.val_loss is not None or p.scores]

    def stop(self, name: str) -> Training:
        """Has a training save and stop; `resume` goes on with it. One that is over stays as it is. Raises NotFound."""
        training = self.get(name)
        if training.job is not None and not training.over:
            self._jobs().cancel(training.job)
        return self.get(name)

    def resume(self, name: str, *, user_id: int | None = None) -> Training:
        """Goes on with a training that stopped or failed, from its last checkpoint; one that is under way stays so.

        Raises NotFound, and Conflict for one that is done.
        """
        training = self.get(name)
        if training.state == "done":
            raise Conflict("The training {name!r} is done; there is nothing to go on with.", name=training.name)
        if training.over:
            self._submit(training.name, user_id)
        return self.get(training.name)

    def delete(self, name: str) -> None:
        """Removes a training with its checkpoints and its curve. The model that it made stays.

        Raises NotFound, and Conflict while it is at work.
        """
        training = self.get(name)
        if not training.over:
            raise Conflict("{name!r} is at work. Stop it first: dizuo train --stop {name}", name=training.name)
        self._remove_folder(self._folder / training.name)

    # --- the job's body ---------------------------------------------------------------------------------------

    def run(self, context: "JobContext") -> None:
        """Does a training from where it stands to a model in the catalogue. Raises UserError when it fails."""
        name = str(context.args["name"])
        for item in context.waiting(1):
            folder = self._folder / name
            if not (folder / "recipe.yaml").is_file():
                raise UserError("The folder of the training {name!r} is gone: {folder}", name=name, folder=folder)
            if read_status(folder).state != "done" or not self._made(name, folder):
                self._train(context, folder)
            self._publish(name, folder)
            with self._database.write() as connection:
                context.finish_item(connection, item, "added")

    def _train(self, context: "JobContext", folder: Path) -> None:
        """Follows the process to its end. A cancelled job, or a worker that is to stop, has it save and leave first."""

        def wait() -> None:
            context.check()
            time.sleep(_LOOK_S)

        base = Path((_read_about(folder) or {}).get("base", "."))
        process = self._trainer.begin(folder, base, wait)
        told_s = float("-inf")
        try:
            while process.exit_status is None:
                if time.monotonic() - told_s >= _TELL_S:
                    told_s = time.monotonic()
                    self._tell(context, folder)
                wait()
        except BaseException:
            process.stop()
            raise
        status = read_status(folder)
        if process.exit_status != 0 or status.state != "done":
            raise _failure(folder, process, status)

    def _tell(self, context: "JobContext", folder: Path) -> None:
        status, points = read_status(folder), self._points(folder)
        if not status.steps:
            return
        loss = f" · loss {points[-1].loss:.4g}" if points else ""
        context.stage(f"{status.step}/{status.steps}{loss}", ahead=min(1.0, status.step / status.steps))

    def _made(self, name: str, folder: Path) -> bool:
        """Whether a finished training's model is there, published or not: a kill can come between the two."""
        return (folder / "model").is_dir() or (self._models / name).is_dir()

    def _publish(self, name: str, folder: Path) -> None:
        """Puts the model where the catalogue finds it, whole or not at all."""
        made, place = folder / "model", self._models / name
        if not made.is_dir():
            return  # done before a kill
        self._models.mkdir(parents=True, exist_ok=True, mode=0o700)
        if _same_model(made, place):  # a kill came between the copy onto another disk and this
            shutil.rmtree(made)
            return
        if place.exists():
            raise UserError(
                "A model local/{name} has come meanwhile; what was trained waits in {folder}. Move one of the two "
                "away, then: dizuo train --resume {name}",
                name=name,
                folder=made,
            )
        try:
            made.rename(place)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            draft = self._models / f".new-{secrets.token_hex(8)}"  # the models lie on another disk
            try:
                shutil.copytree(made, draft)
                draft.rename(place)
            except BaseException:
                shutil.rmtree(draft, ignore_errors=True)
                raise
            shutil.rmtree(made)

    # --- folders and rows -------------------------------------------------------------------------------------

    def _submit(self, name: str, user_id: int | None) -> Job:
        return self._jobs().submit(
            JOB_KIND, subject=_subject(name), args={"name": name}, items=[(_subject(name), {})], user_id=user_id
        )

    def _newest_jobs(self) -> Mapping[str, Job]:
        newest: dict[str, Job] = {}
        for job in self._jobs().list(kind=JOB_KIND, limit=1000):
            newest.setdefault(job.subject.removeprefix(_subject("")), job)
        return newest

    def _folders(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        try:
            names = sorted(os.listdir(self._folder))
        except FileNotFoundError:
            return
        for name in names:
            about = None if name.startswith(".") else _read_about(self._folder / name)
            if about is not None:
                yield self._folder / name, about

    def _find_folder(self, name: str) -> tuple[Path, dict[str, Any]]:
        about = _read_about(self._folder / name) if _NAME.fullmatch(name) else None
        if about is None:
            names = [folder.name for folder, _about in self._folders()]
            raise NotFound(
                "There is no training {name!r}. Nearest: {near}. All: dizuo train --list",
                name=name[:80],
                near=_nearest(name, names),
            )
        return self._folder / name, about

    def _training(self, folder: Path, about: Mapping[str, Any], job: Job | None) -> Training:
        created_at = datetime.fromisoformat(about["created_at"])
        if job is not None and job.created_at < created_at:
            job = None  # of a training of that name that has been removed
        status, points = read_status(folder), self._points(folder)
        state = _STATES[job.status] if job is not None else "done" if status.state == "done" else "stopped"
        at_work = state == "running"
        scored = next((point for point in reversed(points) if point.val_loss is not None or point.scores), None)
        return Training(
            name=folder.name,
            recipe=about["recipe"],
            stage=about["stage"],
            state=state,
            stopping=at_work and job is not None and job.cancel_requested,
            step=status.step,
            steps=status.steps,
            loss=points[-1].loss if points else None,
            val_loss=scored.val_loss if scored else None,
            scores=scored.scores if scored else {},
            tokens_per_s=points[-1].tokens_per_s if points else None,
            eta_s=status.eta_s if at_work and status.state == "running" else None,
            doing=status.doing if at_work else None,
            error=job.error if job is not None and state == "failed" else None,
            log=str(folder / "log.txt"),
            model=_subject(folder.name) if state == "done" and (self._models / folder.name).is_dir() else None,
            job=job.id if job is not None else None,
            created_at=created_at,
            started_at=job.started_at if job is not None else None,
            finished_at=job.finished_at if job is not None else None,
        )

    def _points(self, folder: Path) -> Sequence[TrainingPoint]:
        with self._reading:
            curve = self._curves.setdefault(folder, Curve(folder / "metrics.jsonl"))
            return tuple(curve.look())

    def _check_name(self, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise UserError(
                "{name!r} cannot be the name of a training. Letters, digits, dots, hyphens and underscores; it begins "
                "with a letter or a digit; 64 characters at most.",
                name=name[:80],
            )
        if (self._folder / name).exists():
            raise Conflict("There is a training {name!r} already. Choose another name, or remove it.", name=name)
        if (self._models / name).exists():
            raise Conflict("There is a model local/{name} already. Choose another name.", name=name)

    def _place(self, draft: Path, wanted: str | None, recipe: str) -> str:
        """Gives a draft its place under a free name. A rename onto a folder that holds something fails."""
        base = recipe if _NAME.fullmatch(recipe) else "training"
        for name in [wanted] if wanted else _names_like(base):
            try:
                self._check_name(name)
                draft.rename(self._folder / name)
            except Conflict:
                if wanted:
                    raise
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                if wanted:
                    self._check_name(name)
            else:
                return name
        raise Conflict("There is a training {name!r} already. Choose another name, or remove it.", name=wanted or base)

    def _remove_folder(self, folder: Path) -> None:
        grave = self._folder / f".gone-{secrets.token_hex(8)}"
        folder.rename(grave)  # at once out of every list; the files may take a while
        with self._reading:
            self._curves.pop(folder, None)
        shutil.rmtree(grave, ignore_errors=True)


def _subject(name: str) -> str:
    """What a training's job works on: the model it makes. No knowledge base can be called that."""
    return f"local/{name}"


def _names_like(base: str) -> Iterator[str]:
    yield base
    for number in range(2, 10_000):
        yield f"{base[:58]}-{number}"


def _read_about(folder: Path) -> dict[str, Any] | None:
    try:
        return json.loads((folder / "about.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None


def _failure(folder: Path, process: TrainingProcess, status: Status) -> UserError:
    name, log = folder.name, folder / "log.txt"
    if status.state == "failed" and status.error is not None:
        reason = UserError(status.error.template, **status.error.params)
        return UserError("{reason} The log: {log}", reason=reason, log=log)
    if status.state == "failed" and status.message:
        return UserError(
            "The training met a fault: {what}. The log: {log}. To go on from the last checkpoint: dizuo train --resume "
            "{name}",
            what=status.message[:300],
            log=log,
            name=name,
        )
    if process.exit_status == 0:
        return UserError(
            "The training process was stopped from outside at step {step}. To go on: dizuo train --resume {name}",
            step=status.step,
            name=name,
        )
    return UserError(
        "The training process ended at step {step} without a word (exit status {status}; -9 is most often a machine "
        "out of memory). The log: {log}. To go on from the last checkpoint: dizuo train --resume {name}",
        step=status.step,
        status=process.exit_status,
        log=log,
        name=name,
    )


# --- recipes --------------------------------------------------------------------------------------------------


@cache
def _shipped() -> Sequence[RecipeInfo]:
    import yaml

    found: list[RecipeInfo] = []
    for file in sorted((files("dizuo") / "train" / "recipes").iterdir(), key=lambda file: file.name):
        if file.name.endswith(".yaml"):
            told = yaml.safe_load(file.read_text("utf-8"))
            name = file.name.removesuffix(".yaml")
            found.append(RecipeInfo(name=name, stage=told["stage"], description=told["description"]))
    return tuple(found)


def _find(recipe: str) -> str:
    """The name of a shipped recipe, or the absolute path of a file."""
    if any(recipe == known.name for known in _shipped()):
        return recipe
    if "/" in recipe or recipe.endswith((".yaml", ".yml")):
        try:
            path = Path(recipe).expanduser().absolute()
            if path.is_file():
                return str(path)
        except (OSError, RuntimeError):  # a name longer than any file can have; the home of nobody
            pass
        raise NotFound("There is no recipe file {path}.", path=recipe[:500])
    names = [known.name for known in _shipped()]
    raise NotFound(
        "There is no recipe {name!r}. Nearest: {near}. There are: {names}. A file of your own is given by its path.",
        name=recipe[:80],
        near=_nearest(recipe, names),
        names=", ".join(names) or "-",
    )


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.3)
    return near[0] if near else "-"


def _checked(overrides: Sequence[str]) -> Sequence[str]:
    for one in overrides:
        key, equals, _value = one.partition("=")
        if not equals or not key.strip():
            raise UserError("{given!r} sets nothing. It must be KEY=VALUE, such as steps=200.", given=one[:80])
    return overrides


def _same_model(a: Path, b: Path) -> bool:
    """Whether both folders hold what the same training made."""
    files = [folder / "dizuo.json" for folder in (a, b)]
    return all(file.is_file() for file in files) and files[0].read_bytes() == files[1].read_bytes()
