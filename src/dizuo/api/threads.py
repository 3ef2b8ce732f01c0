"""/api/threads: conversations of the caller's own."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Path, Query, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel

from dizuo.api import streams
from dizuo.api.auth import TheHouse, TheUser, router
from dizuo.api.knowledge import event_frames, whole_answer
from dizuo.api.requests import RequestBody, Words
from dizuo.apps.conversation import converse, title_of
from dizuo.apps.threads import Thread, ThreadMessage
from dizuo.core.documents import Answer

routes = router("/api/threads", "threads")

ThreadId = Annotated[str, Path(description="the thread's id", pattern=r"^[^\x00]+$")]


class ThreadList(BaseModel):
    threads: Sequence[Thread]


class ThreadContent(BaseModel):
    thread: Thread
    messages: Sequence[ThreadMessage]


class NewThread(RequestBody):
    knowledge: Words
    title: Words


class NewTitle(RequestBody):
    title: Words


@routes.get("")
def list_threads(house: TheHouse, user: TheUser, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> ThreadList:
    """The caller's threads, the latest first."""
    return ThreadList(threads=house.threads.list(user.id, limit=limit))


@routes.post("", status_code=201)
def create_thread(new: NewThread, house: TheHouse, user: TheUser) -> Thread:
    """An empty thread. Ask in it: POST /api/knowledge/NAME/ask with its id."""
    knowledge = house.library.get(new.knowledge)
    return house.threads.create(user.id, knowledge.name, title_of(new.title))


@routes.get("/{thread_id}")
def get_thread(thread_id: ThreadId, house: TheHouse, user: TheUser) -> ThreadContent:
    return ThreadContent(
        thread=house.threads.get(user.id, thread_id), messages=house.threads.messages(user.id, thread_id)
    )


@routes.patch("/{thread_id}")
def rename_thread(thread_id: ThreadId, new: NewTitle, house: TheHouse, user: TheUser) -> Thread:
    house.threads.rename(user.id, thread_id, title_of(new.title))
    return house.threads.get(user.id, thread_id)


@routes.delete("/{thread_id}", status_code=204)
def remove_thread(thread_id: ThreadId, house: TheHouse, user: TheUser) -> None:
    house.threads.delete(user.id, thread_id)


@routes.post(
    "/{thread_id}/again",
    response_model=Answer,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def answer_again(thread_id: ThreadId, request: Request, house: TheHouse, user: TheUser) -> Any:
    """The last question answered anew, in place of its answer. As events with `Accept: text/event-stream`."""
    thread = await run_in_threadpool(house.threads.get, user.id, thread_id)
    house.gateway.check_allowed(f"knowledge/{thread.knowledge}")
    events = converse(house.answerer, house.threads, user.id, thread_id)
    if "text/event-stream" in request.headers.get("accept", ""):
        frames = event_frames(await streams.begun(request, events))
        return streams.EventStream(streams.guarded(request, frames))
    return await streams.unless_gone(request, whole_answer(request, events))
