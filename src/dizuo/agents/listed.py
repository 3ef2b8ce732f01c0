"""A tool as somebody else's server describes it, and what is kept of that when its owner approves it."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from dizuo.core.errors import DizuoError
from dizuo.core.messages import Noun
from dizuo.core.tools import Effect

_MOST_NAME = 64  # characters of a function's name in chat completions


class ServerFailed(DizuoError):
    """A server of tools cannot be used; the reason may be its own words."""

    status = 502
    code = "tool_server_failed"


def reason_of(error: BaseException) -> str:
    """What went wrong, from the innermost of errors that were wrapped; short, as it may be the server's own words."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return (str(error) or type(error).__name__)[:500]


class ListedTool(Noun):
    """A tool in the words of its server. All of it is pinned: a model reads the words, and acts on them."""

    name: str
    description: str
    parameters: Mapping[str, Any]  # JSON schema
    reads: bool = False  # it says of itself that it changes nothing
    operation: Mapping[str, Any] | None = None  # of HTTP, where it is one (openapi.py); of an agent, its card's hash

    @property
    def effect(self) -> Effect:
        return "read" if self.reads else "outside"


def fingerprint(tools: Mapping[str, ListedTool]) -> str:
    """A hash that is another one when a word of a tool is."""
    said = json.dumps([tools[name].model_dump(mode="json") for name in sorted(tools)], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:32]


def offered_name(server: str, tool: str) -> str:
    """What a model calls a tool: SERVER__tool, in the characters that chat completions take, different for each."""
    name = f"{server}__{re.sub(r'[^A-Za-z0-9_-]', '_', tool)}"
    if name == f"{server}__{tool}" and len(name) <= _MOST_NAME:
        return name
    mark = hashlib.sha256(tool.encode("utf-8", "surrogatepass")).hexdigest()[:6]
    return f"{name[: _MOST_NAME - 7]}_{mark}"
