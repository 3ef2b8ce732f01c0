"""The files of runs, as people see them: given to a run, listed, shown, taken away."""

import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from dizuo.agents.runs import Run, Runs
from dizuo.agents.tables import Preview, preview
from dizuo.agents.workspace import IMAGES, RunFile, Workspace, kind_of
from dizuo.core.errors import Conflict, NotFound, UserError

SHOWN_BYTES = 8 << 20  # of a picture
_TAME = re.compile(r"[\w.\-]{1,64}")  # a longer name could hold a sentence, which is not the user's


class RunFiles:
    """Files of runs. Another user's run is not found. Blocking."""

    def __init__(self, runs: Runs, workspaces: Path, limit_bytes: int) -> None:
        """`limit_bytes`: the most that one file given may have."""
        self._runs = runs
        self._workspaces = workspaces
        self._limit_bytes = limit_bytes

    def list(self, run_id: str, user_id: int | None = None) -> Sequence[RunFile]:
        """The files, by path. Raises NotFound."""
        return self._of(run_id, user_id).files()

    def path(self, run_id: str, name: str, user_id: int | None = None) -> Path:
        """Where one lies. Raises NotFound, UserError for what is no name."""
        return self._of(run_id, user_id).path(name)

    def picture(self, run_id: str, name: str, user_id: int | None = None) -> tuple[bytes, str]:
        """One to be shown as a picture, with its media type. Raises NotFound, UserError where it is none."""
        if kind_of(name) != "image":
            raise UserError("{path!r} is no picture that can be shown.", path=name[:200])
        with self._of(run_id, user_id).open(name) as file:
            data = file.read(SHOWN_BYTES + 1)
        if len(data) > SHOWN_BYTES:
            raise UserError("The file {path!r} has over {limit} bytes.", path=name, limit=SHOWN_BYTES)
        return data, IMAGES[Path(name).suffix.lower()]

    def table(self, run_id: str, name: str, user_id: int | None = None) -> Preview:
        """The beginning of one as a table. Raises NotFound, UserError where it is none."""
        with self._of(run_id, user_id).open(name) as file:
            return preview(file)

    def archive(self, run_id: str, user_id: int | None = None) -> BinaryIO:
        """All of them as a ZIP archive, a temporary file at its beginning. Raises NotFound."""
        workspace = self._of(run_id, user_id)
        packed = tempfile.TemporaryFile()  # noqa: SIM115  (the caller closes it)
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for one in workspace.files():
                with workspace.open(one.path) as source, archive.open(one.path, "w") as target:
                    while piece := source.read(1 << 20):
                        target.write(piece)
        packed.seek(0)
        return packed

    def copy_out(self, run_id: str, folder: Path, user_id: int | None = None) -> Sequence[str]:
        """Copies all of them into a folder that is empty or is not there; returns their names. Raises NotFound,
        Conflict, UserError where it cannot be written."""
        workspace = self._of(run_id, user_id)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise Conflict("{folder} is not an empty folder. Name another.", folder=folder)
        names = []
        try:
            for one in workspace.files():
                target = folder / one.path
                target.parent.mkdir(parents=True, exist_ok=True)
                with workspace.open(one.path) as source, target.open("xb") as copy:
                    while piece := source.read(1 << 20):
                        copy.write(piece)
                names.append(one.path)
        except OSError as error:
            raise UserError("{folder} cannot be written: {reason}", folder=folder, reason=str(error)) from None
        return names

    def give(self, run_id: str, given: Iterable[tuple[str, BinaryIO]], user_id: int | None = None) -> Run:
        """Puts files into a run's folder, and tells it so. Raises NotFound, Conflict where the run has ended or has a
        file of that name, UserError for what is no name, TooLarge.
        """
        run = self._runs.get(run_id, user_id)
        if run.status == "ended":
            raise Conflict("The run {id} has ended. To go on from one of its steps: dizuo run fork {id}", id=run_id)
        names = self.workspace(run.id).put(given, self._limit_bytes)
        if not names:
            raise UserError("There is no file to give.")
        tame = [name for name in names if _TAME.fullmatch(name)][:20]
        others = len(names) - len(tame)
        said = [*tame, f"{others} more (see list_files)"] if others else tame
        return self._runs.steer(run_id, f"I have put files into your workspace: {', '.join(said)}.", user_id)

    def begin(self, run_id: str, given: Iterable[tuple[str, BinaryIO]], user_id: int | None = None) -> Run:
        """Gives files to a run that was held, and lets it go. Raises what `give` raises; the run is cancelled then."""
        try:
            self.give(run_id, given, user_id)
        except BaseException:
            self._runs.cancel(run_id, user_id)
            raise
        return self._runs.resume(run_id, user_id)

    def fork(self, run_id: str, step: int | None = None, text: str = "", user_id: int | None = None) -> Run:
        """A new run out of the first steps of one, as `Runs.fork` makes it, with a copy of the files as they are now.

        Raises what `Runs.fork` raises, and NotFound where a link stands in the place of the folder.
        """
        there = self._of(run_id, user_id)

        def bring(new: str) -> None:
            folder = self.workspace(new)
            try:
                folder.take_all(there)
            except BaseException:  # such as a full disk: the run will not be
                shutil.rmtree(folder.folder, ignore_errors=True)
                raise

        return self._runs.fork(run_id, step, text, user_id, bring)

    def _of(self, run_id: str, user_id: int | None) -> Workspace:
        return self.workspace(self._runs.get(run_id, user_id).id)

    def workspace(self, run_id: str) -> Workspace:
        """The folder of a run, whoever's it is. Raises NotFound where a link stands in its place."""
        folder = self._workspaces / run_id
        if folder.is_symlink():
            raise NotFound("The run has no file {path!r}.", path="")
        return Workspace(folder)


@contextmanager
def local_files(paths: Sequence[Path]) -> Iterator[Iterator[tuple[str, BinaryIO]]]:
    """Files and folders of this machine, to be given to a run: each file under its name, a folder's under their paths
    below it. Raises UserError for what is not there. Links in folders are left out."""
    named = [one for path in paths for one in _named(path)]
    with ExitStack() as opened:  # one after another, as they are asked for
        yield ((name, opened.enter_context(path.open("rb"))) for name, path in named)


def _named(path: Path) -> list[tuple[str, Path]]:
    if path.is_file():
        return [(path.name, path)]
    if not path.is_dir():
        raise UserError("There is no file {path!r}.", path=str(path))
    below = (one for one in sorted(path.rglob("*")) if one.is_file() and not one.is_symlink())
    return [(one.relative_to(path).as_posix(), one) for one in below]
