"""The page of tools: servers of others and what they offer, and what every agent has."""

import asyncio
from collections.abc import Sequence

from nicegui import ui
from nicegui.element import Element
from starlette.requests import Request

from dizuo.agents.run_tools import RunTool, run_tools
from dizuo.agents.tool_servers import ToolServerInfo
from dizuo.core.errors import DizuoError
from dizuo.platform.catalogue import _
from dizuo.studio.assets import asset
from dizuo.studio.dialogs import Confirm
from dizuo.studio.layout import frame
from dizuo.studio.page import Badge, Handler, Page, badge
from dizuo.studio.run_texts import storable
from dizuo.studio.runs import runs_head
from dizuo.studio.tool_form import ToolForm
from dizuo.studio.tool_view import show_run_tool, show_served_tool


async def tools_page(request: Request) -> None:
    """/tools"""
    await _Tools(Page(request)).open()


class _Tools:
    def __init__(self, page: Page) -> None:
        self.page = page
        self._cards: dict[str, Element] = {}
        self._seen: dict[str, ToolServerInfo] = {}  # as it stands on the page
        self._asked: set[str] = set()  # servers that are being asked

    async def open(self) -> None:
        page, owner = self.page, self.page.visitor.is_owner
        page.title(_("Tools"))
        ui.add_head_html(f'<link rel="stylesheet" href="{asset("tools.css")}">')
        with frame(page, "run"), page.el("div", "column"):
            with runs_head(page, "tools", _("Tools"), _("What agents may call. A run gets those of others by name.")):
                if owner:
                    add = page.button("button primary", _("Add a server"), icon="plus")
                    add.props["data-open"] = "tool-form"
            if owner:
                self._servers = page.el("ul", "stack")
            self._own = page.el("div", "stack")
        if owner:
            ToolForm(page, self._added)
            note = _("Runs that are under way can call its tools no longer.")
            self._confirm = Confirm(page, "remove-server", _("Remove for good?"), _("Remove"), self._remove, note)
            await self._load()
        await self._load_own()

    async def _load_own(self) -> None:
        page = self.page
        tools = await asyncio.to_thread(run_tools, page.house.equipment, page.user.id)
        if page.client.is_deleted:
            return
        self._own.clear()
        with self._own:
            if not page.visitor.is_owner:
                self._offered([one for one in tools if not one.trusted])
            self._lent([one for one in tools if one.trusted and not one.given])
            with page.section(
                _("Every agent has these"),
                _("In the words that a model reads. A run with a knowledge base searches it, besides."),
                "tool-list",
            ):
                for one in tools:
                    if one.given:
                        show_run_tool(page, one)

    def _offered(self, tools: Sequence[RunTool]) -> None:
        """What a member sees of the servers: the tools that the owner has approved."""
        page = self.page
        lead = _("Approved by the owner of this instance. The words are those of their servers.")
        with page.section(_("Tools of others"), lead, "tool-list"):
            for one in tools:
                show_run_tool(page, one)
            if not tools:
                page.text(
                    "p", "muted", _("None yet. The owner of this instance adds servers and approves their tools.")
                )

    def _lent(self, tools: Sequence[RunTool]) -> None:
        page, hosts = self.page, self.page.house.settings.fetch_allow
        lead = _("A run has those of these that it is given when it starts.")
        with page.section(_("Given by name"), lead, "tool-list"):
            for one in tools:
                show_run_tool(page, one)
            with page.el("p", "small facts tool-setting"):
                if hosts:
                    page.text("span", "", _("fetch_page reads these hosts only, without asking: {hosts}"), hosts=hosts)
                else:
                    page.text("span", "", _("fetch_page reads any public page; people are asked about each."))
                page.text("span", "muted", _("The setting: {name}"), name="fetch_allow (DIZUO_FETCH_ALLOW)")

    # --- servers ----------------------------------------------------------------------------------------------

    async def _load(self) -> None:
        page = self.page
        servers = await asyncio.to_thread(page.house.tool_servers.list)
        if page.client.is_deleted:
            return
        self._cards.clear()
        self._servers.clear()
        with self._servers:
            if not servers:
                with page.el("li", "card empty"):
                    page.icon("tool")
                    page.text("h2", "", _("No server of tools yet"))
                    page.text(
                        "p",
                        "",
                        _("Add an MCP server, HTTP operations by their OpenAPI description, or an agent of others."),
                    )
            for one in servers:
                self._cards[one.name] = page.el("li", "card stack", data_server=one.name)
                self._fill(one)

    def _fill(self, server: ToolServerInfo, problem: DizuoError | None = None) -> None:
        """Shows a server in its card."""
        page, name, card = self.page, server.name, self._cards[server.name]
        self._seen[name] = server
        card.clear()
        with card:
            with page.el("div", "row"):
                page.el("h2", "", name)
                badge(page, _state(server))
            with page.el("div"):
                page.el("p", "tool-address small", storable(server.address))
                with page.el("p", "muted small facts"):
                    if server.secrets:
                        names = storable(", ".join(server.secrets))
                        page.text("span", "", _("Secrets, encrypted: {names}"), names=names)
                    if (asked_at := server.checked_at) is not None:
                        page.text("span", "", _("asked {when}"), when=lambda: page.when(asked_at))
            self._say_problem(server, problem)
            if name in self._asked:
                with page.el("p", "thinking", role="status"):
                    page.el("span", "dot")
                    page.text("span", "", _("Waiting for an answer…"))
            if server.tools:
                with page.el("div", "tool-list"):
                    for tool in server.tools:
                        show_served_tool(page, tool)
            self._actions(server)

    def _say_problem(self, server: ToolServerInfo, problem: DizuoError | None) -> None:
        page = self.page
        if server.problem is None and problem is None:
            return
        with page.el("p", "notice bad", role="alert"):
            page.icon("alert")
            if problem is not None:
                page.text("span", "", problem.template, **problem.params)
            elif server.problem is not None:
                page.text("span", "tool-words", "{problem}", problem=server.problem)

    def _actions(self, server: ToolServerInfo) -> None:
        page, name = self.page, server.name
        unseen = [one for one in server.tools if one.state in ("new", "changed", "gone")]
        busy = name in self._asked
        with page.el("div", "row tool-actions"):
            if unseen:
                approve = page.button(
                    "button primary", _("Approve what stands here"), self._approver(name), icon="check"
                )
                page.name(approve, "aria-label", _("Approve the tools of {name} as they stand here"), name=name)
                approve.props["disabled"] = busy
            ask = page.button("button", _("Ask it again"), self._asker(name), icon="again")
            page.name(ask, "aria-label", _("Ask {name} again for its tools"), name=name)
            ask.props["disabled"] = busy
            question = _("Remove the server {name} with its secrets?")
            remove = page.button(
                "button danger", _("Remove"), self._confirm.asker(name, question, name=name), icon="bin"
            )
            page.name(remove, "aria-label", _("Remove {name}"), name=name)

    async def _added(self, name: str) -> None:
        await self._load()
        await self._asker(name)()

    def _asker(self, name: str) -> Handler:
        async def ask() -> None:
            if name in self._asked:
                return
            self._asked.add(name)
            try:
                self._fill(self._seen[name])
                found = await asyncio.to_thread(self.page.house.tool_servers.check, name)
            finally:
                self._asked.discard(name)
            await self._show(found)

        return ask

    def _approver(self, name: str) -> Handler:
        async def approve() -> None:
            servers, problem = self.page.house.tool_servers, None
            try:
                found = await asyncio.to_thread(servers.approve, name, self._seen[name].fingerprint)
            except DizuoError as error:  # it lists something else by now: here it is
                problem, found = error, await asyncio.to_thread(servers.get, name)
            await self._show(found, problem)
            if problem is None:
                self.page.toast("good", _("The tools of {name} are offered to runs."), name=name)

        return approve

    async def _show(self, server: ToolServerInfo, problem: DizuoError | None = None) -> None:
        if self.page.client.is_deleted or server.name not in self._cards:
            return
        self._fill(server, problem)
        self.page.run("studio.refocus")

    async def _remove(self, name: str) -> None:
        await asyncio.to_thread(self.page.house.tool_servers.remove, name)
        self.page.toast("good", _("Removed the server {name}."), name=name)
        await self._load()


def _state(server: ToolServerInfo) -> Badge:
    """How a server stands, in one word: what needs a person comes first."""
    states = {one.state for one in server.tools}
    if server.problem is not None:
        return "alert", "bad", _("unreachable")
    if states & {"changed", "gone"}:
        return "alert", "warn", _("changed since it was approved")
    if "new" in states:
        return "hand", "warn", _("not approved")
    if "approved" in states:
        return "check", "good", _("offered")
    return ("none", "", _("offers nothing")) if server.checked_at else ("clock", "", _("not asked yet"))
