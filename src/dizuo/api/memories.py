"""/api/memories: what agents remember of the caller."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Path, Query
from pydantic import BaseModel, Field

from dizuo.agents.memory import MOST_CHARACTERS, Memory
from dizuo.api.auth import TheHouse, TheUser, router
from dizuo.api.requests import RequestBody, Words
from dizuo.platform.schema import LARGEST

routes = router("/api/memories", "memories")

MemoryId = Annotated[int, Path(ge=1, le=LARGEST, description="the memory's number")]
_Said = Annotated[str, Field(min_length=1, max_length=MOST_CHARACTERS, pattern=r"^[^\x00]*[^\x00\s][^\x00]*$")]


class MemoryList(BaseModel):
    memories: Sequence[Memory]


class NewMemory(RequestBody):
    about: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00]*[^\x00\s][^\x00]*$")] = Field(
        description="what the fact is about; a new fact about the same takes its place"
    )
    text: _Said


class NewText(RequestBody):
    text: _Said


class Deleted(BaseModel):
    deleted: int


@routes.get("")
def list_memories(
    house: TheHouse,
    user: TheUser,
    query: Annotated[Words | None, Query(description="only what fits, the best first")] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
) -> MemoryList:
    """All that is remembered of the caller, the latest first: an export, too."""
    if query is not None:
        return MemoryList(memories=house.memories.recall(user.id, query, limit))
    return MemoryList(memories=house.memories.list(user.id, limit))


@routes.post("", status_code=201)
def remember(new: NewMemory, house: TheHouse, user: TheUser) -> Memory:
    return house.memories.remember(user.id, new.text, about=new.about)


@routes.get("/{memory_id}")
def get_memory(memory_id: MemoryId, house: TheHouse, user: TheUser) -> Memory:
    return house.memories.get(user.id, memory_id)


@routes.patch("/{memory_id}")
def edit_memory(memory_id: MemoryId, new: NewText, house: TheHouse, user: TheUser) -> Memory:
    """Says it otherwise; a person's word is certain."""
    return house.memories.edit(user.id, memory_id, new.text)


@routes.delete("/{memory_id}")
def forget(memory_id: MemoryId, house: TheHouse, user: TheUser) -> Deleted:
    """Deletes it, and all that was made of it."""
    house.memories.forget(user.id, memory_id)
    return Deleted(deleted=1)


@routes.delete("")
def forget_all(house: TheHouse, user: TheUser) -> Deleted:
    """Deletes everything that is remembered of the caller."""
    return Deleted(deleted=house.memories.forget_all(user.id))
