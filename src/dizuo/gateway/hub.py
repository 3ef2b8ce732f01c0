"""Open weights from a hub that speaks as huggingface.co does, or from a folder, into the models of this instance.

A durable job (`model.add`): files come beside the models and under their names, one by one, each checked against the
hub's own checksum, and become the model `hf/ORG/NAME` in one step. Only files that hold data are taken: safetensors,
JSON, the texts of tokenizers and cards; never pickles nor code.
"""

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dizuo.core.documents import Note
from dizuo.core.errors import Conflict, Unavailable, UserError
from dizuo.gateway.local_folders import HUB, HUB_FILE, HUB_PREFIX, is_repository, read_folder
from dizuo.platform.jobs import JobCancelled

if TYPE_CHECKING:
    from dizuo.core.jobs import Job
    from dizuo.platform.database import Database
    from dizuo.platform.jobs import JobContext, Jobs

JOB_KIND = "model.add"
DEFAULT_HUB = "https://huggingface.co"

_WEIGHTS = re.compile(r"model(?:-\d{5}-of-\d{5})?\.safetensors")
_WANTED = re.compile(
    r"[\w.\-]+\.json|chat_template\.jinja|vocab\.txt|merges\.txt|[\w\-]+\.(?:spm|model)|README\.md|LICENSE[\w.\-]*"
    r"|\d_\w+/config\.json",
    re.ASCII,
)
_STAGE = re.compile(r" · ([\d,.]+) / ([\d,.]+) MB$")
_REVISION = re.compile(r"[\w][\w.\-/]{0,127}", re.ASCII)
_MAX_SMALL_BYTES = 256 << 20  # of one file that is no weights; the largest tokenizers have 40 MB
_MAX_FILES = 1000
_BLOCK_BYTES = 1 << 20
_SAY_EVERY_S = 1.0
_TRIES = 5  # without a byte in between
_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class _File:
    """One file of a repository. `digest` is empty where nothing says what it must be."""

    path: str
    size_bytes: int
    sha256: str = ""
    git_sha1: str = ""


class Hub:
    """Fetches models into the folder of models. Blocking."""

    def __init__(
        self,
        database: "Database",
        jobs: "Callable[[], Jobs]",
        folder: Path,
        endpoint: str = "",
        token: str = "",
        pause_s: float = 1.0,
    ) -> None:
        """`folder` is DIZUO_HOME/models; `token` opens models that ask one to agree to something first."""
        self._database = database
        self._jobs = jobs
        self._folder = folder
        self.endpoint = (endpoint.strip() or DEFAULT_HUB).rstrip("/")
        self._token = token.strip()
        self._pause_s = pause_s

    def add(self, name: str, revision: str = "", folder: Path | None = None, user_id: int | None = None) -> "Job":
        """Begins to fetch a model, from the hub or out of a folder in its layout; returns the job that does it.

        Raises UserError for a name, revision or folder that is none, Conflict while the same model is being fetched.
        """
        if not is_repository(name):
            raise UserError(
                "{name!r} names no model of the hub. It must be hf/ORG/NAME, such as hf/Qwen/Qwen3-0.6B.",
                name=name[:200],
            )
        if revision and (not _REVISION.fullmatch(revision) or ".." in revision):
            raise UserError("{revision!r} is no revision: a branch, a tag or a commit.", revision=revision[:200])
        if folder is not None and not (folder / "config.json").is_file():
            raise UserError(
                "The folder {folder} has no config.json. A model is a folder in the Hugging Face layout: config.json, "
                "model.safetensors, tokenizer.json.",
                folder=folder,
            )
        jobs = self._jobs()
        if any(job.kind == JOB_KIND for job in jobs.list(subject=name, active=True)):
            raise Conflict("The model {name} is being fetched already: dizuo job list", name=name)
        args = {"revision": revision, "folder": str(folder.absolute()) if folder else ""}
        return jobs.submit(JOB_KIND, subject=name, args=args, items=[(name, {})], user_id=user_id)

    def run_add(self, context: "JobContext") -> None:
        """The body of the job. What was fetched before a kill is kept, to the byte."""
        for item in context.waiting(1):
            name = item.source
            staged = self._staged(name)
            source = context.args.get("folder")
            try:
                revision = (
                    self._copy(context, Path(source), staged)
                    if source
                    else self._fetch(context, name, str(context.args.get("revision") or ""), staged)
                )
            except JobCancelled:
                shutil.rmtree(staged, ignore_errors=True)
                raise
            where = {"revision": revision} if source else {"hub": self.endpoint, "revision": revision}
            (staged / HUB_FILE).write_text(json.dumps(where, indent=2) + "\n", "utf-8")
            found = read_folder(name, staged)
            if found.problem is not None:
                raise _unusable(name, found.problem)
            _put_in_place(staged, self._folder / name)
            with self._database.write() as connection:
                context.finish_item(connection, item, "added")

    def _staged(self, name: str) -> Path:
        organisation, _slash, short = name.removeprefix(HUB_PREFIX).partition("/")
        path = self._folder / HUB / f".adding-{organisation}--{short}"
        path.mkdir(parents=True, exist_ok=True)
        return path

    # --- from the hub -----------------------------------------------------------------------------------------

    def _fetch(self, context: "JobContext", name: str, revision: str, staged: Path) -> str:
        commit, listed = self._listed(name, revision)
        files = _chosen(name, listed)
        total = sum(file.size_bytes for file in files)
        _check_room(staged, total - sum(_have(staged / file.path) for file in files))
        progress = _Progress(context, total)
        for file in sorted(files, key=lambda file: (bool(_WEIGHTS.fullmatch(file.path)), file.path)):
            if _WEIGHTS.fullmatch(file.path):
                _check_kind(name, staged)  # before gigabytes are fetched for nothing
            self._fetch_file(progress, name, commit, file, staged / file.path)
        return commit

    def _listed(self, name: str, revision: str) -> tuple[str, Sequence[_File]]:
        """The commit that a revision is now, and its files."""
        from huggingface_hub import HfApi, errors

        repository = name.removeprefix(HUB_PREFIX)
        api = HfApi(endpoint=self.endpoint, token=self._token or False)
        try:
            info = api.model_info(repository, revision=revision or None, files_metadata=True, timeout=_TIMEOUT_S)
        except errors.GatedRepoError as error:
            raise self._gated(name) from error
        except errors.RevisionNotFoundError as error:
            raise UserError("The model {name} has no revision {revision!r}.", name=name, revision=revision) from error
        except errors.RepositoryNotFoundError as error:
            raise UserError(
                "{hub} has no model {name}, or it is private. Check the name; a private one needs HF_TOKEN.",
                hub=self.endpoint,
                name=name,
            ) from error
        except Exception as error:  # the library lets through whatever its HTTP client raises
            raise self._unreachable(error) from error
        files = [
            _File(
                path=one.rfilename,
                size_bytes=(one.lfs.size if one.lfs else one.size) or 0,
                sha256=one.lfs.sha256 if one.lfs else "",
                git_sha1="" if one.lfs else one.blob_id or "",
            )
            for one in (info.siblings or [])[:_MAX_FILES]
        ]
        return info.sha or revision or "main", files

    def _fetch_file(self, progress: "_Progress", name: str, commit: str, file: _File, target: Path) -> None:
        """One file, from the byte where it stands. Raises Unavailable when the hub breaks off again and again."""
        if _size(target) == file.size_bytes and _matches(target, file, progress):
            progress.have(file.path, file.size_bytes)
            return
        part = _part(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        tries = 0
        while _size(part) < file.size_bytes or not part.exists():
            before = _size(part)
            reason = self._receive(progress, name, commit, file, part)
            tries = tries + 1 if _size(part) <= before else 0
            if _size(part) >= file.size_bytes and part.exists():
                break
            if tries >= _TRIES:
                raise Unavailable(
                    "{hub} broke off while {file} was fetched ({reason}). What came is kept; go on with: dizuo job "
                    "resume {job}",
                    hub=self.endpoint,
                    file=file.path,
                    reason=reason or "-",
                    job=progress.context.job_id,
                )
            for _tick in range(int(10 * self._pause_s * tries)):
                progress.context.check()
                time.sleep(0.1)
        if _size(part) != file.size_bytes or not _matches(part, file, progress):
            part.unlink()
            raise UserError(
                "What {hub} sent as {file} is not what it says the file is (its checksum is another). It was deleted.",
                hub=self.endpoint,
                file=file.path,
            )
        part.replace(target)

    def _receive(self, progress: "_Progress", name: str, commit: str, file: _File, part: Path) -> str:
        """Adds to a file what comes; why it broke off, if it did."""
        import httpx
        from huggingface_hub import hf_hub_url

        have = _size(part)
        url = hf_hub_url(name.removeprefix(HUB_PREFIX), file.path, revision=commit, endpoint=self.endpoint)
        # Identity: the checksum is that of the file, and a range counts its bytes.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"  # httpx leaves it out where a redirect leads elsewhere
        try:
            with httpx.stream("GET", url, headers=headers, follow_redirects=True, timeout=_TIMEOUT_S) as answer:
                if answer.status_code in (401, 403):
                    raise self._gated(name)
                answer.raise_for_status()
                resumed = have > 0 and answer.status_code == 206
                with part.open("ab" if resumed else "wb", buffering=0) as out:  # a kill costs nothing that came
                    size = have if resumed else 0
                    for block in answer.iter_raw():
                        out.write(block)
                        size += len(block)
                        progress.have(file.path, size)
                        if size > file.size_bytes:
                            break
        except httpx.HTTPStatusError as error:
            return f"HTTP {error.response.status_code}"
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return str(error) or type(error).__name__
        return ""

    def _gated(self, name: str) -> UserError:
        return UserError(
            "{hub} asks for more before it gives {name} away: agree to its terms on its page there, make a token, and "
            "set HF_TOKEN to it.",
            hub=self.endpoint,
            name=name,
        )

    def _unreachable(self, error: Exception) -> Unavailable:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        return Unavailable(
            "{hub} cannot be asked ({reason}). Is there a way to it from here? Another is named by the setting hub "
            "(DIZUO_HUB), such as https://hf-mirror.com; a folder is added with --from.",
            hub=self.endpoint,
            reason=reason,
        )

    # --- from a folder ----------------------------------------------------------------------------------------

    def _copy(self, context: "JobContext", source: Path, staged: Path) -> str:
        """Copies what may be taken of a folder; the commit that a folder of the hub's own cache is named by, or ""."""
        listed = [
            _File(path=path.relative_to(source).as_posix(), size_bytes=path.stat().st_size)
            for path in sorted([*source.glob("*"), *source.glob("*/config.json")])
            if path.is_file()
        ]
        name = context.subject
        files = _chosen(name, listed)
        _check_room(staged, sum(file.size_bytes for file in files))
        progress = _Progress(context, sum(file.size_bytes for file in files))
        for file in files:
            target = staged / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            with (source / file.path).open("rb") as read, target.open("wb") as write:
                copied = 0
                while block := read.read(_BLOCK_BYTES):
                    write.write(block)
                    copied += len(block)
                    progress.have(file.path, copied)
        return source.name if source.parent.name == "snapshots" else ""


class _Progress:
    """How much of a model is there, said now and then; looks whether the job is to stop."""

    def __init__(self, context: "JobContext", total_bytes: int) -> None:
        self.context = context
        self._total = total_bytes
        self._have: dict[str, int] = {}
        self._said_s = float("-inf")

    def have(self, path: str, size_bytes: int) -> None:
        """Says that so much of a file is there. Raises JobCancelled, and JobStopped where the process ends."""
        self._have[path] = size_bytes
        self.context.check()
        now_s = time.monotonic()
        if now_s - self._said_s >= _SAY_EVERY_S:
            self._said_s = now_s
            done = sum(self._have.values())
            # Not quite 1: it is done when it is in its place.
            share = min(0.999, done / self._total) if self._total else 0.0
            self.context.stage(f"{path} · {_mb(done)} / {_mb(self._total)} MB", ahead=share)


def share_done(stage: str) -> float | None:
    """How much of a model is there, 0 to 1, by what its job says of its stage; None where it does not say."""
    found = _STAGE.search(stage)
    if found is None:
        return None
    done, total = (float(part.replace(",", "")) for part in found.groups())
    return min(1.0, done / total) if total else None


def _chosen(name: str, listed: Sequence[_File]) -> Sequence[_File]:
    """The files that are taken. Raises UserError where there are no weights among them that are only data."""
    weights = [file for file in listed if _WEIGHTS.fullmatch(file.path)]
    if any(file.path == "model.safetensors" for file in weights):  # whole; pieces beside it are the same again
        weights = [file for file in weights if file.path == "model.safetensors"]
    if not weights:
        others = [file.path for file in listed if file.path.endswith((".bin", ".pt", ".pth", ".gguf", ".onnx"))]
        raise UserError(
            "The model {name} has no model.safetensors (found: {found}). Other formats of weights are not read; those "
            "of pickle can run code.",
            name=name,
            found=", ".join(sorted(others)[:5]) or "-",
        )
    small = [file for file in listed if _WANTED.fullmatch(file.path) and file.path not in ("dizuo.json", HUB_FILE)]
    if large := [file for file in small if file.size_bytes > _MAX_SMALL_BYTES]:
        raise UserError(
            "{file} has {size} bytes, which no configuration has.", file=large[0].path, size=large[0].size_bytes
        )
    if not any(file.path == "config.json" for file in small):
        raise UserError("The model {name} has no config.json: nothing says what it is.", name=name)
    return [*small, *weights]


def _check_kind(name: str, staged: Path) -> None:
    found = read_folder(name, staged)
    if found.kind == "unknown" and found.architecture:
        raise UserError(
            "The model {name} is a {architecture!r}, which no engine here runs.",
            name=name,
            architecture=found.architecture,
        )
    if not (staged / "tokenizer.json").is_file():
        raise UserError(
            "The model {name} has no tokenizer.json: without it, text cannot be turned into tokens.", name=name
        )


def _check_room(folder: Path, needed_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed_bytes > free:
        raise UserError(
            "The model needs {needed} MB, and {folder} has {free} MB left. Make room, then go on with: dizuo job "
            "resume",
            needed=_mb(needed_bytes),
            folder=folder,
            free=_mb(free),
        )


def _matches(path: Path, file: _File, progress: _Progress) -> bool:
    """Whether the content is what the hub says that it is."""
    if not file.sha256 and not file.git_sha1:
        return True
    digest = hashlib.sha256() if file.sha256 else hashlib.sha1(b"blob %d\0" % path.stat().st_size)  # noqa: S324  # git's
    with path.open("rb") as content:
        while block := content.read(8 * _BLOCK_BYTES):
            digest.update(block)
            progress.context.check()
    return digest.hexdigest() == (file.sha256 or file.git_sha1)


def _put_in_place(staged: Path, target: Path) -> None:
    """`staged` becomes `target`; what was there goes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for file in (one for one in staged.rglob("*") if one.is_file()):
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
    old = target.with_name(f".removed-{target.name}")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    try:
        staged.rename(target)
    except OSError:
        with suppress(OSError):
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _unusable(name: str, problem: Note) -> UserError:
    return UserError("The model {name} cannot be used. {problem}", name=name, problem=problem)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _have(path: Path) -> int:
    return _size(path) or _size(_part(path))


def _mb(size_bytes: float) -> str:
    return f"{size_bytes / 1e6:,.1f}"
