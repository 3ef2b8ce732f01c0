"""Servers of others whose operations are tools: registered by name, asked what they have, approved by the owner.

What a tool says of itself is read by a model, so it is pinned: only tools that are word for word as they were when the
owner approved them are offered. One that has changed is offered again when it is approved anew.
"""

import asyncio
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from dizuo.agents.listed import ListedTool, fingerprint, offered_name
from dizuo.agents.mcp_client import Connection, Waits, by_http, by_program
from dizuo.agents.mcp_stdio import Said
from dizuo.agents.schemas import given_schema
from dizuo.agents.web import checked_address
from dizuo.core.documents import Note
from dizuo.core.errors import Conflict, DizuoError, NotFound, UserError
from dizuo.core.messages import Noun
from dizuo.core.tools import Effect
from dizuo.gateway.remote_address import checked_headers, proxy_of
from dizuo.platform import schema
from dizuo.platform.database import Database
from dizuo.platform.secrets import Secrets

if TYPE_CHECKING:
    from dizuo.agents.a2a_client import Agent
    from dizuo.agents.openapi import Operations

Kind = Literal["program", "mcp", "openapi", "a2a"]
ToolState = Literal["new", "approved", "changed", "gone", "unusable"]

_NAME = re.compile(r"[a-z0-9]+(?:[_-][a-z0-9]+)*")  # no two underscores: they end it
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_table = schema.tool_servers


class ServedTool(Noun):
    """A tool of a server. `before`: as it was approved, where it has changed or gone."""

    name: str  # as a model calls it
    effect: Effect
    state: ToolState
    listed: ListedTool
    before: ListedTool | None = None
    problem: Note | None = None


class ToolServerInfo(Noun):
    """A server as it may be shown: the names of what is secret, never the values."""

    name: str
    kind: Kind
    address: str
    secrets: Sequence[str]
    tools: Sequence[ServedTool]
    fingerprint: str  # of what it lists: whoever approves says that this is what was seen
    problem: Note | None = None  # what went wrong when it was last asked
    checked_at: datetime | None = None
    approved_at: datetime | None = None
    created_at: datetime


class ToolServers:
    """Keeps servers in the database, their secrets encrypted. Blocking; thread-safe."""

    def __init__(self, database: Database, secrets: Secrets, waits: Waits = Waits()) -> None:
        self._database = database
        self._secrets = secrets
        self._waits = waits

    # --- what there is ----------------------------------------------------------------------------------------

    def list(self) -> "list[ToolServerInfo]":
        """Every server, by name."""
        return [self._info(row) for row in self._rows()]

    def get(self, name: str) -> ToolServerInfo:
        """One server as it was when last asked. Raises NotFound with those there are."""
        return self._info(self._row(name))

    def offered(self) -> "Mapping[str, tuple[str, ListedTool]]":
        """Each tool that may be used, by the name that a model calls it, with its server's."""
        return {
            tool.name: (info.name, tool.listed)
            for info in self.list()
            for tool in info.tools
            if tool.state == "approved"
        }

    # --- changes ----------------------------------------------------------------------------------------------

    def add(
        self,
        name: str,
        *,
        command: Sequence[str] = (),
        url: str = "",
        openapi: str = "",
        a2a: str = "",
        headers: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> ToolServerInfo:
        """Registers an MCP server: a program with its variables, or an address with its headers. Or, with `openapi` (a
        path or an address), the HTTP operations that this describes; `url` is the base URL then. Or, with `a2a`, the
        agent at that address. Not asked anything yet, and none of its tools is offered.

        Raises UserError for what cannot be used, Conflict for a name that is taken.
        """
        name = name.strip()
        if len(name) > 32 or not _NAME.fullmatch(name):
            raise UserError(
                "{name!r} cannot be a server's name: use lower-case letters and digits, single hyphens and "
                "underscores between them, at most 32. The names of its tools begin with it.",
                name=name[:80],
            )
        if [bool(command), bool(url.strip()), bool(a2a.strip())].count(True) != 1:
            raise UserError("Say how the server is reached: by a command, by a URL, or as an agent at an address.")
        if openapi and (not url.strip() or "?" in url):
            raise UserError("Say at which base URL the operations of the description are called.")
        if (headers and command) or (environment and not command):
            raise UserError("Headers go to a URL, variables to a command.")
        where = _where(name)
        for variable in environment or {}:
            if not _VARIABLE.fullmatch(variable):
                raise UserError("{name!r} cannot be the name of a variable.", name=variable[:80])
        secrets = {**checked_headers("", headers or {}, where), **(environment or {})}
        if any("\0" in one for one in (*command, openapi, *secrets.values())):
            raise UserError("A command, its variables and a path hold no NUL.")
        if openapi.startswith(("http://", "https://")):
            openapi = checked_address(openapi, where)
        values = {
            "name": name,
            "kind": "program" if command else "openapi" if openapi else "a2a" if a2a else "mcp",
            "command": [*command],
            "url": checked_address(url or a2a, where) if url or a2a else "",
            "description": openapi,
            "secrets_cipher": self._secrets.encrypt(json.dumps(secrets).encode()) if secrets else None,
            "approved": [],
            "created_at": schema.now(),
        }
        try:
            with self._database.write() as connection:
                connection.execute(_table.insert().values(values))
        except IntegrityError:
            raise Conflict(
                "There is a server of tools {name!r} already. Remove it first (dizuo tool remove {name}), or choose "
                "another name.",
                name=name,
            ) from None
        return self.get(name)

    def check(self, name: str) -> ToolServerInfo:
        """Asks a server for its tools and keeps what it says, or what went wrong. Raises NotFound."""
        row = self._row(name)
        said = Said()

        async def ask() -> Sequence[ListedTool]:
            async with aclosing(self.connection(name, said)) as connection:
                return await connection.list()

        try:
            self.note_listing(name, asyncio.run(ask()))
        except DizuoError as error:
            words = str(said)
            note = Note.of(error)
            if words:
                note = Note(template="{problem} It said: {words}", params={"problem": note, "words": words[-500:]})
            self._change(row.name, problem=note.model_dump(mode="json"), checked_at=schema.now())
        return self.get(name)

    def approve(self, name: str, seen: str = "") -> ToolServerInfo:
        """Offers the tools as the server listed them when last asked. `seen` is the fingerprint of what the owner
        has read.

        Raises NotFound, and Conflict where it lists something else by now, or nothing yet.
        """
        row = self._row(name)
        info = self._info(row)
        if row.listed is None:
            raise Conflict("The server {name} has not listed its tools yet. Ask it: dizuo tool show {name}", name=name)
        if seen and seen != info.fingerprint:
            raise Conflict("The tools of {name} have changed since. See them: dizuo tool show {name}", name=name)
        self._change(name, approved=row.listed, approved_at=schema.now())
        return self.get(name)

    def remove(self, name: str) -> ToolServerInfo:
        """Takes a server away, with its secrets. Raises NotFound."""
        info = self.get(name)
        with self._database.write() as connection:
            connection.execute(_table.delete().where(_table.c.name == name))
        return info

    # --- for those who call -----------------------------------------------------------------------------------

    def connection(self, name: str, said: Said | None = None) -> "Connection | Operations | Agent":
        """A connection to a server, not begun yet. Raises NotFound, and UserError for secrets that cannot be read."""
        from dizuo.agents.a2a_client import Agent
        from dizuo.agents.openapi import Operations

        row = self._row(name)
        secrets = self._read(row)
        if row.kind == "openapi":
            return Operations(row.description, row.url, secrets)
        if row.kind == "program":
            return Connection(by_program(row.command, secrets, said), self._waits)
        proxy = proxy_of(row.url, _where(name))
        if row.kind == "a2a":
            return Agent(row.url, secrets, proxy, self._waits)
        return Connection(by_http(row.url, secrets, proxy, self._waits), self._waits)

    def secrets(self, name: str) -> Sequence[str]:
        """The values that no result may show. Raises NotFound, and UserError for those that cannot be read."""
        return [*self._read(self._row(name)).values()]

    def note_listing(self, name: str, listed: Sequence[ListedTool]) -> None:
        """Keeps what a server lists now."""
        tools = [one.model_dump(mode="json") for one in listed]
        self._change(name, listed=tools, problem=sa.null(), checked_at=schema.now())

    # ----------------------------------------------------------------------------------------------------------

    def _rows(self) -> "Sequence[sa.Row[Any]]":
        with self._database.read() as connection:
            return connection.execute(_table.select().order_by(_table.c.name)).all()

    def _row(self, name: str) -> "sa.Row[Any]":
        rows = {row.name: row for row in self._rows()}
        if name not in rows:
            raise NotFound(
                "There is no server of tools {name!r}. There are: {names}. Add one: dizuo tool add NAME",
                name=name,
                names=", ".join(rows) or "-",
            )
        return rows[name]

    def _change(self, name: str, **values: Any) -> None:
        with self._database.write() as connection:
            connection.execute(_table.update().where(_table.c.name == name).values(values))

    def _read(self, row: "sa.Row[Any]") -> Mapping[str, str]:
        if not row.secrets_cipher:
            return {}
        try:
            return json.loads(self._secrets.decrypt(row.secrets_cipher))
        except UserError as error:
            raise UserError(
                "The secrets of the server {name} cannot be read. {reason}", name=row.name, reason=Note.of(error)
            ) from None

    def _info(self, row: "sa.Row[Any]") -> ToolServerInfo:
        listed = {one["name"]: ListedTool(**one) for one in row.listed or ()}
        approved = {one["name"]: ListedTool(**one) for one in row.approved}
        problem = Note(**row.problem) if row.problem else None
        names: Sequence[str] = ()
        try:
            names = sorted(self._read(row))
        except UserError as error:
            problem = Note.of(error)
        return ToolServerInfo(
            name=row.name,
            kind=row.kind,
            address=shlex.join(row.command) if row.command else f"{row.url} ({row.description})".removesuffix(" ()"),
            secrets=names,
            tools=[_served(row.name, listed.get(one), approved.get(one)) for one in sorted({*listed, *approved})],
            fingerprint=fingerprint(listed),
            problem=problem,
            checked_at=row.checked_at,
            approved_at=row.approved_at,
            created_at=row.created_at,
        )


def _served(server: str, now: ListedTool | None, before: ListedTool | None) -> ServedTool:
    listed = now or before
    assert listed is not None
    problem: Note | None = None
    state: ToolState = "new" if before is None else "gone" if now is None else "changed"
    if now is not None:
        try:
            given_schema(now.parameters)
        except UserError as error:
            state, problem = "unusable", Note.of(error)
        else:
            state = "approved" if now == before else state
    was = before if state in ("changed", "gone") else None
    name = offered_name(server, listed.name)
    return ServedTool(name=name, effect=listed.effect, state=state, listed=listed, before=was, problem=problem)


def _where(name: str) -> str:
    """What messages say of where a server's address and secrets are."""
    return f"dizuo tool show {name}"
