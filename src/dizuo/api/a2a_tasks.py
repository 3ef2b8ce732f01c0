"""A task in the words of A2A: its state, what was said, and what it has made. Imported when A2A is first spoken."""

import json
import mimetypes
from collections.abc import Iterator, Sequence
from datetime import datetime
from io import BytesIO
from typing import Any, BinaryIO

from a2a.helpers.proto_helpers import get_data_parts
from a2a.types import (
    Artifact,
    Message,
    Part,
    Role,
    Task,
    TaskArtifactUpdateEvent,
    TaskState,
    TaskStatus,
    TaskStatusUpdateEvent,
)

from dizuo.agents import tasks
from dizuo.agents.steps import ApprovalAsked, ApprovalGiven, Ended, ModelCalled, Started, Steered, Step
from dizuo.agents.workspace import Workspace
from dizuo.core.errors import NotFound

ANSWER = "answer"
MOST_FILES = 20
MOST_FILE_BYTES = 1 << 20
MOST_FILES_BYTES = 4 << 20
_PAUSED = "A person lets this task rest, and must let it go on."
_APPROVAL = "A person must approve the call of {tool}, in the inbox of this instance. No message can do that."
_ENDED = {"done": TaskState.TASK_STATE_COMPLETED, "cancelled": TaskState.TASK_STATE_CANCELED}


def told(task: tasks.Task, workspace: Workspace) -> Task:
    """The task as it stands; its steps must be all there are."""
    return Task(
        id=task.run.id,
        context_id=task.context_id,
        status=_status(task),
        artifacts=_artifacts(task, workspace),
        history=_history(task),
    )


def state_of(task: tasks.Task) -> TaskState:
    """Where the task stands."""
    match task.run.status:
        case "active":
            return TaskState.TASK_STATE_WORKING
        case "ended":
            return _ENDED.get(task.run.reason, TaskState.TASK_STATE_FAILED)
        case _:
            return TaskState.TASK_STATE_INPUT_REQUIRED


def progress(task: tasks.Task) -> Iterator[TaskStatusUpdateEvent]:
    """What the model said beside its calls, in the steps that are new."""
    for step in task.steps:
        if isinstance(step, ModelCalled) and step.calls and step.text.strip():
            working = TaskStatus(state=TaskState.TASK_STATE_WORKING, message=_said(task, Role.ROLE_AGENT, step.text))
            yield TaskStatusUpdateEvent(task_id=task.run.id, context_id=task.context_id, status=working)


def outcome(task: tasks.Task, workspace: Workspace) -> list[TaskArtifactUpdateEvent | TaskStatusUpdateEvent]:
    """How a task that goes on no longer stands: what it has made, and its state last. Its steps must be all there
    are."""
    names: dict[str, Any] = {"task_id": task.run.id, "context_id": task.context_id}
    made = [TaskArtifactUpdateEvent(artifact=one, last_chunk=True, **names) for one in _artifacts(task, workspace)]
    return [*made, TaskStatusUpdateEvent(status=_status(task), **names)]


# --------------------------------------------------------------------------------------------------------------


def _status(task: tasks.Task) -> TaskStatus:
    status = TaskStatus(state=state_of(task))
    status.timestamp.FromDatetime(_naive(task.run.changed_at))
    if text := _words(task):
        status.message.CopyFrom(_said(task, Role.ROLE_AGENT, text))
    return status


def _words(task: tasks.Task) -> str:
    """What goes with the state: what it asks, what must be approved, or why it has ended."""
    match task.run.status:
        case "paused":
            return _PAUSED
        case "waiting":
            waiting = [one.step for one in task.waiting]
            questions = [one.question for one in waiting if one.why == "question"]
            asked = [_APPROVAL.format(tool=one.name) for one in waiting if one.why != "question"]
            return "\n".join(questions[:1] or asked)  # a message answers the first
        case "ended":
            end = _end(task.steps)
            return "\n".join(filter(None, (task.run.reason, end.detail if end else ""))) if _failed(task) else ""
        case _:
            return ""


def _failed(task: tasks.Task) -> bool:
    return state_of(task) == TaskState.TASK_STATE_FAILED


def _artifacts(task: tasks.Task, workspace: Workspace) -> list[Artifact]:
    """The answer, or the best there is, and the files."""
    end = _end(task.steps)
    if end is None:
        return []
    made = [Artifact(artifact_id=ANSWER, parts=[Part(text=end.text)])] if end.text.strip() else []
    left_out: list[str] = []
    room = MOST_FILES_BYTES
    for number, file in enumerate(workspace.files()):
        if number >= MOST_FILES or file.size_bytes > min(room, MOST_FILE_BYTES):
            left_out.append(f"{file.path} ({file.size_bytes} bytes)")
            continue
        try:
            with workspace.open(file.path) as source:
                data = source.read(MOST_FILE_BYTES)
        except NotFound:
            continue
        room -= len(data)
        made.append(Artifact(artifact_id=f"file-{number}", name=file.path, parts=[_file(file.path, data)]))
    if left_out:
        text = "These files are not sent; people find them with the run:\n" + "\n".join(left_out)
        made.append(Artifact(artifact_id="files-left-out", parts=[Part(text=text)]))
    return made


def _file(path: str, data: bytes) -> Part:
    media_type = mimetypes.guess_type(path)[0] or "application/octet-stream"
    about: dict[str, Any] = {"filename": path, "media_type": media_type}
    if media_type.startswith("text/") or media_type == "application/json":
        try:
            return Part(text=data.decode("utf-8"), **about)
        except UnicodeDecodeError:
            pass
    return Part(raw=data, **about)


def _history(task: tasks.Task) -> list[Message]:
    """What was said: the goal and what came after it, what was asked back, and the answers."""
    found: list[Message] = []
    questions: set[str] = set()
    for number, step in enumerate(task.steps, 1):
        role, text = Role.ROLE_USER, ""
        match step:
            case Started():
                text = step.goal
            case Steered():
                text = step.text
            case ApprovalAsked(why="question"):
                questions.add(step.call_id)
                role, text = Role.ROLE_AGENT, step.question
            case ApprovalGiven() if step.call_id in questions:
                text = step.reason
            case ModelCalled(calls=()):
                role, text = Role.ROLE_AGENT, step.text
        if text.strip():
            found.append(_said(task, role, text, number))
    return found


def _said(task: tasks.Task, role: Role, text: str, number: int = 0) -> Message:
    ids: dict[str, Any] = {
        "message_id": f"{task.run.id}-{number or 'now'}",
        "task_id": task.run.id,
        "context_id": task.context_id,
    }
    return Message(role=role, parts=[Part(text=text)], **ids)


def _end(steps: Sequence[Step]) -> Ended | None:
    return steps[-1] if steps and isinstance(steps[-1], Ended) else None


def _naive(at: datetime) -> datetime:
    """Protobuf takes UTC without saying so."""
    return at.replace(tzinfo=None)


def text_of(message: Message) -> str:
    """What a message says, its data as JSON. Raises ValueError for parts that are addresses, which are not called."""
    found: list[str] = []
    for part in message.parts:
        match part.WhichOneof("content"):
            case "text" if not part.filename:
                found.append(part.text)
            case "data":
                found.append(json.dumps(get_data_parts([part])[0], ensure_ascii=False))
            case "url":
                raise ValueError("addresses of files are not called: send what is in them")
    return "\n".join(found)


def files_of(message: Message) -> list[tuple[str, BinaryIO]]:
    """The files of a message by their names."""
    found: list[tuple[str, BinaryIO]] = []
    for part in message.parts:
        kind = part.WhichOneof("content")
        if kind == "raw" or (kind == "text" and part.filename):
            name = part.filename or f"file-{len(found) + 1}{mimetypes.guess_extension(part.media_type) or ''}"
            found.append((name, BytesIO(part.raw if kind == "raw" else part.text.encode())))
    return found
