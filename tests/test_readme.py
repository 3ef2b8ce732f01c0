"""Every block of the two READMEs does what it says.

Shell blocks run in order in a home of their own; a ```text block after a block is what it prints. A block under
`<!-- not run: REASON -->` is not run, but the commands in it must exist.
"""

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

from dizuo.cli.main import build
from dizuo.platform import settings
from tests.cli.conftest import Ran, run_in_process
from tests.test_serve import Server, wait_ready

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(r"(?P<skip><!-- not run: [^>]+-->\n)?```(?P<kind>\w+)\n(?P<body>.*?)```\n", re.S)
_ADDRESS, _KEY = "http://127.0.0.1:8000", "dz-…"


@dataclass(frozen=True)
class Block:
    kind: str
    body: str
    run: bool
    prints: str | None


def blocks(readme: str) -> list[Block]:
    found = list(_BLOCK.finditer((ROOT / readme).read_text("utf-8")))
    after: list[re.Match[str] | None] = [*found[1:], None]
    return [
        Block(
            m["kind"],
            m["body"],
            m["skip"] is None,
            following["body"] if following and following["kind"] == "text" else None,
        )
        for m, following in zip(found, after, strict=True)
        if m["kind"] != "text"
    ]


def command_exists(line: str) -> bool:
    """Whether each command of a line is a target of the Makefile or a command of dizuo, with options that it has."""
    for part in line.split("&&"):
        words = [word for word in shlex.split(part) if not re.match(r"[A-Z_]+=", word)]
        if words[0] == "make":
            targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M)
            if not set(words[1:]) <= set(targets):
                return False
        elif words[0] == "dizuo":
            command: Any = typer.main.get_command(build())
            while hasattr(command, "commands"):
                command = command.commands[words.pop(1)]
            options = {option for parameter in command.params for option in parameter.opts}
            if not {word for word in words if word.startswith("--")} <= options:
                return False
        elif words[0] != "source":
            return False
    return True


def lines_of(block: Block) -> list[str]:
    return [line for line in block.body.splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize("readme", ["README.md", "README.zh.md"])
def test_the_first_thirty_lines_install_ask_and_show_the_answer(readme: str) -> None:
    top = "\n".join((ROOT / readme).read_text("utf-8").splitlines()[:30])
    assert all(part in top for part in ("make install", "dizuo ask", "[1]"))


@pytest.mark.parametrize("readme", ["README.md", "README.zh.md"])
def test_commands_that_are_not_run_exist(readme: str) -> None:
    skipped = [line for block in blocks(readme) if block.kind == "sh" and not block.run for line in lines_of(block)]
    assert len(skipped) >= 5
    assert [line for line in skipped if not command_exists(line)] == []


@pytest.mark.parametrize("readme", ["README.md", "README.zh.md"])
def test_every_block_does_what_it_says(
    readme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: "list[Server]"
) -> None:
    home = tmp_path / "home"
    for name in ("examples", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIZUO_HOME", str(home))
    for block in blocks(readme):
        if not block.run:
            continue
        if block.kind == "sh":
            printed = "".join(run_line(home, monkeypatch, line) for line in lines_of(block))
        elif _ADDRESS in block.body:
            printed = against_server(block.body, home, monkeypatch, server)
        else:
            printed = run_python(block.body)
        if block.prints is not None:
            assert printed == block.prints


def run_line(home: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> str:
    name, *arguments = shlex.split(line)
    assert name == "dizuo", line
    ran: Ran = run_in_process(home, monkeypatch, tuple(arguments), "")
    assert ran.status == 0, f"{line}\n{ran.err}"
    return ran.out


def run_python(code: str) -> str:
    """In this process, where the libraries are loaded already."""
    from dizuo import python_face

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "README", "exec"), {})
    python_face._houses.close()
    return out.getvalue()


@pytest.fixture
def server() -> Iterator["list[Server]"]:
    started: list[Server] = []
    yield started
    for one in started:
        one.end()


def against_server(code: str, home: Path, monkeypatch: pytest.MonkeyPatch, server: "list[Server]") -> str:
    key = run_in_process(home, monkeypatch, ("key", "create"), "").out.strip()
    server.append(Server(home, "--port", "0"))
    address = server[0].started()["address"]
    wait_ready(address)
    ran = subprocess.run(
        [sys.executable, "-c", code.replace(_ADDRESS, address).replace(_KEY, key)],
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
    )
    server.pop().end()
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_every_setting_is_documented() -> None:
    assert (ROOT / "docs/settings.md").read_text("utf-8") == settings.page(), (
        "the table has changed: python -m dizuo.platform.settings > docs/settings.md"
    )
