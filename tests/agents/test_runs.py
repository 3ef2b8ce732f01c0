"""Runs: accepted, advanced, killed, gone on with; each step written once, each effect happens once."""

import asyncio
import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dizuo.agents.advance import Worker
from dizuo.agents.builtin import BUILT_IN
from dizuo.agents.equipment import Equipment
from dizuo.agents.journal import Journal
from dizuo.agents.policy import Policy, Rule
from dizuo.agents.run_tools import run_tools
from dizuo.agents.runs import Run, Runs, Used
from dizuo.agents.steps import Budget, Ended, PlanItem
from dizuo.core.errors import Conflict, NotFound, UserError
from dizuo.core.protocols import ChatModel
from dizuo.core.tools import Tool, ToolContext, tool
from dizuo.wiring import House
from tests.agents.scripts import ByTurn, call

ALLOW = Policy(rules=[Rule(tool="*", decision="allow")])
TEN = [[call("write_file", path=f"{n}.txt", text=f"text {n}")] for n in range(9)]


class Desk:
    """An instance with agents whose model and tools a test sets."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.model: ChatModel = ByTurn("Done.")
        self.more: list[Tool] = []
        self.equipment = equipment = Equipment(lambda _name: self.model, self._none)
        equipment.own = lambda *_of: [*BUILT_IN, *self.more]  # type: ignore[method-assign]
        self.runs = Runs(house.database, lambda: house.jobs, equipment)
        self.worker = Worker(house.database, equipment, self.runs, house.settings.home / "runs")

    @staticmethod
    def _none(_name: str) -> Tool:
        raise NotFound("There is no knowledge base.")

    def start(self, **more: Any) -> Run:
        return self.runs.start("Do it.", "scripted/agent", **more)

    def advance(self, run_id: str) -> Run:
        asyncio.run(self.worker.advance(run_id, lambda: None))
        return self.runs.get(run_id)


@pytest.fixture
def desk(home: Path) -> Iterator[Desk]:
    with House.open() as house:
        yield Desk(house)


def kinds(desk: Desk, run_id: str) -> list[str]:
    return [step.kind for step in desk.runs.steps(run_id)]


def end(desk: Desk, run_id: str) -> Ended:
    last = desk.runs.steps(run_id)[-1]
    assert isinstance(last, Ended)
    return last


@pytest.mark.both_databases
def test_a_run_is_written_down_step_by_step(desk: Desk) -> None:
    desk.model = ByTurn([call("calculate", expression="6 * 7")], "It is 42. \ud83d\0")
    run = desk.advance(desk.start().id)
    assert kinds(desk, run.id) == ["started", "model", "tool", "model", "ended"]
    assert (run.status, run.reason) == ("ended", "done")
    assert end(desk, run.id).text == "It is 42. ?\0"  # half a character is none


def test_a_run_is_advanced_by_the_worker_and_can_be_followed(home: Path) -> None:
    with House.open() as house:
        house.equipment.chat = lambda _name: ByTurn([call("calculate", expression="1 + 1")], "Two.")
        run = house.runs.start("Add.", "scripted/agent")
        assert [step.kind for step in house.runs.follow(run.id)][-1] == "ended"
        assert house.runs.get(run.id).reason == "done"


@pytest.mark.both_databases
def test_what_runs_have_used_and_which_wait_is_told_without_reading_them_all(desk: Desk) -> None:
    owner = desk.house.identity.owner().id
    desk.more = [send]
    desk.model = ByTurn([call("calculate", expression="1 + 1")], [call("send", text="x")], "Done. \ud83d")
    run, other = desk.start(user_id=owner), desk.start()
    desk.advance(run.id)
    used = desk.runs.used([run.id, other.id, "run_none"])
    assert used[run.id] == Used(steps=5, tokens=30)
    assert used[other.id] == Used(steps=1)
    assert used["run_none"] == Used()
    assert desk.runs.count_waiting(owner) == 1
    assert desk.runs.count_waiting(owner + 1) == 0
    assert [(one.name, one.given) for one in run_tools(desk.equipment) if one.asks] == [("send", True)]


@pytest.mark.parametrize("goal", ["", "  \n", "x" * 100_001])
def test_a_goal_says_something(desk: Desk, goal: str) -> None:
    with pytest.raises(UserError):
        desk.runs.start(goal, "scripted/agent")


def test_another_users_run_is_not_found(desk: Desk) -> None:
    owner = desk.house.identity.owner().id
    run = desk.start(user_id=owner)
    assert desk.runs.get(run.id, owner) == run
    for act in (desk.runs.get, desk.runs.cancel, desk.runs.pause, desk.runs.resume):
        with pytest.raises(NotFound):
            act(run.id, owner + 1)
    assert desk.runs.list(owner + 1) == []


def test_a_question_survives_a_restart_and_its_answer_goes_on(desk: Desk) -> None:
    desk.model = ByTurn([call("ask_user", question="Which year?")], "2024.")
    run = desk.advance(desk.start().id)
    assert run.status == "waiting"
    again = Desk(desk.house)  # nothing is kept but what is written
    again.model = desk.model
    [asked] = again.runs.waiting(run.id)
    again.runs.answer(run.id, asked.call_id, "approve", reason="2024")
    assert again.advance(run.id).reason == "done"
    with pytest.raises(Conflict):
        again.runs.answer(run.id, asked.call_id, "approve")


def test_arguments_that_a_person_gives_are_checked(desk: Desk) -> None:
    desk.more, desk.model = [send], ByTurn([call("send", text="b")], "Done.")
    run = desk.advance(desk.start().id)
    [asked] = desk.runs.waiting(run.id)
    with pytest.raises(Exception, match="do not fit"):
        desk.runs.answer(run.id, asked.call_id, "approve", arguments='{"text": 1}')
    assert desk.runs.waiting(run.id) == [asked]


def test_a_cancelled_run_ends_with_the_best_answer_so_far_and_stays_ended(desk: Desk) -> None:
    desk.model = ByTurn([call("ask_user", question="?")], "Done.")
    run = desk.advance(desk.start().id)
    assert desk.runs.cancel(run.id).reason == "cancelled"
    assert desk.advance(run.id).reason == "cancelled"
    assert kinds(desk, run.id).count("ended") == 1
    with pytest.raises(Conflict, match="fork"):
        desk.runs.resume(run.id)


def test_a_run_is_cancelled_in_the_midst_of_a_call(desk: Desk) -> None:
    begun = asyncio.Event()

    @tool
    async def endless() -> str:
        """Never end."""
        begun.set()
        await asyncio.sleep(60)
        return ""

    desk.more, desk.model = [endless], ByTurn([call("endless")], "Done.")
    run = desk.start()

    async def both() -> None:
        advancing = asyncio.ensure_future(desk.worker.advance(run.id, lambda: None))
        await begun.wait()
        desk.runs.cancel(run.id)
        await asyncio.wait_for(advancing, 5)

    asyncio.run(both())
    assert kinds(desk, run.id) == ["started", "model", "ended"]


def test_what_is_said_midway_reaches_the_model_before_it_answers(desk: Desk) -> None:
    @tool
    def interrupted() -> str:
        """Be interrupted by the user."""
        desk.runs.steer(run.id, "In French, please.")
        return "ok"

    model = ByTurn([call("interrupted")], "Voilà.")
    desk.more, desk.model = [interrupted], model
    run = desk.start()
    desk.advance(run.id)
    assert "In French, please." in [message.content for message in model.read[-1]]
    assert [step.kind for step in desk.runs.steps(run.id)] == ["started", "model", "steered", "tool", "model", "ended"]


def test_a_paused_run_rests_and_goes_on(desk: Desk) -> None:
    @tool
    def pauses() -> str:
        """Pause."""
        desk.runs.pause(run.id)
        time.sleep(0.5)
        return "ok"

    desk.more, desk.model = [pauses], ByTurn([call("pauses")], "Done.")
    run = desk.start()
    assert desk.advance(run.id).status == "paused"
    desk.more = [tool(name="pauses")(goes_on)]
    assert desk.runs.resume(run.id).status == "active"
    assert desk.advance(run.id).reason == "done"


@tool(effect="outside")
def send(text: str) -> str:
    """Send."""
    return f"sent {text}"


def goes_on() -> str:
    """Go on."""
    return "ok"


def test_a_person_changes_the_plan(desk: Desk) -> None:
    model = ByTurn([call("ask_user", question="?")], "Done.")
    desk.model = model
    run = desk.advance(desk.start().id)
    desk.runs.change_plan(run.id, [PlanItem(text="Rest", check="Rested")])
    desk.runs.answer(run.id, desk.runs.waiting(run.id)[0].call_id, "approve", reason="Yes")
    desk.advance(run.id)
    assert "1. [open] Rest (check: Rested)" in model.read[-1][-1].content


def test_a_fork_shares_the_steps_and_goes_its_own_way(desk: Desk) -> None:
    desk.model = ByTurn([call("calculate", expression="1 + 1")], "Two.", "Deux.")
    run = desk.advance(desk.start().id)
    fork = desk.runs.fork(run.id, text="In French.")
    assert fork.forked_from == run.id
    desk.advance(fork.id)
    assert end(desk, fork.id).text == "Deux."
    assert end(desk, run.id).text == "Two."
    with pytest.raises(UserError, match="steps 1 to 4"):
        desk.runs.fork(run.id, 99)


def test_two_writers_cannot_take_the_same_number(desk: Desk) -> None:
    run = desk.start()
    journal = Journal(desk.house.database, run.id)
    desk.runs.steer(run.id, "One.")
    taken = journal.append(Ended(reason="done", text=""), after=1)
    assert [step.kind for step in taken] == ["steered", "ended"]
    assert [step.kind for step in journal.append(Ended(reason="done", text=""), after=2)] == ["ended"]
    assert kinds(desk, run.id).count("ended") == 1


# --- memory ---------------------------------------------------------------------------------------------------


def test_a_later_run_of_the_same_user_knows_what_an_earlier_one_has_kept(home: Path) -> None:
    with House.open() as house:
        owner = house.identity.owner().id
        first = ByTurn([call("remember", about="tea", fact="She drinks green tea.")], "Noted.")
        house.equipment.chat = lambda _name: first
        run = house.runs.start("Remember that I drink green tea.", "scripted/agent", user_id=owner)
        asyncio.run(house.run_worker.advance(run.id))
        second = ByTurn([call("recall", query="Which tea does she drink?")], lambda messages: messages[-1].content)
        house.equipment.chat = lambda _name: second
        other = house.identity.create_user("bob").id
        for user, knows in ((owner, True), (other, False)):
            run = house.runs.start("Which tea?", "scripted/agent", user_id=user)
            asyncio.run(house.run_worker.advance(run.id))
            assert ("tea: She drinks green tea." in house.runs.steps(run.id)[-1].text) is knows  # type: ignore[union-attr]
        episodes = [one for one in house.memories.list(owner) if one.kind == "episode"]
        assert [one.text.split("\n")[0] for one in episodes] == ["Which tea?", "Remember that I drink green tea."]


# --- kills ----------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """What a kill is within a process: nothing after it happens."""


POINTS = ("before the model", "in the tool, before", "in the tool, after", "before writing", "after writing")


def test_two_hundred_kills_lose_nothing_and_double_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of ten answers, nine of which send; killed at a named point, then gone on with, 200 times over many runs.

    The tool heeds the key that it is given, as a service with idempotency keys does.
    """
    rng = random.Random(20261130)
    sent: dict[str, str] = {}
    state = {"point": "", "left": 0}

    def passes(point: str) -> None:
        if state["point"] == point:
            state["left"] -= 1
            if state["left"] < 0:
                state["point"] = ""
                raise Killed

    @tool(effect="outside", idempotent=True)
    async def send(text: str, context: ToolContext) -> str:
        """Send."""
        passes("in the tool, before")
        sent.setdefault(context.key, text)
        passes("in the tool, after")
        return f"sent {text}"

    class Model(ByTurn):
        async def stream(self, messages: Any, **options: Any) -> Any:
            passes("before the model")
            async for event in super().stream(messages, **options):
                yield event

    append = Journal.append

    def written(self: Journal, *given: Any) -> Any:
        passes("before writing")
        found = append(self, *given)
        passes("after writing")
        return found

    monkeypatch.setattr(Journal, "append", written)
    desk.more, desk.model = [send], Model(*[[call("send", text=str(n))] for n in range(9)], "All sent.")
    kills = ended = 0
    while kills < 200:
        sent.clear()
        run = desk.start(policy=ALLOW)
        while desk.runs.get(run.id).status == "active":
            state["point"], state["left"] = rng.choice(POINTS), rng.randrange(4)
            try:
                desk.advance(run.id)
            except Killed:
                kills += 1
        state["point"] = ""
        ended += 1
        assert end(desk, run.id).text == "All sent."
        assert sorted(sent.values()) == [str(n) for n in range(9)]
        assert kinds(desk, run.id).count("tool") == 9
    assert ended >= 5


def test_a_call_without_a_key_that_may_have_been_made_is_asked_about_and_not_made_again(desk: Desk) -> None:
    sent: list[str] = []

    @tool(effect="outside")
    async def send(text: str) -> str:
        """Send."""
        sent.append(text)
        if len(sent) == 1:
            raise Killed
        return "sent"

    desk.more, desk.model = [send], ByTurn([call("send", text="Hi")], "Done.")
    run = desk.start(policy=ALLOW)
    with pytest.raises(Killed):
        desk.advance(run.id)
    assert desk.advance(run.id).status == "waiting"
    [asked] = desk.runs.waiting(run.id)
    assert asked.why == "maybe_done"
    assert sent == ["Hi"]
    desk.runs.answer(run.id, asked.call_id, "reject", reason="It arrived.")
    assert desk.advance(run.id).reason == "done"
    assert sent == ["Hi"]


WORKER = """
import sys, time
sys.path.insert(0, {root!r})
from dizuo.wiring import House
from tests.agents.scripts import ByTurn, call
from tests.agents.test_runs import ALLOW, TEN
from dizuo.agents.steps import Budget
house = House.open()
house.__enter__()
house.equipment.chat = lambda name: ByTurn(*TEN, "All written.")
if not house.runs.list():
    house.runs.start("Write nine files.", "scripted/agent", policy=ALLOW)
while True:
    house.jobs.start()
    time.sleep(0.02)
"""


@pytest.mark.sqlite_only
def test_a_killed_process_goes_on_from_the_last_step(home: Path) -> None:
    script = WORKER.format(root=str(Path(__file__).parents[2]))

    def steps() -> int:
        try:
            with closing(sqlite3.connect(f"file:{home / 'dizuo.db'}?mode=ro", uri=True, timeout=10)) as connection:
                return connection.execute("SELECT count(*) FROM run_steps").fetchone()[0]
        except sqlite3.OperationalError:
            return 0

    for point in (2, 9, 17, 99):
        process = subprocess.Popen([sys.executable, "-c", script])
        deadline = time.monotonic() + 60
        while steps() < point:
            assert time.monotonic() < deadline, "the run did not go on"
            with House.open() as house:
                if point == 99 and house.runs.list()[0].status == "ended":
                    break
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    with House.open() as house:
        [run] = house.runs.list()
        found = house.runs.steps(run.id)
        files = home / "runs" / run.id
        assert run.reason == "done"
        assert sum(step.kind == "tool" for step in found) == 9
        assert {one.name: one.read_text() for one in files.iterdir()} == {f"{n}.txt": f"text {n}" for n in range(9)}


def test_budgets_reach_the_loop(desk: Desk) -> None:
    desk.model = ByTurn(lambda messages: [call("calculate", expression=f"{len(messages)}")])
    run = desk.advance(desk.start(budget=Budget(steps=2)).id)
    assert (run.reason, end(desk, run.id).detail) == ("budget", "steps")


def test_storage_grows_by_what_is_new(desk: Desk) -> None:
    desk.model = ByTurn(lambda messages: [call("calculate", expression=f"{len(messages)}")])
    run = desk.advance(desk.start(budget=Budget(steps=100)).id)
    sizes = [len(json.dumps(step.model_dump(exclude_defaults=True))) for step in desk.runs.steps(run.id)]
    assert max(sizes[-20:]) <= 2 * max(sizes[1:20])
