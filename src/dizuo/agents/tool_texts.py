"""Servers of tools as text: what people write to add one, and what a tool says of itself, for people to read."""

import difflib
import json
import shlex
from collections.abc import Mapping, Sequence

from dizuo.agents.listed import ListedTool
from dizuo.agents.tool_servers import ServedTool
from dizuo.core.errors import UserError


def command_of(text: str) -> list[str]:
    """A program and its arguments, written as in a shell. Raises UserError."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UserError("The command cannot be read: {reason}", reason=str(error)) from None


def named_values(lines: Sequence[str], between: str) -> dict[str, str]:
    """NAME=VALUE pairs, of which empty lines are none. Raises UserError for one without a name."""
    found: dict[str, str] = {}
    for one in lines:
        if not one.strip():
            continue
        name, sep, value = one.partition(between)
        if not sep or not name.strip():
            raise UserError("Write NAME{between}VALUE.", between=between)
        found[name.strip()] = value.strip() if between == ":" else value
    return found


def with_token(headers: Mapping[str, str], token: str) -> dict[str, str]:
    """The headers, with a bearer token among them where there is one."""
    return {**headers, "Authorization": f"Bearer {token}"} if token else {**headers}


def said(tool: ListedTool) -> list[str]:
    """All that a tool says of itself, line by line."""
    return [
        *tool.description.strip().splitlines(),
        *json.dumps(tool.parameters, ensure_ascii=False, indent=2).splitlines(),
        *([json.dumps(tool.operation, ensure_ascii=False)] if tool.operation else []),
        f"reads: {tool.reads}",
    ]


def difference(tool: ServedTool) -> list[str]:
    """What was approved against what is listed now, line by line; nothing where both are the same."""
    if tool.before is None:
        return []
    now = [] if tool.state == "gone" else said(tool.listed)
    return [line for line in difflib.ndiff(said(tool.before), now) if not line.startswith("?")]
