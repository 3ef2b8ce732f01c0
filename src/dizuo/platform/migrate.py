"""Brings a database to the present schema, at every start.

The migrations are Alembic's, in `migrations/versions/NNNN_what.py`. A start that finds the database at the
newest one costs a single query and does not import Alembic.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from dizuo.core.errors import Unavailable, UserError
from dizuo.platform.blobs import Blobs
from dizuo.platform.database import Database

if TYPE_CHECKING:
    from alembic.config import Config

_SCRIPTS = Path(__file__).parent / "migrations"


@cache
def head() -> str:
    """The newest revision that this version of Dizuo knows, read off the file names: "0001"."""
    return max(file.name[:4] for file in (_SCRIPTS / "versions").glob("[0-9][0-9][0-9][0-9]_*.py"))


def revision(connection: sa.Connection) -> str | None:
    """The revision a database stands at; None when it is empty."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


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


def apply(connection: sa.Connection, target: str = "head") -> None:
    """Runs the migrations up to `target` inside the caller's transaction."""
    if connection.dialect.name == "postgresql":
        # Two homes may share one server, and a file lock covers one of them only. The number is arbitrary.
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(4715001)"))
    from alembic import command

    command.upgrade(script_config(connection), target)


def script_config(connection: sa.Connection) -> "Config":
    """Alembic's configuration, in place of an alembic.ini."""
    from alembic.config import Config

    attributes: dict[str, Any] = {"connection": connection}
    config = Config(attributes=attributes)
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


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
