"""`dizuo tool …`: servers of tools, looked at before agents get them."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from tests.agents import a2a_agent
from tests.cli.conftest import Ran

Command = Callable[..., Ran]
SECRET = "note-secret-0123456789"
SERVER = str(Path(__file__).parents[1] / "agents/mcp_server.py")


def test_a_server_is_added_looked_at_approved_and_removed(dizuo: Command) -> None:
    added = dizuo(
        "tool", "add", "notes", "--command", shlex.join([sys.executable, SERVER]), "--env", "NOTES_KEY=-",
        stdin=SECRET + "\n",
    )  # fmt: skip
    assert added.status == 0, added.err
    assert "notes__look · reads · not approved" in added.out
    assert "Write a note." in added.out
    assert "dizuo tool approve notes" in added.err
    approved = dizuo("tool", "approve", "notes", "--yes")
    assert "Offered: notes__environment, notes__keep" in approved.out
    listed = dizuo("tool", "list", "--json").json["servers"]
    assert [(one["name"], one["secrets"]) for one in listed] == [("notes", ["NOTES_KEY"])]
    assert all(SECRET not in one.out + one.err for one in (added, approved, dizuo("tool", "list")))
    assert dizuo("tool", "remove", "notes", "--yes", "--json").json == {"removed": "notes"}


def test_an_agent_is_added_by_its_address(dizuo: Command) -> None:
    with a2a_agent.serving() as agent:
        added = dizuo("tool", "add", "weather", "--a2a", agent.url, "--token", "-", stdin=SECRET + "\n")
        assert added.status == 0, added.err
        assert "weather__ask · acts · not approved" in added.out
        assert "Ask the agent Weather. Knows the weather." in added.out
        assert "card_sha256" in added.out
        agent.card.description = "Knows your weather."
        assert "Offered: weather__ask" in dizuo("tool", "approve", "weather", "--yes").out
        agent.card.description = "Knows all weather."
        shown = dizuo("tool", "show", "weather", "--language", "zh").out
        assert "批准后有变化" in shown
        assert "+ Ask the agent Weather. Knows all weather." in shown
        assert {headers.get("authorization") for _path, headers in agent.seen} == {f"Bearer {SECRET}"}
    assert SECRET not in added.out + added.err + dizuo("tool", "list", "--json").out


def test_what_has_changed_is_shown_line_by_line(dizuo: Command, home: Path) -> None:
    from dizuo.agents.listed import ListedTool
    from dizuo.wiring import House

    with House.open() as house:
        house.tool_servers.add("notes", command=[sys.executable, SERVER])
        before = ListedTool(name="look", description="Read one note.", parameters={"type": "object"})
        house.tool_servers.note_listing("notes", [before])
        house.tool_servers.approve("notes")
    shown = dizuo("tool", "show", "notes", "--language", "zh").out
    assert "notes__look · 只读 · 批准后有变化" in shown
    assert "- Read one note." in shown
    assert "+ Read a note." in shown


def test_a_server_that_does_not_answer_is_kept_and_says_why(dizuo: Command) -> None:
    added = dizuo("tool", "add", "notes", "--command", shlex.join([sys.executable, SERVER, "dies"]))
    assert added.status == 0
    assert "no licence found" in added.out
    assert dizuo("tool", "approve", "notes", "--yes").status == 1


def test_wrong_use_is_told(dizuo: Command, home: Path) -> None:
    from dizuo.wiring import House

    with House.open() as house:
        house.providers.add("acme", base_url="http://127.0.0.1:9/v1")
    assert "by a command, by a URL, or as an agent" in dizuo("tool", "add", "notes").err
    assert "NAME=VALUE" in dizuo("tool", "add", "notes", "--command", "x", "--env", "KEY").err
    assert "cannot be read" in dizuo("tool", "add", "notes", "--command", "x 'y").err
    assert "There is no tool 'notes'" in dizuo("agent", "run", "Look.", "--model", "acme/x", "--tool", "notes").err
