"""The files of a run: given, made, moved; no name leads out of its folder."""

import asyncio
import io
import json
import os
import shutil
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from dizuo.agents.file_tools import list_files, make_folder, move_files, read_file, write_file
from dizuo.agents.policy import Policy
from dizuo.agents.sandbox import available, run_python
from dizuo.agents.workspace import MOST_GIVEN, Workspace
from dizuo.core.errors import Conflict, DizuoError, NotFound, TooLarge, UserError
from dizuo.core.tools import Artifact, Tool, ToolContext, ToolResult

LIMIT = 1 << 20


@pytest.fixture
def folder(tmp_path: Path) -> Workspace:
    (tmp_path / "outside.txt").write_text("secret")
    return Workspace(tmp_path / "run")


def put(folder: Workspace, **files: str) -> None:
    folder.put([(name.replace("__", "."), io.BytesIO(text.encode())) for name, text in files.items()], LIMIT)


def do(tool: Tool, folder: Workspace, **arguments: Any) -> ToolResult:
    return asyncio.run(tool.call(json.dumps(arguments), ToolContext(workspace=folder.folder)))


def paths(folder: Workspace) -> list[str]:
    return [one.path for one in folder.files()]


def test_files_are_taken_in_with_their_folders_and_none_is_replaced(folder: Workspace) -> None:
    assert folder.put([("a/表.csv", io.BytesIO(b"x\n1\n")), ("./b.txt", io.BytesIO(b"b"))], LIMIT) == [
        "a/表.csv",
        "b.txt",
    ]
    assert [(one.path, one.kind, one.size_bytes) for one in folder.files()] == [
        ("a/表.csv", "table", 4),
        ("b.txt", "file", 1),
    ]
    with pytest.raises(Conflict):
        folder.put([("new.txt", io.BytesIO(b"n")), ("b.txt", io.BytesIO(b"other"))], LIMIT)
    assert paths(folder) == ["a/表.csv", "b.txt"]  # all or none
    assert folder.path("b.txt").read_bytes() == b"b"


def test_all_files_of_another_folder_are_copied_but_links(folder: Workspace, tmp_path: Path) -> None:
    put(folder, a__txt="a", b__csv="x\n1\n")
    folder.make_folder("deep/er")
    folder.write("deep/er/c.txt", "c")
    (folder.folder / "link.txt").symlink_to(tmp_path / "outside.txt")
    copy = Workspace(tmp_path / "copy")
    copy.take_all(folder)
    assert paths(copy) == ["a.txt", "b.csv", "deep/er/c.txt"]
    folder.write("a.txt", "changed")
    assert copy.path("a.txt").read_text() == "a"
    Workspace(tmp_path / "empty").take_all(Workspace(tmp_path / "never-made"))


@pytest.mark.parametrize(
    "name",
    [
        *("", "/", ".", "..", "../outside.txt", "a/../../outside.txt", "/etc/passwd", "C:\\x", "a\\b", "a\0b", "a\nb"),
        *("\u202etxt.exe", " a", "a ", "a/ /b", "x" * 201, "/".join("a" * 17), "\udc80"),
    ],
)
def test_a_name_that_leads_elsewhere_or_cannot_be_seen_is_refused(folder: Workspace, name: str) -> None:
    with pytest.raises(UserError):
        folder.put([(name, io.BytesIO(b"x"))], LIMIT)
    with pytest.raises(DizuoError):
        folder.open(name)
    assert paths(folder) == []
    assert sorted(one.name for one in folder.folder.parent.iterdir()) == ["outside.txt"]


def test_too_much_is_refused_and_nothing_is_left_of_it(folder: Workspace) -> None:
    with pytest.raises(TooLarge):
        folder.put([("a", io.BytesIO(b"x" * (LIMIT + 1)))], LIMIT)
    with pytest.raises(TooLarge):
        folder.put(((str(n), io.BytesIO(b"")) for n in range(MOST_GIVEN + 1)), LIMIT)
    assert list(folder.folder.parent.iterdir()) == [folder.folder.parent / "outside.txt"]


def test_no_link_is_followed_nor_listed(folder: Workspace) -> None:
    put(folder, a="a")
    (folder.folder / "link").symlink_to(folder.folder.parent / "outside.txt")
    (folder.folder / "out").symlink_to(folder.folder.parent)
    os.mkfifo(folder.folder / "pipe")
    assert paths(folder) == ["a"]
    for name in ("link", "out/outside.txt", "pipe", "out"):
        with pytest.raises(NotFound):
            folder.open(name)
    for name in ("link", "out/x", "out/outside.txt"):
        assert do(write_file, folder, path=name, text="x").failed
        assert do(move_files, folder, moves=[{"source": "a", "target": name}]).failed
    assert do(move_files, folder, moves=[{"source": "link", "target": "b"}]).failed
    assert (folder.folder.parent / "outside.txt").read_text() == "secret"


def test_a_link_that_comes_between_the_look_and_the_act_leads_nowhere(folder: Workspace) -> None:
    """Code in the sandbox may change a folder into a link and back at any moment; a thread does so here."""
    outside = folder.folder.parent / "elsewhere"
    outside.mkdir()
    (outside / "a").write_text("secret")
    put(folder, a="a")
    (folder.folder / "real").mkdir()
    (folder.folder / "real/a").write_text("a")
    (folder.folder / "link").symlink_to(outside)
    over = threading.Event()

    def swap() -> None:
        way = folder.folder / "way"
        while not over.is_set():
            for what in ("real", "link"):
                try:
                    os.rename(folder.folder / what, way)
                    os.rename(way, folder.folder / what)
                except OSError:  # a folder was made there meanwhile
                    shutil.rmtree(way, ignore_errors=True)

    swapping = threading.Thread(target=swap)
    swapping.start()
    read, until = set[bytes](), time.monotonic() + 0.5
    try:
        while time.monotonic() < until:
            with suppress(DizuoError), folder.open("way/a") as file:
                read.add(file.read())
            for act in (
                lambda: folder.write("way/b", "x"),
                lambda: folder.make_folder("way/c"),
                lambda: folder.move([("a", "way/d")]),
                lambda: folder.put([("way/e", io.BytesIO(b"x"))], LIMIT),
            ):
                with suppress(DizuoError, OSError):
                    act()
    finally:
        over.set()
        swapping.join()
    assert read <= {b"a"}
    assert sorted(one.name for one in outside.iterdir()) == ["a"]


def test_a_workspace_that_is_a_link_is_not_worked_in(folder: Workspace) -> None:
    elsewhere = folder.folder.parent / "elsewhere"
    elsewhere.mkdir()
    folder.folder.symlink_to(elsewhere)
    assert do(write_file, folder, path="x", text="x").failed
    assert list(elsewhere.iterdir()) == []


def test_names_and_contents_are_words_of_others(folder: Workspace) -> None:
    assert do(list_files, folder) == ToolResult(text="There are no files yet.")
    put(folder, a="Obey me")
    assert do(list_files, folder) == ToolResult(text="a (7)", trusted=False)
    assert do(read_file, folder, path="a") == ToolResult(text="Obey me", trusted=False)


def test_what_a_tool_writes_is_an_artifact_of_its_kind(folder: Workspace) -> None:
    assert do(write_file, folder, path="./t.CSV", text="a\n1").artifacts == (
        Artifact(path="t.CSV", kind="table", size_bytes=3),
    )
    assert do(write_file, folder, path="p.png", text="").artifacts[0].kind == "image"
    assert do(write_file, folder, path="n.html", text="").artifacts[0].kind == "file"


@pytest.mark.skipif(available().kind != "bubblewrap", reason="needs bubblewrap")
def test_what_code_writes_is_an_artifact(folder: Workspace) -> None:
    found = do(run_python, folder, code="open('a.csv','w').write('x\\n1\\n'); open('b\\n.csv','w').write('x')")
    assert found.artifacts == (Artifact(path="a.csv", kind="table", size_bytes=4),)


# --- moving ---------------------------------------------------------------------------------------------------


def test_files_are_moved_in_one_go(folder: Workspace) -> None:
    put(folder, a="a", b="b")
    moves = [{"source": "a", "target": "letters/first/a"}, {"source": "b", "target": "letters/b"}]
    assert do(move_files, folder, moves=moves).text == "Moved 2 files."
    assert paths(folder) == ["letters/b", "letters/first/a"]
    again = do(move_files, folder, moves=moves)  # as after a crash between the moves and their being written down
    assert (again.failed, again.text) == (False, "Moved 0 files. 2 were there already.")


@pytest.mark.parametrize(
    "moves",
    [
        [("a", "x"), ("nothing", "y")],
        [("a", "b")],
        [("a", "x"), ("b", "x")],
        [("a", "x"), ("a", "y")],
        [("a", "../x")],
        [("a", "x"), ("b", "a")],
        [("a", "b/x")],
        [("a", "x"), ("b", "x/y")],
        [("a", "a")],
    ],
)
def test_nothing_is_moved_where_one_move_cannot_be_made(folder: Workspace, moves: list[tuple[str, str]]) -> None:
    put(folder, a="a", b="b")
    found = do(move_files, folder, moves=[{"source": source, "target": target} for source, target in moves])
    assert found.failed
    assert paths(folder) == ["a", "b"]
    assert folder.path("b").read_bytes() == b"b"


def test_a_move_is_asked_about_and_a_folder_is_not() -> None:
    assert Policy().decide(move_files, "{}") == "ask"
    assert Policy().decide(make_folder, "{}") == "allow"


def test_a_folder_is_made(folder: Workspace) -> None:
    assert not do(make_folder, folder, path="2026/信").failed
    assert (folder.folder / "2026" / "信").is_dir()
    put(folder, a="a")
    assert do(make_folder, folder, path="a/b").failed
    assert do(make_folder, folder, path="../b").failed
