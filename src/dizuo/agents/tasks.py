"""Tasks: runs that agents of others ask for (Agent2Agent), and what those may see of them and say to them.

A task is a run of the user whose key asked; with another key it is not found. Whoever asked may answer what the run
asks back. Whether it may do something is never theirs to say: that waits for a person, also where a rule allows it,
since the wish is not the user's own. Nothing that the user's runs remember is read for them, and nothing of theirs is
remembered.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import sqlalchemy as sa

from dizuo.agents.steps import Ended, Started, Steered, Step
from dizuo.core import traces
from dizuo.core.errors import Conflict, NotFound, UserError
from dizuo.core.messages import Message
from dizuo.platform import schema
from dizuo.platform.database import Database

if TYPE_CHECKING:
    from dizuo.agents.run_files import RunFiles
    from dizuo.agents.runs import Asked, Run, Runs

MOST_CONTEXT_CHARACTERS = 128
_MOST_EARLIER_CHARACTERS = 24_000  # of a conversation, that its next task reads
_MOST_LISTED = 1000
_runs, _tasks = schema.runs, schema.a2a_tasks


@dataclass(frozen=True)
class Asker:
    """Who asks, and what: an app by its name, on a knowledge base where it wants one named; "": the agent of the
    instance."""

    user_id: int
    key_id: int | None  # None: a session of the studio
    app: str = ""
    knowledge: str = ""


@dataclass(frozen=True)
class Task:
    """A run as whoever asked for it may see it. `steps`: those behind the ones that are known already."""

    run: "Run"
    context_id: str  # the conversation that it belongs to
    steps: Sequence[Step]
    waiting: "Sequence[Asked]"

    @property
    def rests(self) -> tuple[str, ...]:
        """What it waits for, or that it has ended; empty while it goes on."""
        return () if self.run.status == "active" else (self.run.status, *(one.step.call_id for one in self.waiting))


class Tasks:
    """The tasks of an instance. Blocking; safe between processes."""

    def __init__(self, database: Database, runs: "Runs", files: "RunFiles", start: "Callable[..., Run]") -> None:
        """`start` begins a run, as `apps.launch.Launcher.start` does."""
        self._database = database
        self._runs = runs
        self._files = files
        self._start = start

    def send(
        self,
        asker: Asker,
        text: str,
        files: Sequence[tuple[str, BinaryIO]] = (),
        *,
        task_id: str = "",
        context_id: str = "",
    ) -> Task:
        """Takes a message, with files by their names. To a task that asks back it is the answer, to one that goes on a
        word midway. Without a task it is a goal, and in a conversation what comes after its last task.

        Raises NotFound for a task; Conflict for one that waits for a person, rests or has ended; UserError for a
        conversation that is none or another's; and what `start` and `RunFiles.give` raise.
        """
        with traces.span("task") as span:
            if task_id:
                task = self._answered(asker, self.get(asker, task_id), text, files, context_id)
            else:
                task = self._begun(asker, text, files, context_id)
            span.attributes["dizuo.run"] = task.run.id
        return task

    def get(self, asker: Asker, task_id: str, after: int = 0) -> Task:
        """One task, with the steps behind the first `after`. Raises NotFound."""
        row = None
        if task_id.isprintable():  # PostgreSQL takes no NUL even to look for it
            with self._database.read() as connection:
                row = connection.execute(_of(asker).where(_runs.c.id == task_id)).first()
        if row is None:
            raise NotFound("There is no task {id!r}.", id=task_id[:80])
        return self._task(row, after)

    def list(self, asker: Asker, context_id: str = "") -> Sequence[Task]:
        """The tasks, without their steps, those that have changed last first; of one conversation, if one is named."""
        return [self._task(row, schema.LARGEST) for row in self._rows(asker, context_id, _MOST_LISTED)]

    def cancel(self, asker: Asker, task_id: str) -> Task:
        """Ends a task. Raises NotFound, and Conflict where it has ended."""
        if self.get(asker, task_id).run.status == "ended":
            raise Conflict("The task {id} has ended.", id=task_id)
        self._runs.cancel(task_id, asker.user_id)
        return self.get(asker, task_id)

    # ----------------------------------------------------------------------------------------------------------

    def _begun(self, asker: Asker, text: str, files: Sequence[tuple[str, BinaryIO]], context_id: str) -> Task:
        if len(context_id) > MOST_CONTEXT_CHARACTERS or not context_id.isprintable():
            raise UserError("The id of a conversation has at most {n} characters.", n=MOST_CONTEXT_CHARACTERS)
        before = self._rows(asker, context_id, 1) if context_id else ()
        run = self._start(
            text,
            app=asker.app,
            knowledge=asker.knowledge,
            user_id=asker.user_id,
            earlier=_conversation(self._runs.steps(before[0].id)) if before else (),
            for_others=True,
            hold=bool(files),
        )
        with self._database.write() as connection:
            connection.execute(_tasks.insert().values({"run_id": run.id, "context_id": context_id or run.id}))
        if files:
            self._files.begin(run.id, files, asker.user_id)
        return self.get(asker, run.id)

    def _answered(
        self, asker: Asker, task: Task, text: str, files: Sequence[tuple[str, BinaryIO]], context_id: str
    ) -> Task:
        run = task.run
        if context_id and context_id != task.context_id:
            raise UserError("The task {id} is of another conversation.", id=run.id)
        if run.status == "ended":
            raise Conflict("The task {id} has ended. Leave its id out to go on in its conversation.", id=run.id)
        if run.status == "paused":
            raise Conflict("A person lets the task {id} rest, and must let it go on.", id=run.id)
        question = next((one for one in task.waiting if one.step.why == "question"), None)
        if files and (question is not None or run.status == "active"):
            self._files.give(run.id, files, asker.user_id)
        if question is not None:
            call_id = question.step.call_id
            self._runs.answer(question.run_id, call_id, "approve", reason=text, user_id=asker.user_id, by="agent")
        elif run.status == "waiting":
            raise Conflict(
                "The task {id} waits until a person approves what it wants to do. No message does that.", id=run.id
            )
        else:
            self._runs.steer(run.id, text, asker.user_id)
        return self.get(asker, run.id)

    def _rows(self, asker: Asker, context_id: str, most: int) -> "Sequence[sa.Row[Any]]":
        found = _of(asker)
        if not context_id.isprintable():
            return ()
        if context_id:
            found = found.where(_tasks.c.context_id == context_id)
        with self._database.read() as connection:
            return connection.execute(found.order_by(_runs.c.changed_at.desc(), _runs.c.id).limit(most)).all()

    def _task(self, row: "sa.Row[Any]", after: int = 0) -> Task:
        run = self._runs.get(row.id)  # before the steps: they are at least as far
        waiting = self._runs.asking(run.id) if run.status == "waiting" else ()
        return Task(run, row.context_id, self._runs.steps(run.id, after), waiting)


def _of(asker: Asker) -> "sa.Select[*tuple[Any, ...]]":
    found = sa.select(_runs.c.id, _tasks.c.context_id).join(_tasks, _tasks.c.run_id == _runs.c.id)
    of_key = _runs.c.key_id.is_not_distinct_from(asker.key_id)
    return found.where(_runs.c.user_id == asker.user_id, of_key, _runs.c.app == asker.app)


def _conversation(steps: Sequence[Step]) -> Sequence[Message]:
    """What was said up to the end of a run, as what comes after it reads that; the last of it where it is long."""
    said: list[Message] = []
    for step in steps:
        match step:
            case Started():
                said += [*step.earlier, Message(role="user", content=step.goal)]
            case Steered():
                said.append(Message(role="user", content=step.text))
            case Ended() if step.text.strip():
                said.append(Message(role="assistant", content=step.text))
    room = _MOST_EARLIER_CHARACTERS
    kept: list[Message] = []
    for one in reversed(said):
        room -= len(one.content)
        if room < 0:
            break
        kept.insert(0, one)
    return kept
