"""What goes to a model and comes back."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Role = Literal["system", "user", "assistant", "tool"]


class Noun(BaseModel):
    """A frozen value that every face prints with `model_dump(mode="json")`."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ToolCall(Noun):
    id: str
    name: str
    arguments: str  # JSON, exactly as the model wrote it


class TextPart(Noun):
    type: Literal["text"] = "text"
    text: str


class ImagePart(Noun):
    """A picture: its address, or the picture itself as a `data:` URL."""

    type: Literal["image"] = "image"
    url: str
    detail: Literal["auto", "low", "high"] = "auto"


class Message(Noun):
    """`parts` are there when a message holds more than text; `content` is its text then too."""

    role: Role
    content: str
    parts: tuple[TextPart | ImagePart, ...] = ()
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


class TokenLogprob(Noun):
    """A token that was written or read, with its log-probability given all before it (natural logarithm).

    `logprob` is None for the first token of a text: nothing comes before it. `top` are the likeliest tokens in its
    place, likeliest first.
    """

    id: int
    text: str  # what it adds to the text; a token may hold part of a character, and adds nothing then
    raw: tuple[int, ...] = ()  # its bytes, where the tokenizer knows them
    logprob: float | None = None
    top: tuple["TokenLogprob", ...] = ()


class Usage(Noun):
    """Tokens of one call, and the processor time that a model of this machine took for it."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0  # of the prompt, those that the provider had kept
    cpu_s: float = 0.0

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens
