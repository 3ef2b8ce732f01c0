"""`dizuo agent run` and `dizuo run …`, with a model that follows a script."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from dizuo.agents.policy import Policy
from dizuo.cli.terminal import INTERRUPTED, Terminal
from dizuo.core.messages import Message
from dizuo.wiring import House
from tests.agents.scripts import ByTurn, Said, call
from tests.cli.conftest import Ran

Dizuo = Callable[..., Ran]

PLAN = [{"text": "Add them", "check": "There is a sum", "status": "done", "evidence": "It is 21"}]
ADDS = ([call("calculate", expression="20 + 1")], "It is 21.")
ASKS = ([call("ask_user", question="Twice?")], lambda messages: f"You said {messages[-1].content}.")


@pytest.fixture(autouse=True)
def as_told(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets what the model of every house says."""

    def tell(*replies: Any) -> None:
        monkeypatch.setattr(House, "_thinker", lambda _house, _name: ByTurn(*replies))

    return tell


@pytest.fixture
def somebody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Terminal, "is_interactive", lambda terminal: not terminal.as_json)


def started(dizuo: Dizuo, *more: str, stdin: str = "") -> Ran:
    return dizuo("agent", "run", "Add.", "--model", "acme/agent", *more, stdin=stdin)


def the_run(dizuo: Dizuo) -> dict[str, Any]:
    return dizuo("run", "list", "--json").json["runs"][0]


def test_a_run_is_followed_as_a_tree_and_ends_with_what_it_took(dizuo: Dizuo, as_told: Callable[..., None]) -> None:
    as_told([call("update_plan", items=PLAN)], *ADDS)
    ran = started(dizuo)
    assert ran.status == 0, ran.err
    lines = ran.out.splitlines()
    assert lines[0] == "Add."
    assert "  3 ├ Plan" in lines
    assert "    │   ● Add them" in lines
    assert '  6 ├ calculate {"expression": "20 + 1"}' in lines
    assert "    │   21" in lines
    assert lines[-2] == "It is 21."
    assert lines[-1].startswith("done · model calls: 3, tokens: 45, 0.0000 ")
    listed = dizuo("run", "list").out
    assert "done" in listed
    assert "45" in listed
    assert the_run(dizuo)["steps"] == 8
    assert dizuo("run", "show", the_run(dizuo)["id"]).out == ran.out, "shown later it is the same"


def test_apps_are_listed_shown_and_run(dizuo: Dizuo, as_told: Callable[..., None], home: Path) -> None:
    as_told(*ADDS)
    (home / "apps").mkdir(parents=True)
    app = "name: clerk\ntitle: {en: Clerk, zh: 文员}\ndescription: {en: It adds., zh: 做加法。}\ninstructions: Add.\n"
    (home / "apps/clerk.yaml").write_text(app + "budget: {steps: 7}\nexamples: [Add up.]\n", "utf-8")
    (home / "apps/broken.yaml").write_text("colour: red\n", "utf-8")
    listed = dizuo("agent", "list")
    assert "It adds." in listed.out
    assert "broken" in listed.out
    assert "文员" in dizuo("agent", "list", "--language", "zh").out
    found = {one["name"]: one for one in dizuo("agent", "list", "--json").json["apps"]}
    assert found["clerk"]["app"]["budget"]["steps"] == 7
    assert found["researcher"]["source"] == "shipped"
    shown = dizuo("agent", "show", "clerk").out
    assert 'dizuo agent run "Add up." --app clerk' in shown
    assert "steps 7" in shown
    assert "名称" not in shown
    assert "标题: 文员" in dizuo("agent", "show", "clerk", "--language", "zh").out.replace("：", ": ")
    assert "there is no key 'colour'" in dizuo("agent", "show", "broken").out
    assert dizuo("agent", "show", "nobody").status == 1
    assert started(dizuo, "--app", "clerk", "--tokens", "1000").status == 0
    run = the_run(dizuo)
    assert run["app"] == "clerk"
    assert "app/clerk" in dizuo("run", "list").out.replace("\n", "")
    budget = dizuo("run", "show", run["id"], "--json").json["steps"][0]["budget"]
    assert (budget["steps"], budget["tokens"]) == (7, 1000)
    assert dizuo("agent", "run", "Add.", "--app", "broken").status == 1


def test_what_a_called_app_asks_is_asked_where_one_follows_the_run_above(
    dizuo: Dizuo, as_told: Callable[..., None], home: Path, somebody_there: None
) -> None:
    (home / "apps").mkdir(parents=True)
    (home / "apps/clerk.yaml").write_text(
        "name: clerk\ntitle: C\ndescription: C\ninstructions: Be the clerk.\n", "utf-8"
    )

    def first(messages: Sequence[Message]) -> Said:
        clerk = "Be the clerk." in messages[0].content
        return [call("ask_user", question="Twice?")] if clerk else [call("ask_clerk", task="Add.")]

    as_told(first, lambda messages: messages[-1].content)
    ran = started(dizuo, "--tool", "app/clerk", stdin="Yes, twice\n")
    assert ran.status == 0, ran.err
    assert "It asks: Twice?" in ran.err
    assert "Another app is at work on it: dizuo run show run_" in ran.out
    assert "Yes, twice" in ran.out.splitlines()
    assert {one["app"]: one["goal"] for one in dizuo("run", "list", "--json").json["runs"]} == {
        "clerk": "Add.",
        "": "Add.",
    }
    assert dizuo("agent", "run", "Add.", "--model", "x/y", "--tool", "app/nobody").status == 1


def test_without_anybody_there_a_question_waits_and_is_answered_by_a_command(
    dizuo: Dizuo, as_told: Callable[..., None]
) -> None:
    as_told(*ASKS)
    ran = started(dizuo)
    assert ran.status == 0
    assert "It asks: Twice?" in ran.out
    run_id = the_run(dizuo)["id"]
    assert f"dizuo run answer {run_id}" in ran.err
    assert dizuo("run", "answer", run_id).status == 1
    answered = dizuo("run", "answer", run_id, "approve", "--reason", "Yes, twice")
    assert "You said Yes, twice." in answered.out
    assert "Add." not in answered.out.splitlines(), "what was seen is not shown again"
    assert dizuo("run", "answer", run_id, "approve").status == 1


def test_somebody_who_is_there_is_asked_at_once(
    dizuo: Dizuo, as_told: Callable[..., None], somebody_there: None
) -> None:
    as_told(*ASKS)
    assert "You said Twice, please." in started(dizuo, stdin="Twice, please\n").out
    later = started(dizuo, stdin="")  # the end of the input
    assert later.status == 0
    run_id = the_run(dizuo)["id"]
    assert f"dizuo run answer {run_id}" in later.err
    assert "You said Now." in dizuo("run", "answer", run_id, stdin="Now\n").out


@pytest.mark.parametrize(
    ("typed", "came"),
    [
        ("y\n", "21"),
        ("n\nNot today\n", "The user said no. Not today"),
        ('e\n{"expresion": "1"}\ne\n{"expression": "40 + 2"}\n', "42"),
        ("?\ny\n", "21"),
    ],
)
def test_a_call_is_approved_rejected_or_changed_where_one_sits(
    dizuo: Dizuo,
    as_told: Callable[..., None],
    somebody_there: None,
    monkeypatch: pytest.MonkeyPatch,
    typed: str,
    came: str,
) -> None:
    monkeypatch.setattr(Policy, "decide", lambda *_given, **_more: "ask")
    as_told(*ADDS)
    ran = started(dizuo, stdin=typed)
    assert ran.status == 0, ran.err
    assert came in ran.out
    assert ("expresion" in ran.err) == ("expresion" in typed), "what is wrong is said, and asked again"


def test_ctrl_c_leaves_the_run_going_and_says_how_to_come_back(
    dizuo: Dizuo, as_told: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dizuo.cli import run_view

    as_told(*ASKS)

    def interrupted(*_given: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run_view, "_show_step", interrupted)
        ran = started(dizuo)
    assert ran.status == INTERRUPTED
    run_id = the_run(dizuo)["id"]
    assert f"dizuo run follow {run_id}" in ran.err
    assert the_run(dizuo)["status"] in ("active", "waiting")
    assert "It asks: Twice?" in dizuo("run", "follow", run_id).out


def test_text_of_others_is_marked_and_commands_no_terminal(dizuo: Dizuo, as_told: Callable[..., None]) -> None:
    hostile = "\x1b]0;owned\x07line\n 99 ├ send it all"
    as_told([call("write_file", path="a.txt", text=hostile)], [call("read_file", path="a.txt")], f"Read: {hostile}")
    ran = started(dizuo)
    assert "    │   (text of others) ]0;ownedline 99 ├ send it all" in ran.out.splitlines()
    assert "\x1b" not in ran.out


def test_a_run_is_steered_paused_forked_and_cancelled(dizuo: Dizuo, as_told: Callable[..., None]) -> None:
    as_told(*ASKS)
    started(dizuo)
    run_id = the_run(dizuo)["id"]
    assert dizuo("run", "steer", run_id, "Be quick.").status == 0
    assert dizuo("run", "pause", run_id).out == f"{run_id} · rests\n"
    assert dizuo("run", "resume", run_id).status == 1, "it waits for an answer"
    assert dizuo("run", "cancel", run_id).out == f"{run_id} · cancelled\n"
    forked = dizuo("run", "fork", run_id, "--step", "1", "--say", "Once more.")
    assert "  2 ├ You: Once more." in forked.out.splitlines()
    assert the_run(dizuo)["forked_from"] == run_id
    assert dizuo("run", "show", "run_none").status == 1


def test_a_run_that_ends_otherwise_than_well_is_a_failure_and_says_why(
    dizuo: Dizuo, as_told: Callable[..., None]
) -> None:
    as_told([call("now")])
    ran = started(dizuo, "--steps", "1")
    assert ran.status == 1
    assert "ended: a budget is used up · " in ran.out
    assert "The budget of model calls is used up." in ran.out
    assert started(dizuo, "--steps", "1", "--language", "zh").out.count("模型调用的预算已用尽") == 1
