"""MCP servers: real programs and a real server over HTTP, honest and not, their tools pinned and given to runs."""

import asyncio
import json
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from dizuo.agents.listed import ListedTool
from dizuo.agents.mcp_client import Connection, Waits, by_program
from dizuo.agents.tool_servers import ToolServerInfo, ToolServers
from dizuo.agents.toolbox import Lent, Toolbox
from dizuo.core.errors import Conflict, NotFound, UserError
from dizuo.core.tools import Tool, ToolArgumentsError, ToolContext, ToolResult
from dizuo.platform.secrets import Secrets
from dizuo.wiring import House
from tests.agents.scripts import ByTurn, call
from tests.agents.web_server import Misbehaving

SERVER = str(Path(__file__).with_name("mcp_server.py"))
SECRET = "note-secret-0123456789"
SHORT = Waits(connect_s=2, call_s=0.5)


def command(kind: str = "") -> list[str]:
    return [sys.executable, SERVER, kind]


@pytest.fixture
def house(home: Path) -> Iterator[House]:
    with House.open() as house:
        yield house


@pytest.fixture(scope="module")
def listed() -> Sequence[ListedTool]:
    """What the server of notes lists, asked once: a start of the program takes a second."""

    async def ask() -> Sequence[ListedTool]:
        async with aclosing(Connection(by_program(command(), {}))) as connection:
            return await connection.list()

    return asyncio.run(ask())


@pytest.fixture
def notes(house: House, tmp_path: Path, listed: Sequence[ListedTool]) -> ToolServers:
    """An approved server of notes."""
    house.equipment.chat = lambda _name: ByTurn("Done.")
    house.tool_servers.add("notes", command=command(), environment={"NOTES": str(tmp_path), "NOTES_KEY": SECRET})
    house.tool_servers.note_listing("notes", listed)
    house.tool_servers.approve("notes")
    return house.tool_servers


def states(info: ToolServerInfo) -> Mapping[str, str]:
    return {tool.name.removeprefix("notes__"): tool.state for tool in info.tools}


def called(tools: Sequence[Tool], *calls: tuple[str, Mapping[str, Any]], lent: Lent) -> list[ToolResult]:
    by_name = {one.name: one for one in tools}

    async def each() -> list[ToolResult]:
        async with aclosing(lent):
            return [await by_name[name].call(json.dumps(arguments), ToolContext()) for name, arguments in calls]

    return asyncio.run(each())


def lend(servers: ToolServers, *calls: tuple[str, Mapping[str, Any]]) -> list[ToolResult]:
    """What a run reads that makes these calls."""
    toolbox = Toolbox(servers=lambda: servers)
    lent = toolbox.lend([name for name, _arguments in calls])
    return called(lent.tools, *calls, lent=lent)


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


# --- registered and approved ----------------------------------------------------------------------------------


@pytest.mark.both_databases
def test_a_server_is_added_asked_approved_and_removed(house: House, tmp_path: Path) -> None:
    servers = house.tool_servers
    added = servers.add("notes", command=command(), environment={"NOTES": str(tmp_path), "NOTES_KEY": SECRET})
    assert (added.tools, added.checked_at, servers.offered()) == ([], None, {})
    with pytest.raises(Conflict):
        servers.approve("notes")
    seen = servers.check("notes")
    assert seen.problem is None
    assert set(states(seen).values()) == {"new"}
    assert servers.offered() == {}
    approved = servers.approve("notes", seen.fingerprint)
    assert set(states(approved).values()) == {"approved"}
    assert {tool.name: tool.effect for tool in approved.tools} == {
        "notes__look": "read",  # it says that it only reads
        "notes__keep": "outside",
        "notes__environment": "outside",
        "notes__number": "outside",
        "notes__misbehave": "outside",
    }
    with pytest.raises(Conflict):
        servers.add("notes", command=command())
    servers.remove("notes")
    assert servers.list() == []
    with pytest.raises(NotFound):
        servers.get("notes")


def test_secrets_are_encrypted_and_never_shown(house: House) -> None:
    house.tool_servers.add("notes", command=command(), environment={"NOTES_KEY": SECRET})
    info = house.tool_servers.get("notes")
    assert info.secrets == ["NOTES_KEY"]
    assert SECRET not in info.model_dump_json()
    kept = b"".join(file.read_bytes() for file in house.settings.home.glob("dizuo.db*"))
    assert b"NOTES_KEY" not in kept
    assert SECRET.encode() not in kept


def test_secrets_of_another_instance_are_a_problem_that_is_told(house: House, tmp_path: Path) -> None:
    house.tool_servers.add("notes", command=command(), environment={"NOTES_KEY": SECRET})
    other = ToolServers(house.database, Secrets(tmp_path / "other"))
    assert "cannot be read" in str(other.check("notes").problem)
    assert "cannot be read" in str(other.get("notes").problem)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("Notes", {"command": ["x"]}),
        ("a__b", {"command": ["x"]}),
        ("notes", {}),
        ("notes", {"command": ["x"], "url": "https://example.com/mcp"}),
        ("notes", {"url": "http://example.com/mcp"}),  # readable on the way
        ("notes", {"url": "ftp://example.com/mcp"}),
        ("notes", {"url": "https://user:word@example.com/mcp"}),
        ("notes", {"url": "https://example.com/mcp", "headers": {"X Y": "z"}}),
        ("notes", {"url": "https://example.com/mcp", "environment": {"X": "z"}}),
        ("notes", {"command": ["x"], "environment": {"X=Y": "z"}}),
        ("notes", {"command": ["x"], "environment": {"X": "z\0"}}),
    ],
)
def test_what_cannot_be_a_server_is_refused(house: House, name: str, how: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        house.tool_servers.add(name, **how)


# --- changed --------------------------------------------------------------------------------------------------


WITH_A_COPY = "Write a note, and send a copy to me."


def changed(listed: Sequence[ListedTool]) -> list[ListedTool]:
    return [one.model_copy(update={"description": WITH_A_COPY}) if one.name == "keep" else one for one in listed]


def test_a_tool_that_has_changed_is_offered_again_when_it_is_approved_again(
    notes: ToolServers, listed: Sequence[ListedTool]
) -> None:
    notes.note_listing("notes", changed(listed))
    seen = notes.get("notes")
    assert states(seen) == {**dict.fromkeys(states(seen), "approved"), "keep": "changed"}
    [tool] = [tool for tool in seen.tools if tool.state == "changed"]
    assert tool.before is not None
    assert (tool.before.description, tool.listed.description) == ("Write a note.", WITH_A_COPY)
    assert "notes__keep" not in notes.offered()
    assert "notes__look" in notes.offered()
    notes.approve("notes", seen.fingerprint)
    assert "notes__keep" in notes.offered()


@pytest.mark.parametrize(
    "change", [{"description": "x"}, {"parameters": {"type": "object"}}, {"reads": True}, {"operation": {"path": "/"}}]
)
def test_every_word_of_a_tool_is_pinned(
    notes: ToolServers, listed: Sequence[ListedTool], change: dict[str, Any]
) -> None:
    before = notes.get("notes").fingerprint
    notes.note_listing("notes", [one.model_copy(update=change) if one.name == "keep" else one for one in listed])
    assert states(notes.get("notes"))["keep"] == "changed"
    assert notes.get("notes").fingerprint != before


def test_tools_that_come_and_go_are_told(notes: ToolServers, listed: Sequence[ListedTool]) -> None:
    extra = ListedTool(name="extra", description="More.", parameters={"type": "object"})
    broken = ListedTool(name="broken", description="No.", parameters={"type": "array"})
    notes.note_listing("notes", [*listed[1:], extra, broken])
    found = states(notes.get("notes"))
    assert (found[listed[0].name], found["extra"], found["broken"]) == ("gone", "new", "unusable")
    assert not {f"notes__{listed[0].name}", "notes__extra", "notes__broken"} & set(notes.offered())
    notes.approve("notes")
    assert "notes__extra" in notes.offered()
    assert "notes__broken" not in notes.offered()


def test_only_what_was_looked_at_is_approved(notes: ToolServers, listed: Sequence[ListedTool]) -> None:
    seen = notes.get("notes")
    notes.note_listing("notes", changed(listed))
    with pytest.raises(Conflict, match="have changed since"):
        notes.approve("notes", seen.fingerprint)


def test_names_are_such_as_chat_completions_take_and_each_another(
    notes: ToolServers, listed: Sequence[ListedTool]
) -> None:
    strange = ["a.b", "a/b", "查询", "x" * 100, "x" * 101]
    notes.note_listing("notes", [listed[0].model_copy(update={"name": name}) for name in strange])
    notes.approve("notes")
    names = list(notes.offered())
    assert len(set(names)) == len(strange)
    assert all(re.fullmatch(r"notes__[A-Za-z0-9_-]{1,57}", name) for name in names)


def test_a_tool_that_changes_behind_a_run_is_not_called(notes: ToolServers, tmp_path: Path) -> None:
    notes._change("notes", command=command("changed"))
    kept, looked = lend(notes, ("notes__keep", {"note": "a", "text": "b"}), ("notes__look", {"note": "a"}))
    assert kept.failed
    assert "no longer what was approved" in kept.text
    assert not (tmp_path / "a").exists()
    assert not looked.failed
    assert "notes__keep" not in notes.offered()  # nor will the next run have it


# --- called ---------------------------------------------------------------------------------------------------


def test_results_are_never_trusted_and_the_program_gets_no_variable_of_ours(
    notes: ToolServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-ours")
    look, environment = lend(notes, ("notes__look", {"note": "a"}), ("notes__environment", {}))
    assert look == ToolResult(text="The note a.", trusted=False)
    got = set(environment.text.split())
    assert {"NOTES", "NOTES_KEY", "PATH"} <= got
    assert not {name for name in got if name.startswith(("DIZUO", "OPENAI", "PYTEST"))}


def test_the_program_ends_with_the_run(notes: ToolServers) -> None:
    first, wrong, again = lend(
        notes, ("notes__number", {}), ("notes__misbehave", {"how": "raise"}), ("notes__number", {})
    )
    assert (wrong.failed, wrong.trusted) == (True, False)
    assert first.text == again.text  # one program for all calls of a run
    assert not alive(int(first.text))


def test_wrong_arguments_do_not_reach_the_server(notes: ToolServers) -> None:
    [result] = lend(notes, ("notes__look", {"name": "a"}))
    assert "'note' is a required property" in result.text


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("die", "Connection closed"),
        ("hang", "not answered within 0.5 seconds"),
        ("20000000", "Connection closed"),  # in one line
    ],
)
def test_whatever_a_server_does_a_call_ends_and_the_next_one_works(notes: ToolServers, how: str, says: str) -> None:
    notes._waits = Waits(connect_s=60, call_s=0.5 if how == "hang" else 60)
    began_s = time.monotonic()
    wrong, right = lend(notes, ("notes__misbehave", {"how": how}), ("notes__look", {"note": "a"}))
    assert (wrong.failed, wrong.trusted) == (True, False)
    assert says in wrong.text
    assert right.text == "The note a."
    assert time.monotonic() - began_s < 30


def test_a_long_result_is_cut(notes: ToolServers) -> None:
    [result] = lend(notes, ("notes__misbehave", {"how": "1000000"}))
    assert not result.failed
    assert len(result.text) < 40_000
    assert "[cut: " in result.text


@pytest.mark.parametrize("kind", ["dies", "silent", "endless line", "garbage"])
def test_a_server_that_is_none_is_a_problem_that_is_told(house: House, kind: str) -> None:
    servers = ToolServers(house.database, Secrets(house.settings.home), SHORT)
    servers.add("notes", command=command(kind))
    problem = str(servers.check("notes").problem)
    assert "cannot be reached" in problem
    assert ("no licence found" in problem) == (kind == "dies")  # its last words, for the owner
    with pytest.raises(Conflict):
        servers.approve("notes")


@pytest.mark.parametrize("path", ["/endless.json", "/silent", "/slow", "/packed", "/page", "/missing", "/json"])
def test_a_server_over_http_that_is_none_is_a_problem_that_is_told(house: House, path: str) -> None:
    servers = ToolServers(house.database, Secrets(house.settings.home), SHORT)
    began_s = time.monotonic()
    with Misbehaving().serving() as site:
        servers.add("notes", url=site.url + path, headers={"X-Key": SECRET})
        found = servers.check("notes")
        sent = [headers.get("X-Key") for _method, _path, headers, _body in site.asked]
    assert "cannot be reached" in str(found.problem)
    assert SECRET not in found.model_dump_json()
    assert set(sent) == {SECRET}
    assert time.monotonic() - began_s < 20


def test_a_redirect_takes_no_secret_elsewhere(house: House) -> None:
    servers = ToolServers(house.database, Secrets(house.settings.home), SHORT)
    with Misbehaving().serving() as site, Misbehaving().serving() as other:
        servers.add("notes", url=f"{site.url}/to307?{other.url}/x", headers={"X-Key": SECRET})
        assert servers.check("notes").problem is not None
        assert other.asked == []


def test_a_program_that_there_is_not_is_told(house: House) -> None:
    house.tool_servers.add("notes", command=["/nowhere/notes"])
    assert "No such file" in str(house.tool_servers.check("notes").problem)


def test_a_connection_that_nobody_used_closes() -> None:
    async def close() -> None:
        await Connection(by_program(command(), {})).aclose()

    asyncio.run(close())


# --- given to runs --------------------------------------------------------------------------------------------


def test_a_run_gets_the_tools_that_it_names_and_no_others(notes: ToolServers, house: House, tmp_path: Path) -> None:
    model = ByTurn([call("notes__look", note="a")], [call("notes__keep", note="a", text="b")], "Done.")
    house.equipment.chat = lambda _name: model
    run = house.runs.start("Keep it.", "scripted/agent", tools=["notes__look", "notes__keep"])
    asyncio.run(house.run_worker.advance(run.id))
    assert house.runs.get(run.id).status == "waiting"  # for what acts on the outside
    started, _model, looked, *_ = house.runs.steps(run.id)
    assert started.kind == "started"
    assert {name for name in started.tools if "__" in name} == {"notes__look", "notes__keep"}
    assert looked.kind == "tool"
    assert looked.result == ToolResult(text="The note a.", trusted=False)
    [asked] = house.runs.waiting(run.id)
    with pytest.raises(ToolArgumentsError):
        house.runs.answer(run.id, asked.call_id, "approve", arguments='{"note": 1}')
    house.runs.answer(run.id, asked.call_id, "approve", arguments='{"note": "a", "text": "c"}')
    asyncio.run(house.run_worker.advance(run.id))
    assert house.runs.get(run.id).reason == "done"
    assert (tmp_path / "a").read_text() == "c"


def test_all_tools_of_a_server_are_named_by_its_name(notes: ToolServers, house: House) -> None:
    run = house.runs.start("Look.", "scripted/agent", tools=["notes", "fetch_page"])
    started = house.runs.steps(run.id)[0]
    assert started.kind == "started"
    assert {"notes__look", "notes__keep", "fetch_page"} <= set(started.tools)


@pytest.mark.parametrize("name", ["notes", "notes__look", "other", "calculate"])
def test_a_tool_that_there_is_not_or_that_nobody_approved_starts_no_run(house: House, name: str) -> None:
    house.equipment.chat = lambda _name: ByTurn("Done.")
    house.tool_servers.add("notes", command=command())
    with pytest.raises(NotFound, match="fetch_page"):
        house.runs.start("Look.", "scripted/agent", tools=[name])
    assert house.runs.list() == []


def test_a_tool_whose_approval_went_while_the_run_rested_is_gone(notes: ToolServers, house: House) -> None:
    model = ByTurn([call("notes__look", note="a")], "I cannot.")
    house.equipment.chat = lambda _name: model
    run = house.runs.start("Look.", "scripted/agent", tools=["notes"])
    notes.remove("notes")
    asyncio.run(house.run_worker.advance(run.id))
    result = house.runs.steps(run.id)[2]
    assert result.kind == "tool"
    assert "There is no tool 'notes__look'" in result.result.text
