"""The OpenAI protocol as far as Dizuo speaks it.

https://platform.openai.com/docs/api-reference. Citations ride as the protocol's own `url_citation` annotations,
with fields of ours beside the protocol's.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Field

from dizuo.api.requests import RequestBody, Text
from dizuo.core.messages import Message

Unit = Annotated[float, Field(ge=0, le=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]


class TextPart(RequestBody):
    type: Literal["text"]
    text: Text


class ChatMessage(RequestBody):
    role: Literal["system", "developer", "user", "assistant"]
    content: Text | list[TextPart]
    name: Text | None = None
    # An answer is often sent back as it came, empty fields and all.
    annotations: list[dict[str, Any]] | None = Field(default=None, description="taken and not used")
    refusal: Text | None = Field(default=None, description="taken and not used")
    audio: None = None
    function_call: None = None
    tool_calls: None = None
    unsupported: ClassVar[frozenset[str]] = frozenset({"tool_call_id"})

    def noun(self) -> Message:
        """The message as models take it; parts are joined, and developers speak as the system does."""
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return Message(role="system" if self.role == "developer" else self.role, content=text, name=self.name)


class StreamOptions(RequestBody):
    include_usage: bool = False


class ChatRequest(RequestBody):
    model: Text = Field(description="`knowledge/NAME`, or the chat model that the settings name")
    messages: list[ChatMessage] = Field(min_length=1, max_length=1000)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Unit | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    stop: Text | Annotated[list[Text], Field(max_length=4)] | None = None
    seed: int | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    n: Literal[1] | None = None
    reasoning_effort: Text | None = None
    response_format: dict[str, Any] | None = None
    user: Text | None = None

    unsupported: ClassVar[frozenset[str]] = frozenset(
        {
            "audio", "function_call", "functions", "logit_bias", "logprobs", "metadata", "modalities", "moderation",
            "parallel_tool_calls", "prediction", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention",
            "safety_identifier", "service_tier", "store", "tool_choice", "tools", "top_logprobs", "verbosity",
            "web_search_options",
        }
    )  # fmt: skip

    def options(self) -> dict[str, Any]:
        """The sampling parameters that were given."""
        return self.model_dump(exclude={"model", "messages", "stream", "stream_options", "n"}, exclude_none=True)


class UrlCitation(BaseModel):
    """`start_index`, `end_index`: where the answer's text carries the mark, such as [1]. `start`, `end`: the quote's
    characters in the document's extracted text."""

    url: str
    title: str
    start_index: int
    end_index: int
    index: int = Field(description="the n of the mark [n]")
    document: str
    document_id: str
    chunk: str
    quote: str
    page: int | None
    start: int
    end: int
    supported: bool = Field(description="false: the cited sentence could not be found to follow from the source")


class Annotation(BaseModel):
    type: Literal["url_citation"] = "url_citation"
    url_citation: UrlCitation


class AssistantMessage(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None
    annotations: list[Annotation]


class ChatChoice(BaseModel):
    index: int = 0
    message: AssistantMessage
    logprobs: None = None
    finish_reason: str


class ChatUsage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatCompletion(BaseModel):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: ChatUsage


class Delta(BaseModel):
    role: Literal["assistant"] | None = None
    content: str | None = None
    annotations: list[Annotation] | None = None


class ChunkChoice(BaseModel):
    index: int = 0
    delta: Delta
    logprobs: None = None
    finish_reason: str | None = None


class ChatCompletionChunk(BaseModel):
    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: ChatUsage | None = None


class EmbeddingRequest(RequestBody):
    model: Text
    input: (
        Annotated[Text, Field(min_length=1)]
        | Annotated[list[Annotated[Text, Field(min_length=1)]], Field(min_length=1, max_length=2048)]
    )
    encoding_format: Literal["float", "base64"] | None = "float"
    user: Text | None = Field(default=None, description="taken and not used")

    # A model's vectors have one length. Cutting them would give other numbers than the model's own.
    unsupported: ClassVar[frozenset[str]] = frozenset({"dimensions"})


class Embedding(BaseModel):
    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str = Field(description="with encoding_format base64: little-endian float32")


class EmbeddingUsage(BaseModel):
    prompt_tokens: int
    total_tokens: int


class EmbeddingList(BaseModel):
    object: Literal["list"] = "list"
    model: str
    data: list[Embedding]
    usage: EmbeddingUsage


class Model(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    kind: Literal["chat", "embedding", "knowledge"]


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[Model]
