"""Texts of a run on a page: as they are, never as HTML; long ones folded until they are asked for."""

import json

from nicegui.element import Element
from nicegui.elements.mixins.text_element import TextElement

from dizuo.platform.catalogue import _
from dizuo.studio.page import Page

_MOST_CHARACTERS = 1200
_MOST_LINES = 20


def storable(text: str) -> str:
    """The text without halves of characters, which no page can be sent."""
    return text.encode("utf-8", "replace").decode()


def pretty(arguments: str) -> str:
    """Arguments laid out over lines where they are JSON, else as they are."""
    try:
        return storable(json.dumps(json.loads(arguments or "{}"), ensure_ascii=False, indent=2))
    except (ValueError, RecursionError):
        return storable(arguments)


def one_line(text: str, most: int) -> str:
    """The beginning, in one line."""
    line = " ".join(storable(text[: 4 * most]).split())
    return line if len(line) <= most and len(text) <= 4 * most else line[: most - 1] + "…"


def code(page: Page, text: str) -> None:
    """Output of a tool."""
    folded(page, text, "pre", "run-code")


def arguments(page: Page, given: str) -> None:
    """Input of a tool: each argument in a place of its own, so that no value can look like another argument."""
    try:
        read = json.loads(given or "{}")
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, dict):
        code(page, given)
        return
    with page.el("dl", "run-code run-arguments"):
        for name, value in read.items():
            with page.el("div"):
                page.el("dt", "muted", storable(str(name)))
                with page.el("dd"):
                    folded(page, value if isinstance(value, str) else pretty(json.dumps(value)), "span", "run-text")


def folded(page: Page, text: str, tag: str = "p", classes: str = "run-text") -> Element:
    """A text; of a long one the beginning, and a button for all of it."""
    text = storable(text)
    beginning = "\n".join(text[:_MOST_CHARACTERS].split("\n")[:_MOST_LINES])
    with page.el("div", "folded") as root:
        shown = TextElement(tag=tag, text=beginning).classes(classes)
        if len(beginning) < len(text):
            button = page.el("button", "quiet small", type="button", aria_expanded="false")
            with button:
                label = page.text("span", "", _("Show all {n} characters"), n=page.number(len(text)))

            async def switch() -> None:
                whole = button.props["aria-expanded"] == "false"
                button.props["aria-expanded"] = "true" if whole else "false"
                shown.text = text if whole else beginning
                if whole:
                    page.say(label, _("Show the beginning only"))
                else:
                    page.say(label, _("Show all {n} characters"), n=page.number(len(text)))

            page.on(button, "click", switch)
    return root
