"""What works on this machine, what does not, and what to do about it.

Each check looks for itself and changes nothing. None opens the instance: a database that is broken, or was made by
another version, is something to report.
"""

import json
import logging
import os
import platform
import shutil
import sqlite3
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import urlsplit

from dizuo.core.documents import Note
from dizuo.core.errors import DizuoError, UserError
from dizuo.core.messages import Noun
from dizuo.platform.catalogue import _
from dizuo.platform.home_lock import is_held, server_address
from dizuo.platform.settings import LoadedSettings, Settings, address

if TYPE_CHECKING:
    import sqlalchemy as sa

    from dizuo.gateway.providers import Providers

logger = logging.getLogger(__name__)

Status = Literal["ok", "warning", "failed"]

_MIB, _GIB = 1 << 20, 1 << 30
# What the server with a loaded embedder takes, and with room for an index of some hundred thousand chunks.
_MEMORY_LOW, _MEMORY_SCARCE = 700 * _MIB, 1500 * _MIB
_DISK_LOW, _DISK_SCARCE = 200 * _MIB, 2 * _GIB
_CONNECT_S = 3
_MODEL_S = 8
_QUICK_CHECK_S = 20
# SQLite's write-ahead log needs memory that all its users share, and locks that work.
_NETWORK_FILE_SYSTEMS = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "afs", "ceph", "glusterfs"}


class Check(Noun):
    """One thing that was looked at. `name` is a text of the catalogue; `advice` says what to do about it."""

    name: str
    status: Status
    found: Note
    advice: Note | None = None


class _Verdict(NamedTuple):
    status: Status
    found: Note
    advice: Note | None = None

    def advise(self, text: str, **params: Any) -> "_Verdict":
        return self._replace(advice=Note(template=text, params=params))


def _ok(text: str, **params: Any) -> _Verdict:
    return _Verdict("ok", Note(template=text, params=params))


def _warning(text: str, **params: Any) -> _Verdict:
    return _Verdict("warning", Note(template=text, params=params))


def _failed(text: str, **params: Any) -> _Verdict:
    return _Verdict("failed", Note(template=text, params=params))


def examine(load: Callable[[], LoadedSettings]) -> Iterator[Check]:
    """Every check, one after the other. `load` gives the settings; they may be what is wrong."""
    for name, look in _OF_THE_MACHINE:
        yield _made(name, look)
    try:
        loaded = load()
    except UserError as error:
        yield Check(name=_("Settings"), status="failed", found=_note(error))
        return
    yield _made(_("Settings"), lambda: _settings(loaded))
    for name, look in _OF_THE_INSTANCE:
        yield _made(name, lambda look=look: look(loaded.values))


def _made(name: str, look: Callable[[], _Verdict]) -> Check:
    """The check, or that it could not be made: a broken machine breaks what looks at it in new ways."""
    try:
        verdict = look()
    except DizuoError as error:
        verdict = _Verdict("failed", _note(error))
    except Exception as error:
        logger.debug("a check could not be made", exc_info=True)
        verdict = _failed("{reason}", reason=f"{type(error).__name__}: {error}")
    return Check(name=name, status=verdict.status, found=verdict.found, advice=verdict.advice)


def _note(error: DizuoError) -> Note:
    return Note(template=error.template, params={key: str(value) for key, value in error.params.items()})


# --- the machine ----------------------------------------------------------------------------------------------


def _python() -> _Verdict:
    params = {"version": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"}
    if sys.version_info < (3, 11):  # noqa: UP036  # a doctor does not trust what the installer was told
        old = _failed(_("{version} on {machine}"), **params)
        return old.advise(_("Dizuo needs Python 3.11 or newer. Install it, then run make install again."))
    return _ok(_("{version} on {machine}"), **params)


def _memory() -> _Verdict:
    free = _free_memory()
    if free is None:
        return _ok(_("cannot be told on this system"))
    if free >= _MEMORY_SCARCE:
        return _ok(_("{size} MiB can be used"), size=free // _MIB)
    scarce = (_failed if free < _MEMORY_LOW // 2 else _warning)(_("{size} MiB can be used"), size=free // _MIB)
    return scarce.advise(_("A server with its embedding model takes up to 700 MB. Close other programs or add memory."))


def _free_memory() -> int | None:
    """Bytes that a program may still take, a container's limit included; None where nobody says."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text("ascii").splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text("ascii").strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text("ascii"))
        return free if limit == "max" else max(0, min(free, int(limit) - used))
    except (OSError, ValueError):
        return free


def _clock() -> _Verdict:
    now = time.time()
    shown = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(now))
    if now < Path(__file__).stat().st_mtime - 86_400:
        behind = _warning(_("{time} is before the time at which Dizuo was installed."), time=shown)
        return behind.advise(_("Set the clock right: sign-in and one-time links go by it."))
    return _ok("{time}", time=shown)


# --- the instance on disk -------------------------------------------------------------------------------------


def _settings(loaded: LoadedSettings) -> _Verdict:
    data = loaded.values.data
    if data and not Path(data).is_dir():
        lost = _warning(_("The folder {folder} does not exist."), folder=data)
        return lost.advise(_("It is the setting data (DIZUO_DATA); only tests and benchmarks use it."))
    changed = sorted(name for name, source in loaded.sources.items() if source != "default")
    return (
        _ok(_("not at their default: {names}"), names=", ".join(changed)) if changed else _ok(_("all at their default"))
    )


def _home(settings: Settings) -> _Verdict:
    home = settings.home
    if home.is_dir() and os.access(home, os.R_OK | os.W_OK | os.X_OK):
        return _ok("{folder}", folder=str(home))
    if home.is_dir():
        bad = _failed(_("{folder} cannot be written to by this user."), folder=str(home))
    elif home.exists():
        bad = _failed(_("{folder} is not a folder."), folder=str(home))
    elif os.access(_nearest(home), os.W_OK | os.X_OK):
        return _ok(_("{folder} will be made at the first start."), folder=str(home))
    else:
        bad = _failed(_("{folder} does not exist and cannot be made by this user."), folder=str(home))
    return bad.advise(_("Mend its owner and mode, or name another with DIZUO_HOME or --home."))


def _permissions(settings: Settings) -> _Verdict:
    home = settings.home
    if not home.is_dir():
        return _ok(_("nothing is there yet"))
    mode = stat.S_IMODE(home.stat().st_mode)
    if not mode & 0o077:
        return _ok(_("only this user can look into the data folder"))
    readable = sorted(file.name for file in home.iterdir() if stat.S_IMODE(file.lstat().st_mode) & 0o077)
    wide_open = _warning(
        _("Other users of this machine may look into the data folder (mode {mode}; readable in it: {files})."),
        mode=f"{mode:04o}",
        files=", ".join(readable[:5]) or "-",
    )
    return wide_open.advise(_("Close it: chmod -R go= {folder}"), folder=str(home))


def _disk(settings: Settings) -> _Verdict:
    free = shutil.disk_usage(_nearest(settings.home)).free
    size = f"{free / _GIB:.1f}"
    if free >= _DISK_SCARCE:
        return _ok(_("{size} GiB free"), size=size)
    scarce = (_failed if free < _DISK_LOW else _warning)(_("{size} GiB free"), size=size)
    return scarce.advise(_("Make room, or put the data folder on another disk with DIZUO_HOME."))


def _file_system(settings: Settings) -> _Verdict:
    if _sqlite_file(settings) is None:
        return _ok(_("does not matter: the database is PostgreSQL"))
    folder = _nearest(settings.home)
    kind = _kind_of_file_system(folder)
    elsewhere = _("Put the data folder on a local disk with DIZUO_HOME, or use PostgreSQL.")
    if kind in _NETWORK_FILE_SYSTEMS:
        return _warning(_("{kind} is a network file system; SQLite may lose data on it."), kind=kind).advise(elsewhere)
    if not os.access(folder, os.W_OK):
        return _ok(_("not looked at: the data folder cannot be written to"))
    with tempfile.TemporaryDirectory(dir=folder, prefix="doctor-") as probe:
        connection = sqlite3.connect(Path(probe, "probe.db"))
        try:
            journal = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            connection.execute("CREATE TABLE probe (x)")
        finally:
            connection.close()
    if journal != "wal":
        return _failed(_("SQLite cannot use its write-ahead log here.")).advise(elsewhere)
    return _ok(_("{kind}, good for SQLite's write-ahead log"), kind=kind or "?")


def _sqlite(settings: Settings) -> _Verdict:
    if _sqlite_file(settings) is None:
        return _ok(_("does not matter: the database is PostgreSQL"))
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("CREATE VIRTUAL TABLE probe USING fts5(text)")
    except sqlite3.OperationalError:
        lacking = _failed(_("{version} lacks full-text search (FTS5)."), version=sqlite3.sqlite_version)
        return lacking.advise(_("Use a Python whose SQLite has FTS5, or PostgreSQL (DIZUO_DATABASE_URL)."))
    finally:
        connection.close()
    return _ok(_("{version}, with full-text search"), version=sqlite3.sqlite_version)


def _nearest(path: Path) -> Path:
    """The path, or the folder above it that exists."""
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def _kind_of_file_system(folder: Path) -> str:
    """ext4, nfs, …; "" where the system does not say."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text("utf-8", "replace").splitlines()]
    except OSError:
        return ""
    there = folder.resolve()
    over = [(len(m[1]), m[2]) for m in mounts if there.is_relative_to(m[1].replace("\\040", " "))]
    return max(over)[1] if over else ""


# --- the database ---------------------------------------------------------------------------------------------


def _database(settings: Settings) -> _Verdict:
    from dizuo.platform import revisions

    kind = "PostgreSQL"
    if file := _sqlite_file(settings):
        kind = "SQLite"
        if not file.exists() or not file.stat().st_size:
            return _ok(_("will be made at the first start"))
        if reason := _sqlite_problem(file):
            broken = _failed(_("{file} cannot be read: {reason}"), file=str(file), reason=reason)
            return broken.advise(_("Restore a backup or snapshot: dizuo snapshot list, dizuo restore FILE"))
    with _looking(settings) as connection:
        found, known = revisions.revision(connection), revisions.head()
    if found is None:
        return _ok(_("{kind}, empty"), kind=kind)
    if found > known:
        newer = _failed(
            _("It was made by a newer Dizuo (schema {found}; this one knows {known})."), found=found, known=known
        )
        return newer.advise(_("Install that version again, or restore an older snapshot: dizuo snapshot list"))
    if found < known:
        text = _("{kind}, schema {found}; the next start brings it to {known}, after a snapshot")
        return _ok(text, kind=kind, found=found, known=known)
    return _ok(_("{kind}, schema {found}"), kind=kind, found=found)


def _sqlite_file(settings: Settings) -> Path | None:
    """The file of the database; None where it is PostgreSQL."""
    url = settings.resolved_database_url()
    return Path(url.partition(":///")[2]) if url.startswith("sqlite") else None


def _sqlite_problem(file: Path) -> str:
    """What is wrong with the file, in SQLite's words; "" when nothing was found in the time given."""
    deadline = time.monotonic() + _QUICK_CHECK_S
    try:
        connection = sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True, timeout=_CONNECT_S)
        try:
            connection.set_progress_handler(lambda: time.monotonic() > deadline, 100_000)
            answer = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        return "" if "interrupted" in str(error) else str(error)
    return "" if answer == "ok" else answer


@contextmanager
def _looking(settings: Settings) -> "Iterator[sa.Connection]":
    """A connection that only looks, and gives up soon. Raises UserError when there is none to be had."""
    import sqlalchemy as sa
    from sqlalchemy.exc import OperationalError

    from dizuo.platform.database import Database

    url = sa.make_url(settings.resolved_database_url())
    if url.drivername.startswith("postgres") and "connect_timeout" not in url.query:
        url = url.update_query_dict({"connect_timeout": str(_CONNECT_S)})
    database = Database(url.render_as_string(hide_password=False))
    try:
        with database.read() as connection:
            yield connection
    except OperationalError as error:
        raise UserError(
            "The database {url} cannot be reached: {reason}. Check DIZUO_DATABASE_URL.",
            url=url.render_as_string(hide_password=True),
            reason=str(error.orig).strip(),
        ) from None
    finally:
        database.close()


def _indexes(settings: Settings) -> _Verdict:
    """What search stands on: it is derived from the chunks, and `repair` makes it again."""
    from dizuo.gateway.models import Models
    from dizuo.knowledge.keywords import in_step
    from dizuo.knowledge.store import lacks_vectors
    from dizuo.platform import revisions

    file = _sqlite_file(settings)
    if file and not file.exists():
        return _ok(_("nothing to search yet"))
    embedder = Models().embedder(settings.embedder) if settings.embedder else None
    with _looking(settings) as connection:
        if revisions.revision(connection) != revisions.head():
            return _ok(_("looked at after the next start"))
        behind = None
        if not in_step(connection):
            behind = _warning(_("The keyword index is out of step with the documents."))
        elif embedder is not None and lacks_vectors(connection, embedder):
            behind = _warning(_("Passages lack the vectors of {name}."), name=embedder.name)
    return (
        behind.advise(_("Until then search finds less than it should: dizuo repair")) if behind else _ok(_("in step"))
    )


# --- the processes --------------------------------------------------------------------------------------------


def _worker(settings: Settings) -> _Verdict:
    waiting = _waiting_jobs(settings)
    if is_held(settings.home / "worker.lock"):
        return _ok(_("a process does them; {count} wait or run"), count=waiting)
    if not waiting:
        return _ok(_("none waits"))
    idle = _warning(_("{count} wait, and no process does them."), count=waiting)
    return idle.advise(_("Start the server (dizuo up), or follow one here: dizuo job list, dizuo job watch JOB"))


def _waiting_jobs(settings: Settings) -> int:
    import sqlalchemy as sa

    from dizuo.platform import revisions, schema

    file = _sqlite_file(settings)
    if file and not file.exists():
        return 0
    with _looking(settings) as connection:
        if revisions.revision(connection) is None:
            return 0
        waiting = schema.jobs.c.status.in_(("queued", "running"))
        return connection.scalar(sa.select(sa.func.count()).select_from(schema.jobs).where(waiting)) or 0


def _server(settings: Settings) -> _Verdict:
    there = server_address(settings.home) or address(settings.host, settings.port)
    where = urlsplit(there)
    connection = HTTPConnection(where.hostname or "", where.port, timeout=_CONNECT_S)
    try:
        connection.request("GET", "/readyz")
        missing = ", ".join(json.loads(connection.getresponse().read(10_000))["missing"])
    except ConnectionRefusedError:
        return _ok(_("does not run; {address} is free"), address=there).advise(_("To start it: dizuo up"))
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        taken = _warning(_("{address} is taken by another program."), address=there)
        return taken.advise(_("Choose another port: dizuo up --port {other}"), other=settings.port + 1)
    finally:
        connection.close()
    if missing:
        half = _warning(_("runs at {address}, and still waits for: {missing}"), address=there, missing=missing)
        return half.advise(_("If that stays so, the server's log (on its standard error) says why."))
    return _ok(_("runs at {address}"), address=there)


# --- models and formats ---------------------------------------------------------------------------------------


def _embedder(settings: Settings) -> _Verdict:
    if not settings.embedder:
        off = _warning(_("switched off: search goes by keywords alone"))
        return off.advise(_("To switch it on: DIZUO_EMBEDDER=local/minilm"))
    from dizuo.gateway.models import Models

    embedder = Models().embedder(settings.embedder)
    again = _("Install Dizuo again (make install). Until then: DIZUO_EMBEDDER= dizuo up")
    started_s = time.perf_counter()
    try:
        vector = embedder.embed(["A sentence to try it with."])[0]
    except Exception as error:
        logger.debug("the embedder does not load", exc_info=True)
        reason = f"{type(error).__name__}: {error}"
        return _failed(_("{name} does not load: {reason}"), name=embedder.name, reason=reason).advise(again)
    if abs(float(vector @ vector) - 1) > 0.01:
        return _failed(_("{name} gives vectors that are no good."), name=embedder.name).advise(again)
    return _ok(
        _("{name}, {dimension} dimensions, loaded and tried in {seconds} s"),
        name=embedder.name,
        dimension=embedder.dimension,
        seconds=f"{time.perf_counter() - started_s:.1f}",
    )


# Format -> the modules that read it.
_READERS = {
    "HTML": ("bs4", "markdownify"),
    "PDF": ("pypdf", "cryptography"),
    "Word": ("markitdown", "mammoth", "defusedxml"),
    "PowerPoint": ("markitdown", "pptx"),
    "Excel": ("openpyxl", "xlrd"),
    "EPUB": ("markitdown", "bs4"),
    "Outlook": ("markitdown", "olefile"),
    "text": ("charset_normalizer",),
}


def _formats(settings: Settings) -> _Verdict:
    lacking = [f"{kind}: {module}" for kind, modules in _READERS.items() for module in modules if not find_spec(module)]
    again = _("Install Dizuo again: make install")
    if lacking:
        return _failed(_("Readers are missing ({list})."), list=", ".join(lacking)).advise(again)
    from dizuo.knowledge.parse_process import Parser

    parser = Parser(settings.max_file_mb)
    with tempfile.TemporaryDirectory(prefix="dizuo-doctor-") as folder:
        file = Path(folder, "probe.html")
        file.write_text("<html><body><h1>Probe</h1><p>A paragraph.</p></body></html>", "utf-8")
        try:
            text = parser.parse(file, file.name).text
        finally:
            parser.close()
    if "A paragraph." not in text:
        return _failed(_("The parser's process reads files wrongly.")).advise(again)
    return _ok(_("every reader is there, and the parser's process works"))


def _model(settings: Settings) -> _Verdict:
    """Whether the provider answers and knows the model. Costs no tokens: it is asked for its list only."""
    if not settings.model:
        return _ok(_("none is set: answers are quotations from the documents"))
    import httpx

    from dizuo.gateway.local_folders import HUB_PREFIX, PREFIX
    from dizuo.gateway.models import Models

    with _providers(settings) as providers:
        folder = settings.home / "models"
        models = Models(settings.model, settings.model_base_url, settings.model_api_key, folder, providers=providers)
        models.chat(settings.model)  # raises what is wrong
        if settings.model.startswith((PREFIX, HUB_PREFIX)):
            return _ok(_("{model}, on this machine"), model=settings.model)
        access = models.access(settings.model)
    upstream = settings.model.partition("/")[2]
    base_url = access.base_url.rstrip("/")
    params: dict[str, Any] = {"model": settings.model, "host": httpx.URL(base_url).netloc.decode("ascii")}
    headers = {"Authorization": f"Bearer {access.key}"} if access.key else {}
    try:
        response = httpx.get(f"{base_url}/models", headers=headers, timeout=_MODEL_S, follow_redirects=False)
    except httpx.HTTPError as error:
        silent = _failed(
            _("{model}: {host} cannot be reached ({reason})."), **params, reason=str(error) or type(error).__name__
        )
        return silent.advise(_("Is it running? Its address is the setting model_base_url (DIZUO_MODEL_BASE_URL)."))
    if response.status_code in (401, 403):
        refused = _failed(_("{model}: {host} refuses the key."), **params)
        return refused.advise(_("Set the key with DIZUO_MODEL_API_KEY."))
    listed = _listed_models(response)
    if listed is None:
        mute = _warning(_("{model}: {host} answers, but does not list its models."), **params)
        return mute.advise(_("Try it: dizuo ask QUESTION"))
    if upstream not in listed and f"{upstream}:latest" not in listed:
        names = ", ".join(sorted(listed)[:10]) or "-"
        unknown = _warning(_("{host} does not list {model}. It lists: {names}"), **params, names=names)
        return unknown.advise(_("Check the setting model (DIZUO_MODEL)."))
    return _ok(_("{model} at {host}"), **params)


@contextmanager
def _providers(settings: Settings) -> "Iterator[Callable[[], Providers] | None]":
    """The providers that were added; None where the database holds none yet, or is to be brought up to date first."""
    from dizuo.gateway.providers import Providers
    from dizuo.platform import revisions
    from dizuo.platform.database import Database
    from dizuo.platform.secrets import Secrets

    file = _sqlite_file(settings)
    if file and not file.exists():
        yield None
        return
    with _looking(settings) as connection:
        if revisions.revision(connection) != revisions.head():
            yield None
            return
    database = Database(settings.resolved_database_url())
    try:
        providers = Providers(database, Secrets(settings.home, settings.secret_key))
        yield lambda: providers
    finally:
        database.close()


def _listed_models(response: Any) -> set[str] | None:
    if response.status_code != 200:
        return None
    try:
        return {str(entry["id"]) for entry in response.json()["data"]}
    except (ValueError, KeyError, TypeError):
        return None


# --- the sandbox ----------------------------------------------------------------------------------------------


def _sandbox() -> _Verdict:
    """Whether code that a model wrote can be run, and behind what."""
    from dizuo.agents.sandbox import available

    found = available()
    install = _("Install bubblewrap (Debian, Ubuntu: apt-get install bubblewrap; Fedora: dnf install bubblewrap).")
    if found.kind == "bubblewrap":
        return _ok(_("bubblewrap, tried: agents may run Python behind it"))
    if found.kind == "monty":
        partly = _warning(_("agents may run pure computations only, without files: {reason}"), reason=found.reason)
        return partly.advise(install)
    return _warning(_("there is none, so agents run no code: {reason}"), reason=found.reason).advise(install)


_OF_THE_MACHINE: tuple[tuple[str, Callable[[], _Verdict]], ...] = (
    (_("Python"), _python),
    (_("Memory"), _memory),
    (_("Clock"), _clock),
    (_("Sandbox"), _sandbox),
)
_OF_THE_INSTANCE: tuple[tuple[str, Callable[[Settings], _Verdict]], ...] = (
    (_("Data folder"), _home),
    (_("Permissions"), _permissions),
    (_("Disk space"), _disk),
    (_("File system"), _file_system),
    (_("SQLite"), _sqlite),
    (_("Database"), _database),
    (_("Search"), _indexes),
    (_("Jobs"), _worker),
    (_("Server"), _server),
    (_("Chat model"), _model),
    (_("Embedding model"), _embedder),
    (_("Document formats"), _formats),
)
