"""Files of runs in a terminal: given with the goal or later, shown, copied out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dizuo.wiring import House
from tests.agents.scripts import ByTurn, call
from tests.cli.conftest import Ran

Dizuo = Callable[..., Ran]
QUERY = call(
    "query_table", sql="SELECT city, sum(n) AS n FROM sales GROUP BY city", files=["sales.csv"], save_as="by_city.csv"
)
CHART = call("draw_chart", kind="bar", x="city", y=["n"], title="Cities", file="by_city.csv")


@pytest.fixture(autouse=True)
def as_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model of every house asks the table, draws it, and asks the user."""
    script = ([QUERY], [CHART], [call("ask_user", question="More?")], "Drawn.")
    monkeypatch.setattr(House, "_thinker", lambda _house, _name: ByTurn(*script))


@pytest.fixture
def sales(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "older").mkdir(parents=True)
    (folder / "sales.csv").write_text("city,n\n昆明,1\nOslo,\x1b[31m2\n昆明,3\n".replace("\x1b[31m", ""), "utf-8")
    (folder / "older" / "notes.txt").write_text("Notes.")
    (folder / "link").symlink_to("/etc/passwd")
    return folder


def analysed(dizuo: Dizuo, *more: str) -> Ran:
    return dizuo("agent", "run", "Draw.", "--app", "data-analyst", "--model", "acme/agent", *more)


def the_run(dizuo: Dizuo) -> dict[str, Any]:
    return dizuo("run", "list", "--json").json["runs"][0]


def test_a_run_gets_copies_and_what_it_makes_is_shown(dizuo: Dizuo, sales: Path) -> None:
    ran = analysed(dizuo, "--file", str(sales))
    assert ran.status == 0, ran.err
    assert "You: I have put files into your workspace: sales.csv, 1 more (see list_files)." in ran.out
    assert "昆明" in ran.out
    assert "by_city.csv (" in ran.out
    assert "chart.svg (" in ran.out
    run = the_run(dizuo)["id"]
    listed = [one["path"] for one in dizuo("run", "files", run, "--json").json["files"]]
    assert listed == ["by_city.csv", "chart.svg", "older/notes.txt", "sales.csv"]  # and no link
    assert "older/notes.txt" in dizuo("run", "files", run).out
    assert (sales / "sales.csv").exists()


def test_files_are_copied_out_into_a_folder_of_their_own(dizuo: Dizuo, sales: Path, tmp_path: Path) -> None:
    analysed(dizuo, "--file", str(sales / "sales.csv"))
    run = the_run(dizuo)["id"]
    copied = dizuo("run", "files", run, "--to", str(tmp_path / "out"))
    assert "3 files were copied" in copied.out
    assert (tmp_path / "out" / "by_city.csv").read_text("utf-8") == "city,n\nOslo,2\n昆明,4\n"
    again = dizuo("run", "files", run, "--to", str(tmp_path / "out"), "--language", "zh")
    assert again.status == 1
    assert "不是空文件夹" in again.err


def test_more_is_given_later_and_nothing_is_replaced(dizuo: Dizuo, sales: Path) -> None:
    analysed(dizuo, "--file", str(sales / "sales.csv"))
    run = the_run(dizuo)["id"]
    assert dizuo("run", "give", run, str(sales / "older" / "notes.txt")).status == 0
    refused = dizuo("run", "give", run, str(sales / "sales.csv"))
    assert refused.status == 1
    assert "already" in refused.err


def test_where_a_file_cannot_be_given_no_run_is_left_over(dizuo: Dizuo, tmp_path: Path) -> None:
    assert analysed(dizuo, "--file", str(tmp_path / "nothing.csv")).status == 1
    assert dizuo("run", "list", "--json").json["runs"] == []
    (tmp_path / "empty").mkdir()
    assert analysed(dizuo, "--file", str(tmp_path / "empty")).status == 1
    assert the_run(dizuo)["reason"] == "cancelled"
