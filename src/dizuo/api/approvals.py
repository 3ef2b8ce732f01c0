"""/api/approvals: what runs ask people, across runs: what waits, and what was answered, by whom, when."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Query
from pydantic import BaseModel

from dizuo.agents.approvals import Approval, ApprovalState
from dizuo.api.auth import TheHouse, TheUser, router

routes = router("/api/approvals", "runs")

_Word = Annotated[str, Query(max_length=128, pattern=r"^[^\x00]*$")]


class ApprovalList(BaseModel):
    approvals: Sequence[Approval]


@routes.get("")
def list_approvals(
    house: TheHouse,
    user: TheUser,
    state: Annotated[list[ApprovalState] | None, Query(description="may repeat; as a rule what waits")] = None,
    run: _Word = "",
    tool: _Word = "",
    days: Annotated[int | None, Query(ge=1, le=36_500, description="asked in so many last days")] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 50,
) -> ApprovalList:
    """The questions of the caller's runs, the latest first. Answers go to /api/runs/ID/answer."""
    states = state or ["waiting"]
    return ApprovalList(
        approvals=house.approvals.list(user.id, states=states, run_id=run, tool=tool, days=days, limit=limit)
    )
