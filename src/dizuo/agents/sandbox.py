"""`run_python`: code that a model wrote, run where it can do no harm, or not at all.

Under bubblewrap where that works; else, for pure computation, in the interpreter Monty, which has no files and no
modules to speak of; else refused. Never in this process, and never in a plain one.
"""

import asyncio
import contextlib
import os
import tempfile
import threading
import unicodedata
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from dizuo.agents import bubblewrap
from dizuo.agents.bubblewrap import Limits, Outcome
from dizuo.agents.workspace import artifacts
from dizuo.core.documents import Note
from dizuo.core.errors import Unavailable, UserError
from dizuo.core.messages import Noun
from dizuo.core.tools import ToolContext, ToolResult, tool

MOST_CODE_CHARACTERS = 100_000
_MOST_NAMES = 100
_MOST_ARTIFACTS = 20
_WAIT_S = 0.05
_PROBE_LIMITS = Limits(wall_s=20, cpu_s=10)
# Does nothing but try the walls: to be sure of them takes more than a program that starts.
_PROBE = """
import os, socket
walls = 0
for attempt in (os.fork, socket.socket, lambda: os.symlink("a", "b"), lambda: open("/usr/lib/x", "w")):
    try:
        attempt()
    except OSError:
        walls += 1
walls += not os.path.exists("/home") and not os.path.exists("/proc/1") and not os.path.exists("/etc/passwd")
open("probe", "w").write(str(walls))
print(walls)
"""
_WALLS = 5

_places = threading.BoundedSemaphore(max(2, os.cpu_count() or 2))  # one call may take a processor and much memory


class Sandbox(Noun):
    """What runs code here. `reason`: why it is not bubblewrap."""

    kind: Literal["bubblewrap", "monty", "none"]
    reason: Note | None = None


@cache
def available() -> Sandbox:
    """What there is on this machine; found out by trying it, once in the life of a process. Blocks for about 0.2 s."""
    try:
        _try_bubblewrap()
        return Sandbox(kind="bubblewrap")
    except Unavailable as error:
        reason = Note(template=error.template, params=error.params)
    except OSError as error:
        reason = Note(template="bubblewrap does not work here: {reason}", params={"reason": str(error)})
    return Sandbox(kind="monty" if asyncio.run(_monty_works()) else "none", reason=reason)


@tool(effect="own")
async def run_python(
    code: Annotated[str, Field(min_length=1, max_length=MOST_CODE_CHARACTERS, description="a whole program")],
    context: ToolContext,
) -> ToolResult:
    """Run Python code in a sandbox and read what it prints, with the value of its last expression. Its folder is your
    workspace: read and write files there by plain names. Each call is a new process that keeps nothing but files. There
    is no network, no other program and no pip; of packages there is numpy, and where installed pandas, matplotlib."""
    if context.workspace is None:
        raise UserError("This run has no workspace.")
    workspace = context.workspace
    if workspace.is_symlink():  # whoever put it there wants something else to be written to
        raise UserError("The workspace is a link. It must be a folder.")
    sandbox = await asyncio.to_thread(available)
    async with _place():
        if sandbox.kind == "bubblewrap":
            workspace.mkdir(parents=True, exist_ok=True, mode=0o700)
            return await _under_bubblewrap(code, workspace.resolve(), Limits())
        if sandbox.kind == "monty":
            return _told(await _in_monty(code, Limits()), "There are no files and hardly any modules here.")
    assert sandbox.reason is not None
    raise Unavailable(
        "Code is not run: there is no sandbox on this machine. {reason} Install bubblewrap (apt-get install "
        "bubblewrap, dnf install bubblewrap), or for pure computation: pip install pydantic-monty",
        reason=sandbox.reason,
    )


@contextlib.asynccontextmanager
async def _place() -> AsyncIterator[None]:
    """One of the places that this process has for such calls, whichever event loop they come from."""
    while not _places.acquire(blocking=False):  # noqa: ASYNC110  (an event belongs to one loop)
        await asyncio.sleep(_WAIT_S)
    try:
        yield
    finally:
        _places.release()


# --- bubblewrap -----------------------------------------------------------------------------------------------


async def _under_bubblewrap(code: str, workspace: Path, limits: Limits) -> ToolResult:
    before = bubblewrap.listing(workspace).files
    outcome = await bubblewrap.run(code, workspace, limits)
    after = bubblewrap.listing(workspace).files
    names = sorted(name for name, state in after.items() if before.get(name) != state)
    shown = ", ".join(_plain(name, "") for name in names[:_MOST_NAMES])
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    told = _told(outcome, f"Files written: {shown}{more}." if names else "")
    return told.model_copy(update={"artifacts": artifacts(ToolContext(workspace=workspace), names[:_MOST_ARTIFACTS])})


def _try_bubblewrap() -> None:
    """Raises Unavailable where a wall is missing, OSError where there is no room to try."""
    with tempfile.TemporaryDirectory(prefix="dizuo-sandbox-") as folder:
        workspace = Path(folder).resolve()
        outcome = asyncio.run(bubblewrap.run(_PROBE, workspace, _PROBE_LIMITS))
        wrote = workspace.joinpath("probe").read_text() if outcome.status == 0 else ""
    if outcome.stopped or outcome.output != f"{_WALLS}\n" or wrote != str(_WALLS):
        reason = outcome.stopped or outcome.output.strip()[-500:]
        raise Unavailable("bubblewrap does not work here: {reason}", reason=reason)


# --- Monty ----------------------------------------------------------------------------------------------------


async def _in_monty(code: str, limits: Limits) -> Outcome:
    """Runs code in Monty, in a worker process that is killed with the call. Raises ImportError, OSError where it is
    not installed as a whole."""
    from pydantic_monty import AsyncMonty, CollectString, MontyError, MontyRuntimeError, MontySyntaxError

    printed = CollectString(max_bytes=1 << 20)
    try:
        async with (
            AsyncMonty(min_processes=1, max_processes=1) as pool,
            pool.checkout(
                limits={
                    "max_feed_duration_secs": limits.cpu_s,
                    "max_total_sleep_secs": limits.wall_s - limits.cpu_s,
                    "max_memory": limits.memory // 4,
                    "max_recursion_depth": 1000,
                }
            ) as session,
        ):
            value = await session.feed_run(code, print_callback=printed)
            shown, status = "" if value is None else f"{value!r}\n", 0
    except (MontyRuntimeError, MontySyntaxError) as error:
        shown, status = error.display(), 1
    except (MontyError, RecursionError) as error:  # the worker is gone; a value too deep to be shown
        shown, status = f"{type(error).__name__}: {error}", 1
    kept = bubblewrap.Kept(limits.output)
    kept.add(f"{printed.output}{shown}".encode("utf-8", "replace"))
    return Outcome(kept.text(), status)


async def _monty_works() -> bool:
    try:
        outcome = await _in_monty("try:\n    open('/etc/passwd')\nexcept OSError:\n    print(6 * 7)", _PROBE_LIMITS)
    except (ImportError, OSError):
        return False
    return outcome.output == "42\n"


# --- what the model reads -------------------------------------------------------------------------------------


def _told(outcome: Outcome, more: str) -> ToolResult:
    """Our own words come first: what follows them is the code's, whatever it looks like."""
    lines = [f"It was stopped {outcome.stopped}." if outcome.stopped else "", more]
    output = _plain(outcome.output.replace("\r\n", "\n"), "\n\t").rstrip()
    lines.append(f"Output:\n{output}" if output else "It printed nothing.")
    failed = bool(outcome.stopped) or outcome.status != 0
    return ToolResult(text="\n".join(line for line in lines if line), failed=failed, trusted=False)


def _plain(text: str, kept: str) -> str:
    """The text with what is not seen, or moves the cursor, written out: it may be read in a terminal."""
    return "".join(
        one
        if one in kept or one in "\u200c\u200d" or unicodedata.category(one) not in ("Cc", "Cf", "Cs", "Zl", "Zp")
        else repr(one)[1:-1]
        for one in text
    )
