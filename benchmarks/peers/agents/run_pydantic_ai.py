"""pydantic-ai: an agent with a tool. It keeps nothing by itself; its messages are put into a file at the end."""

import tempfile
import time
from pathlib import Path
from typing import Any

from pydantic_ai import Agent, ModelMessagesTypeAdapter, UsageLimits
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from worker import ANSWER, GOAL, PAGE, THOUGHT, serve

file = Path(tempfile.mkdtemp(prefix="pydantic-ai-bench-")) / "messages.json"


def run(turns: int) -> dict[str, Any]:
    taken = 0

    def model(_messages: list[ModelMessage], _info: AgentInfo) -> ModelResponse:
        nonlocal taken
        if taken == turns:
            return ModelResponse(parts=[TextPart(ANSWER)])
        taken += 1
        return ModelResponse(parts=[TextPart(THOUGHT), ToolCallPart("read_page", {"number": taken}, f"call_{taken}")])

    agent = Agent(FunctionModel(model))

    @agent.tool_plain
    def read_page(number: int) -> str:
        """Read a page."""
        return f"Page {number}. {PAGE}"

    began = time.perf_counter()
    result = agent.run_sync(GOAL, usage_limits=UsageLimits(request_limit=None))
    file.write_bytes(result.all_messages_json())
    seconds = time.perf_counter() - began
    assert result.output == ANSWER
    began = time.perf_counter()
    messages = ModelMessagesTypeAdapter.validate_json(file.read_bytes())
    resume_s = time.perf_counter() - began
    assert len(messages) == 2 * turns + 2
    return {"seconds": seconds, "bytes": file.stat().st_size, "resume_s": resume_s}


serve(run)
