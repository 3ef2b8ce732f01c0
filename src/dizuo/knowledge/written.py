"""An answer that a chat model writes over the passages that were found, checked while it is written.

A model that fails is an error that says so, never a silent fall back to quotations: who set up a model wants to know
that it does not answer, and an answer's quality must not change with nobody's doing.
"""

import re
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, nullcontext
from typing import Any

from dizuo.core.documents import Answer, Hit
from dizuo.core.errors import ModelError
from dizuo.core.events import Done, Event, Failed, TextDelta, UsageReported
from dizuo.core.messages import Message
from dizuo.core.protocols import ChatModel, context_tokens
from dizuo.knowledge.prompt import ANSWER_TOKENS, NOT_FOUND, messages
from dizuo.knowledge.scribe import Scribe
from dizuo.platform.catalogue import Language, translate

# What models say in their own words when they were told to say NOT_FOUND. Only looked for in short answers.
_KNOWS_NOT = re.compile(
    r"\b(?:(?:do|does|is|are|ca|could)n['’]t|(?:do|does|did|is|are|could) not|cannot|no)\b.{0,40}"
    r"\b(?:know|contain|mention|provide|hold|say|state|include|specif|answer|information|found|mentioned|available)"
    r"|(?:没有|未|并未|找不到|无法|不能|不知道).{0,12}(?:提到|提及|说明|包含|找到|回答|确定|信息|相关|答案)|不知道|不清楚",
    re.IGNORECASE | re.DOTALL,
)
_SHORT = 300  # characters
_THINKS = re.compile(r"\s*<(think(?:ing)?|reasoning)>", re.IGNORECASE)
_MAY_THINK = len("<reasoning>")


async def write(
    model: ChatModel,
    question: str,
    hits: Sequence[Hit],
    history: Sequence[Message],
    language: Language,
    refusal: str,
    instruction: str = "",
    options: Mapping[str, Any] | None = None,
) -> AsyncGenerator[Event, None]:
    """The model's answer as events, the last of them Done with the whole answer or Failed.

    `refusal` is what is said where the model finds no answer in the passages. Raises ModelError when the model fails
    before its first word, or says none.
    """
    begun = time.monotonic()
    # A model on this machine says how much it reads; a small one that does not find an end must not go on for minutes.
    reads = context_tokens(model)
    given = {**({"max_tokens": ANSWER_TOKENS} if reads else {}), **(options or {})}
    asked, shown = messages(question, hits, history, instruction, context_tokens=reads)
    scribe, opening, thinking = Scribe(shown), _Opening(), _Reasoning()
    finish = Done()
    stream = model.stream(asked, **given)
    said = False
    try:
        async with aclosing(stream) if isinstance(stream, AsyncGenerator) else nullcontext():
            async for event in stream:
                if isinstance(event, TextDelta):
                    for made in scribe.take(opening.take(thinking.take(event.text))):
                        said = True
                        yield made
                elif isinstance(event, UsageReported):
                    yield event
                elif isinstance(event, Failed):
                    yield event
                    return
                elif isinstance(event, Done):
                    finish = event
    except ModelError as error:
        if not said:
            raise
        yield Failed(code=error.code, message=str(error))
        return
    if opening.refuses:
        yield TextDelta(text=refusal)
        yield Done(answer=_answer(model, refusal, False, scribe, begun))
        return
    for made in scribe.take(opening.rest()):
        yield made
    for made in scribe.finish():
        yield made
    if not scribe.text.strip():
        raise ModelError("{model} gave an empty answer. Ask again, or name another model.", model=model.name)
    refuses = len(scribe.text) <= _SHORT and not scribe.supported and _KNOWS_NOT.search(scribe.text) is not None
    text = scribe.text
    if not scribe.citations and not refuses:
        notice = "\n\n" + translate("(No passage is cited for this, and none was found that bears it out.)", language)
        text += notice
        yield TextDelta(text=notice)
    yield Done(finish_reason=finish.finish_reason, answer=_answer(model, text.strip(), scribe.supported, scribe, begun))


def _answer(model: ChatModel, text: str, found: bool, scribe: Scribe, begun: float) -> Answer:
    return Answer(
        answer=text,
        found=found,
        citations=tuple(scribe.citations),
        model=model.name,
        seconds=time.monotonic() - begun,
    )


class _Reasoning:
    """Leaves out what a reasoning model thinks aloud between <think> and </think> before it answers."""

    def __init__(self) -> None:
        self._held = ""
        self._end: str | None = None  # the tag that ends the thinking
        self._over = False

    def take(self, piece: str) -> str:
        """What of the text so far is answer and has not been given yet."""
        if self._over:
            return piece
        self._held += piece
        if self._end is None:
            start = _THINKS.match(self._held)
            if start is None:
                opens = self._held.lstrip()
                if opens and not (opens.startswith("<") and ">" not in opens and len(opens) < _MAY_THINK):
                    return self._release(self._held)
                return ""
            self._end = f"</{start[1].lower()}>"
        at = self._held.lower().find(self._end)
        if at < 0:
            self._held = self._held[-len(self._end) :]
            return ""
        return self._release(self._held[at + len(self._end) :].lstrip())

    def _release(self, text: str) -> str:
        self._over, self._held = True, ""
        return text


class _Opening:
    """Holds the first letters back until they are, or are not, the words for "not found"."""

    def __init__(self) -> None:
        self._held: str | None = ""
        self.refuses = False

    def take(self, piece: str) -> str:
        """What may be shown."""
        if self.refuses:
            return ""
        if self._held is None:
            return piece
        self._held += piece
        letters = re.sub(r"[^a-z]", "", self._held.lower())
        wanted = NOT_FOUND.replace("_", "").lower()
        if letters.startswith(wanted):
            self.refuses = True
            return ""
        if wanted.startswith(letters) and len(self._held) < 3 * len(wanted):
            return ""
        return self.rest()

    def rest(self) -> str:
        """What is held when the stream ends."""
        held, self._held = self._held or "", None
        return "" if self.refuses else held
