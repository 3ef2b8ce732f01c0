"""/api/traces: what happened to requests on their way, from face to model."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Path, Query
from pydantic import BaseModel, Field

from dizuo.api.auth import TheHouse, TheUser, router
from dizuo.core.traces import Status
from dizuo.platform.traces import TraceInfo, TraceRecord, seen_by

routes = router("/api/traces", "traces")

_Id = r"^[0-9a-f]{6,32}$"


class TraceList(BaseModel):
    traces: Sequence[TraceInfo]
    next_before: str | None = Field(description="what to ask for next with `before`; null on the last page")


@routes.get("")
def list_traces(
    house: TheHouse,
    user: TheUser,
    status: Annotated[list[Status] | None, Query(description="how they ended; may repeat")] = None,
    model: Annotated[str, Query(max_length=128, pattern=r"^[^\x00]*$", description="part of the model's name")] = "",
    slower_than_s: Annotated[float, Query(ge=0, le=1e9, description="those that took longer")] = 0,
    before: Annotated[str | None, Query(pattern=_Id, description="a trace's id: those before it")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
) -> TraceList:
    """The caller's traces, the latest first; for the owner everyone's. They are kept as long as the settings say."""
    found = house.traces.list(
        user_id=seen_by(user),
        status=status or (),
        model=model,
        slower_than_s=slower_than_s,
        before=before,
        limit=limit + 1,
    )
    return TraceList(traces=found[:limit], next_before=found[limit - 1].id if len(found) > limit else None)


@routes.get("/{trace_id}")
def get_trace(
    trace_id: Annotated[str, Path(pattern=_Id, description="the trace's id, or how it begins")],
    house: TheHouse,
    user: TheUser,
) -> TraceRecord:
    """One trace with its spans. The id of a request's own comes with its answer, as the header `X-Dizuo-Trace`."""
    return house.traces.get(trace_id, user_id=seen_by(user))
