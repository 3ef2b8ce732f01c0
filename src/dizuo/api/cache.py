"""/api/cache: the answers that are kept, and how far their cache can be trusted."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Path, Query
from pydantic import BaseModel, Field

from dizuo.api.auth import TheHouse, TheOwner, TheUser, router
from dizuo.gateway.cache import CacheEntry
from dizuo.gateway.cache_report import CacheReport, report

routes = router("/api/cache", "cache")

_Model = Annotated[str, Query(max_length=128, pattern=r"^[^\x00]*$", description="only answers of that model")]


class CacheEntries(BaseModel):
    entries: Sequence[CacheEntry]


class Cleared(BaseModel):
    cleared: int = Field(description="how many answers were deleted")


@routes.get("")
def get_cache_report(house: TheHouse, user: TheUser) -> CacheReport:
    """Hit rate and false-hit rate by language and kind, with intervals, as measured; and what this instance counted."""
    return report(house.cache)


@routes.get("/entries")
def list_cache_entries(
    house: TheHouse,
    owner: TheOwner,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
) -> CacheEntries:
    """What is kept, of everyone, the latest first."""
    return CacheEntries(entries=house.cache.entries(limit, offset))


@routes.delete("")
def clear_cache(house: TheHouse, owner: TheOwner, model: _Model = "") -> Cleared:
    """Deletes what is kept: all, or the answers of one model."""
    return Cleared(cleared=house.cache.clear(model))


@routes.delete("/entries/{entry_id}")
def clear_cache_entry(entry_id: Annotated[int, Path(ge=1, lt=2**31)], house: TheHouse, owner: TheOwner) -> Cleared:
    """Deletes one kept answer."""
    return Cleared(cleared=house.cache.clear(entry=entry_id))
