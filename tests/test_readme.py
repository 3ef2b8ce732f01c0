"""Every block of the two READMEs does what it says.

Shell blocks run in order in a home of their own; a ```text block after a block is what it prints. A block under
`<!-- not run: REASON -->` is not run, but the commands in it must exist. The provider that they name is one of the
test's, on a port of its own; it knows one answer.
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
from tests.openai_server import FakeProvider
from tests.test_serve import Server, wait_ready

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(r"(?P<skip><!-- not run: [^>]+-->\n)?```(?P<kind>\w+)\n(?P<body>.*?)```\n", re.S)
_ADDRESS, _KEY = "http://127.0.0.1:8000", "dz-…"
_PROVIDER, _PROVIDER_KEY = "http://127.0.0.1:11434/v1", "sk-your-key"


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


@pytest.mark.parametrize(("guide", "commands"), [("docs/gateway.md", 20), ("docs/agents.md", 12)])
def test_every_command_in_a_guide_exists(guide: str, commands: int) -> None:
    lines = [line for block in blocks(guide) if block.kind == "sh" for line in lines_of(block)]
    assert len(lines) > commands
    assert [line for line in lines if not command_exists(line)] == []


class Served:
    """A server of a home, from the first block that asks it until `stop`: a start takes seconds."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._home = home
        self._monkeypatch = monkeypatch
        self._server: Server | None = None
        self._address = ""

    def run(self, code: str) -> str:
        """What a program prints that asks this server, with a key of its own."""
        key = run_in_process(self._home, self._monkeypatch, ("key", "create"), "").out.strip()
        if self._server is None:
            self._server = Server(self._home, "--port", "0")
            self._address = self._server.started()["address"]
            wait_ready(self._address)
        ran = subprocess.run(
            [sys.executable, "-c", code.replace(_ADDRESS, self._address).replace(_KEY, key)],
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
            capture_output=True,
            encoding="utf-8",
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def stop(self) -> None:
        if self._server is not None:
            self._server.end()
            self._server = None


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    one = Served(tmp_path / "home", monkeypatch)
    yield one
    one.stop()


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    models = {"data": [{"id": "qwen3"}, {"id": "qwen3-small"}]}
    with FakeProvider(models=models, key=_PROVIDER_KEY).serving() as one:
        yield one


@pytest.mark.parametrize("readme", ["README.md", "README.zh.md"])
def test_every_block_does_what_it_says(
    readme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, served: Served, provider: FakeProvider
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
            lines = [line.replace(_PROVIDER, provider.url) for line in lines_of(block)]
            printed = "".join(run_line(home, monkeypatch, line) for line in lines)
        elif _ADDRESS in block.body:
            printed = served.run(block.body)
        else:
            served.stop()  # what runs in this process may want the home for itself
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


def test_every_setting_is_documented() -> None:
    assert (ROOT / "docs/settings.md").read_text("utf-8") == settings.page(), (
        "the table has changed: python -m dizuo.platform.settings > docs/settings.md"
    )
