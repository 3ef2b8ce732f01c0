"""What the model reads of a long run."""

import asyncio
from collections.abc import Sequence
from typing import Any

from dizuo.agents.builtin import calculate, note
from dizuo.agents.compaction import compacted
from dizuo.agents.plan import update_plan
from dizuo.agents.steps import Steered
from dizuo.core.messages import Message
from dizuo.core.tools import tool
from dizuo.gateway.estimate import prompt_tokens
from tests.agents.scripts import ByTurn, call, driven, end_of, loop_of, started

ITEM = {"text": "Find the code", "check": "The code is known"}


@tool
def read(page: int) -> str:
    """Read a page."""
    return f"Page {page}. " + "Nothing of interest stands here. " * 40


class Forgetful(ByTurn):
    """Counts its own turns, since what it reads is shortened; keeps what it read last."""

    def __init__(self, *replies: Any) -> None:
        super().__init__(*replies)
        self.turn = 0

    async def stream(self, messages: Sequence[Message], **options: Any) -> Any:
        first = [Message(role="assistant", content="")] * self.turn
        self.turn += 1
        async for event in super().stream([*first, *(m for m in messages if m.role != "assistant")], **options):
            yield event


def long_run(first: list[Any], turns: int = 60) -> tuple[Forgetful, Any]:
    def last(messages: Sequence[Message]) -> str:
        known = "4711" in " ".join(message.content for message in messages)
        return "It is 4711." if known else "I do not remember."

    pages = [[call("read", page=n)] for n in range(turns - len(first))]
    model = Forgetful(*first, *pages, last)
    tools = [read, note, update_plan, calculate]
    state = started(tools, goal="Find the code.", steps=200)
    asyncio.run(driven(loop_of(model, tools, context_tokens=3000), state))
    return model, state


def test_what_was_noted_at_the_first_step_is_used_at_the_sixtieth() -> None:
    model, state = long_run([[call("note", text="The code is 4711.")]])
    assert end_of(state).text == "It is 4711."
    assert state.model_calls == 61
    assert prompt_tokens(state.messages()) > 4 * 3000
    assert all(prompt_tokens(read) <= 3000 * 1.1 for read in model.read)


def test_what_was_neither_noted_nor_said_by_the_user_may_be_lost() -> None:
    _model, state = long_run([[call("read", page=1), call("calculate", expression="4710 + 1")]])
    assert end_of(state).text == "I do not remember."


def test_goal_plan_and_words_of_the_user_stay() -> None:
    state = started([read, update_plan], goal="Find the code.")
    model = ByTurn([call("update_plan", items=[ITEM])], *[[call("read", page=n)] for n in range(30)], "Done.")
    asyncio.run(driven(loop_of(model, [read, update_plan]), state))
    state.take(Steered(text="Hurry."))
    long = [*state.messages()[:3], Message(role="user", content="Mind the harbour."), *state.messages()[3:]]
    read_then = compacted(long, state.plan, 1500)
    assert [message.content for message in read_then[:2]] == ["Be good.", "Find the code."]
    told = read_then[2].content
    assert "The user said: Mind the harbour." in told
    assert "1. [open] Find the code (check: The code is known)" in told
    assert "earlier steps are left out" in told
    assert read_then[-1].content == "Hurry."


def test_results_never_stand_without_their_calls() -> None:
    state = started([read])
    model = ByTurn(*[[call("read", "a", page=n), call("read", "b", page=n)] for n in range(30)], "Done.")
    asyncio.run(driven(loop_of(model, [read]), state))
    for limit in range(600, 6000, 300):
        wanted: set[str] = set()
        for message in compacted(state.messages(), (), limit):
            if message.role == "tool":
                assert message.tool_call_id in wanted
            wanted |= {one.id for one in message.tool_calls}


def test_a_short_run_is_read_as_it_is() -> None:
    said = started([read]).messages()
    assert compacted(said, (), 1000) == said
