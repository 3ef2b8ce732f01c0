"""The one loop of every agent: ask the model, call what it wants called, until it answers or must stop.

A generator of steps. Whoever drives it writes each step down before it asks for the next, and gives it the steps of
before when it begins again; so the loop itself keeps nothing (plan-act-check as in ReAct, https://arxiv.org/abs/2210.03629).
"""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dizuo.agents.approvals import expiry
from dizuo.agents.compaction import compacted
from dizuo.agents.plan import PLAN_TOOL, plan_of
from dizuo.agents.policy import Policy
from dizuo.agents.state import State
from dizuo.agents.steps import (
    ApprovalAsked,
    ChildStarted,
    Ended,
    ModelCalled,
    PlanChanged,
    Step,
    ToolEnded,
    ToolStarted,
)
from dizuo.core.errors import BudgetSpent, DizuoError, ModelBusy, ModelError, TooMany
from dizuo.core.events import Done, Failed, TextDelta, ToolCalled, UsageReported
from dizuo.core.messages import Message, ToolCall, Usage
from dizuo.core.protocols import ChatModel
from dizuo.core.tools import Tool, ToolContext, ToolResult, unescaped

ASK_USER = "ask_user"
CONTEXT_TOKENS = 24_000  # that the model reads at most
_MOST_PAUSE_S = 120.0  # that it waits for room within a limit; what takes longer ends the run

Price = Callable[[str, Usage], float]


@dataclass
class _Answer:
    """What a model has said so far."""

    text: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)


class Loop:
    """An agent's loop over a model and tools."""

    def __init__(
        self,
        model: ChatModel,
        tools: Sequence[Tool],
        *,
        policy: Policy | None = None,
        price: Price = lambda _model, _usage: 0.0,
        workspace: Path | None = None,
        run_id: str = "",
        context_tokens: int = CONTEXT_TOKENS,
    ) -> None:
        """`price` says what a call of a model costs; `context_tokens`: how much of a long run it reads."""
        self._model = model
        self._tools: Mapping[str, Tool] = {one.name: one for one in tools}
        self._policy = policy or Policy()
        self._price = price
        self._workspace = workspace
        self._run_id = run_id
        self._context_tokens = context_tokens
        self._described = [one.described() for one in tools]

    async def steps(self, state: State) -> AsyncGenerator[Step, None]:
        """The steps that follow. Ends after `Ended`, or when nothing can be done before a person has answered.

        Whoever reads them takes each into `state`, with what others have added meanwhile, before the next is asked for.
        An exception other than of the model or a tool leaves the run as it is: it goes on from what was written down.
        """
        while state.ended is None:
            if state.open:
                waits = True
                async with aclosing(self._calls(state)) as steps:
                    async for step in steps:
                        waits = False
                        yield step
                if waits:
                    return
            elif state.answered:
                yield Ended(reason="done", text=state.answer, detail=_left_of(state))
            else:
                yield self._stop(state) or await self._ask(state)

    # --- the model --------------------------------------------------------------------------------------------

    async def _ask(self, state: State) -> Step:
        began = time.perf_counter()
        head = 2 + len(state.started.earlier if state.started else ())
        messages = compacted(state.messages(), state.plan, self._context_tokens, head)
        answer = _Answer()
        while True:
            try:
                await self._hear(messages, answer)
                break
            except DizuoError as error:
                pause_s = None if answer.text or answer.calls else _room_in_s(error)
                if pause_s is None:
                    return Ended(reason="failed", text=state.answer, detail=str(error))
            if state.seconds + time.perf_counter() - began + pause_s >= state.budget.seconds:
                return Ended(reason="budget", text=state.answer, detail="seconds")
            await asyncio.sleep(pause_s)
        return ModelCalled(
            text=answer.text,
            calls=tuple(_distinct(answer.calls, state.number)),
            usage=answer.usage,
            cost=self._price(self._model.name, answer.usage),
            seconds=time.perf_counter() - began,
        )

    async def _hear(self, messages: Sequence[Message], answer: _Answer) -> None:
        """Asks once, and takes what comes into `answer`. Raises DizuoError, also for what breaks off midway."""
        options: dict[str, Any] = {"tools": self._described} if self._described else {}
        async with aclosing(self._model.stream(messages, **options)) as events:  # type: ignore[type-var]
            async for event in events:
                match event:
                    case TextDelta(text=more):
                        answer.text += more
                    case ToolCalled(call=call):
                        answer.calls.append(call)
                    case UsageReported(usage=reported):
                        answer.usage = reported
                    case Failed(message=message):
                        raise ModelError("{message}", message=message)
                    case Done():
                        return

    def _stop(self, state: State) -> Ended | None:
        """Why it goes on no longer, if so."""
        if (spent := state.spent()) is not None:
            return Ended(reason="budget", text=state.answer, detail=spent)
        if state.circle:
            return Ended(reason="no_progress", text=state.answer, detail=state.circle)
        return None

    # --- tools ------------------------------------------------------------------------------------------------

    async def _calls(self, state: State) -> AsyncGenerator[Step, None]:
        """The steps of the calls that are open; those that may go, go side by side. None: all wait for people."""
        going: list[ToolCall] = []
        room = state.budget.tool_calls - state.tool_calls
        for call in list(state.open.values()):
            if call.id in state.children:  # its end comes from elsewhere
                continue
            if call.name == PLAN_TOOL:
                for planned in _planned(call):
                    yield planned
                continue
            step = self._next_of(call, state)
            if step is None and len(going) >= room:
                step = _told(call, "The budget of tool calls is used up. Answer with what you have.", failed=True)
            if step is None:
                going.append(call)
            elif step is not state.asked.get(call.id):  # else it waits already
                yield step
        for call in going:
            if self._tools[call.name].effect != "read" and call.id not in state.begun:
                yield ToolStarted(call_id=call.id)
        pending = [asyncio.ensure_future(self._call(call, state)) for call in going]
        try:
            for done in asyncio.as_completed(pending):
                yield await done
        finally:
            for one in pending:
                one.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    def _next_of(self, call: ToolCall, state: State) -> ToolEnded | ApprovalAsked | None:
        """What stands between a call and its being made; None: nothing."""
        answer = state.answers.get(call.id)
        if answer is not None and answer.decision == "reject":
            said = "The user said no." if answer.by == "person" else "Rejected by time, and not by a person."
            return _told(call, f"{said} {answer.reason}".strip(), failed=True)
        known = self._tools.get(call.name)
        if known is None:
            return _told(call, f"There is no tool {call.name!r}. There are: {', '.join(self._tools)}.", failed=True)
        try:
            known.checked(call.arguments)
        except DizuoError as error:
            return _told(call, str(error), failed=True)
        if call.name == ASK_USER:
            return self._asks(call, "question", state) if answer is None else _told(call, answer.reason)
        if call.id in state.begun and not known.idempotent:
            return self._asks(call, "maybe_done", state)
        if answer is not None:
            return None
        match self._policy.decide(known, call.arguments, told_by_others=state.told_by_others):
            case "allow":
                return None
            case "deny":
                return _told(call, "The policy of this agent does not allow that call.", failed=True)
            case "ask":
                return self._asks(call, "effect", state)

    async def _call(self, call: ToolCall, state: State) -> ToolEnded | ChildStarted:
        began = time.perf_counter()
        context = ToolContext(self._run_id, f"{self._run_id}/{call.id}", self._workspace)
        result = await self._tools[call.name].call(call.arguments, context)
        if result.child:
            return ChildStarted(call_id=call.id, run_id=result.child)
        answer = state.answers.get(call.id)
        if answer is not None and answer.arguments is not None:
            edited = f"The user changed the arguments to {call.arguments}.\n{result.text}"
            result = result.model_copy(update={"text": edited})
        seconds = time.perf_counter() - began
        return ToolEnded(call_id=call.id, name=call.name, arguments=call.arguments, result=result, seconds=seconds)

    @staticmethod
    def _asks(call: ToolCall, why: Any, state: State) -> ApprovalAsked:
        """The question; the very one that waits, where it has been asked and not answered."""
        waits = next((one for one in state.waiting if one.call_id == call.id), None)
        if waits is not None and (waits.arguments, waits.why) == (call.arguments, why):
            return waits
        hours = state.started.answer_hours if state.started else 0.0
        until = expiry(hours)
        return ApprovalAsked(call_id=call.id, name=call.name, arguments=call.arguments, why=why, expires_at=until)


def _room_in_s(error: DizuoError) -> float | None:
    """How long to wait until a limit by the minute has room again, or a provider takes more; None: no use to wait."""
    if isinstance(error, BudgetSpent) or not isinstance(error, TooMany | ModelBusy):
        return None
    said = error.params.get("seconds" if isinstance(error, TooMany) else "retry_after_s")
    return max(float(said), 0.1) if isinstance(said, int | float) and said <= _MOST_PAUSE_S else None


def _told(call: ToolCall, text: str, *, failed: bool = False) -> ToolEnded:
    """What the loop itself answers to a call."""
    result = ToolResult(text=text, failed=failed)
    return ToolEnded(call_id=call.id, name=call.name, arguments=call.arguments, result=result)


def _planned(call: ToolCall) -> Sequence[PlanChanged | ToolEnded]:
    """The plan first: a crash between the two makes it once more, and loses nothing."""
    try:
        items = plan_of(call.arguments)
    except DizuoError as error:
        return [_told(call, str(error), failed=True)]
    left = sum(item.status in ("open", "doing") for item in items)
    told = _told(call, f"The plan has {len(items)} items, {left} of them to be done.")
    return [PlanChanged(items=items), told]


def _left_of(state: State) -> str:
    """What the plan still has open, though the agent has answered."""
    return "; ".join(item.text for item in state.plan if item.status in ("open", "doing"))


def _distinct(calls: Sequence[ToolCall], number: int) -> list[ToolCall]:
    """The calls with ids that no other call of the run has, since some servers count them anew in every answer, and
    that nobody can guess: they close the mark around text of others."""
    return [
        ToolCall(
            id=f"s{number}-{n}-{secrets.token_hex(4)}-{call.id}"[:64],
            name=call.name,
            arguments=unescaped(call.arguments),
        )
        for n, call in enumerate(calls)
    ]
