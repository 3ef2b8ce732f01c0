"""Server-sent events: framing, errors midway, heartbeats, and an end as soon as the client has gone.

The format: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import anyio
from fastapi import Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel
from starlette.requests import ClientDisconnect
from starlette.types import Send

from dizuo.api import errors
from dizuo.core.errors import DizuoError
from dizuo.core.events import Failed

logger = logging.getLogger(__name__)

HEARTBEAT_S = 15.0  # below the idle timeouts of common proxies (60 s) with room to spare

_T = TypeVar("_T")


# Many clients split a stream into lines at these, too (`str.splitlines`), though the format does not.
_LINE_ENDS = {end: f"\\u{ord(end):04x}" for end in "\x85\u2028\u2029"}


def json_text(content: Any) -> str:
    """The JSON, in one line whoever looks."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    for end, escaped in _LINE_ENDS.items():
        if end in text:
            text = text.replace(end, escaped)
    return text


def frame(data: BaseModel | str, event: str = "") -> str:
    """One event as it goes over the wire."""
    text = data if isinstance(data, str) else data.model_dump_json()
    name = f"event: {event}\n" if event else ""
    return f"{name}data: {text}\n\n"


class EventStream(StreamingResponse):
    """A stream of frames. A comment goes out now and then, so that nobody on the way takes silence for death."""

    media_type = "text/event-stream"

    def __init__(self, frames: AsyncGenerator[str, None], headers: Mapping[str, str] | None = None) -> None:
        super().__init__(frames, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no", **(headers or {})})
        self._frames = frames

    async def stream_response(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        # aclosing: a generator that is cancelled between two frames must let go of its model now, not when collected.
        async with aclosing(self._frames) as frames, anyio.create_task_group() as tasks:
            tasks.start_soon(_beat, send)
            async for frame in frames:
                await send({"type": "http.response.body", "body": frame.encode(), "more_body": True})
            tasks.cancel_scope.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _beat(send: Send) -> None:
    while True:
        await anyio.sleep(HEARTBEAT_S)
        await send({"type": "http.response.body", "body": b": still here\n\n", "more_body": True})


async def guarded(request: Request, frames: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
    """The same frames; an exception midway becomes a last `error` event in the shape of every other error."""
    async with aclosing(frames):
        try:
            async for one in frames:
                yield one
        except Exception as error:
            if not isinstance(error, DizuoError):
                logger.exception("unforeseen error in the stream of %s", request.url.path)
            language = errors.reader_language(request)
            found = errors.problem(error, language, request)
            yield frame(errors.body(found, language, errors.request_id(request.scope)), "error")


async def begun(request: Request, events: AsyncIterator[_T]) -> AsyncGenerator[_T, None]:
    """The same events, once the first is there: see `opened`."""
    return (await opened(request, events)).events


@dataclass(frozen=True)
class Opened(Generic[_T]):
    """A stream that has begun. `first` is None where a heartbeat came before it; `events` has it among them."""

    first: _T | None
    events: AsyncGenerator[_T, None]


async def opened(request: Request, events: AsyncIterator[_T]) -> Opened[_T]:
    """The events once the first is there: what goes wrong before it is an ordinary error response.

    A model that takes its time is not waited for longer than a heartbeat; its fault is an event then, as any later one.
    """
    first = asyncio.ensure_future(anext(events))
    try:
        await unless_gone(request, asyncio.wait({first}, timeout=HEARTBEAT_S))
        came = first.result() if first.done() else None
    except BaseException as error:
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        if isinstance(error, StopAsyncIteration):
            raise RuntimeError("the events ended before they began") from None
        raise
    return Opened(came, _resumed(first, events))


async def _resumed(first: asyncio.Future[_T], events: AsyncIterator[_T]) -> AsyncGenerator[_T, None]:
    async with ended(events):
        yield await first
        async for event in events:
            yield event


@asynccontextmanager
async def ended(events: AsyncIterator[Any]) -> AsyncGenerator[None, None]:
    """After it the events have let go of their model, whether they were all taken or not."""
    try:
        yield
    finally:
        if isinstance(events, AsyncGenerator):
            await events.aclose()


async def unless_gone(request: Request, work: Awaitable[_T]) -> _T:
    """What `work` gives; it is cancelled when the client disconnects. Raises ClientDisconnect then.

    The request's body must have been read already.
    """
    # In this task, which the watcher cancels: a task for the work as well, and waiting for either, took twice as long.
    task = asyncio.current_task()
    assert task is not None
    cancelling, gone = task.cancelling(), False

    def leave(watcher: asyncio.Future[None]) -> None:
        nonlocal gone
        if not watcher.cancelled():
            watcher.exception()  # whatever it met: nobody is there to be answered
            gone = task.cancel()

    watcher = asyncio.ensure_future(_gone(request))
    watcher.add_done_callback(leave)
    try:
        return await work
    except asyncio.CancelledError:
        # As in asyncio.timeout: where somebody else wanted the task to end as well, it ends.
        if gone and task.uncancel() <= cancelling:
            raise ClientDisconnect from None
        raise
    finally:
        watcher.remove_done_callback(leave)
        watcher.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def failure(event: Failed, request: Request) -> errors.ErrorBody:
    """A stream's own report of its failure, in the shape of every other error."""
    found = errors.Problem(502, event.code, "", said=event.message)
    return errors.body(found, errors.reader_language(request), errors.request_id(request.scope))


def failure_response(event: Failed, request: Request) -> JSONResponse:
    return JSONResponse(failure(event, request).model_dump(mode="json"), status_code=502)
