"""One tool on a page: what it is called, what it says of itself, what it takes, and how that differs from before."""

import json
from collections.abc import Mapping
from typing import Any

from dizuo.agents.run_tools import RunTool
from dizuo.agents.tool_servers import ServedTool, ToolState
from dizuo.agents.tool_texts import difference
from dizuo.core.tools import Effect
from dizuo.platform.catalogue import _
from dizuo.studio.page import Badge, Page, badge
from dizuo.studio.run_texts import code, folded, one_line, storable

_EFFECTS: Mapping[Effect, str] = {
    "read": _("reads"),
    "own": _("works within the run"),
    "write": _("changes what is yours"),
    "outside": _("acts"),
    "money": _("spends"),
}
_STATES: Mapping[ToolState, Badge] = {
    "new": ("hand", "warn", _("not approved")),
    "approved": ("check", "good", _("offered")),
    "changed": ("alert", "warn", _("changed since it was approved")),
    "gone": ("close", "warn", _("gone")),
    "unusable": ("alert", "bad", _("unusable")),
}
_DIFFERS = {"+": "added", "-": "taken"}


def show_run_tool(page: Page, tool: RunTool) -> None:
    """A tool that a run has or may be given."""
    with page.el("details", "tool"):
        with page.el("summary"):
            page.el("code", "", storable(tool.name))
            page.text("span", "muted small", _EFFECTS[tool.effect])
            if tool.asks:
                page.text("span", "badge", _("asks first"))
        _said(page, tool.description, tool.parameters, of_others=not tool.trusted)


def show_served_tool(page: Page, tool: ServedTool) -> None:
    """A tool as its server describes it; what is not approved lies open."""
    listed = tool.listed
    with page.el("details", "tool") as details:
        details.props["open"] = tool.state != "approved"
        with page.el("summary"):
            page.el("code", "", storable(tool.name))
            page.text("span", "muted small", _EFFECTS[tool.effect])
            badge(page, _STATES[tool.state])
        if tool.problem:
            with page.el("p", "notice bad"):
                page.icon("alert")
                page.text("span", "tool-words", "{problem}", problem=tool.problem)
        lines = difference(tool)
        if lines:
            _difference(page, lines)
        else:
            _said(page, listed.description, listed.parameters, of_others=True)
        if listed.operation and not lines:
            page.el("p", "tool-words small", storable(json.dumps(listed.operation, ensure_ascii=False)))


def _difference(page: Page, lines: list[str]) -> None:
    """What was approved against what it says now: taken away, added, unchanged."""
    with page.el("div", "tool-body of-others"):
        page.text("p", "muted small", _("What differs from what was approved (− before, + now)"))
        with page.el("pre", "tool-difference", tabindex="0"):
            for line in lines:
                page.el("span", _DIFFERS.get(line[:1], ""), storable(line) + "\n")


def _said(page: Page, description: str, parameters: Mapping[str, Any], *, of_others: bool) -> None:
    with page.el("div", "tool-body of-others" if of_others else "tool-body"):
        if of_others:
            page.text("p", "muted small", _("In the words of its server"))
        if description.strip():
            folded(page, description.strip())
        arguments = _arguments(parameters)
        if arguments is None:
            code(page, json.dumps(parameters, ensure_ascii=False, indent=2))
        elif arguments:
            page.text("p", "label small", _("Arguments"))
            with page.el("dl", "fact-list"):
                for name, (required, said) in arguments.items():
                    with page.el("div"):
                        page.el("dt", "", storable(name))
                        with page.el("dd", "tool-words"):
                            page.el("span", "", storable(said))
                            if required:
                                page.text("span", "badge after", _("required"))
        else:
            page.text("p", "muted small", _("It takes no arguments."))


def _arguments(schema: Mapping[str, Any]) -> dict[str, tuple[bool, str]] | None:
    """Of each argument whether it is required, with its type and its description; None for a schema that such a list
    would say too little of."""
    properties, required = schema.get("properties", {}), schema.get("required", [])
    if set(schema) - {"type", "properties", "required", "title", "description", "additionalProperties", "$schema"}:
        return None
    if not isinstance(properties, dict) or not isinstance(required, list):
        return None
    found: dict[str, tuple[bool, str]] = {}
    for name, one in properties.items():
        if not isinstance(one, dict):
            return None
        rest = {key: value for key, value in one.items() if key not in ("title", "type", "description")}
        parts = [str(one.get("type", "")), str(one.get("description", ""))]
        parts += [json.dumps(rest, ensure_ascii=False)] if rest else []
        found[one_line(str(name), 200)] = name in required, " · ".join(part for part in parts if part)
    return found
