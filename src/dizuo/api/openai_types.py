"""The OpenAI protocol as far as Dizuo speaks it.

https://platform.openai.com/docs/api-reference. Citations ride as the protocol's own `url_citation` annotations,
with fields of ours beside the protocol's.
"""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Discriminator, Field, StringConstraints, Tag

from dizuo.api.requests import RequestBody, Text
from dizuo.core import messages
from dizuo.core.documents import ExactAnswer
from dizuo.core.errors import UserError
from dizuo.core.messages import ImagePart, Message, ToolCall
from dizuo.gateway.local_folders import Kind

Unit = Annotated[float, Field(ge=0, le=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]


# Looked at by providers, never fetched by this server.
ImageUrl = Annotated[str, StringConstraints(pattern=r"^(https?://|data:image/)[^\x00-\x20]+$")]
Detail = Literal["auto", "low", "high"]


def kind_of(data: Any) -> str:
    """Which of several kinds of part or item it is; the brackets keep it out of the `param` of an error."""
    return f"<{data.get('type') if isinstance(data, dict) else getattr(data, 'type', None)}>"


class TextPart(RequestBody):
    type: Literal["text"]
    text: Text


class ImageAddress(RequestBody):
    url: ImageUrl = Field(description="of the picture, or the picture itself: data:image/png;base64,…")
    detail: Detail | None = None


class ImageUrlPart(RequestBody):
    type: Literal["image_url"]
    image_url: ImageAddress


class RefusalPart(RequestBody):
    type: Literal["refusal"]
    refusal: Text


ContentPart = Annotated[
    Annotated[TextPart, Tag("<text>")]
    | Annotated[ImageUrlPart, Tag("<image_url>")]
    | Annotated[RefusalPart, Tag("<refusal>")],
    Discriminator(kind_of),
]


class CalledFunction(RequestBody):
    name: Text
    arguments: Text = Field(description="JSON, as the model wrote it")


class SentToolCall(RequestBody):
    id: Text
    type: Literal["function"] = "function"
    function: CalledFunction
    index: int | None = Field(default=None, description="taken and not used")


class ChatMessage(RequestBody):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text | list[ContentPart] | None = Field(default=None, description="may only be missing beside tool_calls")
    name: Text | None = None
    tool_calls: list[SentToolCall] | None = Field(default=None, description="of an assistant's message")
    tool_call_id: Text | None = Field(default=None, description="of a tool's message: the call that it answers")
    # An answer is often sent back as it came, empty fields and all.
    annotations: list[dict[str, Any]] | None = Field(default=None, description="taken and not used")
    refusal: Text | None = Field(default=None, description="taken and not used")
    audio: None = None
    function_call: None = None

    def noun(self) -> Message:
        """The message as models take it; parts are joined, and developers speak as the system does.

        Raises UserError for one that says nothing, or has what belongs to messages of another role.
        """
        for name, role in (("tool_calls", "assistant"), ("tool_call_id", "tool")):
            if getattr(self, name) and self.role != role:
                raise UserError(
                    "A message of the role {found!r} has {name!r}, which belongs to the role {role!r}.",
                    found=self.role,
                    name=name,
                    role=role,
                    param=f"messages.{name}",
                )
        if self.content is None and not self.tool_calls:
            raise UserError("A message of the role {role!r} has no content.", role=self.role, param="messages.content")
        parts = _parts(self.content or "")
        calls = tuple(
            ToolCall(id=one.id, name=one.function.name, arguments=one.function.arguments)
            for one in self.tool_calls or ()
        )
        return message_of(self.role, parts, name=self.name, tool_calls=calls, tool_call_id=self.tool_call_id)


def _parts(content: str | list[Any]) -> list[messages.TextPart | ImagePart]:
    if isinstance(content, str):
        return [messages.TextPart(text=content)]
    return [
        ImagePart(url=part.image_url.url, detail=part.image_url.detail or "auto")
        if isinstance(part, ImageUrlPart)
        else messages.TextPart(text=part.text if isinstance(part, TextPart) else part.refusal)
        for part in content
    ]


def message_of(role: str, parts: Sequence[messages.TextPart | ImagePart], **more: Any) -> Message:
    """A message as models take it, of its parts; developers speak as the system does.

    Raises UserError for a picture that is not the user's.
    """
    pictured = any(isinstance(part, ImagePart) for part in parts)
    if pictured and role != "user":
        raise UserError(
            "A message of the role {role!r} holds a picture; pictures belong into messages of the role 'user'.",
            role=role,
            param="messages.content",
        )
    return Message(
        role="system" if role == "developer" else role,  # pyright: ignore[reportArgumentType]
        content="".join(part.text for part in parts if isinstance(part, messages.TextPart)),
        parts=tuple(parts) if pictured else (),
        **more,
    )


class OfferedFunction(RequestBody):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.\-]{1,64}$")]
    description: Text | None = None
    parameters: dict[str, Any] | None = Field(default=None, description="a JSON schema")
    strict: bool | None = Field(default=None, description="arguments always follow the schema here")


class OfferedTool(RequestBody):
    type: Literal["function"]
    function: OfferedFunction


class NamedFunction(RequestBody):
    name: Text


class NamedTool(RequestBody):
    type: Literal["function"]
    function: NamedFunction


class StreamOptions(RequestBody):
    include_usage: bool = False


class ChatRequest(RequestBody):
    model: Text = Field(description="`knowledge/NAME`, `local/NAME`, or the chat model that the settings name")
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
    store: Literal[False] | None = Field(default=None, description="answers are not kept to be fetched later")
    # Not every model knows these; one that does not refuses them by name.
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: Annotated[list[OfferedTool], Field(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    logit_bias: dict[Text, Annotated[float, Field(ge=-100, le=100)]] | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
    min_p: Unit | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=2)] | None = None

    unsupported: ClassVar[frozenset[str]] = frozenset(
        {
            "audio", "function_call", "functions", "metadata", "modalities", "moderation", "prediction",
            "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "safety_identifier", "service_tier",
            "verbosity", "web_search_options",
        }
    )  # fmt: skip

    def options(self) -> dict[str, Any]:
        """The parameters that were given; what only says that there is none of something is left out."""
        not_sampling = {"model", "messages", "stream", "stream_options", "n", "store"}
        given = self.model_dump(exclude=not_sampling, exclude_none=True)
        if not self.tools:
            for name in ("tools", "tool_choice", "parallel_tool_calls"):
                given.pop(name, None)
        if not self.logprobs:
            given.pop("logprobs", None)
        return given


def _absent(value: object) -> bool:
    return value is None


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
    exact: ExactAnswer | None = Field(default=None, description="the words of the quote that answer, where it is sure")


class Annotation(BaseModel):
    type: Literal["url_citation"] = "url_citation"
    url_citation: UrlCitation


class MadeFunctionCall(BaseModel):
    name: str
    arguments: str = Field(description="JSON")


class MadeToolCall(BaseModel):
    index: int | None = Field(default=None, description="in a stream: which of the calls", exclude_if=_absent)
    id: str
    type: Literal["function"] = "function"
    function: MadeFunctionCall


class AssistantMessage(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    annotations: list[Annotation]
    tool_calls: list[MadeToolCall] | None = Field(default=None, exclude_if=_absent)


class TopLogprob(BaseModel):
    token: str
    logprob: float
    bytes: list[int] | None


class ContentLogprob(TopLogprob):
    top_logprobs: list[TopLogprob]


class ChatLogprobs(BaseModel):
    content: list[ContentLogprob]
    refusal: None = None


class ChatChoice(BaseModel):
    index: int = 0
    message: AssistantMessage
    logprobs: ChatLogprobs | None = None
    finish_reason: str


class PromptTokens(BaseModel):
    cached_tokens: int = Field(description="those that the provider had kept")


class ChatUsage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokens | None = Field(default=None, exclude_if=_absent)


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
    tool_calls: list[MadeToolCall] | None = None


class ChunkChoice(BaseModel):
    index: int = 0
    delta: Delta
    logprobs: ChatLogprobs | None = None
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
    kind: Kind | Literal["knowledge", "app"]
    note: str = Field(description="what it is, in a sentence")


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[Model]
