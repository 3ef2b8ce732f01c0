"""What runs ask people: all that waits in one place, what was said to it, and what comes of it when nobody answers.

The journals are the truth: nothing is kept here besides.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

import sqlalchemy as sa

from dizuo.agents.family import refresh
from dizuo.agents.journal import append, read
from dizuo.agents.state import State
from dizuo.agents.steps import ApprovalAsked, ApprovalGiven, Step
from dizuo.core.errors import Conflict
from dizuo.core.messages import Noun
from dizuo.platform import schema
from dizuo.platform.database import Database
from dizuo.platform.secrets_kept import from_now

ApprovalState = Literal["waiting", "approved", "rejected", "expired", "dropped"]
ALL: tuple[ApprovalState, ...] = get_args(ApprovalState)
MOST_HOURS = 87_600.0  # ten years

_runs, _steps, _users = schema.runs, schema.run_steps, schema.users
# As the index has it: with values bound to it the databases would not see that they may use it.
_IS_APPROVAL, _IS_OPEN = sa.text(schema.IS_APPROVAL), sa.text(f"runs.{schema.IS_OPEN}")


class Approval(Noun):
    """A question of a run to people, and what was said. `dropped`: the run has gone on or ended without an answer."""

    run_id: str
    step: int  # the number of the step that asked
    goal: str
    call_id: str
    tool: str
    arguments: str
    why: Literal["effect", "maybe_done", "question"]
    asked_at: datetime
    expires_at: datetime | None = None  # None: never
    state: ApprovalState = "waiting"
    answered_at: datetime | None = None
    by: Literal["person", "agent", "timeout"] | None = None  # agent: one of others, that asked for the run
    answered_by: str | None = None  # the name of the person; None: nobody, or somebody at this machine's command line
    new_arguments: str | None = None  # in place of the model's
    reason: str = ""


class Approvals:
    """The questions of all runs. Blocking; safe between processes."""

    def __init__(self, database: Database, advance: Callable[[str, int | None], None]) -> None:
        """`advance` has a run of a user taken up again."""
        self._database = database
        self._advance = advance

    def waiting(self, user_id: int | None = None) -> Sequence[Approval]:
        """What waits for people to say, the oldest first: for one user, or for all."""
        return self.list(user_id, states=["waiting"], limit=None)[::-1]

    def list(
        self,
        user_id: int | None = None,
        *,
        states: Sequence[ApprovalState] = ALL,
        run_id: str = "",
        tool: str = "",
        days: int | None = None,
        limit: int | None = 50,
    ) -> Sequence[Approval]:
        """The questions of the last `days`, the latest first: of one user's runs or of all, of one run, for one tool,
        in these states."""
        since = "" if days is None else from_now(-timedelta(days=days))
        with self._database.read() as connection:
            found = [
                one
                for one in _approvals(connection, user_id, run_id, since, unanswered_only=set(states) == {"waiting"})
                if one.state in states and (not tool or one.tool == tool)
            ]
        found.sort(key=lambda one: (one.asked_at, one.run_id, one.step), reverse=True)
        return found[:limit]

    def expire(self) -> None:
        """Refuses what nobody has answered in time, and has these runs go on."""
        now = datetime.fromisoformat(schema.now())
        for one in self.waiting():
            if one.expires_at is None or one.expires_at > now:
                continue
            hours = (one.expires_at - one.asked_at).total_seconds() / 3600
            reason = f"Nobody answered within {hours:.3g} hours."
            given = ApprovalGiven(call_id=one.call_id, decision="reject", reason=reason, by="timeout")
            try:
                with self._database.write() as connection:
                    user_id = settle(connection, one.run_id, given)
            except Conflict:  # somebody was quicker
                continue
            self._advance(one.run_id, user_id)


def settle(connection: sa.Connection, run_id: str, given: ApprovalGiven) -> int | None:
    """Writes down an answer; a run that waits for nothing more may go on. The run's user.

    Raises Conflict where nothing waits for it, as where two people answer at once.
    """
    pending = {one.call_id for one in State(read(connection, run_id)).waiting}
    if given.call_id not in pending:
        raise not_asked(run_id, given.call_id)
    append(connection, run_id, given)
    refresh(connection, run_id)
    return connection.scalar(sa.select(_runs.c.user_id).where(_runs.c.id == run_id))


def inherited(step: Step, hours: float) -> Step:
    """A step as a run has it that begins with it: a question waits anew, and an answer was given elsewhere."""
    match step:
        case ApprovalAsked():
            return step.model_copy(update={"expires_at": expiry(hours)})
        case ApprovalGiven():
            return step.model_copy(update={"inherited": True})
        case _:
            return step


def expiry(hours: float) -> str:
    """Until when a question waits that is asked now, as steps say it."""
    return from_now(timedelta(hours=hours)) if hours else ""


def not_asked(run_id: str, call_id: str) -> Conflict:
    """What is said of an answer that nothing waits for."""
    return Conflict("The run {id} does not wait for an answer to {call!r}.", id=run_id, call=call_id)


def _approvals(
    connection: sa.Connection, user_id: int | None, run_id: str, since: str, *, unanswered_only: bool
) -> Iterator[Approval]:
    """The questions of runs with their answers, in the order of each run."""
    columns = (_steps.c.run_id, _steps.c.number, _steps.c.kind, _steps.c.data, _steps.c.at)
    rows = sa.select(*columns, _runs.c.goal, _runs.c.status).join(_runs, _runs.c.id == _steps.c.run_id)
    rows = rows.where(_IS_APPROVAL).order_by(_steps.c.run_id, _steps.c.number)
    if unanswered_only:  # few runs are open, and this is asked every second
        open_runs = connection.scalars(sa.select(_runs.c.id).where(_IS_OPEN)).all()
        rows = rows.where(_steps.c.run_id.in_(open_runs))
    if user_id is not None:
        rows = rows.where(_runs.c.user_id == user_id)
    if run_id:
        rows = rows.where(_runs.c.id == run_id)
    if since:
        rows = rows.where(_steps.c.at >= since)
    names: dict[int, str] = {row.id: row.name for row in connection.execute(sa.select(_users.c.id, _users.c.name))}
    # The last question about each call, until it is answered: the same call may be asked about again.
    asked: dict[tuple[str, str], tuple[Any, Approval]] = {}
    for row in connection.execute(rows):
        data = json.loads(row.data)
        key = row.run_id, data["call_id"]
        if row.kind == "answered":
            one, said = asked.pop(key, None), ApprovalGiven(**data)
            if one is not None and not said.inherited:
                yield _answered(one[1], said, row.at, names)
            continue
        if key in asked:
            yield asked.pop(key)[1].model_copy(update={"state": "dropped"})
        asked[key] = row, _asked(row, ApprovalAsked(**data))
    open_now: dict[str, set[str]] = {}
    for (of_run, call_id), (row, one) in asked.items():
        if row.status != "ended" and of_run not in open_now:
            open_now[of_run] = {waits.call_id for waits in State(read(connection, of_run)).waiting}
        waits = call_id in open_now.get(of_run, ())
        yield one if waits else one.model_copy(update={"state": "dropped"})


def _asked(row: Any, step: ApprovalAsked) -> Approval:
    return Approval(
        run_id=row.run_id,
        step=row.number,
        goal=row.goal,
        call_id=step.call_id,
        tool=step.name,
        arguments=step.arguments,
        why=step.why,
        asked_at=row.at,
        expires_at=step.expires_at or None,  # type: ignore[arg-type]  # pydantic reads it
    )


def _answered(one: Approval, step: ApprovalGiven, at: str, names: dict[int, str]) -> Approval:
    state: ApprovalState = "approved" if step.decision == "approve" else "rejected"
    return one.model_copy(
        update={
            "state": "expired" if step.by == "timeout" else state,
            "by": step.by,
            "answered_at": datetime.fromisoformat(at),
            "answered_by": names.get(step.user_id) if step.user_id is not None and step.by == "person" else None,
            "new_arguments": step.arguments,
            "reason": step.reason,
        }
    )
