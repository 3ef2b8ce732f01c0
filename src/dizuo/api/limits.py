"""/api/limits: what keys, users, apps and all together may take."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Path
from pydantic import BaseModel, Field

from dizuo.api.auth import TheHouse, TheOwner, TheUser, router
from dizuo.api.requests import RequestBody
from dizuo.gateway.limit_table import Limit, Period, Subject
from dizuo.gateway.limits import Standing
from dizuo.gateway.prices import Currency

routes = router("/api/limits", "limits")

_Id = Annotated[str, Path(description="the user's name, the key's id or the app's name", pattern=r"^[^\x00]{1,64}$")]
_Count = Annotated[int, Field(ge=1, le=2_000_000_000)] | None


class LimitList(BaseModel):
    limits: Sequence[Standing]


class NewLimit(RequestBody):
    """What is given is set, the rest stays; null lifts a limit."""

    requests_per_minute: _Count = None
    tokens_per_minute: _Count = None
    concurrency: _Count = None
    budget: Annotated[float, Field(strict=True, ge=0, le=1e9)] | None = None
    currency: Currency = "USD"
    period: Period = "month"
    warn_at: Annotated[float, Field(strict=True, ge=0, le=1)] = Field(0.8, description="share of the budget")


@routes.get("")
def list_limits(house: TheHouse, user: TheUser) -> LimitList:
    """Every limit and how much of it is spent; for members those that hold for them alone, or for all."""
    return LimitList(limits=house.limits.standings_for(user))


@routes.put("/all")
def limit_all(new: NewLimit, house: TheHouse, _owner: TheOwner) -> Limit:
    """A limit for everyone together."""
    return house.limits.set("all", **new.model_dump(exclude_unset=True))


@routes.delete("/all")
def unlimit_all(house: TheHouse, _owner: TheOwner) -> Limit:
    return house.limits.remove("all")


@routes.put("/{subject}/{subject_id:path}")
def set_limit(new: NewLimit, subject: Subject, subject_id: _Id, house: TheHouse, _owner: TheOwner) -> Limit:
    """A limit for one user, key or app."""
    return house.limits.set(subject, subject_id, **new.model_dump(exclude_unset=True))


@routes.delete("/{subject}/{subject_id:path}")
def remove_limit(subject: Subject, subject_id: _Id, house: TheHouse, _owner: TheOwner) -> Limit:
    return house.limits.remove(subject, subject_id)
