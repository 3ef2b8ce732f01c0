"""`dizuo knowledge …` and `dizuo job …` on real files."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import Ran, dizuo_process

Command = Callable[..., Ran]


def test_adding_counts_what_came_in_and_says_what_did_not(dizuo: Command, documents: Path) -> None:
    (documents / "broken.pdf").write_bytes(b"%PDF-1.7 and then nothing")
    ran = dizuo("knowledge", "add", "kb", str(documents))
    assert ran.status == 0
    assert ran.out == "kb: 3 added, 1 failed\n"
    assert "broken.pdf" in ran.err
    again = dizuo("knowledge", "add", "kb", str(documents), "--json").json
    assert (again["added"], again["unchanged"], again["status"]) == (0, 3, "done")
    assert [failure["source"] for failure in again["failed"]] == [str(documents / "broken.pdf")]
    assert isinstance(again["failed"][0]["error"], str)
    shown = dizuo("job", "show", again["job"], "--json").json
    assert (shown["failed"], shown["failures"]) == (1, again["failed"])


def test_when_nothing_could_be_added_the_command_fails(dizuo: Command, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pdf"
    broken.write_bytes(b"%PDF-1.7 and then nothing")
    ran = dizuo("knowledge", "add", "kb", str(broken))
    assert ran.status == 1
    assert ran.err.count("broken.pdf") == 1
    assert dizuo("knowledge", "add", "kb", str(tmp_path / "missing")).status == 1


def test_list_and_show_tell_the_same_in_both_shapes(reader: Command) -> None:
    [base] = reader("knowledge", "list", "--json").json["knowledge"]
    assert (base["name"], base["documents"]) == ("handbook", 3)
    assert "handbook" in reader("knowledge", "list").out
    names = {document["name"] for document in reader("knowledge", "show", "handbook", "--json").json["documents"]}
    assert names == {"leave.md", "报销.md", "hostile.txt"}
    table = reader("knowledge", "show", "handbook")
    assert all(name in table.out for name in names)


def test_show_gives_one_documents_report_and_chunks(reader: Command) -> None:
    shown = reader("knowledge", "show", "handbook", "报销.md", "--chunks").out
    assert "utf-8" in shown
    assert "差旅费" in shown
    content = reader("knowledge", "show", "handbook", "leave.md", "--json").json
    assert content["document"]["report"]["format"] == "markdown"
    [chunk] = content["chunks"]
    assert content["text"][chunk["start"] : chunk["end"]] == chunk["text"]
    assert reader("knowledge", "show", "handbook", "--chunks").status == 2


def test_search_prints_the_promised_json(reader: Command) -> None:
    hits = reader("knowledge", "search", "handbook", "paid leave", "--limit", "2", "--json").json["hits"]
    assert hits[0]["document"] == "leave.md"
    assert hits[0].keys() >= {"document", "chunk", "text", "score", "heading", "page", "legs"}
    assert len(hits) <= 2
    trace = reader("trace", "list", "--json").json["traces"][0]
    assert (trace["name"], trace["app"]) == ("dizuo knowledge search", "knowledge/handbook")
    assert [span["name"] for span in reader("trace", "show", trace["id"], "--json").json["spans"]][1:] != []


def test_search_explains_each_leg(reader: Command) -> None:
    ran = reader("knowledge", "search", "handbook", "paid leave", "--explain")
    assert "keyword: rank 1" in ran.out
    assert "dense: rank 1" in ran.out


def test_search_takes_filters_and_refuses_what_is_none(reader: Command) -> None:
    found = reader("knowledge", "search", "handbook", "报销 leave", "--filter", "document=leave.md", "--json").json
    assert {hit["document"] for hit in found["hits"]} == {"leave.md"}
    assert reader("knowledge", "search", "handbook", "leave", "--filter", "nonsense").status == 2


def test_sync_mirrors_and_remove_removes(dizuo: Command, documents: Path) -> None:
    dizuo("knowledge", "sync", "kb", str(documents))
    (documents / "leave.md").unlink()
    (documents / "new.md").write_text("# New\n\nSomething new.\n", "utf-8")
    assert dizuo("knowledge", "sync", "kb", str(documents)).out == "kb: 1 added, 2 unchanged, 1 removed\n"
    removed = dizuo("knowledge", "remove", "kb", "new.md", "--json").json["removed"]
    assert (removed["knowledge"], removed["document"]) == ("kb", "new.md")
    assert dizuo("knowledge", "remove", "kb", "--json").json["removed"] == {"knowledge": "kb", "documents": 2}
    assert dizuo("knowledge", "list", "--json").json == {"knowledge": []}


def test_a_job_that_nobody_does_waits_until_it_is_watched(dizuo: Command, documents: Path) -> None:
    job = dizuo("knowledge", "add", "kb", str(documents), "--no-wait", "--json").json
    assert job["status"] == "queued"
    assert [j["id"] for j in dizuo("job", "list", "--active", "--json").json["jobs"]] == [job["id"]]
    watched = dizuo("job", "watch", job["id"], "--json").json
    assert (watched["status"], watched["finished"]) == ("done", 3)
    assert dizuo("job", "list", "--active", "--json").json == {"jobs": []}
    assert job["id"] in dizuo("job", "list").out
    assert "done" in dizuo("job", "show", job["id"]).out
    assert dizuo("job", "resume", job["id"]).status == 1


def test_a_waiting_job_can_be_cancelled(dizuo: Command, documents: Path) -> None:
    job = dizuo("knowledge", "add", "kb", str(documents), "--no-wait").out.strip()
    assert dizuo("job", "cancel", job, "--json").json["status"] == "cancelled"
    assert dizuo("job", "cancel", "nothing").status == 1


def test_ctrl_c_cancels_the_job_and_keeps_what_is_in(home: Path, tmp_path: Path, dizuo: Command) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for n in range(1500):
        (folder / f"{n}.md").write_text(f"# Record {n}\n\nThe keyword is zebra{n}.\n", "utf-8")
    process = dizuo_process(home, "knowledge", "add", "kb", str(folder))
    deadline = time.monotonic() + 60
    while not (home / "worker.lock").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    [job] = dizuo("job", "list", "--json").json["jobs"]
    assert job["status"] == "cancelled"
    assert dizuo("knowledge", "show", "kb", "--json").json["knowledge"]["documents"] < 1500
