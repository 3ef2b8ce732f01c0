"""The agents that come with the package: whole, in both languages, and held to what they promise."""

from pathlib import Path

import pytest

from dizuo.agents.builtin import BUILT_IN, BY_NAME
from dizuo.agents.file_tools import move_files
from dizuo.agents.policy import Policy, Rule
from dizuo.apps.app import ASK, App, Apps

READY = {one.name: one for one in Apps(Path("/nowhere")).usable()}


def test_three_agents_are_ready() -> None:
    assert {"researcher", "data-analyst", "file-organiser"} <= set(READY)


@pytest.mark.parametrize("app", READY.values(), ids=READY)
def test_it_speaks_both_languages_and_its_tools_are_there(app: App) -> None:
    for words in (app.title, app.description, *app.examples):
        assert words.en.isascii()
        assert not words.zh.isascii()
    assert len(app.examples) >= 2
    assert set(app.tools) <= set(BY_NAME)
    named = {rule.tool for rule in app.policy.rules}
    assert named <= {*BY_NAME, *(one.name for one in BUILT_IN)}


def test_the_researcher_wants_a_knowledge_base_named() -> None:
    assert READY["researcher"].knowledge == ASK


def test_the_organiser_asks_before_it_moves_and_can_move_in_no_other_way() -> None:
    policy = READY["file-organiser"].policy
    assert policy.decide(move_files, "{}") == "ask"
    # Code could move files without being asked about, and a file that is written may take the place of another.
    tools = {one.name: one for one in BUILT_IN}
    for name in ("run_python", "write_file"):
        assert policy.decide(tools[name], "{}") == "deny"
    loosened = policy.loosened([Rule(tool="*", decision="allow")])
    assert isinstance(loosened, Policy)
    assert loosened.decide(tools["run_python"], "{}") == "deny"
    assert loosened.decide(move_files, "{}", told_by_others=True) == "ask"  # as it is once it has listed files
