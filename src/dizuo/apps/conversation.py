"""A question asked within a thread: what was said before goes along, and question and answer are kept."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from dizuo.core.errors import UserError
from dizuo.core.events import Done, Event, TextDelta
from dizuo.core.messages import Message

if TYPE_CHECKING:
    from dizuo.apps.threads import Threads
    from dizuo.knowledge.answer import Answerer

TITLE_LENGTH = 60


def title_of(question: str) -> str:
    """What a thread that begins with this question is called."""
    return " ".join(question.split())[:TITLE_LENGTH]


async def converse(
    answerer: "Answerer", threads: "Threads", user_id: int, thread_id: str, question: str | None = None
) -> AsyncGenerator[Event, None]:
    """The answer to a question in a thread, as events. Without a question, the last one is answered anew.

    The question is kept before the answer begins. Of an answer that is stopped midway, what was said is kept:
    the next question may refer to it. Raises NotFound, also for another user's thread, and UserError when
    there is nothing to answer anew.
    """
    thread = await asyncio.to_thread(threads.get, user_id, thread_id)
    if question is None:
        await asyncio.to_thread(threads.delete_last_answer, user_id, thread_id)
    said = [
        Message(role=m.role, content=m.content) for m in await asyncio.to_thread(threads.messages, user_id, thread_id)
    ]
    if question is None:
        if not said or said[-1].role != "user":
            raise UserError("The conversation holds no question yet; there is nothing to answer anew.")
        question = said.pop().content
    else:
        await asyncio.to_thread(threads.append, user_id, thread_id, "user", question)
    text = ""
    answer = None
    try:
        async with aclosing(answerer.ask(thread.knowledge, question, said)) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    text += event.text
                elif isinstance(event, Done):
                    answer = event.answer
                    # Kept before the caller hears that it is done, so that whoever looks then finds it.
                    kept = answer.answer if answer else text
                    await asyncio.to_thread(threads.append, user_id, thread_id, "assistant", kept, answer)
                    text = ""
                yield event
    finally:
        if text:
            # Shielded: when the client has gone this runs within a cancellation.
            await asyncio.shield(asyncio.to_thread(threads.append, user_id, thread_id, "assistant", text))
