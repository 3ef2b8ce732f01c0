"""Calling another app: a tool that starts a run of its own, which shares the budget of the one that calls."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated

from pydantic import Field

from dizuo.agents.equipment import Setup
from dizuo.agents.state import State
from dizuo.agents.steps import Budget
from dizuo.core.errors import DizuoError
from dizuo.core.tools import Tool, ToolContext, ToolResult, tool

MOST_DEPTH = 3  # runs below each other, the first counted
_KEPT = 0.1  # of what is left the calling run keeps this much and one call of the model, to make use of the answers
_MOST_TASK_CHARACTERS = 20_000

Begin = Callable[[Setup, str, str, Budget], str]
"""Starts the run of an app for a task, for the call of that key, within a budget; once for each key. Its id."""


def tool_name(app: str) -> str:
    """What a model calls an app."""
    return f"ask_{app}"


def app_tools(state: State, find: Callable[[str], Setup], begin: Begin) -> list[Tool]:
    """The apps that a run may call: those that it was given, but none that it is itself being called by, nor any at the
    last depth."""
    started = state.started
    if started is None or len(started.above) + 1 >= MOST_DEPTH:
        return []
    callers = {*started.above, started.app}
    return [_tool(name, state, find, begin) for name in started.apps if name not in callers]


def _tool(name: str, state: State, find: Callable[[str], Setup], begin: Begin) -> Tool:
    async def ask(
        task: Annotated[str, Field(min_length=1, max_length=_MOST_TASK_CHARACTERS)], context: ToolContext
    ) -> ToolResult:
        """Gives a task to another agent."""
        setup = await asyncio.to_thread(find, name)
        budget = _share(state, setup.budget)
        if budget is None:
            text = "Too little of the budget is left for another agent. Answer with what you have."
            return ToolResult(text=text, failed=True)
        return ToolResult(text="", child=await asyncio.to_thread(begin, setup, task, context.key, budget))

    try:
        does = find(name).description
    except DizuoError:  # its file is broken by now: whoever calls it reads what is wrong
        does = ""
    said = f"Gives a task to another agent, and gives its answer. {does}".strip()
    said += "\nSay in the task all that it must know: it sees nothing of what you have seen."
    # It only looks, as far as this run goes: what the other may change it asks about itself.
    return replace(tool(name=tool_name(name), idempotent=True)(ask), description=said)


def _share(state: State, wanted: Budget) -> Budget | None:
    """What the next of the agents that are called side by side may use, so that all together stay within the budget;
    None: too little."""
    left = state.left()
    if left is None or state.started is None:
        return None
    names = {tool_name(one) for one in state.started.apps}
    n = sum(call.name in names for call in state.open.values()) or 1
    steps, tokens = (left.steps - 1) // n, int(left.tokens * (1 - _KEPT)) // n
    if steps < 1 or tokens < 1:
        return None
    part = (1 - _KEPT) / n
    return Budget(
        steps=min(wanted.steps, steps),
        tokens=min(wanted.tokens, tokens),
        money=min(wanted.money, left.money * part),
        seconds=min(wanted.seconds, left.seconds * part),
        tool_calls=min(wanted.tool_calls, left.tool_calls // n),
    )
