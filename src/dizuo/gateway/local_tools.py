"""Tool calls of a local model: a grammar that they obey, and the calls read from what was written.

A call is `<tool_call>{"name": …, "arguments": …}</tool_call>`, the form that Hermes and Qwen use and that models
trained here learn. The grammar sees to it that a call names one of the tools and that its arguments fit the schema.
"""

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from dizuo.core.errors import UserError
from dizuo.core.messages import ToolCall

OPEN, CLOSE = "<tool_call>", "</tool_call>"
_CALL = re.compile(rf"{OPEN}(.*?)(?:{CLOSE}|$)", re.DOTALL)


def grammar(
    tools: Sequence[Mapping[str, Any]], choice: Any, several: bool, marks: tuple[str, str] | None
) -> str | None:
    """A Lark grammar for llguidance: text or calls ("auto"), calls only ("required", or one tool by name).

    None where nothing may be called. `several` calls may follow one another. `marks` are the grammar's names of the
    two tokens that enclose a call, None where they are no tokens of their own. Text never begins as a call does.
    Raises UserError for a choice that is none of the tools.
    """
    if choice == "none":
        return None
    functions = [tool["function"] for tool in tools]
    if isinstance(choice, dict):
        wanted = choice["function"]["name"]
        functions = [one for one in functions if one["name"] == wanted]
        if not functions:
            raise UserError(
                "tool_choice names {name!r}, which is none of the tools: {names}.",
                name=wanted,
                names=", ".join(tool["function"]["name"] for tool in tools),
                param="tool_choice",
            )
        several = False
    begin, end = marks or (json.dumps(OPEN), json.dumps(CLOSE))
    calls = "call+" if several else "call"
    start = calls if choice == "required" or isinstance(choice, dict) else f"TEXT | {calls}"
    # A text that began like a call would be read as one, whatever it names.
    text = "" if start == calls else f"TEXT: /(?s:.+)/ & ~/(?s:\\s*{OPEN}.*)/\n"
    each = "".join(_rules(number, function) for number, function in enumerate(functions))
    which = " | ".join(f"object{number}" for number in range(len(functions)))
    return f'start: {start}\n{text}call: {begin} ({which}) {end}\nblank: " "?\n{each}'


def read(written: str) -> list[ToolCall]:
    """The calls in what was written; one that was cut off is none."""
    calls = []
    for match in _CALL.finditer(written):
        try:
            said = json.loads(match[1])
            arguments = json.dumps(said["arguments"], ensure_ascii=False)
            calls.append(ToolCall(id=f"call_{secrets.token_hex(12)}", name=str(said["name"]), arguments=arguments))
        except (ValueError, KeyError, TypeError):
            continue
    return calls


def begins(written: str) -> bool | None:
    """Whether it begins as a call does; None while that cannot be said yet."""
    start = written.lstrip()
    if len(start) >= len(OPEN):
        return start.startswith(OPEN)
    return None if OPEN.startswith(start) else False


def _rules(number: int, function: Mapping[str, Any]) -> str:
    """The rules of one tool's call. Its schema stands alone: what it says of `#/$defs` is about itself."""
    parameters = function.get("parameters") or {"type": "object", "properties": {}, "additionalProperties": False}
    schema = {**parameters, "x-guidance": {"whitespace_pattern": "[ ]?"}}
    name = json.dumps(json.dumps(function["name"]), ensure_ascii=False)
    parts = [r'"{"', r'"\"name\":"', name, '","', r'"\"arguments\":"', f"arguments{number}", '"}"']
    return f"object{number}: {' blank '.join(parts)}\narguments{number}: %json {json.dumps(schema)}\n"
