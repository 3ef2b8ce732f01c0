"""Runs that other runs have started: what the one must know of the other, in the caller's transaction."""

import hashlib
from collections.abc import Iterator

import sqlalchemy as sa

from dizuo.agents.journal import append, read, set_status
from dizuo.agents.state import State
from dizuo.agents.steps import Ended, ToolEnded
from dizuo.core.tools import ToolResult
from dizuo.platform import schema

_runs = schema.runs


def child_id(call_key: str) -> str:
    """The id of the run that works on a call, by `ToolContext.key`: the same when it is made again after a crash."""
    return "run_" + hashlib.sha256(call_key.encode()).hexdigest()[:16]


def refresh(connection: sa.Connection, run_id: str) -> None:
    """Says anew of a run that goes on, and of those above it, whether they wait for people: a run does when it asks
    something itself, or one that it has called does."""
    while run_id:
        row = connection.execute(sa.select(_runs.c.parent_id).where(_runs.c.id == run_id)).first()
        if row is None:
            return
        if State(read(connection, run_id)).waiting or _has_waiting(connection, run_id):
            set_status(connection, run_id, "waiting", only_from=("active",))
        else:
            set_status(connection, run_id, "active", only_from=("waiting",))
        run_id = row.parent_id


def _has_waiting(connection: sa.Connection, run_id: str) -> bool:
    found = sa.select(_runs.c.id).where(_runs.c.parent_id == run_id, _runs.c.status == "waiting")
    return connection.scalar(found.limit(1)) is not None


def below(connection: sa.Connection, run_id: str) -> Iterator[str]:
    """The runs that a run has called, and those that they have called, as far as they have not ended."""
    found = sa.select(_runs.c.id).where(_runs.c.parent_id == run_id, _runs.c.status != "ended")
    for one in list(connection.scalars(found)):
        yield one
        yield from below(connection, one)


def cancel(connection: sa.Connection, run_id: str) -> None:
    """Ends a run that has not ended, and all below it, with the best answers so far."""
    for one in [run_id, *below(connection, run_id)]:
        _cancel(connection, one)


def cancel_below(connection: sa.Connection, run_id: str) -> None:
    """Ends what is still at work for a run that has ended."""
    for one in list(below(connection, run_id)):
        _cancel(connection, one)


def _cancel(connection: sa.Connection, run_id: str) -> None:
    state = State(read(connection, run_id))
    if state.ended is None:
        append(connection, run_id, Ended(reason="cancelled", text=state.answer))
    set_status(connection, run_id, "ended", reason=state.ended.reason if state.ended else "cancelled")


def tell_parent(connection: sa.Connection, run_id: str) -> str | None:
    """Gives the end of a run to the one that has called it, once: the run that may go on with it."""
    row = connection.execute(sa.select(_runs.c.parent_id, _runs.c.app).where(_runs.c.id == run_id)).first()
    if row is None or not row.parent_id:
        return None
    child, parent = State(read(connection, run_id)), State(read(connection, row.parent_id))
    call = next((one for one in parent.open.values() if child_id(f"{row.parent_id}/{one.id}") == run_id), None)
    if child.ended is None or parent.ended is not None or call is None:
        return None
    append(
        connection,
        row.parent_id,
        ToolEnded(
            kind="child",
            call_id=call.id,
            name=call.name,
            arguments=call.arguments,
            result=_result(child, child.ended),
            seconds=child.seconds,
            child=run_id,
            used=child.used,
        ),
    )
    refresh(connection, row.parent_id)
    return row.parent_id


def _result(child: State, end: Ended) -> ToolResult:
    """What the calling run reads. It is text of others where the child has read such text."""
    trusted = not child.told_by_others
    if end.reason == "done":
        return ToolResult(text=end.text, trusted=trusted)
    why = f"It ended before it was done ({end.reason}{f': {end.detail}' if end.detail else ''})."
    so_far = f"\nWhat it had by then: {end.text}" if end.text else ""
    return ToolResult(text=why + so_far, failed=True, trusted=trusted)
