"""What runs ask people: found in one place, kept, and refused by time where nobody answers."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dizuo.agents.approvals import Approvals
from dizuo.agents.policy import Policy, Rule
from dizuo.core.errors import Conflict
from dizuo.core.tools import tool
from dizuo.platform import schema
from dizuo.wiring import House
from tests.agents.scripts import ByTurn, call

_TWO = [call("write_file", id="a", path="a.txt", text="A"), call("ask_user", id="b", question="Which year?")]
_ASK_ABOUT_FILES = Policy(rules=[Rule(tool="write_file", decision="ask")])


class Desk:
    """An instance whose runs follow a script, and no worker: a test advances them."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.owner = house.identity.owner().id
        self.read: list[list[Any]] = []

    def say(self, *replies: Any) -> None:
        model = ByTurn(*replies)
        self.read = model.read
        self.house.equipment.chat = lambda _name: model

    def run(self, **more: Any) -> str:
        given = {"user_id": self.owner, "policy": _ASK_ABOUT_FILES, **more}
        run_id = self.house.runs.start("Write it.", "scripted/agent", **given).id
        return self.advance(run_id)

    def advance(self, run_id: str) -> str:
        asyncio.run(self.house.run_worker.advance(run_id))
        return run_id

    def status(self, run_id: str) -> str:
        return self.house.runs.get(run_id).status

    def later(self, hours: float) -> None:
        """Lets that much time pass: what was asked was asked so long ago."""
        with self.house.database.write() as connection:
            rows = connection.execute(schema.run_steps.select().where(schema.run_steps.c.kind == "asked")).all()
            for row in rows:
                data = row.data
                for moment in _moments(data):
                    data = data.replace(moment, _earlier(moment, hours))
                key = (schema.run_steps.c.run_id == row.run_id) & (schema.run_steps.c.number == row.number)
                values = {"data": data, "at": _earlier(row.at, hours)}
                connection.execute(schema.run_steps.update().where(key).values(values))


def _moments(data: str) -> list[str]:
    import json

    return [at for at in [json.loads(data).get("expires_at", "")] if at]


def _earlier(moment: str, hours: float) -> str:
    return (datetime.fromisoformat(moment) - timedelta(hours=hours)).isoformat(timespec="microseconds")


@pytest.fixture
def desk(home: Path) -> Iterator[Desk]:
    with House.open() as house:
        yield Desk(house)


# --- in time --------------------------------------------------------------------------------------------------


@pytest.mark.both_databases
def test_a_question_that_nobody_answers_in_time_is_refused_and_the_model_reads_it(desk: Desk) -> None:
    desk.say([_TWO[0]], "I could not write it.")
    run_id = desk.run(answer_hours=36)
    [one] = desk.house.approvals.waiting()
    assert one.expires_at is not None
    assert one.expires_at - one.asked_at == pytest.approx(timedelta(hours=36), abs=timedelta(seconds=5))
    desk.house.approvals.expire()
    assert desk.status(run_id) == "waiting"

    desk.later(37)
    desk.house.approvals.expire()
    assert desk.status(run_id) == "active"
    assert desk.house.jobs.list(run_id, active=True) != [], "a worker takes it up"
    desk.advance(run_id)
    assert desk.house.runs.get(run_id).reason == "done"
    assert desk.read[-1][-1].content == (
        "Failed: Rejected by time, and not by a person. Nobody answered within 36 hours."
    )
    [kept] = desk.house.approvals.list()
    assert (kept.state, kept.answered_by, kept.reason) == ("expired", None, "Nobody answered within 36 hours.")
    with pytest.raises(Conflict):
        desk.house.runs.answer(run_id, one.call_id, "approve")


def test_a_run_asks_for_as_long_as_the_setting_says_or_it_itself(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIZUO_APPROVAL_HOURS", "2")
    with House.open() as house:
        desk = Desk(house)
        desk.say([_TWO[1]], "Done.")
        for more, hours in (({}, 2), ({"answer_hours": 0.5}, 0.5), ({"answer_hours": 0}, None)):
            [one] = house.approvals.list(run_id=desk.run(**more))
            given = one.expires_at and (one.expires_at - one.asked_at).total_seconds() / 3600
            assert given == (None if hours is None else pytest.approx(hours, abs=0.01))


def test_one_of_two_questions_may_be_answered_and_the_other_be_refused_by_time(desk: Desk) -> None:
    desk.say(_TWO, "Done.")
    run_id = desk.run(answer_hours=1)
    first, second = sorted(desk.house.approvals.waiting(desk.owner), key=lambda one: one.call_id)
    desk.house.runs.answer(run_id, first.call_id, "approve", user_id=desk.owner)
    assert desk.status(run_id) == "waiting"
    desk.later(2)
    desk.house.approvals.expire()
    desk.advance(run_id)
    states = {one.call_id: one.state for one in desk.house.approvals.list()}
    assert states == {first.call_id: "approved", second.call_id: "expired"}
    assert (desk.house.settings.home / "runs" / run_id / "a.txt").read_text() == "A"


def test_a_fork_asks_anew_and_counts_no_answer_of_the_run_it_comes_from(desk: Desk) -> None:
    desk.say([_TWO[0]], [_TWO[1]], "Done.")
    run_id = desk.run(answer_hours=1)
    desk.house.runs.answer(run_id, desk.house.approvals.waiting()[0].call_id, "reject", reason="No.")
    desk.advance(run_id)
    desk.later(2)
    fork = desk.advance(desk.house.runs.fork(run_id).id)
    desk.house.approvals.expire()
    assert {one.state for one in desk.house.approvals.list(run_id=run_id)} == {"rejected", "expired"}
    [again] = desk.house.approvals.list(run_id=fork)
    assert again.state == "waiting", "it has its own hour"


def test_a_call_that_was_cut_off_twice_is_asked_about_twice(desk: Desk) -> None:
    class Killed(BaseException):
        pass

    @tool(effect="outside")
    async def send(text: str) -> str:
        """Send."""
        raise Killed

    own = desk.house.equipment.own
    desk.house.equipment.own = lambda *given, **more: [*own(*given, **more), send]  # type: ignore[method-assign]
    desk.say([call("send", text="Hi")], "Done.")
    policy = Policy(rules=[Rule(tool="*", decision="allow")])
    run_id = desk.house.runs.start("Send it.", "scripted/agent", policy=policy).id
    for _ in range(2):
        with pytest.raises(Killed):
            desk.advance(run_id)
        desk.advance(run_id)
        [one] = desk.house.approvals.waiting()
        assert (one.why, desk.status(run_id)) == ("maybe_done", "waiting")
        desk.house.runs.answer(run_id, one.call_id, "approve")


@pytest.mark.both_databases
def test_a_run_whose_answer_was_written_by_a_process_that_was_killed_then_is_taken_up(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.say([_TWO[1]], "Done.")
    run_id, others = desk.run(answer_hours=1), desk.run()
    desk.later(2)

    def killed(*_: object) -> None:
        raise RuntimeError

    desk.house.jobs.start()
    for job in desk.house.jobs.list(active=True):
        list(desk.house.jobs.watch(job.id))
    with monkeypatch.context() as patch:
        patch.setattr(desk.house.runs, "advance_soon", killed)
        desk.house.approvals = Approvals(desk.house.database, killed)
        with pytest.raises(RuntimeError):
            desk.house.approvals.expire()
    assert desk.status(run_id) == "active"
    assert [one.state for one in desk.house.approvals.list(run_id=run_id)] == ["expired"]
    desk.house.runs.take_up()
    assert desk.house.jobs.list(run_id, active=True) == [], "it may be on its way: ten seconds"
    with desk.house.database.write() as connection:
        connection.execute(schema.runs.update().values(changed_at=_earlier(schema.now(), 1)))
    desk.house.runs.take_up()
    [job] = desk.house.jobs.list(run_id, active=True)
    assert desk.house.jobs.list(others, active=True) == [], "it waits"
    list(desk.house.jobs.watch(job.id))
    assert desk.house.runs.get(run_id).reason == "done"


WORKER = """
import sys, time
sys.path.insert(0, {root!r})
from dizuo.wiring import House
from tests.agents.scripts import ByTurn, call
house = House.open()
house.__enter__()
house.equipment.chat = lambda name: ByTurn([call("ask_user", question="Which year?")], "Nobody knows.")
if not house.runs.list():
    house.runs.start("Ask.", "scripted/agent", answer_hours={seconds} / 3600)
while True:
    house.jobs.start()
    time.sleep(0.02)
"""


@pytest.mark.sqlite_only
def test_time_goes_on_while_no_process_runs(home: Path) -> None:
    """Asked by a process that is killed, due while there is none, refused and gone on with by the next."""
    script = WORKER.format(root=str(Path(__file__).parents[2]), seconds=4)

    def runs_until(done: str) -> None:
        process = subprocess.Popen([sys.executable, "-c", script])
        deadline = time.monotonic() + 60
        try:
            while status() != done:
                assert time.monotonic() < deadline, status()
                assert process.poll() is None
                time.sleep(0.05)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()

    def status() -> str:
        try:
            with closing(sqlite3.connect(f"file:{home / 'dizuo.db'}?mode=ro", uri=True, timeout=10)) as connection:
                return (connection.execute("SELECT status FROM runs").fetchone() or [""])[0]
        except sqlite3.OperationalError:
            return ""

    runs_until("waiting")
    time.sleep(4)
    assert status() == "waiting"
    runs_until("ended")
    with House.open() as house:
        [run] = house.runs.list()
        [one] = house.approvals.list()
        assert (run.reason, one.state) == ("done", "expired")
        assert house.runs.steps(run.id)[-1].text == "Nobody knows."  # type: ignore[union-attr]


# --- who said what --------------------------------------------------------------------------------------------


@pytest.mark.both_databases
def test_it_is_told_who_answered_what_when_and_with_which_arguments(desk: Desk) -> None:
    bob = desk.house.identity.create_user("bob").id
    desk.say(_TWO, "Done.")
    run_id = desk.run()
    others = desk.run(user_id=bob)
    ended = desk.run()
    desk.house.runs.cancel(ended)
    write, ask = sorted(desk.house.approvals.list(run_id=run_id), key=lambda one: one.call_id)
    changed = '{"path": "b.txt", "text": "B"}'
    desk.house.runs.answer(run_id, write.call_id, "approve", arguments=changed, user_id=desk.owner)
    desk.house.runs.answer(run_id, ask.call_id, "reject", reason="Ask Ann.")

    found = {one.call_id: one for one in desk.house.approvals.list(desk.owner, run_id=run_id)}
    assert found[write.call_id] == write.model_copy(
        update={
            "state": "approved",
            "by": "person",
            "answered_at": found[write.call_id].answered_at,
            "answered_by": desk.house.identity.owner().name,
            "new_arguments": changed,
        }
    )
    at = found[write.call_id].answered_at
    assert at is not None
    assert abs(datetime.now(UTC) - at) < timedelta(seconds=30)
    assert (found[ask.call_id].state, found[ask.call_id].reason) == ("rejected", "Ask Ann.")
    assert found[ask.call_id].answered_by is None, "somebody at the command line"

    def ids(**filters: Any) -> set[str]:
        return {one.run_id for one in desk.house.approvals.list(**filters)}

    assert ids() == {run_id, others, ended}
    assert ids(user_id=bob) == ids(states=["waiting"]) == {others}
    assert ids(states=["dropped"]) == {ended}
    assert ids(tool="write_file", states=["approved"]) == {run_id}
    desk.later(hours=49)
    assert ids(days=2) == set()
    assert ids(days=3) == {run_id, others, ended}
    assert len(desk.house.approvals.list(limit=2)) == 2
    assert [one.run_id for one in desk.house.approvals.waiting(bob)] == [others, others]


@pytest.mark.sqlite_only
def test_what_waits_is_found_without_reading_all_runs_and_steps(desk: Desk) -> None:
    """By indexes that hold open runs and questions alone."""
    from dizuo.agents import approvals

    open_runs = sa.select(schema.runs.c.id).where(approvals._IS_OPEN)
    steps = sa.select(schema.run_steps.c.number).where(
        approvals._IS_APPROVAL, schema.run_steps.c.run_id.in_(["a", "b"])
    )
    with desk.house.database.read() as connection:
        for query, index in ((open_runs, "ix_runs_open"), (steps, "ix_run_steps_approvals")):
            said = query.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {said}").all()
            assert index in str(plan)
