"""Dizuo: a run as the worker advances it, every step in the journal before the next."""

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from worker import ANSWER, GOAL, PAGE, THOUGHT, serve, size_bytes

from dizuo.agents.advance import Worker
from dizuo.agents.equipment import Equipment
from dizuo.agents.runs import Runs
from dizuo.agents.state import State
from dizuo.agents.steps import Budget
from dizuo.core.events import Done, Event, TextDelta, ToolCalled
from dizuo.core.messages import Message, ToolCall
from dizuo.core.tools import Tool, tool
from dizuo.wiring import House

os.environ["DIZUO_HOME"] = home = tempfile.mkdtemp(prefix="dizuo-bench-")
house = House.open()


@tool(name="search_knowledge")
async def read_page(number: int) -> str:
    """Read a page."""
    return f"Page {number}. {PAGE}"


class Model:
    """Wants a page for as many turns as it is told to, then answers."""

    name = "scripted/agent"

    def __init__(self, turns: int) -> None:
        self._turns = turns
        self._turn = 0

    async def stream(self, _messages: Sequence[Message], **_options: Any) -> AsyncIterator[Event]:
        if self._turn < self._turns:
            self._turn += 1
            yield TextDelta(text=THOUGHT)
            yield ToolCalled(call=ToolCall(id="1", name=read_page.name, arguments=f'{{"number": {self._turn}}}'))
        else:
            yield TextDelta(text=ANSWER)
        yield Done()


class NoWorker:
    """Takes jobs and does none: the run is advanced here."""

    def submit(self, *_: Any, **__: Any) -> None: ...


def search(_name: str) -> Tool:
    return read_page


def run(turns: int) -> dict[str, Any]:
    file = Path(home) / "dizuo.db"
    before = size_bytes(file)
    model = Model(turns)
    equipment = Equipment(lambda _name: model, search)  # type: ignore[arg-type]
    runs = Runs(house.database, lambda: NoWorker(), equipment)  # type: ignore
    worker = Worker(house.database, equipment, runs, Path(home) / "runs")
    made = runs.start(GOAL, model.name, knowledge="pages", budget=Budget(steps=10_000, tool_calls=10_000))
    began = time.perf_counter()
    asyncio.run(worker.advance(made.id))
    seconds = time.perf_counter() - began
    assert runs.get(made.id).reason == "done"
    began = time.perf_counter()
    state = State(runs.steps(made.id))
    resume_s = time.perf_counter() - began
    assert state.answer == ANSWER
    assert state.tool_calls == turns
    return {"seconds": seconds, "bytes": size_bytes(file) - before, "resume_s": resume_s}


serve(run)
