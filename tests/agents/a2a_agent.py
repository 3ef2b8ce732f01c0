"""An agent made with the official SDK of A2A, served on a free port of this machine. It does what its message says."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import uvicorn
from a2a.helpers.proto_helpers import new_data_part, new_raw_part, new_text_part, new_url_part
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes, create_rest_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import (
    AgentCapabilities,
    AgentCard,
    AgentInterface,
    AgentSkill,
    Message,
    Part,
    Role,
    Task,
    TaskState,
    TaskStatus,
)
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import RedirectResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send


class Weather(AgentExecutor):
    """Its tasks: by the first word of the message."""

    def __init__(self) -> None:
        self.cancelled: list[str] = []
        self.begun = threading.Event()

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        message, asked = context.message, context.current_task
        assert message is not None
        text = context.get_user_input()
        if text == "plain":
            said = Message(message_id="m", role=Role.ROLE_AGENT, parts=[Part(text="Just words.")])
            await event_queue.enqueue_event(said)
            return
        task_id, context_id = str(context.task_id), str(context.context_id)
        if asked is None:
            await event_queue.enqueue_event(
                Task(id=task_id, context_id=context_id, status=TaskStatus(state=TaskState.TASK_STATE_SUBMITTED))
            )
        task = TaskUpdater(event_queue, task_id, context_id)
        await task.start_work(_said("Looking at the sky."))
        match text:
            case "ask":
                await task.requires_input(_said("In which town?"))
            case "authorise":
                await task.requires_auth(_said("Sign in at the weather office."))
            case "slow":
                self.begun.set()
                await asyncio.sleep(60)
            case "fail":
                await task.failed(_said("The sky has fallen."))
            case "huge":
                await task.add_artifact([new_text_part("x" * 9_000_000)])
                await task.complete()
            case "long":
                await task.add_artifact([new_text_part("x" * 100_000)])
                await task.complete()
            case "parts":
                parts = [
                    new_data_part({"degrees": 21}),
                    new_raw_part(b"\x89PNG", filename="sky.png", media_type="image/png"),
                    new_url_part("https://weather.example/map", filename="map"),
                ]
                await task.add_artifact(parts, name="report")
                await task.complete()
            case "pieces":
                for number, word in enumerate(("Sunny", " and", " warm.")):
                    await task.add_artifact([new_text_part(word)], artifact_id="a", append=number > 0)
                await task.complete()
            case "secret":
                headers = context.call_context.state["headers"] if context.call_context else {}
                await task.add_artifact([new_text_part(str(headers))])
                await task.complete()
            case _:
                where = f"in {text}" if asked is not None else "everywhere"
                await task.add_artifact([new_text_part(f"Sunny {where}.")])
                await task.complete()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        self.cancelled.append(str(context.task_id))
        await TaskUpdater(event_queue, str(context.task_id), str(context.context_id)).cancel()


class Agent:
    """The running server. What `card` is changed to is served from then on."""

    def __init__(self, url: str, card: AgentCard, weather: Weather) -> None:
        self.url = url
        self.card = card
        self.weather = weather
        self.moved_to = ""  # where /moved leads
        self.seen: list[tuple[str, dict[str, str]]] = []  # path and headers of each request


def card_of(url: str, *, streaming: bool = True, binding: str = "JSONRPC", version: str = "1.0") -> AgentCard:
    path = "rest" if binding == "HTTP+JSON" else "rpc"
    skill = AgentSkill(
        id="sky", name="The sky", description="Tells the weather of a town.", tags=["sky"], examples=["In Lisbon?"]
    )
    return AgentCard(
        name="Weather",
        description="Knows the weather.",
        version="1",
        supported_interfaces=[AgentInterface(url=f"{url}/{path}", protocol_binding=binding, protocol_version=version)],
        capabilities=AgentCapabilities(streaming=streaming),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[skill],
    )


@contextmanager
def serving(**card: Any) -> Iterator[Agent]:
    """The agent, with a card of `card_of`."""
    listening = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    weather = Weather()
    agent = Agent(url, card_of(url, **card), weather)

    async def present(_card: AgentCard) -> AgentCard:
        return agent.card

    async def hang(_request: Any) -> Any:
        await asyncio.sleep(30)

    handler = DefaultRequestHandler(weather, InMemoryTaskStore(), agent.card)
    routes: Sequence[Any] = [
        *create_agent_card_routes(agent.card, present),
        *create_jsonrpc_routes(handler, "/rpc", enable_v0_3_compat=True),
        *create_rest_routes(handler, path_prefix="/rest"),
        Route("/hang", hang, methods=["POST"]),
        Route("/moved", lambda _request: RedirectResponse(agent.moved_to, 307), methods=["POST"]),
    ]
    app = Starlette(routes=routes, middleware=[Middleware(_Seen, agent=agent)])
    config = uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield agent
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()


class _Seen:
    def __init__(self, app: ASGIApp, agent: Agent) -> None:
        self._app = app
        self._agent = agent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = {name.decode(): value.decode() for name, value in scope["headers"]}
            self._agent.seen.append((scope["path"], headers))
        await self._app(scope, receive, send)


def _said(text: str) -> Message:
    return Message(message_id="m", role=Role.ROLE_AGENT, parts=[Part(text=text)])
