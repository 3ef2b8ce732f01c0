"""A provider whose one model is a script: what it says depends on how far the conversation has come."""

import json
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler
from typing import Any

from dizuo.core.messages import ToolCall
from tests.openai_server import FakeProvider

Said = str | Sequence[ToolCall]


class AgentProvider(FakeProvider):
    """Knows a script by a word of the goal: the n-th reply when the model has answered n times in what it reads."""

    def __init__(self, scripts: Mapping[str, Sequence[Said]]) -> None:
        super().__init__(models={"data": [{"id": "agent"}]})
        self.scripts = scripts

    def _answer(self, request: BaseHTTPRequestHandler, body: Any) -> None:
        if body is None or "messages" not in body:
            super()._answer(request, body)
            return
        self.asked.append((request.path, dict(request.headers), body))
        messages = body["messages"]
        goal = next(one["content"] for one in messages if one["role"] == "user")
        script = next(said for word, said in self.scripts.items() if word in str(goal))
        turn = sum(one["role"] == "assistant" for one in messages)
        _stream(request, script[min(turn, len(script) - 1)])


def _stream(request: BaseHTTPRequestHandler, said: Said) -> None:
    delta: dict[str, Any] = {"content": said} if isinstance(said, str) else {"tool_calls": _calls(said)}
    chunks = [
        {"choices": [{"index": 0, "delta": delta}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop" if isinstance(said, str) else "tool_calls"}]},
        {"choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": 20}},
    ]
    request.send_response(200)
    request.send_header("Content-Type", "text/event-stream")
    request.end_headers()
    for chunk in chunks:
        request.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
    request.wfile.write(b"data: [DONE]\n\n")


def _calls(said: Sequence[ToolCall]) -> list[dict[str, Any]]:
    return [
        {"index": n, "id": one.id, "type": "function", "function": {"name": one.name, "arguments": one.arguments}}
        for n, one in enumerate(said)
    ]
