"""The model that says what it was told to say."""

import asyncio

import pytest

from dizuo.core.errors import ModelError
from dizuo.core.events import Done, Event, Failed, TextDelta
from dizuo.core.messages import Message
from dizuo.gateway.scripted import ScriptedModel


def ask(model: ScriptedModel, text: str = "Hello") -> list[Event]:
    async def run() -> list[Event]:
        return [event async for event in model.stream([Message(role="user", content=text)], temperature=0)]

    return asyncio.run(run())


def test_replies_come_one_after_another_in_pieces() -> None:
    model = ScriptedModel(replies=["one", lambda messages: messages[-1].content.upper()], piece=2)
    assert [event for event in ask(model) if isinstance(event, TextDelta)] == [
        TextDelta(text="on"),
        TextDelta(text="e"),
    ]
    events = ask(model)
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "HELLO"
    assert events[-1] == Done()


def test_it_keeps_what_it_was_asked() -> None:
    model = ScriptedModel(replies=["one"])
    ask(model, "What?")
    assert model.calls == [(Message(role="user", content="What?"),)]
    assert model.options == [{"temperature": 0}]


def test_it_raises_what_it_is_told_to_and_when_it_has_run_out() -> None:
    model = ScriptedModel(replies=[ValueError("no")])
    with pytest.raises(ValueError, match="no"):
        ask(model)
    with pytest.raises(ModelError, match="no reply number 2"):
        ask(model)


def test_it_breaks_off_where_it_is_told_to() -> None:
    events = ask(ScriptedModel(replies=["abcdef"], piece=2, break_after=2))
    assert [type(event) for event in events] == [TextDelta, TextDelta, Failed]
