"""What /a2a answers, on top of the official SDK. Imported when A2A is first spoken: it takes a second."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import cache
from typing import Any, TypeVar

from a2a.server.context import ServerCallContext
from a2a.server.request_handlers.request_handler import RequestHandler, validate_request_params
from a2a.server.routes.common import DefaultServerCallContextBuilder
from a2a.server.routes.jsonrpc_dispatcher import JsonRpcDispatcher
from a2a.types import (
    AgentCard,
    CancelTaskRequest,
    GetTaskRequest,
    ListTasksRequest,
    ListTasksResponse,
    SendMessageRequest,
    SubscribeToTaskRequest,
    Task,
    TaskArtifactUpdateEvent,
    TaskStatusUpdateEvent,
)
from a2a.utils import errors
from a2a.utils.constants import DEFAULT_LIST_TASKS_PAGE_SIZE
from a2a.utils.task import apply_history_length, validate_history_length, validate_page_size
from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from dizuo.agents import tasks
from dizuo.api import a2a_tasks
from dizuo.api.a2a_cards import extended_card
from dizuo.api.auth import Caller
from dizuo.api.own_address import own_address
from dizuo.core.errors import DizuoError, NotFound
from dizuo.platform import schema
from dizuo.wiring import House

_T = TypeVar("_T")
_Event = Task | TaskStatusUpdateEvent | TaskArtifactUpdateEvent

_POLL_S = 0.2
_MOST_WAIT_S = 600.0  # that a call which streams nothing is held; the task goes on
logger = logging.getLogger(__name__)


@cache
def dispatcher() -> JsonRpcDispatcher:
    """Takes requests that are signed in already."""
    return JsonRpcDispatcher(_Handler(), _Contexts(), enable_v0_3_compat=True)


class _Contexts(DefaultServerCallContextBuilder):
    def build(self, request: Request) -> ServerCallContext:
        context = super().build(request)
        context.state["request"] = request
        return context


class _Call:
    """A request, and the tasks of whoever sent it."""

    def __init__(self, context: ServerCallContext) -> None:
        self.request: Request = context.state["request"]
        self.house: House = self.request.app.state.house
        caller: Caller = self.request.state.caller
        key_id = caller.key.id if caller.key else None
        self.asker = tasks.Asker(caller.user.id, key_id, **self.request.path_params)

    async def do(self, function: Callable[..., _T], *args: Any, **named: Any) -> _T:
        """Calls it in a thread. Raises what A2A says of what went wrong."""
        try:
            return await run_in_threadpool(function, *args, **named)
        except NotFound as error:
            raise errors.TaskNotFoundError(str(error)) from None
        except DizuoError as error:
            raise _refused(error) from None
        except Exception:
            logger.exception("unforeseen error in %s", self.request.url.path)
            raise errors.InternalError("This is a bug in Dizuo. The server's log has the details.") from None

    async def get(self, task_id: str, after: int = 0) -> tasks.Task:
        return await self.do(self.house.tasks.get, self.asker, task_id, after)

    async def told(self, task: tasks.Task) -> Task:
        return await self.do(a2a_tasks.told, task, self.house.run_files.workspace(task.run.id))

    async def send(self, params: SendMessageRequest) -> tasks.Task:
        if params.configuration.HasField("task_push_notification_config"):
            raise errors.PushNotificationNotSupportedError
        message = params.message
        try:
            text = a2a_tasks.text_of(message)
        except ValueError as error:
            raise errors.ContentTypeNotSupportedError(str(error)) from None
        if not text.strip() or "\0" in text:
            raise errors.InvalidParamsError("The message says nothing, or holds NUL.")
        ids = {"task_id": message.task_id, "context_id": message.context_id}
        try:
            return await self.do(self.house.tasks.send, self.asker, text, a2a_tasks.files_of(message), **ids)
        except errors.TaskNotFoundError as error:
            raise error if message.task_id else errors.UnsupportedOperationError(error.message) from None

    async def follow(self, task: tasks.Task, known: tuple[str, ...] = ()) -> AsyncGenerator[_Event, None]:
        """What comes after `task` was told, until it rests in another way than `known`, or the server stops."""
        seen = len(task.steps)
        while not self.request.app.state.stopping():
            task = await self.get(task.run.id, seen)
            seen += len(task.steps)
            for event in a2a_tasks.progress(task):
                yield event
            if task.rests and task.rests != known:
                task = await self.get(task.run.id)
                for event in await self.do(a2a_tasks.outcome, task, self.house.run_files.workspace(task.run.id)):
                    yield event
                return
            await asyncio.sleep(_POLL_S)


def _refused(error: DizuoError) -> errors.A2AError:
    """An error of ours in A2A's words. The text is for whoever asked."""
    if error.status >= 500:
        return errors.InternalError(str(error))
    wrong = error.status in (400, 413)
    return errors.InvalidParamsError(str(error)) if wrong else errors.UnsupportedOperationError(str(error))


class _Handler(RequestHandler):
    """The operations of the protocol. Keeps nothing."""

    @validate_request_params
    async def on_message_send(self, params: SendMessageRequest, context: ServerCallContext) -> Task:
        validate_history_length(params.configuration)
        call = _Call(context)
        task = await call.send(params)
        if not params.configuration.return_immediately:
            task = await self._rested(call, task)
        return apply_history_length(await call.told(task), params.configuration)

    @validate_request_params
    async def on_message_send_stream(
        self, params: SendMessageRequest, context: ServerCallContext
    ) -> AsyncGenerator[_Event, None]:
        validate_history_length(params.configuration)
        call = _Call(context)
        task = await call.send(params)
        yield apply_history_length(await call.told(task), params.configuration)
        if not task.rests:
            async with aclosing(call.follow(task)) as events:
                async for event in events:
                    yield event

    @validate_request_params
    async def on_subscribe_to_task(
        self, params: SubscribeToTaskRequest, context: ServerCallContext
    ) -> AsyncGenerator[_Event, None]:
        call = _Call(context)
        task = await call.get(params.id)
        if task.run.status == "ended":
            raise errors.UnsupportedOperationError("The task has ended: nothing more comes of it.")
        yield await call.told(task)
        async with aclosing(call.follow(task, task.rests)) as events:
            async for event in events:
                yield event

    @validate_request_params
    async def on_get_task(self, params: GetTaskRequest, context: ServerCallContext) -> Task:
        validate_history_length(params)
        call = _Call(context)
        return apply_history_length(await call.told(await call.get(params.id)), params)

    @validate_request_params
    async def on_list_tasks(self, params: ListTasksRequest, context: ServerCallContext) -> ListTasksResponse:
        validate_history_length(params)
        if params.HasField("page_size"):
            validate_page_size(params.page_size)
        call = _Call(context)
        size = params.page_size or DEFAULT_LIST_TASKS_PAGE_SIZE
        start = int(params.page_token) if params.page_token.isdecimal() else 0
        found = await call.do(call.house.tasks.list, call.asker, params.context_id)
        if params.status:
            found = [one for one in found if a2a_tasks.state_of(one) == params.status]
        if params.HasField("status_timestamp_after"):
            after = params.status_timestamp_after.ToNanoseconds()
            found = [one for one in found if one.run.changed_at.timestamp() * 1e9 > after]
        page = [await call.told(await call.get(one.run.id)) for one in found[start : start + size]]
        for task in page:
            if not params.include_artifacts:
                task.ClearField("artifacts")
        return ListTasksResponse(
            tasks=[apply_history_length(one, params) for one in page],
            next_page_token=str(start + size) if start + size < len(found) else "",
            page_size=size,
            total_size=len(found),
        )

    @validate_request_params
    async def on_cancel_task(self, params: CancelTaskRequest, context: ServerCallContext) -> Task:
        call = _Call(context)
        task = await call.get(params.id)
        if task.run.status == "ended":
            raise errors.TaskNotCancelableError
        return await call.told(await call.do(call.house.tasks.cancel, call.asker, params.id))

    async def on_get_extended_agent_card(self, params: Any, context: ServerCallContext) -> AgentCard:
        call = _Call(context)
        base = own_address(call.request, call.house)
        return await call.do(extended_card, call.house, base, call.asker.app, call.asker.knowledge)

    @staticmethod
    async def _rested(call: _Call, task: tasks.Task) -> tasks.Task:
        """The task once it goes on no longer; as it is then where that takes too long, or nobody waits for it."""
        until_s = time.monotonic() + _MOST_WAIT_S
        while not task.rests and time.monotonic() < until_s and not call.request.app.state.stopping():
            if await call.request.is_disconnected():
                break
            await asyncio.sleep(_POLL_S)
            task = await call.get(task.run.id, schema.LARGEST)
        return await call.get(task.run.id)

    # What is not offered.

    async def on_create_task_push_notification_config(self, params: Any, context: ServerCallContext) -> Any:
        raise errors.PushNotificationNotSupportedError

    async def on_get_task_push_notification_config(self, params: Any, context: ServerCallContext) -> Any:
        raise errors.PushNotificationNotSupportedError

    async def on_list_task_push_notification_configs(self, params: Any, context: ServerCallContext) -> Any:
        raise errors.PushNotificationNotSupportedError

    async def on_delete_task_push_notification_config(self, params: Any, context: ServerCallContext) -> None:
        raise errors.PushNotificationNotSupportedError
