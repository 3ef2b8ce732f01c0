"""Backups, and the snapshots that are made before anything replaces or changes the whole state.

A backup holds every row of ours, every stored file and the files of runs, in a form that either database takes. Left
out are what can be made again (the keyword index), what must not come back (sessions, one-time links), models and
trainings, and DBOS' own tables: our rows say which jobs are not over, and the worker begins those anew
(docs/adr/0003).
"""

import contextlib
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError, DBAPIError, StatementError

from dizuo import __version__
from dizuo.core.errors import Conflict, NotFound, UserError
from dizuo.core.messages import Noun
from dizuo.platform import backup_folders, backup_tables, revisions, schema
from dizuo.platform.backup_file import FORMAT, BackupReader, BackupWriter, Head, Manifest
from dizuo.platform.blobs import Blobs
from dizuo.platform.database import Database
from dizuo.platform.home_lock import WorkerLock

KEPT_SNAPSHOTS = 5
_BROKEN = "broken-"  # so begins the name of what was set aside without a snapshot

_SUFFIX, _FILES_SUFFIX = ".dizuo", ".files"
_FOLDERS_SUFFIX = ".folders"  # what a restore has put aside, beside its snapshot
_LEFTOVER_AGE_S = 24 * 3600  # what a killed backup has left is older than this when it is swept away
_SQLITE_CORRUPT, _SQLITE_NOTADB = 11, 26


class BackupInfo(Noun):
    """What a backup holds."""

    file: Path
    created_at: datetime
    revision: str  # of the database's schema
    rows: dict[str, int]  # by table
    files: int
    missing_files: int  # that documents refer to and that were gone already when it was made
    size_bytes: int


class SnapshotInfo(Noun):
    """A snapshot that can be gone back to: `dizuo restore FILE`."""

    file: Path
    label: str  # what it was made before
    created_at: datetime
    revision: str
    size_bytes: int


def backup(database: Database, blobs: Blobs, home: Path, file: Path) -> BackupInfo:
    """Writes everything into one file, while the server serves. Nothing is left of one that fails.

    Raises Conflict when the file exists, UserError when it cannot be written.
    """
    file = file.expanduser().absolute()
    if file.exists() or file.is_symlink():
        raise Conflict("{file} exists already. Choose another name, or delete it first.", file=file)
    holding = _folder(home) / f".holding-{secrets.token_hex(8)}"
    try:
        return _write(database, blobs, file, holding, home=home)
    finally:
        shutil.rmtree(holding, ignore_errors=True)


def snapshot(database: Database, blobs: Blobs, home: Path, label: str) -> Path:
    """Keeps the present state in `home/snapshots/`; returns the file. The oldest beyond `KEPT_SNAPSHOTS` go.

    The stored files are kept by hard links beside it: they never change, so that costs no space. Raises UserError.
    """
    file = _snapshot(database, blobs, home, label)
    _prune(home)
    return file


def snapshots(home: Path) -> Sequence[SnapshotInfo]:
    """The snapshots of an instance, the newest first. One that cannot be read is left out."""
    found: list[SnapshotInfo] = []
    for file in sorted(_folder(home).glob(f"*{_SUFFIX}"), reverse=True):
        with contextlib.suppress(UserError, OSError), file.open("rb") as source:
            head = BackupReader(source, file).head()
            size = file.stat().st_size
            found.append(
                SnapshotInfo(
                    file=file, label=head.label, created_at=head.created_at, revision=head.revision, size_bytes=size
                )
            )
    return found


def restore(
    database: Database,
    blobs: Blobs,
    home: Path,
    file: Path,
    rebuild: Callable[[sa.Connection], None] | None = None,
) -> BackupInfo:
    """Puts a backup in place of the present state, of which it makes a snapshot first. All or nothing.

    The whole file is checked before anything is touched. `rebuild` makes again, in the same transaction, what is
    derived from the rows. Sessions and one-time links end; a key that has been revoked or rotated stays so; jobs that
    were under way when the backup was made go on. Raises UserError for a file that is no good, Conflict while jobs run.
    """
    file = file.expanduser().absolute()
    with _readable(file) as source:
        reader = BackupReader(source, file)
        head, manifest = reader.check()
        if not "0001" <= head.revision <= revisions.head():
            raise UserError(
                "{file} was made by a newer Dizuo (schema {found}; this one knows {known}). Install that version to "
                "restore it.",
                file=file,
                found=head.revision,
                known=revisions.head(),
            )
        beside = file.with_suffix(_FILES_SUFFIX)
        if head.files == "beside":
            _check_beside(beside, manifest)
        lock = WorkerLock(home)
        try:
            worker_lives = not lock.acquire()
            aside = _keep_present(database, blobs, home)
            with _written(file):
                files = reader.files() if head.files == "inside" else _files_beside(beside)
                _bring_files(blobs, files)
                with _folders(home, head, reader, blobs, aside), database.write() as connection:
                    if worker_lives:
                        _refuse_while_busy(connection)
                    _replace(connection, head, reader, rebuild)
                    _check_files(connection, blobs, manifest.missing_files)
        finally:
            lock.release()
        _prune(home)
        return _info(file, head, manifest)


# --- writing ------------------------------------------------------------------------------------------------------


def _snapshot(database: Database, blobs: Blobs, home: Path, label: str) -> Path:
    at = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    file = _folder(home) / f"{at}-{label}{_SUFFIX}"
    beside = file.with_suffix(_FILES_SUFFIX)
    try:
        _write(database, blobs, file, beside, label=label)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return file


def _write(
    database: Database, blobs: Blobs, file: Path, holding: Path, *, home: Path | None = None, label: str = ""
) -> BackupInfo:
    """One consistent state into a file; links to its stored files into `holding`. With the `home`, the stored files and
    those of its folders go inside."""
    with _new_file(file) as target, database.read() as connection:
        tables = [t for t in backup_tables.own_tables(connection) if t.name not in backup_tables.TRANSIENT]
        # Held first: whoever removes a document while this goes on deletes its file.
        held, missing = _hold(connection, blobs, holding)
        columns = {table.name: tuple(column.name for column in table.c) for table in tables}
        placed: Sequence[backup_folders.Placed] = ()
        if home is not None:
            placed = backup_folders.hold(home, holding)
            columns[backup_folders.TABLE] = backup_folders.COLUMNS
            held = sorted(holding.iterdir())
        head = Head(
            format=FORMAT,
            dizuo=__version__,
            revision=revisions.revision(connection) or "",  # which a migrated database has
            created_at=datetime.now(UTC),
            label=label,
            files="beside" if home is None else "inside",
            tables=columns,
        )
        writer = BackupWriter(target, head)
        for table in tables:
            writer.add_rows(table.name, backup_tables.rows_of(connection, table))
        writer.add_rows(backup_folders.TABLE, placed)
        for path in held:
            if home is None:
                writer.count_file()
            else:
                writer.add_file(path.name, path)
        manifest = writer.finish(missing)
    return _info(file, head, manifest)


def _hold(connection: sa.Connection, blobs: Blobs, holding: Path) -> tuple[Sequence[Path], int]:
    """Links to every file that documents and waiting items refer to; and how many were not there."""
    holding.mkdir(mode=0o700, parents=True)
    missing = 0
    for name in _referred(connection):
        try:
            source = blobs.path(name)
            try:
                os.link(source, holding / name)
            except FileNotFoundError:
                raise
            except OSError:  # a file system without links
                shutil.copyfile(source, holding / name)
        except (NotFound, FileNotFoundError):
            missing += 1
    return sorted(holding.iterdir()), missing


def _referred(connection: sa.Connection) -> set[str]:
    documents, items = schema.documents.c, schema.job_items.c
    names = set(connection.scalars(sa.select(documents.blob).distinct()))
    awaited = sa.select(items.args["blob"].as_string()).where(items.status == "waiting")
    return names | {name for name in connection.scalars(awaited) if name}


@contextlib.contextmanager
def _new_file(file: Path) -> Iterator[BinaryIO]:
    """A file under a passing name that gets its own name when it is whole and on disk."""
    passing = file.with_name(f".{file.name}.{secrets.token_hex(4)}.partial")
    try:
        descriptor = os.open(passing, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as target:
            yield target
            target.flush()
            os.fsync(target.fileno())
        try:
            os.link(passing, file)  # unlike a rename, it does not replace a file that came meanwhile
        except FileExistsError:
            raise Conflict("{file} exists already. Choose another name, or delete it first.", file=file) from None
        except OSError:
            os.replace(passing, file)
    except OSError as error:
        raise UserError("{file} cannot be written: {reason}.", file=file, reason=error.strerror or error) from None
    finally:
        with contextlib.suppress(OSError):
            passing.unlink(missing_ok=True)


def _folder(home: Path) -> Path:
    folder = home / "snapshots"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _prune(home: Path) -> None:
    """Deletes the oldest snapshots, and what killed backups have left."""
    folder = _folder(home)
    for file in sorted(folder.glob(f"*{_SUFFIX}"))[:-KEPT_SNAPSHOTS]:
        file.unlink(missing_ok=True)
        for suffix in (_FILES_SUFFIX, _FOLDERS_SUFFIX):
            shutil.rmtree(file.with_suffix(suffix), ignore_errors=True)
    stale = time.time() - _LEFTOVER_AGE_S
    beside = (_FILES_SUFFIX, _FOLDERS_SUFFIX)
    kept = {file.with_suffix(suffix) for file in folder.glob(f"*{_SUFFIX}") for suffix in beside}
    for path in folder.iterdir():
        is_leftover = path.name.startswith(".") or (path.suffix in beside and path not in kept)
        is_leftover = is_leftover and not path.name.startswith(_BROKEN)
        if is_leftover and path.stat().st_mtime < stale:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _info(file: Path, head: Head, manifest: Manifest) -> BackupInfo:
    return BackupInfo(
        file=file,
        created_at=head.created_at,
        revision=head.revision,
        rows=manifest.rows,
        files=manifest.files,
        missing_files=manifest.missing_files,
        size_bytes=file.stat().st_size,
    )


# --- restoring ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _readable(file: Path) -> Iterator[BinaryIO]:
    try:
        source = file.open("rb")
    except OSError as error:
        raise UserError("{path} cannot be read: {reason}", path=file, reason=error.strerror or error) from None
    with source:
        yield source


def _check_beside(folder: Path, manifest: Manifest) -> None:
    found = 0
    for name, stream in _files_beside(folder):
        if hashlib.file_digest(stream, "sha256").hexdigest() != name:  # type: ignore[arg-type]
            break
        found += 1
    if found != manifest.files:
        raise UserError(
            "The files of this snapshot in {folder} are not all there, or have changed. Nothing was changed.",
            folder=folder,
        )


def _files_beside(folder: Path) -> Iterator[tuple[str, BinaryIO]]:
    for path in sorted(folder.glob("*")):
        with path.open("rb") as stream:
            yield path.name, stream


@contextlib.contextmanager
def _folders(home: Path, head: Head, reader: BackupReader, blobs: Blobs, aside: Path) -> Iterator[None]:
    """The folders of the backup, or of what was put aside with a snapshot, in place of the present ones, which go
    `aside`. Where there are none, such as of a snapshot before a migration, these stay as they are."""
    beside = reader.path.with_suffix(_FOLDERS_SUFFIX)
    if backup_folders.TABLE in head.tables:
        placed = (row for table, row, _length in reader.rows() if table == backup_folders.TABLE)
        staged = backup_folders.stage(_folder(home), placed, blobs)
    elif head.files == "beside" and beside.is_dir():
        staged = backup_folders.stage_again(_folder(home), beside)
    else:
        yield
        return
    with backup_folders.swapped(home, staged, aside):
        yield


def _keep_present(database: Database, blobs: Blobs, home: Path) -> Path:
    """A snapshot of what is there. A SQLite file too broken for that is set aside as it is. Returns where folders of
    the home go aside."""
    aside = _folder(home) / f"{_BROKEN}{schema.now()}{_FOLDERS_SUFFIX}"
    try:
        with database.read() as connection:
            found = revisions.revision(connection)
        if found is not None:
            aside = _snapshot(database, blobs, home, "before-restore").with_suffix(_FOLDERS_SUFFIX)
    except DatabaseError as error:
        if getattr(error.orig, "sqlite_errorcode", None) not in (_SQLITE_CORRUPT, _SQLITE_NOTADB):
            raise
        database.close()
        broken = Path(sa.make_url(database.url).database or "")
        for end in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.replace(f"{broken}{end}", aside.with_suffix(f".db{end}"))
        broken.touch(0o600)
    return aside


def _refuse_while_busy(connection: sa.Connection) -> None:
    jobs = schema.jobs.c
    if sa.inspect(connection).has_table("jobs"):
        job_id = connection.scalar(sa.select(jobs.id).where(jobs.status.in_(("queued", "running"))).limit(1))
        if job_id is not None:
            raise Conflict(
                "A job is under way. Wait for its end, or cancel it (dizuo job cancel {job}), then restore.", job=job_id
            )


def _bring_files(blobs: Blobs, files: Iterable[tuple[str, Any]]) -> None:
    """Stored files come in before the rows that refer to them; those of a restore that fails are swept up later."""
    for _name, stream in files:
        blobs.put(stream)


def _replace(
    connection: sa.Connection, head: Head, reader: BackupReader, rebuild: Callable[[sa.Connection], None] | None
) -> None:
    """Everything goes, the tables of the backup's revision come, are filled, and are brought to the present one."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SET LOCAL lock_timeout = '60s'"))  # tables are dropped; somebody may be reading
    keys, knowledge = schema.api_keys.c, schema.knowledge
    after_row, version, revoked, secrets = 0, 0, [], []
    if revisions.revision(connection) is not None:
        after_row = backup_tables.highest_row(connection)
        version = connection.scalar(sa.select(sa.func.max(knowledge.c.version))) or 0
        gone = sa.select(keys.key_hash, keys.revoked_at).where(keys.revoked_at.is_not(None))
        revoked = connection.execute(gone).all()
        secrets = connection.execute(sa.select(keys.id, keys.created_at, keys.key_hash, keys.prefix)).all()
        backup_tables.drop_all(connection)
    revisions.apply(connection, head.revision)
    try:
        tables = {name: columns for name, columns in head.tables.items() if name != backup_folders.TABLE}
        rows = (row for row in reader.rows() if row[0] != backup_folders.TABLE)
        backup_tables.load(connection, tables, rows, after_row)
    except (TypeError, ValueError, KeyError) as error:
        raise UserError(
            "{file} could not be restored: {reason}. Nothing was changed.", file=reader.path, reason=str(error)
        ) from error
    revisions.apply(connection)
    # Indexes and caches in running processes go by the version: none that they have seen may come again.
    connection.execute(knowledge.update().values(version=knowledge.c.version + version + 1))
    for key_id, created_at, key_hash, prefix in secrets:
        # One that was rotated since keeps its new secret: the old one may have been rotated since others had it.
        same = (keys.id == key_id) & (keys.created_at == created_at) & (keys.key_hash != key_hash)
        new = {"key_hash": key_hash, "prefix": prefix, "old_hash": None, "old_until": None}
        connection.execute(schema.api_keys.update().where(same).values(**new))
    for key_hash, revoked_at in revoked:
        of_key = (keys.key_hash == key_hash) & keys.revoked_at.is_(None)
        connection.execute(schema.api_keys.update().where(of_key).values(revoked_at=revoked_at))
    if rebuild is not None:
        rebuild(connection)


def _check_files(connection: sa.Connection, blobs: Blobs, missing_files: int) -> None:
    """Somebody may have removed a document, and with it a file that had just come in."""
    if sum(not blobs.exists(name) for name in _referred(connection)) > missing_files:
        raise Conflict("Documents were removed while the backup was restored. Nothing was changed; restore it again.")


@contextlib.contextmanager
def _written(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            "{file} could not be restored: {reason}. Nothing was changed.", file=file, reason=error.strerror or error
        ) from None
    except (DBAPIError, StatementError) as error:
        raise UserError(
            "{file} could not be restored: {reason}. Nothing was changed.", file=file, reason=str(error.orig).strip()
        ) from error
