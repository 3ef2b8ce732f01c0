"""The one stream of events that runs from a model or an app to a face. Each face only renders them."""

from typing import Annotated, Literal

from pydantic import Field

from dizuo.core.documents import Answer, Citation
from dizuo.core.messages import Noun, TokenLogprob, ToolCall, Usage


class Served(Noun):
    """Comes first from a model behind the gateway, together with what follows: which model answers, and whether it
    is an answer that was kept."""

    type: Literal["served"] = "served"
    model: str
    attempts: int = 1  # 0: no model was asked
    cache: Literal["", "exact", "normalised", "semantic"] = ""
    score: float = 1.0  # how sure the cache is that the question is the same
    age_s: float = 0.0
    run_id: str = ""  # the run that answers, where an app does


class TextDelta(Noun):
    """`tokens` are there when log-probabilities were asked for: those that the text is made of."""

    type: Literal["text"] = "text"
    text: str
    tokens: tuple[TokenLogprob, ...] = Field(default=(), exclude_if=lambda tokens: not tokens)


class ToolCalled(Noun):
    """The model wants a tool to be called. Comes whole, when its arguments are."""

    type: Literal["tool_call"] = "tool_call"
    call: ToolCall


class CitationFound(Noun):
    """Comes before the text that refers to it as [index]; sent again, same index, when the end of the sentence
    changes whether it is supported: what followed the mark was wanting, or only then said what was cited."""

    type: Literal["citation"] = "citation"
    index: int  # 1-based, as in the text
    citation: Citation


class UsageReported(Noun):
    type: Literal["usage"] = "usage"
    usage: Usage


class Done(Noun):
    """The last event of a stream that went well. An app's stream carries the whole answer."""

    type: Literal["done"] = "done"
    finish_reason: Literal["stop", "length", "tool_calls", "content_filter"] = "stop"
    answer: Answer | None = None


class Failed(Noun):
    """The last event of a stream that broke midway: never a silent cut."""

    type: Literal["failed"] = "failed"
    code: str
    message: str


Event = Annotated[
    Served | TextDelta | ToolCalled | CitationFound | UsageReported | Done | Failed, Field(discriminator="type")
]
