"""`kill -9` at twenty random points while five hundred files go in; then every document is there exactly once."""

import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from dizuo.wiring import House

FILES = 500
KILLS = 20
SEED = 20261124


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def count(home: Path, what: str) -> int:
    """Rows, read past the process under test."""
    try:
        with closing(sqlite3.connect(f"file:{home / 'dizuo.db'}?mode=ro", uri=True, timeout=10)) as connection:
            return connection.execute(f"SELECT count(*) FROM {what}").fetchone()[0]
    except sqlite3.OperationalError:
        return 0  # no database yet


def finished(home: Path) -> int:
    return count(home, "job_items WHERE status != 'waiting'")


def job_id(home: Path) -> str:
    with House.open({"DIZUO_HOME": str(home)}) as house:
        return house.jobs.list(subject="kb")[0].id


def run(home: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "DIZUO_HOME": str(home)}
    return subprocess.Popen(
        [sys.executable, "-m", "dizuo.cli.main", *arguments],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def kill_when(process: "subprocess.Popen[bytes]", home: Path, reached: int, delay_s: float) -> None:
    deadline = time.monotonic() + 90
    while finished(home) < reached and process.poll() is None:
        assert time.monotonic() < deadline, "the job did not go on"
        time.sleep(0.005)
    time.sleep(delay_s)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_twenty_kills_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    rng = random.Random(SEED)
    home, folder = tmp_path / "home", tmp_path / "files"
    folder.mkdir()
    for n in range(FILES):
        text = f"# Record {n}\n\nThe keyword of record {n} is zebra{n:04d}. 第{n}号档案的代号是斑马。\n"
        (folder / f"{n:03d}.md").write_text(text, "utf-8")
    points = sorted(rng.sample(range(FILES - 20), KILLS))
    port = free_port()

    # The first process is the command that adds; those after it are a command that only watches, and now and then (it
    # takes seconds to start) a server that nobody told what to do.
    killed_at: list[int] = []
    for turn, point in enumerate(points):
        if turn == 0:
            arguments = ["knowledge", "add", "kb", str(folder)]
        elif turn % 8 == 1:
            arguments = ["up", "--port", str(port)]
        else:
            arguments = ["job", "watch", job_id(home)]
        kill_when(run(home, *arguments), home, point, rng.uniform(0, 0.03))
        killed_at.append(finished(home))
    assert killed_at[-1] < FILES, "the kills came after the end"

    server = run(home, "up", "--port", str(port))
    deadline = time.monotonic() + 120
    while count(home, "jobs WHERE finished_at IS NOT NULL") < 2:  # ours, and the guide that the server brings in
        assert time.monotonic() < deadline, "the jobs did not end"
        time.sleep(0.1)
    server.terminate()
    server.wait(30)

    with House.open({"DIZUO_HOME": str(home)}) as house:
        [job] = [job for job in house.jobs.list(subject="kb")]
        assert (job.status, job.total, job.finished, job.failed) == ("done", FILES, FILES, 0)
        documents = house.library.documents("kb", limit=1000)
        assert [d.name for d in documents] == [f"{n:03d}.md" for n in range(FILES)]
        assert house.library.get("kb").chunks == FILES
        with house.database.read() as connection:
            for table in ("vectors", "chunk_terms"):
                assert connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar() >= FILES  # the guide, too
        for n in rng.sample(range(FILES), 50):
            hits = house.library.search("kb", f"zebra{n:04d}", limit=3).hits
            assert hits[0].document == f"{n:03d}.md"
        assert len(list(house.blobs.names())) == FILES + len(house.library.documents("guide"))
