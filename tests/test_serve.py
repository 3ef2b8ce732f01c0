"""The server as a process: how it starts, what it refuses, how it ends."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn

from dizuo.core.errors import UserError
from dizuo.platform.jobs import JobContext
from dizuo.serve import _GRACE_S, Backstage, serve
from dizuo.wiring import House


class Server:
    """`dizuo up --json` on a port that is free."""

    def __init__(self, home: Path, *arguments: str, **environment: str) -> None:
        self.home = home
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dizuo", "up", "--json", *arguments],
            env={**os.environ, "DIZUO_HOME": str(home), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def started(self) -> dict[str, Any]:
        """What it prints once it answers."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        return json.loads(line)

    def end(self, how: int = signal.SIGTERM) -> tuple[int, str]:
        """Its exit status and what it said."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        return (self.process.wait(30), self.process.communicate()[1])


def get(address: str, path: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def wait_ready(address: str) -> None:
    deadline = time.monotonic() + 60
    while (answer := get(address, "/readyz"))[0] != 200:
        assert time.monotonic() < deadline, answer
        time.sleep(0.1)


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    started: list[Server] = []
    yield started
    for server in started:
        server.process.kill()
        server.end()


def test_two_instances_serve_side_by_side_and_a_taken_port_is_said(tmp_path: Path, servers: list[Server]) -> None:
    servers += [
        Server(tmp_path / "a", "--port", "0", "--demo"),
        Server(tmp_path / "b", "--port", "0", DIZUO_EMBEDDER=""),
    ]
    first, second = (server.started() for server in servers)
    assert first["address"] != second["address"]
    assert first["link"].startswith(first["address"] + "/login?token=")
    assert [answer["found"] for answer in first["answers"]] == [True, True]
    wait_ready(first["address"])
    wait_ready(second["address"])

    added = subprocess.run(
        [sys.executable, "-m", "dizuo", "user", "add", "ada", "--json"],
        env={**os.environ, "DIZUO_HOME": str(tmp_path / "b")}, capture_output=True, check=True, text=True,
    )  # fmt: skip
    assert json.loads(added.stdout)["link"].startswith(second["address"] + "/login?token=")

    port = urlsplit(first["address"]).port
    third = Server(tmp_path / "c", "--port", str(port))
    servers.append(third)
    status, said = third.end(0)
    assert status == 1
    assert f"Port {port} on 127.0.0.1 is taken" in said
    assert f"--port {port + 1}" in said  # pyright: ignore[reportOptionalOperand]


def test_signals_end_it_cleanly_and_the_next_start_finds_the_sample(tmp_path: Path, servers: list[Server]) -> None:
    home = tmp_path / "home"
    for how in (signal.SIGTERM, signal.SIGINT):
        server = Server(home, "--port", "0", DIZUO_EMBEDDER="")
        servers.append(server)
        address = server.started()["address"]
        wait_ready(address)
        with House.open({"DIZUO_HOME": str(home)}) as house:
            deadline = time.monotonic() + 30
            while not house.jobs.list(subject="guide", active=False) and time.monotonic() < deadline:
                time.sleep(0.1)
            assert [job.status for job in house.jobs.list(subject="guide")] == ["done"]
        status, said = server.end(how)
        assert status == 0, said
        assert "Traceback" not in said
        with pytest.raises(ConnectionRefusedError):
            get(address, "/healthz")


def test_whoever_follows_a_job_does_not_hold_up_the_end(tmp_path: Path, servers: list[Server]) -> None:
    def work_on_and_on(context: JobContext) -> None:
        while True:
            context.check()
            time.sleep(0.05)

    with House.open({"DIZUO_HOME": str(tmp_path / "home")}) as house:
        house.jobs.register("test.wait", work_on_and_on)
        house.jobs.start()
        job = house.jobs.submit("test.wait", subject="test", args={}, items=[("a", {})])
        key = house.identity.create_key("test")[1]
        server = Server(tmp_path / "home", "--port", "0", DIZUO_EMBEDDER="")
        servers.append(server)
        connection = http.client.HTTPConnection(urlsplit(server.started()["address"]).netloc, timeout=30)
        with closing(connection):
            connection.request("GET", f"/api/jobs/{job.id}/events", headers={"Authorization": f"Bearer {key}"})
            with connection.getresponse() as events:
                assert events.readline() == b"event: job\n"
                asked_s = time.monotonic()
                status, said = server.end()
                assert (status, "Traceback" in said, time.monotonic() - asked_s < _GRACE_S) == (0, False, True)
                events.read()  # to an orderly end


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"DIZUO_HOST": "0.0.0.0"}, "the owner has no password yet"),
        ({"DIZUO_HOST": "server.example.org"}, "the owner has no password yet"),
        ({"DIZUO_PORT": "70000"}, "70000 is not a TCP port"),
    ],
)
def test_what_cannot_be_served_is_refused(home: Path, environment: dict[str, str], expected: str) -> None:
    with House.open({"DIZUO_HOME": str(home), **environment}) as house, pytest.raises(UserError, match=expected):
        serve(house)


def test_another_host_is_served_once_the_owner_has_a_password(tmp_path: Path, servers: list[Server]) -> None:
    home = tmp_path / "home"
    with House.open({"DIZUO_HOME": str(home)}) as house:
        house.identity.redeem(house.identity.login_link("owner"), "a long enough password")
    server = Server(home, "--host", "0.0.0.0", "--port", "0", DIZUO_EMBEDDER="")
    servers.append(server)
    started = server.started()
    assert started["link"] is None
    assert get(started["address"], "/healthz") == (200, {"status": "ok"})


def test_what_was_not_started_yet_can_be_stopped(house: House) -> None:
    backstage = Backstage(house)
    backstage.stop()  # Ctrl-C while the pages are being loaded
    assert backstage.missing() == ["worker", "embedder"]


def test_what_threads_share_is_loaded_before_they_start(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    come = threading.Event()

    def start(_self: Backstage) -> None:
        order.append("threads")
        come.set()

    def run(self: uvicorn.Server, sockets: object) -> None:
        order.append("server")
        self.started = True
        assert come.wait(10)

    monkeypatch.setattr("dizuo.serve._load_shared_libraries", lambda: order.append("libraries"))
    monkeypatch.setattr(Backstage, "start", start)
    monkeypatch.setattr(uvicorn.Server, "run", run)
    with House.open(port=0) as house:
        serve(house)
    assert order == ["libraries", "server", "threads"]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_it_is_loading_interrupts_nothing_and_ends_it(
    home: Path, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    told: list[bool] = []
    before = signal.getsignal(how)
    monkeypatch.setattr("dizuo.serve._load_shared_libraries", lambda: signal.raise_signal(how))
    monkeypatch.setattr("uvicorn.Server.run", lambda self, sockets: told.append(self.should_exit))
    with House.open(port=0) as house:
        serve(house)
    assert told == [True]
    assert signal.getsignal(how) is before
