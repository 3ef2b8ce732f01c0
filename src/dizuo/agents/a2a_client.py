"""An agent of others, asked by the Agent2Agent protocol: one tool, that sends it a message and waits for what comes.

The official SDK speaks the protocol (1.0 and 0.3, JSON-RPC and plain HTTP); what it does not bound is bounded here.
Requests go to the origin that the owner named and follow no redirect: a card that leads elsewhere is refused, and a
token goes nowhere else.
"""

import asyncio
import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dizuo.agents.bounded_http import UNPACKED, bounded
from dizuo.agents.listed import ListedTool, ServerFailed, reason_of
from dizuo.agents.mcp_client import Waits
from dizuo.core.tools import MOST_CHARACTERS, ToolContext, ToolResult
from dizuo.platform import schema

if TYPE_CHECKING:
    import httpx
    from a2a.client import Client
    from a2a.types import AgentCard, Task

TOOL = "ask"
WELL_KNOWN = "/.well-known/agent-card.json"
_MOST_CARD_BYTES = 1 << 20
_MOST_ID = 500  # characters of a task's id
_LEAVE_S = 5.0  # for a task to be cancelled
_FIRST_LOOK_S, _LONGEST_LOOK_S = 0.3, 5.0  # between two looks at a task

_PARAMETERS = {
    "type": "object",
    "properties": {
        "message": {
            "type": "string",
            "minLength": 1,
            "maxLength": 100_000,
            "description": "what it is to do, with all that it needs to know for that",
        },
        "task": {
            "type": "string",
            "minLength": 1,
            "maxLength": _MOST_ID,
            "description": "the id of a task of this agent, to go on with that one",
        },
    },
    "additionalProperties": False,
}
_HOW = """It reads only what `message` says. The result begins with its task's id and state:
- input required: it asks something; answer by calling again with `task` and the answer as `message`.
- working: it takes long; call again with `task` alone to see how far it is.
- completed: for a question about it, call again with `task` and the question as `message`."""


class Agent:
    """One agent. As `mcp_client.Connection`: belongs to one event loop, and every call of it ends."""

    def __init__(self, url: str, headers: Mapping[str, str], proxy: str | None = None, waits: Waits = Waits()) -> None:
        """`url`: what the address of its card begins with, or that of the card (…json). `headers` go with every
        request."""
        self._url = url
        self._headers = headers
        self._proxy = proxy
        self._waits = waits
        self._card: AgentCard | None = None
        self._http: httpx.AsyncClient | None = None

    async def list(self) -> Sequence[ListedTool]:
        """The agent as a tool, in the words of its card. Raises ServerFailed."""
        try:
            async with asyncio.timeout(self._waits.connect_s):
                said = await self._fetched()
            card = await asyncio.to_thread(_parsed, said)
        except Exception as error:
            await self.aclose()
            raise ServerFailed("Its card cannot be read: {reason}", reason=reason_of(error)) from error
        origin = _origin(self._url)
        own = [one for one in card.supported_interfaces if _origin(one.url) == origin]
        if not own:
            raise ServerFailed(
                "Its card names no address at {origin}, where the card is. Requests go nowhere else.", origin=origin
            )
        del card.supported_interfaces[:]
        card.supported_interfaces.extend(own)
        self._card = card
        pinned = json.dumps({name: one for name, one in said.items() if name != "signatures"}, sort_keys=True)
        card_hash = hashlib.sha256(pinned.encode("utf-8", "replace")).hexdigest()
        return [
            ListedTool(
                name=TOOL,
                description=schema.storable(_described(card)),
                parameters=_PARAMETERS,
                operation={"card_sha256": card_hash},
            )
        ]

    async def call(self, _name: str, arguments: Mapping[str, Any], _context: ToolContext = ToolContext()) -> ToolResult:
        """What came of a message, or of another look at a task; never trusted, since all of it are its words. A call
        that is broken off cancels the task."""
        text, task_id = str(arguments.get("message", "")), str(arguments.get("task", ""))
        if not text and not task_id:
            return ToolResult(text="Give a message, or the id of a task to look at.", failed=True)
        heard = _Heard()
        try:
            client = self._client()
            async with asyncio.timeout(self._waits.call_s):
                await self._converse(client, heard, text, task_id)
        except asyncio.CancelledError:
            await self._cancel(heard)
            raise
        except TimeoutError:
            if not heard.task_id:
                told = f"The agent has not answered within {self._waits.call_s:g} seconds. It may still be at work."
                return ToolResult(text=told, failed=True, trusted=False)
        except Exception as error:
            if not heard.settled:
                told = f"The agent failed: {reason_of(error)}\n{heard.head if heard.task_id else ''}"
                return ToolResult(text=told.strip(), failed=True, trusted=False)
        return ToolResult(text=heard.text, failed=heard.failed, trusted=False)

    async def aclose(self) -> None:
        """Ends the connections. Another call begins anew."""
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()

    # ----------------------------------------------------------------------------------------------------------

    async def _converse(self, client: "Client", heard: "_Heard", text: str, task_id: str) -> None:
        """Sends the message, and hears until the task ends or the agent wants something."""
        from a2a.client import A2AClientError
        from a2a.types import GetTaskRequest, Message, Part, Role, SendMessageRequest

        message = Message(message_id=str(uuid.uuid4()), role=Role.ROLE_USER, parts=[Part(text=text)])
        if task_id:
            heard.take_task(await client.get_task(GetTaskRequest(id=task_id)))
            message.context_id = heard.context_id
            if heard.ended:  # what has ended takes no message: a new task in the same conversation does
                message.reference_task_ids.append(heard.task_id)
            else:
                message.task_id = heard.task_id
        if text:
            heard.settled = begun = False
            try:
                async with aclosing(client.send_message(SendMessageRequest(message=message))) as events:  # type: ignore[type-var]
                    async for event in events:
                        begun = True
                        heard.take(event)
                        if heard.settled:
                            return
            except A2AClientError:
                if not begun or not heard.task_id:  # else the stream broke, and the task can be looked at all the same
                    raise
            if not heard.task_id:
                raise ServerFailed("It answered nothing.")
        wait_s = _FIRST_LOOK_S
        while not heard.settled:
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 1.5, _LONGEST_LOOK_S)
            heard.take_task(await client.get_task(GetTaskRequest(id=heard.task_id)))

    async def _cancel(self, heard: "_Heard") -> None:
        from a2a.types import CancelTaskRequest

        if heard.task_id and not heard.ended:
            with suppress(Exception):
                async with asyncio.timeout(_LEAVE_S):
                    await self._client().cancel_task(CancelTaskRequest(id=heard.task_id))

    async def _fetched(self) -> Mapping[str, Any]:
        """The card as it stands. Raises what httpx raises, and ValueError for what is none."""
        parts = urlsplit(self._url)
        path = parts.path if parts.path.endswith(".json") else parts.path.rstrip("/") + WELL_KNOWN
        async with self._connection().stream("GET", parts._replace(path=path).geturl()) as answer:
            answer.raise_for_status()
            body = bytearray()
            async for piece in answer.aiter_bytes():
                body += piece
                if len(body) > _MOST_CARD_BYTES:
                    raise ValueError(f"it has over {_MOST_CARD_BYTES} bytes")
        found = json.loads(body)
        if not isinstance(found, dict):
            raise ValueError("it is no JSON object")
        return found

    def _connection(self) -> "httpx.AsyncClient":
        if self._http is None:
            import httpx

            self._http = httpx.AsyncClient(
                headers={**self._headers, **UNPACKED, "User-Agent": "dizuo"},
                timeout=httpx.Timeout(self._waits.connect_s, read=self._waits.call_s),
                transport=bounded(httpx, self._proxy),
                trust_env=False,
            )
        return self._http

    def _client(self) -> "Client":
        from a2a.client import ClientConfig, ClientFactory
        from a2a.utils.constants import TransportProtocol

        assert self._card is not None, "asked before its card was read"
        config = ClientConfig(
            polling=True,  # where it does not stream: the task's id at once, so that it can be cancelled
            httpx_client=self._connection(),
            supported_protocol_bindings=[TransportProtocol.JSONRPC, TransportProtocol.HTTP_JSON],
            accepted_output_modes=["text/plain", "application/json"],
        )
        return ClientFactory(config).create(self._card)


class _Heard:
    """What an agent has said so far of a task, put together from its events."""

    def __init__(self) -> None:
        self.task_id = self.context_id = ""
        self.settled = False  # nothing more comes without a word of ours
        self._state = "working"
        self._said = ""  # with its state, or in place of a task
        self._artifacts: dict[str, str] = {}

    @property
    def ended(self) -> bool:
        return self._state in ("completed", "failed", "canceled", "rejected", "answered")

    @property
    def failed(self) -> bool:
        return self._state in ("failed", "canceled", "rejected", "auth required")

    @property
    def head(self) -> str:
        return f"Task {self.task_id}: {self._state}" if self.task_id else ""

    @property
    def text(self) -> str:
        """What a model reads of it."""
        made = "\n".join(self._artifacts.values())
        # Some put the answer into both, or only into the words beside the state.
        return "\n".join(dict.fromkeys(filter(None, (self.head, self._said, made))))

    def take(self, event: Any) -> None:
        """One event of a stream, or the only one."""
        match event.WhichOneof("payload"):
            case "task":
                self.take_task(event.task)
            case "message":
                self._state, self._said, self.settled = "answered", _text(event.message.parts), True
            case "status_update":
                self._name(event.status_update.task_id, event.status_update.context_id)
                self._take_status(event.status_update.status)
            case "artifact_update":
                self._name(event.artifact_update.task_id, event.artifact_update.context_id)
                self._take_artifact(event.artifact_update.artifact, append=event.artifact_update.append)

    def take_task(self, task: "Task") -> None:
        """A task as it stands."""
        self._name(task.id, task.context_id)
        self._artifacts = {}
        for artifact in task.artifacts:
            self._take_artifact(artifact)
        self._take_status(task.status)
        if self.ended and not self._said and not task.artifacts and task.history:
            self._said = _text(task.history[-1].parts)  # some answer there only

    def _take_status(self, status: Any) -> None:
        from a2a.types import TaskState

        name = TaskState.Name(status.state) if status.state in TaskState.values() else ""
        self._state = name.removeprefix("TASK_STATE_").lower().replace("_", " ")
        self._said = _text(status.message.parts)
        self.settled = self.ended or self._state in ("input required", "auth required")

    def _take_artifact(self, artifact: Any, *, append: bool = False) -> None:
        name = f"[{artifact.name}]\n" if artifact.name else ""
        text = _text(artifact.parts)
        if append and artifact.artifact_id in self._artifacts:
            self._artifacts[artifact.artifact_id] += text
        else:
            self._artifacts[artifact.artifact_id] = name + text

    def _name(self, task_id: str, context_id: str) -> None:
        if len(task_id) > _MOST_ID or len(context_id) > _MOST_ID:
            raise ServerFailed("Its task has an id too long to be kept.")
        self.task_id, self.context_id = task_id or self.task_id, context_id or self.context_id


def _parsed(said: Mapping[str, Any]) -> "AgentCard":
    """Blocking: loads the SDK, which takes a second. Raises what protobuf raises for what is no card."""
    from a2a.client.card_resolver import parse_agent_card

    return parse_agent_card(json.loads(json.dumps(said)))  # a copy: it is changed on the way


def _described(card: "AgentCard") -> str:
    skills = [
        f"- {skill.name}: {skill.description}" + (f" (such as: {skill.examples[0]})" if skill.examples else "")
        for skill in card.skills
    ]
    head = f"Ask the agent {card.name}. {card.description}".strip()
    return "\n".join([head, *(["It says that it can:", *skills] if skills else []), _HOW])


def _text(parts: Any) -> str:
    """What a model can read of parts; the rest is named."""
    from a2a.helpers.proto_helpers import get_data_parts

    found: list[str] = []
    room = MOST_CHARACTERS + 1  # `core.tools` cuts, and says so
    for part in parts:
        match part.WhichOneof("content"):
            case "text":
                found.append(part.text[:room])
            case "data":
                found.append(json.dumps(get_data_parts([part])[0], ensure_ascii=False)[:room])
            case "url":
                found.append(f"[link: {part.filename} {part.url}]"[:room])
            case "raw":
                found.append(f"[file: {part.filename} {part.media_type}, {len(part.raw)} bytes, not shown]"[:room])
    return "\n".join(found)


def _origin(url: str) -> str:
    """Scheme, host and port of an address; "" for none."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.hostname}:{port}" if parts.hostname and port else ""
