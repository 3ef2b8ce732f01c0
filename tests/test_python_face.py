"""`import dizuo`: the calls that the README and the guide show."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import dizuo
from dizuo import python_face
from dizuo.core.errors import NotFound, UserError


@pytest.fixture(autouse=True)
def _closed_afterwards(home: Path) -> Iterator[None]:
    yield
    python_face._houses.close()


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "leave.md").write_text("# Leave\n\nEmployees have 25 days of paid leave a year.\n", "utf-8")
    (folder / "报销.md").write_text("# 报销制度\n\n差旅费应在出差结束后三十日内报销。\n", "utf-8")
    return folder


def test_what_is_added_answers_in_both_languages(docs: Path) -> None:
    handbook = dizuo.Knowledge("handbook")
    assert handbook.add(docs).added == 2
    answer = dizuo.ask("How many days of paid leave do employees have?", knowledge="handbook")
    assert answer.found
    assert "25 days" in answer.answer
    assert "三十日内" in dizuo.ask("差旅费应在多久之内报销？", knowledge=handbook).answer
    assert [document.name for document in handbook.documents()] == ["leave.md", "报销.md"]
    assert handbook.search("paid leave", limit=1, document="leave.md").hits[0].document == "leave.md"
    assert handbook._house().traces.list()[0].name == "Knowledge.search"


def test_sync_follows_the_folder_and_remove_removes(docs: Path) -> None:
    handbook = dizuo.Knowledge("handbook")
    handbook.add(docs / "leave.md", docs / "报销.md")
    (docs / "leave.md").unlink()
    assert handbook.sync(docs).removed == 1
    handbook.remove()
    with pytest.raises(NotFound):
        handbook.documents()


def test_it_works_where_an_event_loop_runs(docs: Path) -> None:
    async def cell() -> str:
        dizuo.Knowledge("handbook").add(docs)
        return dizuo.ask("How many days of paid leave do employees have?", knowledge="handbook").answer

    assert "25 days" in asyncio.run(cell())


def test_what_cannot_be_added_raises(docs: Path) -> None:
    handbook = dizuo.Knowledge("handbook")
    with pytest.raises(UserError, match="Say what to add"):
        handbook.add()
    with pytest.raises(NotFound):
        handbook.add(docs / "missing.md")
    (docs / "broken.pdf").write_bytes(b"%PDF-1.7 and then nothing")
    with pytest.raises(UserError, match=r"broken\.pdf"):
        handbook.add(docs / "broken.pdf")
    assert [failure.source for failure in handbook.add(docs).failed] == [str(docs / "broken.pdf")]


def test_two_homes_are_two_instances(docs: Path, tmp_path: Path) -> None:
    here, there = dizuo.Knowledge("kb"), dizuo.Knowledge("kb", home=tmp_path / "other")
    assert here.add(docs / "leave.md").added == 1
    assert there.add(docs / "报销.md").added == 1
    assert here.add(docs / "leave.md").unchanged == 1
    assert [document.name for document in there.documents()] == ["报销.md"]


def test_a_changed_setting_is_noticed(docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handbook = dizuo.Knowledge("handbook")
    handbook.add(docs)
    assert "dense" in handbook.search("paid leave").weights
    monkeypatch.setenv("DIZUO_EMBEDDER", "")
    assert set(handbook.search("paid leave").hits[0].legs) == {"keyword"}


FORKS = """
import multiprocessing, sys
import dizuo

def tell(names):
    names.put([document.name for document in dizuo.Knowledge("handbook").documents()])

dizuo.Knowledge("handbook").add(sys.argv[1])
context = multiprocessing.get_context("fork")
names = context.Queue()
child = context.Process(target=tell, args=(names,))
child.start()
print(names.get(timeout=60))
child.join(60)
print(child.exitcode, bool(dizuo.Knowledge("handbook").search("paid leave").hits))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_opens_its_own(docs: Path) -> None:
    """In a process of its own: this one has threads of other tests, and a lock that one of them holds stays held."""
    done = subprocess.run([sys.executable, "-c", FORKS, str(docs)], capture_output=True, text=True, timeout=180)
    assert done.stdout.splitlines() == ["['leave.md', '报销.md']", "0 True"], done.stderr


def test_an_unknown_name_of_the_package_is_said() -> None:
    with pytest.raises(AttributeError, match="it has Knowledge"):
        dizuo.wizard  # noqa: B018
