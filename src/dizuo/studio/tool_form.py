"""The dialog that adds a server of tools: a program, an address, described HTTP operations, an agent of others."""

import asyncio
from collections.abc import Callable, Mapping
from typing import get_args

from nicegui.element import Element

from dizuo.agents.tool_servers import Kind
from dizuo.agents.tool_texts import command_of, named_values, with_token
from dizuo.core.errors import DizuoError, UserError
from dizuo.platform.catalogue import _
from dizuo.studio.dialogs import Problem, dialog
from dizuo.studio.page import FORM_VALUES, Page, Work

_KINDS: Mapping[Kind, str] = {
    "mcp": _("MCP server, by its address"),
    "program": _("MCP server, a program on this machine"),
    "openapi": _("HTTP operations, by an OpenAPI description"),
    "a2a": _("Agent of others, by its address (A2A)"),
}
_FIELDS: Mapping[Kind, tuple[str, ...]] = {
    "mcp": ("url", "token", "headers"),
    "program": ("command", "environment"),
    "openapi": ("description", "base-url", "token", "headers"),
    "a2a": ("agent", "token", "headers"),
}
_LINES = ("environment", "headers")
_LABELS = {
    "url": (_("Address"), _("Over streamable HTTP, such as https://tickets.example/mcp.")),
    "command": (
        _("Command"),
        _("The program and its arguments, as in a shell. It runs with the rights of this server."),
    ),
    "description": (_("Description"), _("OpenAPI 3: its address, or its path on the disk of this server.")),
    "base-url": (_("Base URL"), _("Where the described operations are called.")),
    "agent": (_("Address of the agent"), _("Its card is found below it, at /.well-known/agent-card.json.")),
    "token": (_("Bearer token"), _("It is kept encrypted, and never shown again. Empty: none.")),
    "headers": (_("Headers"), _("One NAME: VALUE a line. Encrypted, never shown again.")),
    "environment": (_("Variables of the program"), _("One NAME=VALUE a line. Encrypted, never shown again.")),
}


class ToolForm:
    """A form whose fields are those of the kind that is chosen. `on_added` gets the name of the new server."""

    def __init__(self, page: Page, on_added: Callable[[str], Work]) -> None:
        self._page = page
        self._on_added = on_added
        self._places: dict[str, Element] = {}
        with dialog(page, "tool-form", _("Add a server of tools"), broad=True), page.el("form", "stack") as form:
            with page.el("div"):
                page.text("label", "label", _("Kind")).props["for"] = "tool-kind"
                with page.el("select", "field", id="tool-kind", name="kind") as choice:
                    for kind, label in _KINDS.items():
                        page.text("option", "", label).props["value"] = kind
            page.on(choice, "change", self._chosen, "(event) => emit(event.target.value)")
            with page.el("div"):
                page.text("label", "label", _("Name")).props["for"] = "tool-name"
                field = page.el("input", "field", id="tool-name", name="name", maxlength="32", required=True)
                field.props.update({"autocomplete": "off", "spellcheck": "false", "aria-describedby": "tool-name-hint"})
                hint = page.text("p", "hint", _("The names of its tools begin with it. Lower-case letters and digits."))
                hint.props["id"] = "tool-name-hint"
            for name in _LABELS:
                self._field(name)
            self._problem = Problem(page)
            with page.el("div", "actions"):
                page.button("button", _("Cancel")).props["data-close"] = True
                with page.el("button", "button primary", type="submit"):
                    page.text("span", "", _("Add"))
        self._show("mcp")
        page.on(form, "submit", self._add, FORM_VALUES)

    def _field(self, name: str) -> None:
        page = self._page
        label, said = _LABELS[name]
        field_id = f"tool-{name}"
        with page.el("div") as self._places[name]:
            page.text("label", "label", label).props["for"] = field_id
            if name in _LINES:
                field = page.el("textarea", "field", id=field_id, name=name, rows="2", maxlength="20000")
            else:
                field = page.el("input", "field", id=field_id, name=name, maxlength="4000")
            if name == "token":
                field.props.update({"type": "password", "autocomplete": "new-password"})
            else:
                field.props.update({"autocomplete": "off", "spellcheck": "false"})
            field.props["aria-describedby"] = f"{field_id}-hint"
            page.text("p", "hint", said).props["id"] = f"{field_id}-hint"

    async def _chosen(self, kind: str) -> None:
        self._show(_kind(kind))

    def _show(self, kind: Kind) -> None:
        for name, place in self._places.items():
            place.props["hidden"] = name not in _FIELDS[kind]

    async def _add(self, given: Mapping[str, str]) -> None:
        page = self._page
        self._problem.hide()
        kind = _kind(str(given.get("kind", "")))
        # What stands in the fields of another kind is not meant.
        filled = {name: str(given.get(name, "")) for name in _FIELDS[kind]}
        url = filled.get("url", "") or filled.get("base-url", "")
        try:
            if kind == "openapi" and not filled["description"].strip():
                raise UserError("Say where the description of the operations is.", param="description")
            headers = named_values(filled.get("headers", "").splitlines(), ":")
            added = await asyncio.to_thread(
                lambda: page.house.tool_servers.add(
                    str(given.get("name", "")),
                    command=command_of(filled.get("command", "")),
                    url=url,
                    a2a=filled.get("agent", "").strip(),
                    openapi=filled.get("description", "").strip(),
                    headers=with_token(headers, filled.get("token", "").strip()),
                    environment=named_values(filled.get("environment", "").splitlines(), "="),
                )
            )
        except DizuoError as error:
            self._problem.say(error)
            return
        for name in ("name", *_LABELS):
            page.run("studio.select", f"tool-{name}", "")
        page.run("studio.close", "tool-form")
        await self._on_added(added.name)


def _kind(chosen: str) -> Kind:
    return next((kind for kind in get_args(Kind) if kind == chosen), "mcp")
