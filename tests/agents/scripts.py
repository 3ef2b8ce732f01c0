"""Models that say what a test wants, by how far the conversation has come: also after a crash."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from dizuo.agents.loop import Loop
from dizuo.agents.policy import Policy
from dizuo.agents.state import State
from dizuo.agents.steps import Budget, Ended, Started, Step
from dizuo.core.events import Done, Event, TextDelta, ToolCalled, UsageReported
from dizuo.core.messages import Message, ToolCall, Usage
from dizuo.core.tools import Tool

Said = str | Sequence[ToolCall]
Reply = Said | Callable[[Sequence[Message]], Said]


def call(name: str, id: str = "1", **arguments: Any) -> ToolCall:
    return ToolCall(id=id, name=name, arguments=json.dumps(arguments))


class ByTurn:
    """Gives the n-th reply when it has answered n times in what it reads."""

    name = "scripted/agent"

    def __init__(self, *replies: Reply) -> None:
        self._replies = replies
        self.read: list[list[Message]] = []

    async def stream(self, messages: Sequence[Message], **_options: Any) -> AsyncIterator[Event]:
        self.read.append(list(messages))
        turn = sum(message.role == "assistant" for message in messages)
        reply = self._replies[min(turn, len(self._replies) - 1)]
        said = reply(messages) if callable(reply) else reply
        if isinstance(said, str):
            yield TextDelta(text=said)
        else:
            for one in said:
                yield ToolCalled(call=one)
        yield UsageReported(usage=Usage(prompt_tokens=10, completion_tokens=5))
        yield Done()


async def driven(loop: Loop, state: State, *, most: int = 1000) -> State:
    """Takes every step, as the worker does, without writing it down."""
    async for step in loop.steps(state):
        state.take(step)
        assert state.number < most
    return state


def started(tools: Sequence[Tool] = (), goal: str = "Do it.", **budget: Any) -> State:
    names = tuple(one.name for one in tools)
    start = Started(goal=goal, model=ByTurn.name, instructions="Be good.", tools=names, budget=Budget(**budget))
    return State([start])


def loop_of(model: ByTurn, tools: Sequence[Tool] = (), policy: Policy | None = None, **more: Any) -> Loop:
    return Loop(model, tools, policy=policy, run_id="run_test", **more)


def end_of(state: State) -> Ended:
    assert state.ended is not None
    return state.ended


def results(steps: Sequence[Step]) -> list[str]:
    return [one.result.text for one in steps if one.kind == "tool"]
