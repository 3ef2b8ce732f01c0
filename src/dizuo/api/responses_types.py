"""The newer form of the OpenAI protocol, responses, as far as Dizuo speaks it.

https://platform.openai.com/docs/api-reference/responses. Nothing is kept here, so that what leans on kept responses is
refused by name.
"""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Discriminator, Field, StringConstraints, Tag

from dizuo.api.openai_types import (
    Detail,
    ImageUrl,
    OfferedFunction,
    RefusalPart,
    Unit,
    kind_of,
    message_of,
)
from dizuo.api.requests import RequestBody, Text
from dizuo.core import messages
from dizuo.core.errors import UserError
from dizuo.core.messages import ImagePart, Message, ToolCall

_Part = messages.TextPart | ImagePart


class InputText(RequestBody):
    type: Literal["input_text"]
    text: Text


class InputImage(RequestBody):
    type: Literal["input_image"]
    image_url: ImageUrl = Field(description="of the picture, or the picture itself: data:image/png;base64,…")
    detail: Detail | None = None


class OutputText(RequestBody):
    type: Literal["output_text"]
    text: Text
    # An answer is often sent back as it came.
    annotations: list[dict[str, Any]] | None = Field(default=None, description="taken and not used")
    logprobs: list[dict[str, Any]] | None = Field(default=None, description="taken and not used")


ResponsePart = Annotated[
    Annotated[InputText, Tag("<input_text>")]
    | Annotated[InputImage, Tag("<input_image>")]
    | Annotated[OutputText, Tag("<output_text>")]
    | Annotated[RefusalPart, Tag("<refusal>")],
    Discriminator(kind_of),
]
_Status = Literal["in_progress", "completed", "incomplete"]


class MessageItem(RequestBody):
    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: Text | list[ResponsePart]
    id: Text | None = Field(default=None, description="taken and not used")
    status: _Status | None = Field(default=None, description="taken and not used")
    phase: Text | None = Field(default=None, description="taken and not used")


class CallItem(RequestBody):
    type: Literal["function_call"]
    call_id: Text
    name: Text
    arguments: Text = Field(description="JSON, as the model wrote it")
    id: Text | None = Field(default=None, description="taken and not used")
    status: _Status | None = Field(default=None, description="taken and not used")


class CallOutputItem(RequestBody):
    type: Literal["function_call_output"]
    call_id: Text
    output: Text | list[ResponsePart]
    id: Text | None = Field(default=None, description="taken and not used")
    status: _Status | None = Field(default=None, description="taken and not used")


def _item_kind(data: Any) -> str:
    kind = kind_of(data)
    return "<message>" if kind == "<None>" else kind  # a message need not say that it is one


Item = Annotated[
    Annotated[MessageItem, Tag("<message>")]
    | Annotated[CallItem, Tag("<function_call>")]
    | Annotated[CallOutputItem, Tag("<function_call_output>")],
    Discriminator(_item_kind),
]


class _Tool(RequestBody):
    type: Literal["function"]  # first, so that web_search and the like are refused by it


class FunctionTool(OfferedFunction, _Tool):
    """Tools that OpenAI runs itself (web_search, file_search, …) are refused by their type."""


class NamedFunctionTool(RequestBody):
    type: Literal["function"]
    name: Text


class TextFormat(RequestBody):
    type: Literal["text", "json_object", "json_schema"]
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_\-]{1,64}$")] | None = None
    json_schema: dict[str, Any] | None = Field(default=None, alias="schema", description="with json_schema")
    strict: bool | None = None
    description: Text | None = None


class TextConfig(RequestBody):
    format: TextFormat | None = None

    unsupported: ClassVar[frozenset[str]] = frozenset({"verbosity"})


class Reasoning(RequestBody):
    effort: Text | None = None

    unsupported: ClassVar[frozenset[str]] = frozenset({"summary", "generate_summary"})


class ResponseStreamOptions(RequestBody):
    include_obfuscation: bool | None = Field(default=None, description="taken and not used: nothing is padded")


class ResponseRequest(RequestBody):
    model: Text = Field(description="any chat model, or `knowledge/NAME`")
    input: Text | Annotated[list[Item], Field(min_length=1, max_length=1000)]
    instructions: Text | None = Field(default=None, description="come before the input, as the system's")
    stream: bool | None = False
    stream_options: ResponseStreamOptions | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedFunctionTool | None = None
    parallel_tool_calls: bool | None = None
    text: TextConfig | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Unit | None = None
    reasoning: Reasoning | None = None
    user: Text | None = None
    metadata: Annotated[dict[Text, Text], Field(max_length=16)] | None = Field(default=None, description="comes back")
    truncation: Literal["disabled"] | None = Field(default=None, description="a conversation that is too long fails")
    include: Annotated[list[Text], Field(max_length=0)] | None = Field(default=None, description="may only be empty")
    # What leans on kept responses is taken as far as it says that none is.
    store: bool | None = Field(default=None, description="nothing is kept: may only be false")
    background: bool | None = Field(default=None, description="may only be false")
    previous_response_id: Text | None = Field(default=None, description="may only be null")
    conversation: Text | dict[str, Any] | None = Field(default=None, description="may only be null")

    unsupported: ClassVar[frozenset[str]] = frozenset(
        {
            "context_management", "max_tool_calls", "moderation", "prompt", "prompt_cache_key", "prompt_cache_options",
            "prompt_cache_retention", "safety_identifier", "service_tier", "top_logprobs",
        }
    )  # fmt: skip

    def must_be_stateless(self) -> None:
        """Raises UserError where the request leans on what is not kept, and says what to do."""
        for name in ("previous_response_id", "conversation", "background", "store"):
            if not getattr(self, name):
                continue
            if name in ("store", "background"):
                raise UserError(
                    "{name} is true, but responses are not kept here. Leave it out, and keep the answer yourself; "
                    "with stream it comes as it is written.",
                    name=name,
                    param=name,
                )
            raise UserError(
                "{name} points to something that is not kept here. Send the whole conversation as input: what was "
                "said before, with the items of each output as they came.",
                name=name,
                param=name,
            )

    def messages(self) -> list[Message]:
        """The conversation. Calls that follow one another are one message of the assistant, with the text before them.

        Raises UserError for what belongs to another role.
        """
        said = [Message(role="system", content=self.instructions)] if self.instructions else []
        if isinstance(self.input, str):
            return [*said, Message(role="user", content=self.input)]
        for item in self.input:
            match item:
                case MessageItem():
                    said.append(message_of(item.role, _parts(item.content)))
                case CallItem():
                    call = ToolCall(id=item.call_id, name=item.name, arguments=item.arguments)
                    if not said or said[-1].role != "assistant":
                        said.append(Message(role="assistant", content=""))
                    said[-1] = said[-1].model_copy(update={"tool_calls": (*said[-1].tool_calls, call)})
                case CallOutputItem():
                    said.append(message_of("tool", _parts(item.output), tool_call_id=item.call_id))
        return said

    def options(self) -> dict[str, Any]:
        """The parameters that were given, as a chat model takes them."""
        given: dict[str, Any] = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_completion_tokens": self.max_output_tokens,
            "reasoning_effort": self.reasoning.effort if self.reasoning else None,
            "response_format": self._response_format(),
            "user": self.user,
        }
        if self.tools:
            choice = self.tool_choice
            given["tools"] = [
                {"type": "function", "function": tool.model_dump(exclude={"type"}, exclude_none=True)}
                for tool in self.tools
            ]
            given["tool_choice"] = (
                {"type": "function", "function": {"name": choice.name}}
                if isinstance(choice, NamedFunctionTool)
                else choice
            )
            given["parallel_tool_calls"] = self.parallel_tool_calls
        return {name: value for name, value in given.items() if value is not None}

    def _response_format(self) -> dict[str, Any] | None:
        wanted = self.text.format if self.text else None
        if wanted is None or wanted.type == "text":
            return None
        if wanted.type == "json_object":
            return {"type": "json_object"}
        for name, value in (("name", wanted.name), ("schema", wanted.json_schema)):
            if value is None:
                raise UserError(
                    "A format of the type json_schema needs {name!r}.", name=name, param=f"text.format.{name}"
                )
        schema = wanted.model_dump(exclude={"type"}, exclude_none=True, by_alias=True)
        return {"type": "json_schema", "json_schema": schema}


def _parts(content: str | Sequence[Any]) -> list[_Part]:
    if isinstance(content, str):
        return [messages.TextPart(text=content)]
    return [
        ImagePart(url=part.image_url, detail=part.detail or "auto")
        if isinstance(part, InputImage)
        else messages.TextPart(text=part.refusal if isinstance(part, RefusalPart) else part.text)
        for part in content
    ]


class InputTokens(BaseModel):
    cached_tokens: int = Field(description="those that the provider had kept")
    cache_write_tokens: int = Field(description="0 always: they are among input_tokens, and not told apart")


class OutputTokens(BaseModel):
    reasoning_tokens: int = Field(description="0 always: they are among output_tokens, and not told apart")


class ResponseUsage(BaseModel):
    input_tokens: int
    input_tokens_details: InputTokens
    output_tokens: int
    output_tokens_details: OutputTokens
    total_tokens: int


class Response(BaseModel):
    """Also what the events of a stream carry at its begin and its end."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None
    status: Literal["in_progress", "completed", "incomplete", "failed"]
    background: Literal[False]
    error: dict[str, Any] | None
    incomplete_details: dict[str, str] | None
    instructions: str | None
    max_output_tokens: int | None
    metadata: dict[str, str]
    model: str
    output: list[dict[str, Any]] = Field(description="items of the types message and function_call")
    parallel_tool_calls: bool
    previous_response_id: None
    reasoning: dict[str, Any]
    store: Literal[False]
    temperature: float | None
    text: dict[str, Any]
    tool_choice: Any
    tools: list[dict[str, Any]]
    top_p: float | None
    truncation: Literal["disabled"]
    usage: ResponseUsage | None
    user: str | None
