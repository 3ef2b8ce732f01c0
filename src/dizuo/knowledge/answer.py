"""A question to a knowledge base becomes a stream of events that ends with an answer and its citations.

Without a chat model the answer is a quotation (`extract.py`); with one, the model writes it over the passages that
were found (`written.py`). Either way a question that the documents do not answer gets told so.
"""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from dizuo.core import traces
from dizuo.core.documents import Answer, Hit
from dizuo.core.errors import ModelError, UserError
from dizuo.core.events import CitationFound, Done, Event, Failed, TextDelta
from dizuo.core.messages import Message
from dizuo.core.protocols import ChatModel, Embedder, Reader
from dizuo.gateway.cached import keep
from dizuo.knowledge import exact, extract, followup, written
from dizuo.platform import telemetry
from dizuo.platform.catalogue import Language, translate

if TYPE_CHECKING:
    from dizuo.gateway.cache import Cache
    from dizuo.knowledge.library import Library

EXTRACTIVE = "local/extractive"

MAX_QUESTION_CHARACTERS = 4_000
N_PASSAGES = 8  # passages looked at for an answer
_NEAR = 0.05  # chance of being the answer from which a passage is worth naming in a refusal

# What belongs to a bare model: its tokens are not those of the answer, whose marks are set here.
_NOT_HERE = frozenset({"logprobs", "parallel_tool_calls", "tool_choice", "tools", "top_logprobs"})

_GREETING = re.compile(
    r"\W*(?:hi|hello|hey|good (?:morning|afternoon|evening)|你好|您好|嗨|哈喽|早上好|上午好|下午好|晚上好|在吗)"
    r"(?: there| dizuo|底座|呀|啊)?\W*",
    re.IGNORECASE,
)
_THANKS = re.compile(
    r"\W*(?:thanks?(?: you)?(?: (?:so|very) much| a lot)?|thx|great|ok(?:ay)?|bye|goodbye|"
    r"(?:非常|多)?(?:谢谢|感谢)(?:你|您|了)?|多谢|好的|再见|拜拜)\W*",
    re.IGNORECASE,
)


class Answerer:
    """Answers questions from the knowledge bases of a library. Safe to use from several threads and tasks."""

    def __init__(
        self,
        library: "Library",
        chat_model: ChatModel | None,
        embedder: Embedder | None,
        cache: "Cache | None" = None,
        reader: Reader | None = None,
    ) -> None:
        """`cache`: where what the chat model writes is kept. A quotation is found as soon as it would be there.

        `reader` points at the words of a quotation that answer, and says how sure it is that they do.
        """
        self._library = library
        self._chat_model = chat_model
        self._embedder = embedder
        self._cache = cache
        self._reader = reader

    async def ask(self, knowledge: str, question: str, history: Sequence[Message] = ()) -> AsyncGenerator[Event, None]:
        """The answer as events: CitationFound before the text that refers to it, TextDelta…, then Done or Failed.

        `history` holds the earlier messages of the conversation, oldest first. Raises NotFound for an unknown
        knowledge base, UserError for an empty question, and ModelError when the chat model fails before its first
        word.
        """
        async with aclosing(self.ask_with(knowledge, question, history)) as events:
            async for event in events:
                yield event

    def ask_blocking(self, knowledge: str, question: str) -> Answer:
        """The whole answer. Raises as `ask` does, and ModelError where the model breaks off midway."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(self._whole(knowledge, question))
        # A notebook runs its cells on an event loop; the loop of this call gets a thread of its own.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(copy_context().run, asyncio.run, self._whole(knowledge, question)).result()

    async def _whole(self, knowledge: str, question: str) -> Answer:
        async with aclosing(self.ask(knowledge, question)) as events:
            async for event in events:
                if isinstance(event, Failed):
                    raise ModelError("{message}", message=event.message)
                if isinstance(event, Done) and event.answer is not None:
                    return event.answer
        raise RuntimeError("the events ended without an answer")

    async def ask_with(
        self,
        knowledge: str,
        question: str,
        history: Sequence[Message] = (),
        instruction: str = "",
        options: dict[str, Any] | None = None,
    ) -> AsyncGenerator[Event, None]:
        """As `ask`, with what an API client may add: its own instruction and sampling options for a chat model."""
        begun = time.monotonic()
        traces.belongs_to(f"knowledge/{knowledge}")
        question = question.strip()
        if not question:
            raise UserError("The question is empty. Ask something about the documents.")
        if len(question) > MAX_QUESTION_CHARACTERS:
            raise UserError(
                "The question has {n} characters; at most {limit} are read. Shorten it, or add the long text as a "
                "document and ask about it.",
                n=len(question),
                limit=MAX_QUESTION_CHARACTERS,
            )
        language = language_of(question)
        if small_talk := _small_talk(question, language, knowledge):
            await asyncio.to_thread(self._library.get, knowledge)
            yield TextDelta(text=small_talk)
            yield Done(answer=_refusal(small_talk, begun))
            return
        async with aclosing(self._kept(knowledge, question, history, instruction, options or {}, begun)) as events:
            async for event in events:
                if isinstance(event, Done) and event.answer is not None:
                    seconds = time.monotonic() - begun
                    telemetry.observe_answer(seconds, event.answer.found)
                    event = event.model_copy(update={"answer": event.answer.model_copy(update={"seconds": seconds})})
                yield event

    def _kept(
        self,
        knowledge: str,
        question: str,
        history: Sequence[Message],
        instruction: str,
        options: dict[str, Any],
        begun: float,
    ) -> AsyncGenerator[Event, None]:
        """The answer that is kept to this question, or a new one."""

        def fresh() -> AsyncGenerator[Event, None]:
            return self._fresh(knowledge, question, history, instruction, options, begun)

        if self._cache is None or self._chat_model is None or self._cache.policy == "off":
            return fresh()
        setup = Message(role="system", content=f"{self._chat_model.name}\n{instruction}")
        asked = [setup, *history, Message(role="user", content=question)]
        return keep(self._cache, f"knowledge/{knowledge}", asked, options, fresh)

    async def _fresh(
        self,
        knowledge: str,
        question: str,
        history: Sequence[Message],
        instruction: str,
        options: dict[str, Any],
        begun: float,
    ) -> AsyncGenerator[Event, None]:
        language = language_of(question)
        asked = followup.standalone(question, history)
        found = await asyncio.to_thread(self._library.search, knowledge, asked, N_PASSAGES)
        if self._chat_model is None or not found.hits:
            events = self._quoted(knowledge, asked, found.hits, language, begun)
        else:
            refusal = await asyncio.to_thread(self._not_found, knowledge, found.hits, found.hits[0], language)
            events = written.write(
                self._chat_model, question, found.hits, history, language, refusal, instruction, options
            )
        async with aclosing(events):
            async for event in events:
                yield event

    async def _quoted(
        self, knowledge: str, question: str, hits: Sequence[Hit], language: Language, begun: float
    ) -> AsyncGenerator[Event, None]:
        with traces.span("knowledge.extract", **{"dizuo.knowledge": knowledge}):
            extracted = await asyncio.to_thread(extract.extract, question, hits, self._embedder)
        if self._reader is not None:
            with traces.span("knowledge.read"):
                extracted = await asyncio.to_thread(exact.read, question, extracted, self._reader)
        if extracted.quote is None or not extracted.found:
            near = extracted.quote.hit if extracted.quote and extracted.confidence >= _NEAR else None
            text = await asyncio.to_thread(self._not_found, knowledge, hits, near, language)
            yield TextDelta(text=text)
            yield Done(answer=_refusal(text, begun, extracted.confidence))
            return
        citation = extracted.quote.citation(exact=extracted.exact)
        text = _with_mark(extracted.quote.shown)
        yield CitationFound(index=1, citation=citation)
        yield TextDelta(text=text)
        yield Done(
            answer=Answer(
                answer=text,
                found=True,
                citations=(citation,),
                model=EXTRACTIVE,
                seconds=time.monotonic() - begun,
                confidence=extracted.confidence,
            )
        )

    def _not_found(self, knowledge: str, hits: Sequence[Hit], near: Hit | None, language: Language) -> str:
        """That the documents do not answer, and what the person can do about it: look at `near`, if it comes close."""
        if not hits and self._library.get(knowledge).documents == 0:
            return translate(
                "The knowledge base {name} holds no documents yet. Add some, then ask again.", language, name=knowledge
            )
        if not hits:
            return translate(
                "Nothing in the documents matches this question. Words are looked for as they are written: if the "
                "documents are in another language, ask in that language.",
                language,
            )
        if near is None:
            return translate("The documents do not seem to hold the answer.", language)
        place = f"{near.document} · {near.heading}" if near.heading else near.document
        return translate(
            "The documents do not seem to hold the answer. The nearest passage is in {place}.", language, place=place
        )


class KnowledgeModel:
    """A knowledge base as a chat model: the last message is the question, what came before it the conversation."""

    def __init__(self, answerer: Answerer, knowledge: str) -> None:
        self._answerer = answerer
        self._knowledge = knowledge

    @property
    def name(self) -> str:
        return f"knowledge/{self._knowledge}"

    async def stream(self, messages: Sequence[Message], **options: Any) -> AsyncGenerator[Event, None]:
        """The answer as events. Raises UserError where there is no question to answer."""
        said = [message for message in messages if message.role in ("user", "assistant") and message.content.strip()]
        if not said or said[-1].role != "user":
            raise UserError("The last message must be a question of the role user; there is nothing to answer.")
        pictures = {"image"} if any(message.parts for message in messages) else set[str]()
        for name in sorted(pictures | (_NOT_HERE & options.keys())):
            raise UserError("A knowledge base answers in words with citations; it does not take {name!r}.", name=name)
        instruction = "\n\n".join(message.content for message in messages if message.role == "system")
        events = self._answerer.ask_with(self._knowledge, said[-1].content, said[:-1], instruction, options)
        async with aclosing(events):
            async for event in events:
                yield event


def language_of(text: str) -> Language:
    """The language that a reply to this text is written in."""
    return "zh" if re.search(r"[\u3400-\u9fff]", text) else "en"


def _with_mark(quote: str) -> str:
    # A mark behind the fence that closes a block of code would keep it open.
    return f"{quote}\n[1]" if quote.endswith(("```", "~~~")) else f"{quote} [1]"


def _small_talk(question: str, language: Language, knowledge: str) -> str:
    if _GREETING.fullmatch(question):
        return translate("Hello! Ask me something about the documents in {name}.", language, name=knowledge)
    if _THANKS.fullmatch(question):
        return translate("You are welcome. Ask on whenever you like.", language)
    return ""


def _refusal(text: str, begun: float, confidence: float | None = None) -> Answer:
    return Answer(
        answer=text,
        found=False,
        citations=(),
        model=EXTRACTIVE,
        seconds=time.monotonic() - begun,
        confidence=confidence,
    )
