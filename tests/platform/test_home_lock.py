"""Locks of a home: one holder, gone with its process; the server's says where it is reached."""

import os
import subprocess
import sys
from pathlib import Path

from dizuo.platform.home_lock import HomeLock, announced, is_held, server_address
from dizuo.platform.settings import Settings

HOLD = """
import sys
from pathlib import Path
from dizuo.platform.home_lock import announced
with announced(Path(sys.argv[1]), "http://127.0.0.1:8123"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_has_one_holder(tmp_path: Path) -> None:
    first, second = HomeLock(tmp_path / "x.lock"), HomeLock(tmp_path / "x.lock")
    assert not is_held(tmp_path / "x.lock"), "there is none yet"
    assert first.acquire()
    assert first.acquire(), "it has it already"
    assert not second.acquire()
    assert is_held(tmp_path / "x.lock")
    first.release()
    assert not is_held(tmp_path / "x.lock")
    assert second.acquire()
    second.release()


def test_the_servers_address_is_known_as_long_as_its_process_lives(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert settings.resolved_public_url() == "http://127.0.0.1:8000"
    server = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == b"held\n"
        assert server_address(tmp_path) == "http://127.0.0.1:8123"
        assert settings.resolved_public_url() == "http://127.0.0.1:8123"
        assert Settings(home=tmp_path, public_url="https://dizuo.example/").resolved_public_url() == (
            "https://dizuo.example"
        )
        with announced(tmp_path, "http://127.0.0.1:1"):  # a second server of the same home
            assert server_address(tmp_path) == "http://127.0.0.1:8123"
    finally:
        server.kill()
        server.communicate()
    assert server_address(tmp_path) == ""
    with announced(tmp_path, "http://[::1]:1"):
        assert server_address(tmp_path) == "http://[::1]:1"
    assert server_address(tmp_path) == ""
    assert os.stat(tmp_path / "server.lock").st_mode & 0o077 == 0
