"""What holds for every command: streams, exit status, language, help, and what a terminal is spared."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dizuo import __version__
from dizuo.cli.terminal import clean
from tests.cli.conftest import Ran, dizuo_process

Command = Callable[..., Ran]


def test_help_loads_nothing_heavy() -> None:
    heavy = ["a2a", "torch", "numpy", "sqlalchemy", "faiss", "nicegui", "dbos", "fastapi", "uvicorn", "httpx"]
    heavy += ["markitdown"]
    code = (
        "import sys; sys.argv = ['dizuo', '--help']\n"
        "from dizuo.cli.main import main\n"
        "try: main()\n"
        f"finally: print([m for m in {heavy} if m in sys.modules], file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr.strip()) == (0, "[]")
    assert "Usage: dizuo" in ran.stdout


def test_version_is_the_packages(dizuo: Command) -> None:
    assert dizuo("--version").out == f"dizuo {__version__}\n"


def test_wrong_use_is_status_2_and_names_the_nearest_option(dizuo: Command) -> None:
    ran = dizuo("knowledge", "list", "--jsn")
    assert (ran.status, ran.out) == (2, "")
    assert "--json" in ran.err


def test_a_failure_is_one_sentence_on_stderr_and_status_1(dizuo: Command) -> None:
    ran = dizuo("--json", "knowledge", "show", "nowhere")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.strip().startswith("No knowledge base is named 'nowhere'")
    assert "\n" not in ran.err.strip()


def test_the_language_follows_the_option_then_the_locale(dizuo: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    assert "没有名为 'nowhere' 的知识库" in dizuo("knowledge", "show", "nowhere").err
    assert "No knowledge base" in dizuo("knowledge", "show", "nowhere", "--language", "en").err
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    assert "没有名为" in dizuo("--language", "zh", "knowledge", "show", "nowhere").err


def test_help_speaks_chinese(home: Path) -> None:
    # In a process of its own: the titles of the panels are the process's.
    ran = dizuo_process(home, "--language", "zh", "knowledge", "add", "--help")
    text = ran.communicate()[0]
    assert ran.returncode == 0
    assert all(part in text for part in ("添加文件", "参数", "选项", "显示这段帮助后退出"))


def test_a_bad_setting_is_said_and_not_a_bug(dizuo: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIZUO_PORT", "eight thousand")
    ran = dizuo("knowledge", "list")
    assert ran.status == 1
    assert ran.err == "Setting port (environment) must be a whole number, not 'eight thousand'.\n"


def test_a_bug_keeps_its_traceback_in_a_file_that_the_sentence_names(
    dizuo: Command, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("out of cheese")

    monkeypatch.setattr("dizuo.knowledge.library.Library.list", broken)
    ran = dizuo("knowledge", "list")
    log = home / "logs" / "errors.log"
    assert (ran.status, ran.out) == (1, "")
    assert "out of cheese" in ran.err
    assert str(log) in ran.err
    assert "Traceback" not in ran.err
    assert "Traceback" in log.read_text("utf-8")
    assert log.stat().st_mode & 0o077 == 0


def test_what_commands_a_terminal_is_never_printed(reader: Command) -> None:
    for arguments in (
        ("knowledge", "search", "handbook", "zebra", "--explain"),
        ("knowledge", "show", "handbook", "hostile.txt", "--chunks"),
        ("knowledge", "search", "handbook", "zebra", "--json"),
        ("ask", "How many striped animals does the zebra clause allow a year?"),
    ):
        ran = reader(*arguments)
        assert ran.status == 0
        assert "zebra" in ran.out
        assert not set("\x1b\x07\u202e") & set(ran.out + ran.err)


def test_clean_keeps_lines_and_tabs_and_drops_the_rest() -> None:
    assert clean("a\tb\r\nc\rd\x1b[2Je\x9bf\u2066g") == "a\tb\nc\nd[2Jefg"


def test_a_reader_that_leaves_early_ends_the_command_quietly(filled_home: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    ran = subprocess.run(
        [sys.executable, "-m", "dizuo", "knowledge", "show", "handbook", "--json"],
        env={**os.environ, "DIZUO_HOME": str(filled_home)},
        stdout=write_end,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(write_end)
    assert (ran.returncode, ran.stderr) == (141, "")


@pytest.mark.sqlite_only
def test_config_show_says_where_each_value_comes_from_and_hides_secrets(
    dizuo: Command, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.mkdir(exist_ok=True)
    (home / "config.toml").write_text('port = 9000\nmax_file_mb = 7\nmodel_api_key = "sk-secret"\n', "utf-8")
    monkeypatch.setenv("DIZUO_PORT", "9001")
    monkeypatch.setenv("DIZUO_DATABASE_URL", "postgresql://me:hunter2@example.org/d")
    ran = dizuo("config", "show", "--json")
    rows = {row["name"]: row for row in ran.json["settings"]}
    assert (rows["port"]["value"], rows["port"]["source"]) == (9001, "environment")
    assert (rows["max_file_mb"]["value"], rows["max_file_mb"]["source"]) == (7, "file")
    assert (rows["host"]["value"], rows["host"]["source"]) == ("127.0.0.1", "default")
    shown = ran.out + dizuo("config", "show").out
    assert "sk-secret" not in shown
    assert "hunter2" not in shown
