"""A question within a thread: what went before goes along, what was said is kept, also of what was stopped."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path

import pytest

from dizuo.apps.conversation import TITLE_LENGTH, converse, title_of
from dizuo.apps.threads import Thread, Threads
from dizuo.core.documents import Answer
from dizuo.core.errors import ModelError, NotFound, UserError
from dizuo.core.events import Done, Event, Failed, TextDelta
from dizuo.core.messages import Message
from dizuo.gateway.scripted import Reply, ScriptedModel
from dizuo.platform.database import Database
from dizuo.platform.identity import Identity
from tests.conftest import migrated


class AnswererFromScript:
    """Answers with what a scripted model says, and no documents."""

    def __init__(self, *replies: Reply, break_after: int | None = None) -> None:
        self.model = ScriptedModel(replies=replies, break_after=break_after)

    async def ask(self, knowledge: str, question: str, history: Sequence[Message] = ()) -> AsyncIterator[Event]:
        text = ""
        async for event in self.model.stream([*history, Message(role="user", content=question)]):
            text += event.text if isinstance(event, TextDelta) else ""
            if isinstance(event, Done):
                answer = Answer(answer=text, found=True, citations=(), model=self.model.name, seconds=0.1)
                event = Done(answer=answer)
            yield event


class Conversation:
    """A thread of the owner's, and converse() over it."""

    def __init__(self, database: Database) -> None:
        self.threads = Threads(database)
        self.user_id = Identity(database).owner().id
        self.thread: Thread = self.threads.create(self.user_id, "kb", "t")

    def events(self, answerer: AnswererFromScript, question: str | None = None) -> list[Event]:
        async def collect() -> list[Event]:
            return [event async for event in self.begin(answerer, question)]

        return asyncio.run(collect())

    def begin(self, answerer: AnswererFromScript, question: str | None = None):
        return converse(answerer, self.threads, self.user_id, self.thread.id, question)  # type: ignore[arg-type]

    def said(self) -> list[tuple[str, str]]:
        return [(m.role, m.content) for m in self.threads.messages(self.user_id, self.thread.id)]


@pytest.fixture
def conversation(home: Path):
    database = migrated(f"sqlite:///{home / 'dizuo.db'}", home)
    yield Conversation(database)
    database.close()


def test_question_and_answer_are_kept_and_go_along_with_the_next_question(conversation: Conversation) -> None:
    answerer = AnswererFromScript("Paris.", "Two million.")
    events = conversation.events(answerer, "What is the capital of France?")
    assert isinstance(events[-1], Done)
    conversation.events(answerer, "How many live there?")
    assert [message.content for message in answerer.model.calls[1]] == [
        "What is the capital of France?",
        "Paris.",
        "How many live there?",
    ]
    assert [role for role, _content in conversation.said()] == ["user", "assistant"] * 2
    last = conversation.threads.messages(conversation.user_id, conversation.thread.id)[-1]
    assert last.answer is not None
    assert last.answer.model == "scripted/test"


def test_the_answer_is_kept_before_the_caller_hears_that_it_is_done(conversation: Conversation) -> None:
    async def until_done() -> list[tuple[str, str]]:
        async with aclosing(conversation.begin(AnswererFromScript("Paris."), "Capital?")) as events:
            async for event in events:
                if isinstance(event, Done):
                    return await asyncio.to_thread(conversation.said)
        raise AssertionError

    assert asyncio.run(until_done()) == [("user", "Capital?"), ("assistant", "Paris.")]


def test_a_caller_who_stops_listening_keeps_what_was_said(conversation: Conversation) -> None:
    async def stop_after_one_piece() -> None:
        async with aclosing(conversation.begin(AnswererFromScript("Paris is the capital."), "Capital?")) as events:
            await anext(events)

    asyncio.run(stop_after_one_piece())
    assert conversation.said() == [("user", "Capital?"), ("assistant", "Paris i")]


def test_a_client_that_goes_away_midway_keeps_what_was_said(conversation: Conversation) -> None:
    async def cancelled() -> None:
        heard = asyncio.Event()

        async def listen() -> None:
            async with aclosing(conversation.begin(AnswererFromScript("Paris is the capital."), "Capital?")) as events:
                async for _event in events:
                    heard.set()
                    await asyncio.sleep(60)

        task = asyncio.create_task(listen())
        await heard.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert conversation.said() == [("user", "Capital?"), ("assistant", "Paris i")]


def test_an_answer_that_breaks_off_is_kept_as_far_as_it_came(conversation: Conversation) -> None:
    events = conversation.events(AnswererFromScript("Paris is the capital.", break_after=2), "Capital?")
    assert isinstance(events[-1], Failed)
    assert conversation.said() == [("user", "Capital?"), ("assistant", "Paris is the c")]


def test_a_model_that_fails_at_once_leaves_the_question(conversation: Conversation) -> None:
    with pytest.raises(ModelError, match="upstream"):
        conversation.events(AnswererFromScript(ModelError("The upstream is dead.")), "Capital?")
    assert conversation.said() == [("user", "Capital?")]


def test_the_last_question_is_answered_anew_in_place_of_its_answer(conversation: Conversation) -> None:
    answerer = AnswererFromScript("Lyon.", "Paris.")
    conversation.events(answerer, "Capital?")
    conversation.events(answerer)
    assert conversation.said() == [("user", "Capital?"), ("assistant", "Paris.")]
    assert [message.content for message in answerer.model.calls[1]] == ["Capital?"]


def test_there_is_nothing_to_answer_anew_in_an_empty_thread(conversation: Conversation) -> None:
    with pytest.raises(UserError, match="no question yet"):
        conversation.events(AnswererFromScript())


def test_another_user_s_thread_is_not_found_and_the_model_not_asked(conversation: Conversation) -> None:
    answerer = AnswererFromScript("Paris.")
    conversation.user_id += 1
    with pytest.raises(NotFound):
        conversation.events(answerer, "Capital?")
    assert answerer.model.calls == []


def test_a_thread_is_called_after_its_first_question() -> None:
    assert title_of("  What is\nthe  capital? ") == "What is the capital?"
    assert len(title_of("长" * 500)) == TITLE_LENGTH
