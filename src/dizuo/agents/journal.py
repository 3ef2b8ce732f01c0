"""The journal of a run: its steps, append-only, each written once; and its row, which says how it stands."""

import json
from collections.abc import Sequence
from typing import Any, Literal

import sqlalchemy as sa

from dizuo.agents.steps import STEP, Ended, Step
from dizuo.core.errors import NotFound
from dizuo.platform import schema
from dizuo.platform.database import Database

RunStatus = Literal["active", "waiting", "paused", "ended"]

_runs, _steps = schema.runs, schema.run_steps


class Journal:
    """The steps of one run. Blocking; several processes may add, one of them advances."""

    def __init__(self, database: Database, run_id: str) -> None:
        self._database = database
        self.run_id = run_id

    def read(self, after: int = 0) -> list[Step]:
        """The steps behind the first `after`, in order."""
        with self._database.read() as connection:
            return read(connection, self.run_id, after)

    def append(self, step: Step, after: int | None = None) -> list[Step]:
        """Adds a step. With `after`, the number of steps that the caller knows of: those that others added meanwhile,
        then this one; without it when the run has ended meanwhile.
        """
        with self._database.write() as connection:
            return append(connection, self.run_id, step, after)


def append(connection: sa.Connection, run_id: str, step: Step, after: int | None = None) -> list[Step]:
    """`Journal.append`, in the caller's transaction."""
    last = connection.scalar(sa.select(sa.func.max(_steps.c.number)).where(_steps.c.run_id == run_id)) or 0
    others = read(connection, run_id, after) if after is not None and after < last else []
    if any(isinstance(one, Ended) for one in others):
        return others
    said = json.dumps(step.model_dump(exclude_defaults=True), ensure_ascii=False)
    data = schema.storable(said)
    if data != said:  # half characters, which neither a database nor an answer of the API can hold
        step = _step(step.kind, data)
    values = {"run_id": run_id, "number": last + 1, "kind": step.kind, "data": data, "at": schema.now()}
    connection.execute(_steps.insert().values(values))
    return [*others, step]


def read(connection: sa.Connection, run_id: str, after: int = 0) -> list[Step]:
    """The steps of a run behind the first `after`."""
    found = sa.select(_steps.c.kind, _steps.c.data).where(_steps.c.run_id == run_id, _steps.c.number > after)
    rows = connection.execute(found.order_by(_steps.c.number))
    return [_step(row.kind, row.data) for row in rows]


def find_row(database: Database, run_id: str, user_id: int | None = None) -> "sa.Row[Any]":
    """One run's row; of that user, if one is named. Raises NotFound."""
    found = _runs.select().where(_runs.c.id == run_id)
    with database.read() as connection:
        row = connection.execute(found if user_id is None else found.where(_runs.c.user_id == user_id)).first()
    if row is None:
        raise NotFound("There is no run {id!r}. To see those there are: dizuo run list", id=run_id)
    return row


def set_status(
    connection: sa.Connection,
    run_id: str,
    status: RunStatus,
    *,
    reason: str = "",
    only_from: Sequence[RunStatus] = ("active", "waiting", "paused"),
) -> bool:
    """Says how a run stands now. False where it stands otherwise than in one of `only_from`: nothing is changed."""
    changed = _runs.update().where(_runs.c.id == run_id, _runs.c.status.in_(only_from))
    values = {"status": status, "reason": reason, "changed_at": schema.now()}
    return connection.execute(changed.values(values)).rowcount == 1


def _step(kind: str, data: str) -> Step:
    return STEP.validate_python({**json.loads(data), "kind": kind})
