"""The pipe to an MCP server that is a program on this machine: JSON-RPC, a message a line.

As `mcp.client.stdio`, with bounds that it has not: on the length of a line, on lines that are no messages, and with
what the program says on stderr kept (its end) instead of written into our log. The program gets no variable of our
environment but those named here and its own.
"""

import os
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    from anyio.abc import Process

_PASSED_ON = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SYSTEMROOT", "TMPDIR", "USER")
_MOST_LINE_BYTES = 8 << 20
_MOST_GARBAGE = 20  # lines that are no messages: programs that print a greeting are common
_END_S = 1.0  # to end by itself once its input is closed, then after SIGTERM
_LAST_WORDS = 2000  # bytes of stderr


class Said:
    """The end of what a program wrote on stderr: for its owner, never for a model."""

    def __init__(self) -> None:
        self._parts: deque[bytes] = deque()

    def take(self, part: bytes) -> None:
        self._parts.append(part[-_LAST_WORDS:])
        while len(self._parts) > 1 and sum(map(len, self._parts)) - len(self._parts[0]) >= _LAST_WORDS:
            self._parts.popleft()

    def __str__(self) -> str:
        return b"".join(self._parts)[-_LAST_WORDS:].decode("utf-8", "replace").strip()


@asynccontextmanager
async def program(command: Sequence[str], environment: Mapping[str, str], said: Said) -> AsyncGenerator[Any, None]:
    """A transport for `mcp.client.Client`. The program, and what it started, end with it. Raises OSError."""
    from mcp.shared.message import SessionMessage

    process = await anyio.open_process(
        list(command),
        env={name: os.environ[name] for name in _PASSED_ON if name in os.environ} | dict(environment),
        cwd=Path.home(),
        start_new_session=True,  # ended as a whole, and no Ctrl-C of ours reaches it
    )
    incoming, read = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    write, outgoing = anyio.create_memory_object_stream[SessionMessage](0)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_read, process, incoming)
            tasks.start_soon(_write, process, outgoing)
            tasks.start_soon(_listen, process, said)
            try:
                yield read, write
            finally:
                tasks.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await _end(process)
            for stream in (incoming, read, write, outgoing):
                await stream.aclose()


async def _read(process: "Process", incoming: Any) -> None:
    """Messages of the program. Ends, and the session with it, when it breaks the rules."""
    from mcp.shared.message import SessionMessage
    from mcp.types import jsonrpc_message_adapter

    assert process.stdout is not None
    garbage = 0
    rest = bytearray()
    async with incoming:
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            while True:
                part = await process.stdout.receive()
                start = len(rest)
                rest += part
                if b"\n" in part:
                    *lines, last = bytes(rest).split(b"\n")
                    rest = bytearray(last)
                    for line in lines:
                        try:
                            message = jsonrpc_message_adapter.validate_json(line, by_name=False)
                        except ValueError:
                            garbage += 1
                            if garbage > _MOST_GARBAGE:
                                return
                        else:
                            await incoming.send(SessionMessage(message))
                elif start > _MOST_LINE_BYTES:
                    return


async def _write(process: "Process", outgoing: Any) -> None:
    assert process.stdin is not None
    async with outgoing:  # whoever writes on is told that nobody reads any more
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            async for sent in outgoing:
                await process.stdin.send(
                    sent.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
                )


async def _listen(process: "Process", said: Said) -> None:
    assert process.stderr is not None
    with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
        while True:
            said.take(await process.stderr.receive())


async def _end(process: "Process") -> None:
    """Closes the program's input, and ends it and what it started if that is not enough."""
    from mcp.os.posix.utilities import terminate_posix_process_tree

    assert process.stdin is not None
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
        await process.stdin.aclose()
    with anyio.move_on_after(_END_S):
        await process.wait()
    if os.name == "posix":
        await terminate_posix_process_tree(process, _END_S)
    elif process.returncode is None:
        process.kill()
    with suppress(ProcessLookupError):
        await process.aclose()
