"""The revisions of the schema: which one a database stands at, which is the newest, and the way from one to the other.

The migrations are Alembic's, in `migrations/versions/NNNN_what.py`.
"""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from dizuo.platform import changes

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


def apply(connection: sa.Connection, target: str = "head") -> None:
    """Runs the migrations up to `target` inside the caller's transaction."""
    if connection.dialect.name == "postgresql":
        # Two homes may share one server, and a file lock covers one of them only. The number is arbitrary.
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(4715001)"))
    from alembic import command

    command.upgrade(script_config(connection), target)
    changes.install(connection)


def script_config(connection: sa.Connection) -> "Config":
    """Alembic's configuration, in place of an alembic.ini."""
    from alembic.config import Config

    attributes: dict[str, Any] = {"connection": connection}
    config = Config(attributes=attributes)
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
