"""Brings a database to the present schema, at every start.

A start that finds the database at the newest revision costs a single query and does not import Alembic.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from dizuo.core.errors import Unavailable, UserError
from dizuo.platform.blobs import Blobs
from dizuo.platform.database import Database
from dizuo.platform.revisions import apply, head, revision


def upgrade(database: Database, blobs: Blobs, home: Path) -> None:
    """Brings the database to `head()`, after a snapshot into `home/snapshots/` where it holds data.

    All or nothing: a migration that fails leaves the old state. Several processes may start at once. Raises
    Unavailable when the database cannot be reached, UserError when a newer Dizuo has made it.
    """
    if _present(database) == head():
        return
    with _only_one(home):
        found = _present(database)
        if found == head():
            return
        if found is not None:
            if found > head():
                raise UserError(
                    "This database was made by a newer Dizuo (schema {found}; this one knows {known}). Install that "
                    "version again, or restore a snapshot from {snapshots}: dizuo restore FILE",
                    found=found,
                    known=head(),
                    snapshots=home / "snapshots",
                )
            from dizuo.platform import backup

            backup.snapshot(database, blobs, home, f"before-{head()}")
        with database.write() as connection:
            apply(connection)


def _present(database: Database) -> str | None:
    try:
        with database.read() as connection:
            return revision(connection)
    except OperationalError as error:
        raise Unavailable(
            "The database {url} cannot be reached: {reason}. Check DIZUO_DATABASE_URL.",
            url=sa.make_url(database.url).render_as_string(hide_password=True),
            reason=str(error.orig).strip(),
        ) from None


@contextmanager
def _only_one(home: Path) -> Iterator[None]:
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(home / "migrate.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
