"""Knowledge bases over the API: all that the command does."""

import io
import random
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.conftest import GUIDE_ZH, HANDBOOK, Served, error_of, events_of, jobs_of
from tests.cli.conftest import run_in_process


def names(client: httpx.Client, knowledge: str) -> list[str]:
    return [d["name"] for d in client.get(f"/api/knowledge/{knowledge}/documents").json()["documents"]]


def items(client: httpx.Client, job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {item["source"]: item for item in client.get(f"/api/jobs/{job['id']}/items").json()["items"]}


# --- knowledge bases ------------------------------------------------------------------------------------------


def test_a_knowledge_base_is_made_shown_listed_and_removed(client: httpx.Client) -> None:
    made = client.post("/api/knowledge", json={"name": "空的"})
    assert (made.status_code, made.json()["documents"]) == (201, 0)
    assert client.get("/api/knowledge/空的").json() == made.json()
    assert "空的" in [k["name"] for k in client.get("/api/knowledge").json()["knowledge"]]
    assert error_of(client.post("/api/knowledge", json={"name": "空的"}), 409)["code"] == "conflict"
    assert client.delete("/api/knowledge/空的").status_code == 204
    assert error_of(client.get("/api/knowledge/空的"), 404)["type"] == "not_found_error"


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "../x", "a b", "x" * 65, "a\0b", "-x"])
def test_a_name_that_is_no_good_is_refused(client: httpx.Client, name: str) -> None:
    error_of(client.post("/api/knowledge", json={"name": name}), 422)


# --- uploads --------------------------------------------------------------------------------------------------


def test_an_upload_is_a_job_whose_events_lead_to_its_end(client: httpx.Client) -> None:
    files = [("files", (f"n{n}.md", f"# Note {n}\n\nThe number is {n}.\n".encode())) for n in range(40)]
    sent = client.post("/api/knowledge/many/documents", files=files)
    assert sent.status_code == 202
    assert sent.json()["total"] == 40
    states = jobs_of(client, sent.json()["id"])
    finished = [state["finished"] for state in states]
    assert finished == sorted(finished)
    assert (states[-1]["status"], states[-1]["finished"], states[-1]["failed"]) == ("done", 40, 0)
    page = client.get("/api/knowledge/many/documents?limit=30").json()
    assert (len(page["documents"]), page["next_offset"]) == (30, 30)
    assert len(client.get("/api/knowledge/many/documents?limit=30&offset=30").json()["documents"]) == 10
    assert client.get("/api/knowledge/many/documents?q=N39").json()["documents"][0]["name"] == "n39.md"


def test_the_same_file_again_changes_nothing_and_another_replaces_it(server: Served, client: httpx.Client) -> None:
    def status(content: str) -> str:
        job = server.upload("again", ("a.md", content.encode()))
        return items(client, job)["upload:a.md"]["status"]

    assert [status("One."), status("One."), status("Two.")] == ["added", "unchanged", "changed"]
    assert names(client, "again") == ["a.md"]


def test_bad_files_fail_for_themselves_and_the_others_go_in(server: Served, client: httpx.Client) -> None:
    job = server.upload(
        "mixed",
        ("empty.md", b""),
        ("noise.txt", random.Random(1).randbytes(5000)),
        ("broken.pdf", b"%PDF-1.7 broken"),
        ("large.txt", b"x" * (3 << 20)),  # over max_file_mb, below max_archive_mb
        ("good.md", b"Good."),
    )
    assert (job["status"], job["failed"]) == ("done", 4)
    found = items(client, job)
    assert found["upload:good.md"]["report"]["format"] == "markdown"
    failed = client.get(f"/api/jobs/{job['id']}/items?status=failed").json()["items"]
    assert {item["source"] for item in failed} == set(found) - {"upload:good.md"}
    assert all(item["error"]["template"] for item in failed)
    assert names(client, "mixed") == ["good.md"]


def test_a_file_over_the_archive_limit_is_too_large(client: httpx.Client) -> None:
    answer = client.post("/api/knowledge/mixed/documents", files=[("files", ("x.zip", b"x" * (4 << 20) + b"x"))])
    assert "larger than 4 MiB" in error_of(answer, 413)["message"]


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../etc/passwd.txt", "etc/passwd.txt"),
        ("C:\\Users\\me\\a.txt", "Users/me/a.txt"),
        ("/abs/b.txt", "abs/b.txt"),
        ("a\r\nX-Evil: 1.txt", "aX-Evil: 1.txt"),
        ("手册 (终稿).txt", "手册 (终稿).txt"),
        ("<script>alert(1)</script>.txt", "<script>alert(1)</script>.txt".replace("/script", "/script")),
    ],
)
def test_a_hostile_file_name_stays_a_name(server: Served, client: httpx.Client, name: str, kept: str) -> None:
    body = (
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="'
        + name.replace("\\", "\\\\").replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A").encode()
        + b'"\r\n\r\nHello there.\r\n--x--\r\n'
    )
    sent = client.post(
        "/api/knowledge/names/documents", content=body, headers={"Content-Type": "multipart/form-data; boundary=x"}
    )
    assert sent.status_code == 202, sent.text
    assert jobs_of(client, sent.json()["id"])[-1]["status"] == "done"
    assert not any(".." in Path(one).parts or one.startswith("/") for one in names(client, "names"))
    (document,) = [d for d in client.get("/api/knowledge/names/documents").json()["documents"]]
    file = client.get(f"/api/knowledge/names/documents/{document['id']}/file")
    assert file.content == b"Hello there."
    assert file.headers["content-disposition"].startswith("attachment")
    assert file.headers["content-type"] == "application/octet-stream"
    client.delete("/api/knowledge/names")


@pytest.mark.parametrize("name", ["..", "/", "\\", "./.."])
def test_a_file_without_a_usable_name_is_refused(client: httpx.Client, name: str) -> None:
    error_of(client.post("/api/knowledge/names/documents", files=[("files", (name, b"x"))]), 400)


@pytest.mark.parametrize(
    "sent",
    [
        {"files": [("file", ("a.md", b"x"))]},
        {"data": {"files": "not a file"}},
        {"content": b"--x\r\nbroken", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
        {"json": {"files": []}},
    ],
)
def test_a_form_that_is_no_upload_is_refused(client: httpx.Client, sent: dict[str, Any]) -> None:
    answer = client.post("/api/knowledge/names/documents", **sent)
    assert answer.status_code in (400, 422)
    error_of(answer, answer.status_code)


def test_an_archive_becomes_its_files(server: Served, client: httpx.Client) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as written:
        written.writestr("a.md", "# A\n\nalpha\n")
        written.writestr("deep/b.md", "# B\n\nbeta\n")
    job = server.upload("packed", ("docs.zip", archive.getvalue()))
    assert job["status"] == "done"
    assert [name.rsplit("/", 1)[-1] for name in names(client, "packed")] == ["a.md", "b.md"]


def test_a_job_can_be_cancelled(server: Served, client: httpx.Client) -> None:
    job = server.upload("once", ("a.md", b"One."))
    assert client.post(f"/api/jobs/{job['id']}/cancel").json()["status"] == "done"  # over already: stays as it is
    error_of(client.post("/api/jobs/nothing/cancel"), 404)
    error_of(client.get("/api/jobs/nothing/events"), 404)
    assert job["id"] in [one["id"] for one in client.get("/api/jobs?subject=once&active=false").json()["jobs"]]


# --- documents ------------------------------------------------------------------------------------------------


def test_a_document_comes_with_its_text_and_chunks(client: httpx.Client) -> None:
    found = {d["name"]: d for d in client.get("/api/knowledge/handbook/documents").json()["documents"]}
    content = client.get(f"/api/knowledge/handbook/documents/{found['手册.md']['id']}").json()
    assert content["document"] == found["手册.md"]
    for chunk in content["chunks"]:
        assert content["text"][chunk["start"] : chunk["end"]].strip()
    file = client.get(f"/api/knowledge/handbook/documents/{found['手册.md']['id']}/file")
    assert file.content == GUIDE_ZH.encode()
    assert "utf-8''%E6" in file.headers["content-disposition"]


def test_part_of_a_file_can_be_asked_for(client: httpx.Client) -> None:
    (document,) = client.get("/api/knowledge/handbook/documents?q=handbook").json()["documents"]
    part = client.get(f"/api/knowledge/handbook/documents/{document['id']}/file", headers={"Range": "bytes=2-9"})
    assert (part.status_code, part.content) == (206, HANDBOOK.encode()[2:10])


def test_a_removed_document_is_gone_from_search(server: Served, client: httpx.Client) -> None:
    server.upload("short", ("a.md", b"The zebra is striped."), ("b.md", b"The lion is not."))
    (document,) = client.get("/api/knowledge/short/documents?q=a.md").json()["documents"]
    assert client.delete(f"/api/knowledge/short/documents/{document['id']}").status_code == 204
    error_of(client.get(f"/api/knowledge/short/documents/{document['id']}"), 404)
    assert "zebra" not in client.get("/api/knowledge/short/search?q=zebra").text


def test_the_owner_adds_and_syncs_what_lies_on_the_servers_disk(client: httpx.Client, folder: Path) -> None:
    added = client.post("/api/knowledge/local/paths", json={"paths": [str(folder / "a.md")]})
    assert added.status_code == 202
    jobs_of(client, added.json()["id"])
    (folder / "a.md").unlink()
    (folder / "b.md").write_text("# B\n\nThe dog barks.\n", "utf-8")
    synced = client.post("/api/knowledge/local/sync", json={"folder": str(folder)})
    assert synced.status_code == 202
    assert jobs_of(client, synced.json()["id"])[-1]["status"] == "done"
    assert names(client, "local") == ["b.md"]


def test_a_relative_path_is_refused_since_nobody_knows_relative_to_what(client: httpx.Client) -> None:
    error = error_of(client.post("/api/knowledge/local/paths", json={"paths": ["docs"]}), 400)
    assert "not an absolute path" in error["message"]


# --- finding and asking ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["paid leave", "年假", "second class trains 二等座"])
def test_search_gives_the_same_json_as_the_command(
    server: Served, client: httpx.Client, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_api = client.get("/api/knowledge/handbook/search", params={"q": query, "limit": 3}).json()
    command = ("knowledge", "search", "handbook", query, "--limit", "3", "--json")
    by_command = run_in_process(server.house.settings.home, monkeypatch, command, "")
    assert by_command.json == by_api
    assert by_api["hits"]
    assert set(by_api["hits"][0]) >= {"document", "chunk", "text", "score", "heading", "page", "legs"}


def test_search_keeps_to_its_filters(client: httpx.Client) -> None:
    params = {"q": "leave 年假", "filter": "document=手册.md"}
    hits = client.get("/api/knowledge/handbook/search", params=params).json()["hits"]
    assert {hit["document"] for hit in hits} == {"手册.md"}
    error_of(client.get("/api/knowledge/handbook/search?q=x&filter=nonsense"), 422)


@pytest.mark.parametrize("query", ["", "   ", "x" * 10_001, "\0"])
def test_a_query_that_says_nothing_is_refused(client: httpx.Client, query: str) -> None:
    error_of(client.get("/api/knowledge/handbook/search", params={"q": query}), 422)


def test_an_answer_comes_whole_or_as_events(client: httpx.Client) -> None:
    question = {"question": "How many days of paid leave are there?"}
    whole = client.post("/api/knowledge/handbook/ask", json=question).json()
    assert (whole["found"], whole["citations"][0]["document"]) == (True, "handbook.md")
    events = events_of(
        client, "POST", "/api/knowledge/handbook/ask", json=question, headers={"Accept": "text/event-stream"}
    )
    assert events[0][0] == "citation"
    assert events[-1][0] == "done"
    assert events[-1][1]["answer"] | {"seconds": 0} == whole | {"seconds": 0}
    assert "".join(data["text"] for name, data in events if name == "text") == whole["answer"]


def test_what_is_not_in_the_documents_is_not_answered(client: httpx.Client) -> None:
    answer = client.post("/api/knowledge/handbook/ask", json={"question": "Who won the 1998 football world cup?"})
    assert (answer.json()["found"], answer.json()["citations"]) == (False, [])


def test_a_thread_remembers_and_belongs_to_one_user(client: httpx.Client, member: httpx.Client) -> None:
    thread = client.post("/api/threads", json={"knowledge": "handbook", "title": "Leave  and\nmore"}).json()
    assert thread["title"] == "Leave and more"
    path = f"/api/threads/{thread['id']}"
    asked = {"question": "How many days of paid leave are there?", "thread": thread["id"]}
    first = client.post("/api/knowledge/handbook/ask", json=asked).json()
    again = client.post(f"{path}/again").json()
    assert again["answer"] == first["answer"]
    messages = client.get(path).json()["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant"]
    assert messages[1]["answer"]["citations"] == again["citations"]
    assert thread["id"] not in member.get("/api/threads").text
    for refused in (member.get(path), member.delete(path), member.post(f"{path}/again")):
        error_of(refused, 404)
    error_of(member.post("/api/knowledge/handbook/ask", json=asked), 404)
    error_of(client.post("/api/knowledge/many/ask", json=asked), 400)
    assert client.patch(path, json={"title": "Renamed"}).json()["title"] == "Renamed"
    assert client.delete(path).status_code == 204
    error_of(client.get(path), 404)
