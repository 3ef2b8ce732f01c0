"""The worker's side of runs: each step taken, and written down before the next."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from dizuo.agents.app_tools import app_tools
from dizuo.agents.equipment import Equipment, Setup
from dizuo.agents.family import cancel_below, refresh, tell_parent
from dizuo.agents.journal import Journal, find_row, set_status
from dizuo.agents.loop import Loop, Price
from dizuo.agents.memory_tools import REMEMBER
from dizuo.agents.policy import Policy
from dizuo.agents.runs import Runs
from dizuo.agents.state import State
from dizuo.agents.steps import APP_PREFIX, Budget, Ended, Step
from dizuo.core import traces
from dizuo.core.errors import DizuoError, NotFound
from dizuo.core.tools import Tool
from dizuo.platform import schema
from dizuo.platform.database import Database
from dizuo.platform.jobs import JobContext

_WATCH_S = 0.1
logger = logging.getLogger(__name__)
_runs = schema.runs


class Worker:
    """Advances runs. One process of a home does, each run in one place at a time."""

    def __init__(
        self,
        database: Database,
        equipment: Equipment,
        runs: Runs,
        workspaces: Path,
        price: Price = lambda _model, _usage: 0.0,
    ) -> None:
        """`workspaces` holds a folder for each run; among `runs` are started those of other apps that a run calls."""
        self._database = database
        self._equipment = equipment
        self._of_others = runs
        self._workspaces = workspaces
        self._price = price

    def run_job(self, context: JobContext) -> None:
        """The body of the job: advances a run until it ends, rests, or waits for people."""
        for item in context.waiting(1):
            with suppress(NotFound):  # deleted meanwhile
                asyncio.run(self.advance(context.subject, context.check))
            with self._database.write() as connection:
                context.finish_item(connection, item, "changed")

    async def advance(self, run_id: str, check: Callable[[], None] = lambda: None) -> None:
        """Takes the steps that can be taken; `check` raises where it is to stop. Only the worker may: one at a time.

        Raises NotFound.
        """
        row = find_row(self._database, run_id)
        if row.status == "active":
            await self._advance(row, check)
        # Also where it had ended before a crash, and nobody had taken up the run that waits for that.
        if row.parent_id and find_row(self._database, run_id).status == "ended":
            self._of_others.advance_soon(row.parent_id, row.user_id)

    async def _advance(self, row: "sa.Row[Any]", check: Callable[[], None]) -> None:
        run_id = row.id
        _belongs_to(row)
        journal = Journal(self._database, run_id)
        state = State(journal.read())
        assert state.started is not None
        try:
            # Some runs began without the tools of memory.
            own = self._equipment.own(row.knowledge, row.user_id, run_id)
            own = [one for one in own if one.name in state.started.tools]
            async with aclosing(self._equipment.toolbox.lend(state.started.tools)) as lent:
                loop = Loop(
                    self._equipment.chat(state.started.model),
                    [*own, *lent.tools, *self._apps(row, state)],
                    policy=Policy.model_validate(row.policy),
                    price=self._price,
                    workspace=self._workspaces / run_id,
                    run_id=run_id,
                )
                await self._drive(loop.steps(state), state, journal, check)
        except DizuoError as error:
            self._write(journal, state, Ended(reason="failed", text=state.answer, detail=str(error)))
        with self._database.write() as connection:
            if state.ended is not None:
                set_status(connection, run_id, "ended", reason=state.ended.reason)
                cancel_below(connection, run_id)
                tell_parent(connection, run_id)
            else:
                refresh(connection, run_id)
        if state.ended is not None:
            await asyncio.to_thread(self._keep_episode, row, state)

    def _apps(self, row: "sa.Row[Any]", state: State) -> Sequence[Tool]:
        """The apps that the run may call."""

        def find(name: str) -> Setup:
            return self._equipment.app(name, row.model, row.knowledge)

        def begin(setup: Setup, goal: str, call_key: str, budget: Budget) -> str:
            return self._of_others.start_child(row, state, setup, goal, call_key, budget)

        return app_tools(state, find, begin)

    async def _drive(self, steps: Any, state: State, journal: Journal, check: Callable[[], None]) -> None:
        """Writes each step down before the next; looks now and then whether it is to stop."""
        watcher = asyncio.ensure_future(self._stopped(journal.run_id, check))
        tasks: set[asyncio.Future[Any]] = {watcher}
        try:
            while state.ended is None:
                coming = asyncio.ensure_future(anext(steps, None))
                tasks = {watcher, coming}
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                if watcher.done():
                    watcher.result()  # raises where the job is to stop
                    return
                step: Step | None = coming.result()
                if step is None:
                    return
                self._write(journal, state, step)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await steps.aclose()

    async def _stopped(self, run_id: str, check: Callable[[], None]) -> None:
        """Returns when the run is no longer to be advanced. Raises what `check` raises."""
        status = sa.select(_runs.c.status).where(_runs.c.id == run_id)
        while True:
            await asyncio.sleep(_WATCH_S)
            check()
            with self._database.read() as connection:
                if connection.scalar(status) != "active":
                    return

    @staticmethod
    def _write(journal: Journal, state: State, step: Step) -> None:
        for one in journal.append(step, state.number):
            state.take(one)

    def _keep_episode(self, row: Any, state: State) -> None:
        """How a run went, for later ones. A run that died between its end and this leaves none."""
        end, memories = state.ended, self._equipment.memories
        if memories is None or row.user_id is None or row.parent_id or end is None or not end.text.strip():
            return
        if state.started is None or REMEMBER not in state.started.tools:
            return
        text = f"{row.goal[:500]}\n→ {end.reason}: {end.text[:1000]}"
        try:
            memories().remember(row.user_id, text, kind="episode", source=row.id, confidence=0.7)
        except Exception:  # the run has ended well, and keeps its end
            logger.exception("how the run %s went is not remembered", row.id)


def _belongs_to(row: Any) -> None:
    """What the run's models take counts for the app and the key that it was started with, and is within their limits.

    Which models the key may ask is asked when a run is started: what stands behind an app is its owner's choice.
    """
    trace = traces.current.get()
    if trace is not None:
        trace.key_id = row.key_id
        if row.app:
            trace.app = APP_PREFIX + row.app
