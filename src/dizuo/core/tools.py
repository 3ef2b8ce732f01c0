"""What an agent may call: a function with a schema of its arguments, and what it can do to the world.

A Python function with type hints and a docstring is one (`@tool`).
"""

import asyncio
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_type_hints, overload

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model

from dizuo.core.errors import DizuoError
from dizuo.core.messages import Noun

Effect = Literal["read", "own", "write", "outside", "money"]
"""What a tool can do: look, work in the run's own folder, change what is the user's, act on the outside, spend."""

MOST_CHARACTERS = 32_000  # of a result, as the model reads it


class Artifact(Noun):
    """A file in the run's folder, as something to show. `path`: within the folder, with "/"."""

    path: str
    kind: Literal["image", "table", "file"]
    size_bytes: int


class ToolResult(Noun):
    """What came of a call. `trusted` is False where the text holds words of others: it is read, and never obeyed.

    `artifacts`: the files that the call has made or changed."""

    text: str
    failed: bool = False
    trusted: bool = True
    child: str = Field(default="", exclude=True)  # a run that works on it from here on: its end is the result
    artifacts: tuple[Artifact, ...] = ()


@dataclass(frozen=True)
class ToolContext:
    """What a tool knows of the call: a parameter of this type is filled in and not shown to the model."""

    run_id: str = ""
    key: str = ""  # the same when a call is made again after a crash: a tool that heeds it does its work once
    workspace: Path | None = None  # the run's own folder


class ToolArgumentsError(DizuoError):
    """Arguments that do not fit. The model reads why."""

    code = "tool_arguments"


@dataclass(frozen=True)
class GivenSchema:
    """Arguments as a JSON schema of others describes them. The function takes them as one dict, `arguments`."""

    schema: Mapping[str, Any]
    faults: Callable[[Any], Sequence[str]]  # what of a value does not fit, in words

    def checked(self, text: str) -> Mapping[str, Any]:
        """The arguments in a JSON text. Raises ValueError, saying what is wrong."""
        try:
            found = json.loads(text)
        except RecursionError:
            raise ValueError("arguments: nested too deeply") from None
        if not isinstance(found, dict):
            raise ValueError("arguments: must be an object")
        if faults := self.faults(found):
            raise ValueError("; ".join(faults))
        return {"arguments": found}


@dataclass(frozen=True)
class Tool:
    """A function that a model may call."""

    name: str
    description: str
    function: Callable[..., Any]
    arguments: type[BaseModel] | GivenSchema
    effect: Effect = "read"
    idempotent: bool = False  # heeds `ToolContext.key`, or does no more when called again
    context_in: str = ""  # the parameter that takes the ToolContext

    def described(self) -> dict[str, Any]:
        """The tool as chat completions describe it."""
        if isinstance(self.arguments, GivenSchema):
            schema = dict(self.arguments.schema)
        else:
            schema = self.arguments.model_json_schema()
            schema.pop("title", None)
        return {
            "type": "function",
            "function": {"name": self.name, "description": self.description, "parameters": schema},
        }

    def checked(self, arguments: str) -> dict[str, Any]:
        """The arguments that a model wrote as JSON, as the function takes them. Raises ToolArgumentsError."""
        try:
            if isinstance(self.arguments, GivenSchema):
                return dict(self.arguments.checked(arguments or "{}"))
            found = self.arguments.model_validate_json(arguments or "{}")
        except ValidationError as error:  # a ValueError, too
            faults = "; ".join(
                f"{'.'.join(str(part) for part in one['loc']) or 'arguments'}: {one['msg']}"
                for one in error.errors(include_url=False)
            )
        except ValueError as error:
            faults = str(error)
        else:
            return {name: getattr(found, name) for name in type(found).model_fields}
        raise ToolArgumentsError("The arguments of {tool} do not fit: {faults}", tool=self.name, faults=faults)

    async def call(self, arguments: str, context: ToolContext) -> ToolResult:
        """Calls it; what goes wrong is a failed result, which the model reads. Functions that block run in a thread."""
        try:
            given = self.checked(arguments)
            if self.context_in:
                given[self.context_in] = context
            if inspect.iscoroutinefunction(self.function):
                found = await self.function(**given)
            else:
                found = await asyncio.to_thread(self.function, **given)
        except DizuoError as error:
            return ToolResult(text=str(error), failed=True)
        except Exception as error:
            return ToolResult(text=f"{type(error).__name__}: {error}"[:2000], failed=True)
        return _result(found)


def _result(found: Any) -> ToolResult:
    if isinstance(found, ToolResult):
        made = found
    else:
        made = ToolResult(text=found if isinstance(found, str) else TypeAdapter(Any).dump_json(found).decode())
    if len(made.text) > MOST_CHARACTERS:
        cut = f"{made.text[:MOST_CHARACTERS]}\n[cut: {len(made.text)} characters, the first {MOST_CHARACTERS} are here]"
        made = made.model_copy(update={"text": cut})
    return made


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...
@overload
def tool(
    *, name: str = "", effect: Effect = "read", idempotent: bool = False
) -> Callable[[Callable[..., Any]], Tool]: ...


def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str = "",
    effect: Effect = "read",
    idempotent: bool = False,
) -> Any:
    """Makes a tool of a function with type hints; its docstring tells the model what it is for.

    Raises TypeError for a function without a docstring or with a parameter without a type.
    """

    def made(function: Callable[..., Any]) -> Tool:
        description = inspect.cleandoc(function.__doc__ or "")
        if not description:
            raise TypeError(f"the tool {function.__name__} has no docstring: a model must read what it is for")
        hints = get_type_hints(function, include_extras=True)
        fields: dict[str, Any] = {}
        context_in = ""
        for parameter in inspect.signature(function).parameters.values():
            if parameter.name not in hints:
                raise TypeError(f"the parameter {parameter.name!r} of the tool {function.__name__} has no type")
            if hints[parameter.name] is ToolContext:
                context_in = parameter.name
                continue
            default = ... if parameter.default is inspect.Parameter.empty else parameter.default
            fields[parameter.name] = (hints[parameter.name], Field(default))
        called = name or function.__name__
        arguments = create_model(called, __config__=ConfigDict(extra="forbid"), **fields)
        return Tool(called, description, function, arguments, effect, idempotent, context_in)

    return made if function is None else made(function)


def read_arguments(arguments: str) -> Mapping[str, Any]:
    """The arguments as JSON says them; empty where they are none, for showing and for patterns on them."""
    try:
        found = json.loads(arguments)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def unescaped(arguments: str) -> str:
    """The same JSON with its characters themselves, where they are written as \\uXXXX: many models write Chinese so."""
    if "\\u" not in arguments:
        return arguments
    try:
        said = json.dumps(json.loads(arguments), ensure_ascii=False, allow_nan=False)
        said.encode()
    except (ValueError, RecursionError):  # no JSON, no number, half a character: it is for others to say so
        return arguments
    return said
