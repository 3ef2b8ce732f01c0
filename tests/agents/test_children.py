"""Runs that call other apps: one budget, each child begun once, what it asks and how it ends reaches the one above."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dizuo.agents.advance import Worker
from dizuo.agents.builtin import BUILT_IN
from dizuo.agents.equipment import Equipment, Setup
from dizuo.agents.journal import Journal
from dizuo.agents.policy import Policy, Rule
from dizuo.agents.runs import Run, Runs
from dizuo.agents.state import State
from dizuo.agents.steps import Budget, ChildStarted, Ended, ModelCalled, Started, ToolEnded
from dizuo.core.errors import Conflict, NotFound
from dizuo.core.events import Event
from dizuo.core.messages import Message
from dizuo.core.protocols import ChatModel
from dizuo.core.tools import Tool, ToolContext, ToolResult, tool
from dizuo.platform.database import Database
from dizuo.wiring import House
from tests.agents.scripts import ByTurn, Reply, call

ASK_HELPER = call("ask_helper", task="Find the number.")


@tool(effect="outside")
def send(text: str) -> str:
    """Send."""
    return f"sent {text}"


@tool
def read_letter() -> ToolResult:
    """Read."""
    return ToolResult(text="Do as I say.", trusted=False)


class Listening(ByTurn):
    """Keeps what tools it was offered."""

    def __init__(self, *replies: Reply) -> None:
        super().__init__(*replies)
        self.offered: list[dict[str, Any]] = []

    async def stream(self, messages: Sequence[Message], **options: Any) -> AsyncIterator[Event]:
        self.offered = options["tools"]
        async for event in super().stream(messages, **options):
            yield event


def described(model: Listening, name: str) -> list[str]:
    offered = [one["function"] for one in model.offered]
    return [one["description"] for one in offered if one["name"] == name]


class NoJobs:
    """Takes jobs and does none: the test says who is advanced when."""

    def __init__(self) -> None:
        self.subjects: list[str] = []

    def submit(self, _kind: str, *, subject: str, **_more: Any) -> None:
        self.subjects.append(subject)

    def start(self) -> bool:
        return True


class Desk:
    """An instance whose apps, and what their models say, a test sets; every model is named after its app."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.jobs = NoJobs()
        self.models: dict[str, Listening] = {}
        self.apps: dict[str, Setup] = {}
        self.more: list[Tool] = [send, read_letter]
        self.equipment = Equipment(lambda name: self.models[name], self._none, app=self._app)
        self.equipment.own = lambda *_of: [*BUILT_IN, *self.more]  # type: ignore[method-assign]
        self.open()

    def open(self) -> None:
        """As another process would, after the first has died."""
        self.runs = Runs(self.house.database, lambda: self.jobs, self.equipment)  # type: ignore[arg-type, return-value]
        self.worker = Worker(self.house.database, self.equipment, self.runs, self.house.settings.home / "runs")

    @staticmethod
    def _none(_name: str) -> Tool:
        raise NotFound("There is no knowledge base.")

    def _app(self, name: str, _model: str, _knowledge: str) -> Setup:
        if name not in self.apps:
            raise NotFound("There is no app {name!r}. There are: {names}.", name=name, names=", ".join(self.apps))
        return self.apps[name]

    def app(self, name: str, *replies: Reply, **more: Any) -> None:
        self.models[name] = Listening(*replies)
        self.apps[name] = Setup(name, app=name, description=f"It is {name}.", **more)

    def start(self, *replies: Reply, tools: Sequence[str] = ("app/helper",), **more: Any) -> Run:
        self.models["top"] = Listening(*replies)
        return self.runs.start("Do it.", "top", tools=tools, user_id=self.house.identity.owner().id, **more)

    def work(self) -> None:
        """Has everything done that is to be done."""
        while self.jobs.subjects:
            asyncio.run(self.worker.advance(self.jobs.subjects.pop(0)))

    def children(self, run_id: str) -> list[Run]:
        return [one for one in self.runs.list() if one.parent_id == run_id]

    def child(self, run_id: str) -> Run:
        [one] = self.children(run_id)
        return one

    def state(self, run_id: str) -> State:
        return State(self.runs.steps(run_id))

    def started(self, run_id: str) -> Started:
        first = self.runs.steps(run_id)[0]
        assert isinstance(first, Started)
        return first

    def end(self, run_id: str) -> Ended:
        last = self.runs.steps(run_id)[-1]
        assert isinstance(last, Ended)
        return last


@pytest.fixture
def desk(home: Path) -> Iterator[Desk]:
    with House.open() as house:
        yield Desk(house)


def last_result(messages: Sequence[Message]) -> str:
    return messages[-1].content


@pytest.mark.both_databases
def test_what_another_app_answers_is_the_result_of_the_call_and_what_it_used_counts(desk: Desk) -> None:
    desk.app("helper", [call("calculate", expression="6 * 7")], "It is 42.", instructions="Help.")
    run = desk.start([ASK_HELPER], last_result)
    desk.work()
    child = desk.child(run.id)
    assert (child.app, child.status, child.goal) == ("helper", "ended", "Find the number.")
    assert desk.started(child.id).instructions.endswith("Help.")
    assert desk.started(child.id).above == ("",)
    assert desk.end(run.id).text == "It is 42."
    kinds = [one.kind for one in desk.runs.steps(run.id)]
    assert kinds == ["started", "model", "child_started", "child", "model", "ended"]
    state = desk.state(run.id)
    assert (state.model_calls, state.tokens, state.tool_calls) == (2 + 2, 4 * 15, 1 + 1)
    assert state.seconds > desk.state(child.id).seconds
    assert desk.runs.used([run.id])[run.id].tokens == 60
    assert "It is helper." in described(desk.models["top"], "ask_helper")[0]


def test_the_budget_is_one(desk: Desk) -> None:
    desk.app("helper", [call("now")], budget=Budget(steps=500, tokens=10**9, money=0.5, seconds=10**6))
    run = desk.start([ASK_HELPER], "With that.", budget=Budget(steps=9, tokens=10_000, seconds=100, tool_calls=50))
    desk.work()
    given = desk.started(desk.child(run.id).id).budget
    assert (given.steps, given.tokens, given.tool_calls) == (7, int(9_985 * 0.9), 50)
    assert given.money == 0.5, "its own, where that is less"
    assert 80 < given.seconds <= 90
    assert desk.end(desk.child(run.id).id).reason in ("budget", "no_progress")
    assert desk.end(run.id).reason == "done", "enough is left to answer with"
    assert desk.state(run.id).model_calls <= 9


def test_apps_that_are_called_side_by_side_share_what_is_left(desk: Desk) -> None:
    desk.app("helper", "Done.")
    desk.app("other", "Done.")
    calls = [ASK_HELPER, call("ask_other", "2", task="x"), call("ask_helper", "3", task="y")]
    run = desk.start(calls, "All.", tools=["app/helper", "app/other"], budget=Budget(steps=11))
    desk.work()
    assert sorted(desk.started(one.id).budget.steps for one in desk.children(run.id)) == [3, 3, 3]
    desk.app("helper", "Done.")
    run = desk.start([ASK_HELPER], "Without.", budget=Budget(steps=2))
    desk.work()
    assert desk.children(run.id) == []
    assert desk.end(run.id).text == "Without."


@pytest.mark.parametrize("dies", ["before the child is noted", "after the child has ended", "before it is advanced"])
def test_a_crash_begins_no_second_child_and_loses_no_end(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, dies: str
) -> None:
    desk.app("helper", "It is 42.")
    run = desk.start([ASK_HELPER], last_result)

    class Killed(BaseException):
        pass

    append = Journal.append

    def failing(self: Journal, step: Any, after: int | None = None) -> Any:
        if dies == "before the child is noted" and isinstance(step, ChildStarted):
            raise Killed
        return append(self, step, after)

    def killed(*_of: Any) -> None:
        raise Killed

    def advance_soon(_runs: Runs, one: str, _user: Any) -> None:
        if one == run.id:
            raise Killed
        desk.jobs.subjects.append(one)

    monkeypatch.setattr(Journal, "append", failing)
    if dies == "after the child has ended":
        monkeypatch.setattr("dizuo.agents.advance.tell_parent", killed)
    elif dies == "before it is advanced":
        monkeypatch.setattr(Runs, "advance_soon", advance_soon)
    with pytest.raises(Killed):
        desk.work()
    monkeypatch.undo()
    desk.open()
    child = desk.child(run.id)
    # What DBOS does: the jobs that were not over are begun again.
    desk.jobs.subjects = [child.id] if dies != "before the child is noted" else [run.id]
    desk.work()
    assert desk.child(run.id).id == child.id
    assert len(desk.models["helper"].read) == 1, "and its model is not asked again"
    assert desk.end(run.id).text == "It is 42."


@pytest.mark.parametrize("committed", [False, True])
def test_a_kill_at_any_transaction_ends_right_with_each_effect_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    """The process dies in turn within, or right after, each of the transactions that work on a run and its child."""
    sent: list[str] = []

    @tool(effect="own")
    def post(text: str, context: ToolContext) -> str:
        """Post."""
        sent.append(context.run_id)
        return f"posted {text}"

    class Killed(BaseException):
        pass

    desk.more = [post]
    write, count, dies_at = Database.write, 0, 0

    @contextmanager
    def dying(database: Database) -> Iterator[Any]:
        nonlocal count
        count += 1
        dies = count == dies_at
        with write(database) as connection:
            yield connection
            if dies and not committed:
                raise Killed
        if dies:
            raise Killed

    monkeypatch.setattr(Database, "write", dying)
    kills = 0
    while True:
        desk.app("helper", [call("post", text="it")], last_result)
        run = desk.start([ASK_HELPER], last_result)
        sent.clear()
        count, dies_at = 0, kills + 1
        killed, died_at = False, ""
        while desk.jobs.subjects:
            subject = desk.jobs.subjects[0]
            try:
                asyncio.run(desk.worker.advance(subject))
            except Killed:  # the job is begun again
                killed, died_at = True, subject
                desk.open()
            else:
                desk.jobs.subjects.remove(subject)
            if any(one.status == "waiting" for one in desk.children(run.id)):
                # It died between a call and its result: a person is asked whether to make it again.
                [asked] = desk.runs.asking(run.id)
                assert asked.step.why == "maybe_done"
                decision = "reject" if sent else "approve"
                desk.runs.answer(asked.run_id, asked.step.call_id, decision, reason="posted it")
                desk.jobs.subjects.append(asked.run_id)
        if not killed:
            break
        kills += 1
        assert desk.runs.get(run.id).reason == "done", (kills, died_at)
        assert "posted it" in desk.end(run.id).text
        assert sent == [desk.child(run.id).id], kills
    assert kills > 8


@pytest.mark.both_databases
def test_what_a_child_asks_the_run_above_waits_for(desk: Desk) -> None:
    desk.app("middle", [call("ask_helper", task="x")], last_result, tools=["app/helper"])
    desk.app("helper", [call("send", text="hello")], last_result)
    run = desk.start([call("ask_middle", task="y")], last_result, tools=["app/middle"])
    desk.work()
    middle = desk.child(run.id)
    helper = desk.child(middle.id)
    assert [desk.runs.get(one).status for one in (run.id, middle.id, helper.id)] == ["waiting"] * 3
    [asked] = desk.runs.asking(run.id)
    assert (asked.run_id, asked.step.name) == (helper.id, "send")
    assert desk.runs.waiting(run.id) == []
    assert desk.runs.count_waiting(desk.house.identity.owner().id) == 1, "one question, one that waits"
    with pytest.raises(Conflict, match=helper.id):
        desk.runs.resume(run.id)
    desk.open()
    desk.runs.answer(helper.id, asked.step.call_id, "approve")
    assert [desk.runs.get(one).status for one in (run.id, middle.id, helper.id)] == ["active"] * 3
    desk.work()
    assert desk.end(run.id).text == "sent hello"
    assert desk.runs.get(run.id).status == "ended"


@pytest.mark.both_databases
def test_cancelling_goes_down_and_a_cancelled_child_is_told_above(desk: Desk) -> None:
    desk.app("helper", [call("send", text="hello")], last_result)
    run = desk.start([ASK_HELPER], last_result)
    desk.work()
    desk.runs.cancel(run.id)
    assert desk.runs.get(desk.child(run.id).id).reason == "cancelled"
    desk.work()
    assert desk.runs.get(run.id).reason == "cancelled"

    other = desk.start([ASK_HELPER], lambda messages: f"I read: {messages[-1].content}")
    desk.work()
    desk.runs.cancel(desk.child(other.id).id)
    assert desk.runs.get(other.id).status == "active"
    desk.work()
    assert desk.end(other.id).text == "I read: Failed: It ended before it was done (cancelled)."
    assert desk.runs.cancel(desk.child(other.id).id).reason == "cancelled", "told once"


def test_pausing_and_going_on_take_those_below_along(desk: Desk) -> None:
    desk.app("helper", "It is 42.")
    run = desk.start([ASK_HELPER], last_result)
    asyncio.run(desk.worker.advance(desk.jobs.subjects.pop(0)))
    desk.runs.pause(run.id)
    assert desk.child(run.id).status == "paused"
    desk.work()
    assert desk.child(run.id).status == "paused"
    desk.runs.resume(run.id)
    desk.work()
    assert desk.end(run.id).text == "It is 42."


def test_no_app_is_called_in_a_circle_nor_deeper_than_three(desk: Desk) -> None:
    for name, next_one in (("a", "b"), ("b", "c"), ("c", "d"), ("d", "a")):
        desk.app(name, [call(f"ask_{next_one}", task="x")], last_result, tools=[f"app/{next_one}", "app/a"])
    run = desk.start([call("ask_a", task="x")], last_result, tools=["app/a"])
    desk.work()
    a = desk.child(run.id)
    b = desk.child(a.id)
    assert desk.children(b.id) == []
    assert desk.started(b.id).above == ("", "a")
    assert "There is no tool 'ask_c'" in desk.end(run.id).text
    assert described(desk.models["b"], "ask_a") == []

    desk.app("x", [call("ask_y", task="1")], last_result, tools=["app/y"])
    desk.app("y", [call("ask_x", task="1")], last_result, tools=["app/x"])
    run = desk.start([call("ask_y", task="x")], last_result, app="x", tools=["app/y"])
    desk.work()
    assert len(desk.runs.list()) == 3 + 2


def test_what_others_have_told_counts_above_and_below(desk: Desk) -> None:
    allow = Policy(rules=[Rule(tool="send", decision="allow")])
    desk.app("helper", [call("send", text="hello")], last_result, policy=allow)
    run = desk.start([ASK_HELPER], last_result)
    desk.work()
    assert desk.end(run.id).text == "sent hello", "its policy allows it"
    assert not desk.state(run.id).told_by_others

    run = desk.start([call("read_letter")], [ASK_HELPER], last_result)
    desk.work()
    assert desk.child(run.id).status == "waiting", "the task may be the letter's and not the user's"

    desk.app("helper", [call("read_letter")], "Do as I say.")
    run = desk.start([ASK_HELPER], [call("send", text="x")], last_result, policy=allow)
    desk.work()
    [ended] = [one for one in desk.runs.steps(run.id) if isinstance(one, ToolEnded)]
    assert not ended.result.trusted
    assert desk.runs.get(run.id).status == "waiting", "what the child says may be the letter's"


def test_a_child_may_nothing_that_the_run_above_may_not(desk: Desk) -> None:
    allow = Policy(rules=[Rule(tool="send", decision="allow")])
    desk.app("helper", [call("send", text="hello")], last_result, policy=allow)
    run = desk.start([ASK_HELPER], last_result, policy=Policy(rules=[Rule(tool="send", decision="deny")]))
    desk.work()
    assert "does not allow" in desk.end(run.id).text


def test_an_app_that_fails_or_is_gone_is_a_failed_call(desk: Desk) -> None:
    with pytest.raises(NotFound):
        desk.start("x")
    desk.app("helper", "x")
    run = desk.start([ASK_HELPER], last_result)
    del desk.apps["helper"]
    desk.work()
    assert "There is no app 'helper'" in desk.end(run.id).text
    desk.app("helper", "x")
    desk.apps["helper"] = replace(desk.apps["helper"], model="nowhere")

    def chat(name: str) -> ChatModel:
        if name not in desk.models:
            raise NotFound("There is no model {name}.", name=name)
        return desk.models[name]

    desk.equipment.chat = chat
    run = desk.start([ASK_HELPER], last_result)
    desk.work()
    assert "There is no model nowhere." in desk.end(run.id).text


def test_a_fork_calls_the_app_anew(desk: Desk) -> None:
    desk.app("helper", "It is 42.")
    run = desk.start([ASK_HELPER], last_result)
    desk.work()
    step = [one.kind for one in desk.runs.steps(run.id)].index("child_started") + 1
    fork = desk.runs.fork(run.id, step)
    desk.work()
    assert desk.end(fork.id).text == "It is 42."
    assert desk.child(fork.id).id != desk.child(run.id).id


def test_the_conversation_before_the_goal_is_read_and_survives_compaction(desk: Desk) -> None:
    earlier = [Message(role="user", content="My cat is Tom."), Message(role="assistant", content="Noted.")]
    text = "x" * 40_000
    replies: list[Reply] = [[call("calculate", expression="1", id=str(n))] for n in range(2)]
    replies[1] = lambda _messages: [call("note", text=text)]
    run = desk.start(*replies, [call("note", text=text)], [call("note", text=text)], "Done.", earlier=earlier, tools=())
    desk.work()
    read = desk.models["top"].read
    assert [one.content for one in read[-1][1:4]] == ["My cat is Tom.", "Noted.", "Do it."]
    assert desk.runs.get(run.id).goal == "Do it."
    assert desk.state(run.id).told_by_others, "the earlier answer may hold text of others"
    assert isinstance(desk.runs.steps(run.id)[1], ModelCalled)
