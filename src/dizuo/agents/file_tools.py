"""Tools over the files of a run: seen, read, written, moved."""

from typing import Annotated

from pydantic import Field

from dizuo.agents import workspace
from dizuo.core.errors import NotFound, UserError
from dizuo.core.messages import Noun
from dizuo.core.tools import Tool, ToolContext, ToolResult, tool

MOST_FILE_BYTES = 1 << 20
_MOST_LISTED = 500
_MOST_MOVES = 200


@tool
def list_files(context: ToolContext) -> ToolResult:
    """The files of your workspace, each with its size in bytes."""
    found = workspace.of(context).files()
    lines = [f"{one.path} ({one.size_bytes})" for one in found[:_MOST_LISTED]]
    if len(found) > _MOST_LISTED:
        lines.append(f"[{len(found) - _MOST_LISTED} more]")
    # A name is words of whoever gave it.
    return ToolResult(text="\n".join(lines) or "There are no files yet.", trusted=not found)


@tool
def read_file(path: str, context: ToolContext) -> ToolResult:
    """Read a text file of your workspace."""
    found = workspace.of(context)
    try:
        with found.open(path) as file:
            data = file.read(MOST_FILE_BYTES + 1)
    except NotFound:
        raise UserError("There is no file {path!r}. See list_files.", path=path) from None
    if len(data) > MOST_FILE_BYTES:
        raise UserError("The file {path!r} has over {limit} bytes.", path=path, limit=MOST_FILE_BYTES)
    return ToolResult(text=data.decode("utf-8", "replace"), trusted=False)


@tool(effect="own", idempotent=True)
def write_file(path: str, text: str, context: ToolContext) -> ToolResult:
    """Write a text file in your workspace; one of that name is replaced."""
    if len(text.encode("utf-8", "replace")) > MOST_FILE_BYTES:
        raise UserError("The text has over {limit} bytes.", limit=MOST_FILE_BYTES)
    path = workspace.normal(path)
    workspace.of(context).write(path, text)
    made = workspace.artifacts(context, [path])
    return ToolResult(text=f"{path} has {len(text)} characters.", artifacts=made)


class Move(Noun):
    """From where to where."""

    source: Annotated[str, Field(min_length=1, max_length=1000, description="a file that there is")]
    target: Annotated[str, Field(min_length=1, max_length=1000, description="its new path, with its name")]


@tool(effect="write", idempotent=True)
def move_files(
    moves: Annotated[list[Move], Field(min_length=1, max_length=_MOST_MOVES)], context: ToolContext
) -> ToolResult:
    """Move or rename files of your workspace, as many as there are in one call. Folders are made as needed. Nothing is
    moved when one of the moves cannot be made, and nothing is ever replaced."""
    found = workspace.of(context)
    there = {one.path for one in found.files()}
    pairs = [(workspace.normal(one.source), workspace.normal(one.target)) for one in moves]
    faults, seen = [], set[str]()
    # What has no source and a target was moved by this very call, before a crash.
    left = [(source, target) for source, target in pairs if source in there or target not in there]
    for source, target in left:
        if source not in there:
            faults.append(f"there is no file {source!r}")
        if target in there:
            faults.append(f"{target!r} is there already")
    for path in (path for pair in pairs for path in pair):
        if path in seen:
            faults.append(f"{path!r} is named twice")
        seen.add(path)
    if not faults:
        try:
            found.move(left)
        except UserError as error:
            faults.append(str(error))
    if faults:
        return ToolResult(text=f"Nothing was moved: {'; '.join(faults[:20])}.", failed=True, trusted=False)
    before = f" {len(pairs) - len(left)} were there already." if len(left) < len(pairs) else ""
    return ToolResult(text=f"Moved {len(left)} files.{before}", artifacts=workspace.artifacts(context, seen))


@tool(effect="own", idempotent=True)
def make_folder(path: str, context: ToolContext) -> str:
    """Make a folder in your workspace, with those above it."""
    workspace.of(context).make_folder(path)
    return f"There is a folder {path}."


FILE_TOOLS: tuple[Tool, ...] = (list_files, read_file, write_file)
"""What every agent has."""
