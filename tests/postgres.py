"""A private PostgreSQL for tests, from the binaries that the system has (Debian: apt-get install postgresql).

It lives in a temporary folder, listens on a Unix socket in there and nowhere else, trusts whoever reaches the
socket, does not fsync, and dies with the test process.
"""

import ctypes
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy import make_url

_PR_SET_PDEATHSIG = 1  # prctl(2)
_QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


class PostgresServer:
    """A running server. `start()` gives one, or None where PostgreSQL is not installed."""

    def __init__(self, folder: Path, process: "subprocess.Popen[bytes]") -> None:
        self.folder = folder
        self._process = process
        self._numbers = itertools.count(1)

    @classmethod
    def start(cls) -> "PostgresServer | None":
        """Makes a cluster and starts its server; a second or two."""
        binaries = _binaries()
        if binaries is None:
            return None
        folder = Path(tempfile.mkdtemp(prefix="pg-"))  # short: a socket's path may have 107 bytes
        account = _account()
        if account:
            shutil.chown(folder, account)
        subprocess.run(
            [
                *(binaries / "initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8"),
                *("--locale=C.UTF-8", "--no-sync"),
            ],
            check=True,
            cwd=folder,
            user=account,
            stdout=subprocess.DEVNULL,
        )
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(folder),
            "fsync": "off",
            "full_page_writes": "off",
            "synchronous_commit": "off",
            "shared_buffers": "32MB",
        }
        process = subprocess.Popen(
            [binaries / "postgres", "-D", folder / "data"] + [f"--{k}={v}" for k, v in options.items()],
            cwd=folder,
            user=account,
            preexec_fn=_die_with_parent,
            **_QUIET,
        )
        server = cls(folder, process)
        try:
            server._wait_until_ready()
        except BaseException:
            server.stop()
            raise
        return server

    def new_database(self, like: str | None = None) -> str:
        """The URL of a new database: empty, or a copy of the one with that URL, to which nobody may be connected."""
        name = f"test_{next(self._numbers)}"
        template = make_url(like).database if like else "template1"
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        self._admin(statement.format(sql.Identifier(name), sql.Identifier(template or "")))
        return f"postgresql+psycopg://postgres@/{name}?host={self.folder}"

    def drop(self, url: str) -> None:
        """Deletes a database of `new_database`, connections to it included."""
        name = make_url(url).database or ""
        self._admin(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def stop(self) -> None:
        """Ends the server at once and deletes its folder."""
        self._process.send_signal(signal.SIGQUIT)  # the server's "immediate shutdown"
        self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _admin(self, statement: sql.Composed) -> None:
        with psycopg.connect(host=str(self.folder), user="postgres", dbname="postgres", autocommit=True) as connection:
            connection.execute(statement)

    def _wait_until_ready(self, timeout_s: float = 30) -> None:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                return self._admin(sql.SQL("SELECT 1").format())
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


def _binaries() -> Path | None:
    """The folder of the newest server binaries; Debian keeps them off the PATH."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: float(p.parent.name))
    if folders:
        return folders[-1]
    found = shutil.which("initdb")
    return Path(found).parent if found else None


def _account() -> str | None:
    """The user to run as: PostgreSQL refuses to be root."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


def _die_with_parent() -> None:
    # A test run that is killed leaves no server behind.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)
